"""delivery.smtp.channel: replies in order, deadlines, and what is remembered of a peer's words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gatewayd.delivery.smtp.channel import REPLY_OCTETS, Broken, Channel
from gatewayd.mail.reply import Reply
from tests.bench.cost import Nowhere

LONG_S = 3600.0


def silent() -> Channel:
    """A channel to a peer that takes everything."""
    return Channel(Nowhere(lambda _: None))


def parsed(*lines: bytes) -> list[Reply]:
    return [Reply.parse([line]) for line in lines]


async def heard(channel: Channel, count: int) -> list[Reply]:
    return [await channel.reply(LONG_S) for _ in range(count)]


@pytest.mark.parametrize(
    "octets",
    [
        b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n",
        b"250 2.1.0 ok\n250 2.1.5 ok\n354 go\n",
        b"250-2.1.0 o\r\n250 2.1.0 k\r\n250 2.1.5 ok\r\n354 go\r\n",
        b"250 " + b"x" * 300 + b"\r\n250 ok\r\n354 go\r\n",
    ],
    ids=["three lines", "bare LF", "one of two lines", "too long to remember"],
)
async def test_replies_are_the_same_however_they_are_cut(octets: bytes) -> None:
    """Together, octet by octet, in halves; and when they were heard before."""
    cuts: list[Callable[[], list[bytes]]] = [
        lambda: [octets],
        lambda: [octets[at : at + 1] for at in range(len(octets))],
        lambda: [octets[:5], octets[5:]],
        lambda: [octets],
    ]
    found = []
    for cut in cuts:
        channel = silent()
        channel.expect(3)
        for piece in cut():
            channel.data_received(piece)
        found.append(await heard(channel, 3))
        assert channel.is_usable

    assert found[1:] == found[:-1]
    assert [each.code for each in found[0]] == [250, 250, 354]


async def test_what_is_said_again_is_not_read_again() -> None:
    """Whether replies come together, alone, or in a hundred lines."""
    for times in (1, 3, 100):
        channel = silent()
        channel.expect(times + 1)
        channel.data_received(b"250 2.1.5 ok\r\n" * times)
        channel.data_received(b"250 2.1.5 ok\r\n")
        first, *others = await heard(channel, times + 1)

        assert all(each is first for each in others[: times - 1])


async def test_end_of_a_reply_that_was_begun_is_not_taken_for_one_heard_before() -> None:
    """Half a line is a line's beginning, though its end alone is a reply that is known."""
    known = silent()
    known.expect(1)
    known.data_received(b"250 ok\r\n")
    channel = silent()
    channel.expect(2)
    channel.data_received(b"550 not 250: ")
    channel.data_received(b"250 ok\r\n")
    channel.data_received(b"550-no\r\n")
    channel.data_received(b"250 ok\r\n")

    first, second = await heard(channel, 2)

    assert [first.text, second.text] == ["not 250: 250 ok", "no ok"]


@pytest.mark.parametrize("times", [1, 2])
async def test_reply_to_nothing_ends_the_session(times: int) -> None:
    """Also among those that are known, and the ones before it can still be read."""
    for _ in range(times):
        channel = silent()
        channel.expect(1)
        channel.data_received(b"250 ok\r\n250 ok\r\n")

        assert await heard(channel, 1) == parsed(b"250 ok")
        with pytest.raises(Broken, match="a reply to nothing"):
            await channel.reply(LONG_S)


@pytest.mark.parametrize("octets", [b"hello\r\n", b"250 ok\r\n999 no\r\n", b"\r\n"])
async def test_what_is_no_reply_ends_the_session(octets: bytes) -> None:
    """Every time it comes."""
    for _ in range(2):
        channel = silent()
        channel.expect(5)
        channel.data_received(octets)

        assert not channel.is_free


async def test_line_without_end_ends_the_session() -> None:
    """At 32 KiB, in however many pieces."""
    channel = silent()
    channel.expect(1)
    for _ in range(REPLY_OCTETS // 64):
        channel.data_received(b"2" * 64)
    assert channel.is_free
    channel.data_received(b"2")

    assert not channel.is_free


async def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When timers of this loop were set for, from now on."""
    loop, made = asyncio.get_running_loop(), []
    call_at = loop.call_at

    def counted(when: float, *args: object, **kwargs: object) -> asyncio.TimerHandle:
        made.append(when)
        return call_at(when, *args, **kwargs)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(loop, "call_at", counted)
    return made


async def test_one_timer_serves_many_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as none of them ends before it fires."""
    made, loop, channel = await timers(monkeypatch), asyncio.get_running_loop(), silent()
    for _ in range(5):
        channel.expect(1)
        loop.call_soon(channel.data_received, b"250 ok\r\n")
        await channel.reply(LONG_S)

    assert len(made) == 1


async def test_shorter_wait_has_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the timer of a longer one still runs."""
    made, loop, channel = await timers(monkeypatch), asyncio.get_running_loop(), silent()
    channel.expect(2)
    loop.call_soon(channel.data_received, b"250 ok\r\n")
    await channel.reply(LONG_S)
    with pytest.raises(Broken, match="no reply in time"):
        await channel.reply(0.01)

    assert len(made) == 2
    assert made[1] < made[0]


async def test_timer_of_an_earlier_wait_does_not_end_a_longer_one() -> None:
    """It is set again for what is left of that."""
    loop, channel = asyncio.get_running_loop(), silent()
    channel.expect(2)
    loop.call_soon(channel.data_received, b"250 ok\r\n")
    await channel.reply(0.01)
    fired = loop.create_future()
    loop.call_later(0.02, fired.set_result, None)
    waiting = asyncio.ensure_future(channel.reply(LONG_S))
    await fired
    loop.call_soon(channel.data_received, b"250 late\r\n")

    assert (await waiting).text == "late"


async def test_deadline_that_has_passed_is_told_at_once() -> None:
    """A time that is over is no error of its own."""
    channel = silent()
    channel.expect(1)
    with pytest.raises(Broken, match="no reply in time"):
        await channel.reply(-1.0)


async def test_ended_session_leaves_no_timer() -> None:
    """Nothing holds a connection in memory until a deadline of minutes."""
    channel = silent()
    channel.expect(1)
    waiting = asyncio.ensure_future(channel.reply(LONG_S))
    await asyncio.sleep(0)
    channel.connection_lost(None)
    with pytest.raises(Broken):
        await waiting

    assert channel._timer is None
