"""spool.recent: what was taken in last is at hand, within a limit, and not longer than its file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gatewayd.errors import SpoolDamaged
from gatewayd.mail.message import SpooledBody
from gatewayd.spool.directory import Spool
from gatewayd.spool.port import HELD_FACTOR, MEMORY_OCTETS
from gatewayd.spool.recent import RECENT_S, Recent

OCTETS = b"0123456789" * 10_000


@pytest.fixture
def spool(directory: Path) -> Spool:
    """One that remembers two bodies of these, and not three."""
    return Spool(directory, recent_octets=2 * len(OCTETS))


async def kept(spool: Spool, octets: bytes = OCTETS) -> SpooledBody:
    """A body that is in the spool."""
    writer = spool.incoming()
    for start in range(0, len(octets), MEMORY_OCTETS):
        writer.write(octets[start : start + MEMORY_OCTETS])
    body = await writer.finish()
    assert isinstance(body, SpooledBody)
    return body


def without_file(directory: Path, body: SpooledBody) -> SpooledBody:
    """The same body, whose file is gone: what can still be read is in memory."""
    (directory / body.key[:2] / body.key).unlink()
    return body


async def test_blocks_of_a_recent_body_are_not_read_again(spool: Spool, directory: Path) -> None:
    """It comes as one block, the very octets that were hashed, and once."""
    body = without_file(directory, await kept(spool))

    assert list(spool.blocks(body)) == [OCTETS]
    with pytest.raises(SpoolDamaged):
        list(spool.blocks(body))


async def test_body_that_has_no_room_is_read_from_its_file(spool: Spool, directory: Path) -> None:
    """Those that came before are sent before, so they stay; who is sent makes room."""
    first, second, third = [await kept(spool) for _ in range(3)]
    without_file(directory, first)
    without_file(directory, second)

    assert b"".join(spool.blocks(first)) == OCTETS
    fourth = without_file(directory, await kept(spool))
    assert b"".join(spool.blocks(second)) == OCTETS
    assert b"".join(spool.blocks(fourth)) == OCTETS
    without_file(directory, third)
    with pytest.raises(SpoolDamaged):
        list(spool.blocks(third))


def test_body_that_nobody_asked_for_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not sent soon is sent later than what comes now."""
    recent, now = Recent(10), 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    recent.add("old", b"12345")
    now += RECENT_S / 2
    recent.add("young", b"12345")
    now += RECENT_S / 2
    recent.add("new", b"1234")

    assert recent.take("old") is None
    assert recent.take("young") == b"12345"
    assert recent.take("new") == b"1234"


async def test_blocks_of_a_body_that_was_never_whole_in_memory_are_those_of_the_file(
    directory: Path,
) -> None:
    """What is written while it comes is not kept twice."""
    spool = Spool(directory, recent_octets=100_000_000)
    body = without_file(directory, await kept(spool, b"x" * (MEMORY_OCTETS * HELD_FACTOR + 1)))

    with pytest.raises(SpoolDamaged):
        list(spool.blocks(body))


async def test_delete_forgets_what_is_in_memory(spool: Spool) -> None:
    """A body that was deleted is nowhere, and its room is free for others."""
    for _ in range(3):
        body = await kept(spool)
        spool.delete(body.key)
        with pytest.raises(SpoolDamaged):
            list(spool.blocks(body))
    assert spool._recent._octets == 0


async def test_check_of_a_recent_body_looks_at_its_file(spool: Spool, directory: Path) -> None:
    """Who asks whether the file is whole is not told what memory holds."""
    body = without_file(directory, await kept(spool))

    with pytest.raises(SpoolDamaged):
        await spool.check(body)


async def test_writer_when_octets_come_one_by_one_then_holds_few_objects(spool: Spool) -> None:
    """A client that sends single octets takes no more memory than one that sends them at once."""
    writer = spool.incoming()
    for octet in OCTETS[:5000]:
        writer.write(bytes((octet,)))

    assert writer.held_octets == 5000
    assert len(writer._memory) == 2
    assert await writer.finish() == OCTETS[:5000]
