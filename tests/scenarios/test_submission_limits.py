"""A client sends too much of everything: what it costs us, and what it is told."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gatewayd.config.limits import LimitsSection
from gatewayd.mail.message import RawMessage, SpooledBody
from gatewayd.smtpd import connection
from tests.fakes.submission_client import Answer, SubmissionClient, connect
from tests.fakes.submission_host import MAILBOX, TOKEN, Host, submission_host

_MIB = 1_048_576
_LINES = (b"x" * 76 + b"\r\n") * 800  # 62 KiB


@asynccontextmanager
async def _in_data(
    limits: LimitsSection | None = None,
) -> AsyncIterator[tuple[Host, SubmissionClient]]:
    """A client that has been told 354."""
    async with submission_host(limits=limits) as host, connect(host.address) as client:
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)
        await _data(client)
        yield host, client


async def _data(client: SubmissionClient) -> Answer:
    answers = await client.ask_all([f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<a@example.net>", "DATA"])
    return answers[-1]


async def _flood(client: SubmissionClient, block: bytes, octets: int) -> None:
    """Send until it is all sent, or nobody listens any more."""
    try:
        for _ in range(octets // len(block)):
            client.send(block)
            await client.writer.drain()
    except ConnectionError:
        pass


def _spooled_files(host: Host) -> int:
    return sum(1 for path in host.spool_directory.rglob("*") if path.is_file())


async def test_message_over_the_limit_is_refused_after_its_end() -> None:
    """552, and the session goes on."""
    async with _in_data(LimitsSection(message_octets=100_000)) as (host, client):
        files = _spooled_files(host)
        client.send(b"A: 1\r\n\r\n" + _LINES * 2 + b".\r\n")
        answer = await client.read()
        assert (await client.ask("NOOP")).code == 250

        assert str(answer).startswith("552 5.3.4 message_too_large: ")
        assert files == _spooled_files(host)
    assert not host.intake.accepted
    assert host.budget.used_octets == 0


async def test_message_far_over_the_limit_ends_the_session() -> None:
    """At twice the limit nobody waits for its end."""
    async with _in_data(LimitsSection(message_octets=100_000)) as (host, client):
        client.send(b"A: 1\r\n\r\n" + _LINES * 8)
        answer = await client.read()

        assert (answer.code, answer.status) == (552, "5.3.4")
        assert await client.is_closed()
    assert not host.intake.accepted


@pytest.mark.slow
@pytest.mark.parametrize("block", [b"x" * 65_536, b"\r\n" * 32_768, b"a: b\r\n" * 10_000])
async def test_flood_of_any_shape_costs_little_memory(block: bytes) -> None:
    """No line end, nothing but line ends, nothing but header: 2 MiB at most (F1, F2)."""
    async with _in_data() as (_, client):
        tracemalloc.start()
        try:
            await _flood(client, block, 30 * _MIB)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 2 * _MIB


@pytest.mark.slow
@pytest.mark.parametrize("block", [b"x" * 65_536, b"\0" * 65_536, b"NOOP\r\n" * 10_000])
async def test_flood_of_a_stranger_costs_little_memory(block: bytes) -> None:
    """It is cut off long before it has sent it all."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        tracemalloc.start()
        try:
            await _flood(client, block, 30 * _MIB)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 2 * _MIB
    assert host.caps.open == 0


async def test_endless_line_that_came_at_once_is_not_waited_for() -> None:
    """More than is dropped in one go: nothing new is read as long as it is there."""
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        (open_connection,) = host.listener._connections
        open_connection.data_received(b"x" * 4 * connection.READ_OCTETS)

        assert (await client.read()).code == 421
        assert await client.is_closed()


async def test_client_that_does_not_read_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its replies are bounded, and in the end it is cut off (library-facts F5)."""
    monkeypatch.setattr(connection, "LINGER_S", 0.05)
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a Transport
        client.send(f"MAIL FROM:<{MAILBOX}>\r\n".encode())
        await _flood(client, b"RCPT TO:<x@blocked.example>\r\n" * 2000, 3 * _MIB)
        await host.listener.drain(asyncio.get_running_loop().time() + 5)

    assert host.caps.open == 0


async def test_large_body_is_spooled_and_small_one_is_not() -> None:
    """64 KiB is the border."""
    async with _in_data() as (host, client):
        client.send(b"A: 1\r\n\r\n" + _LINES + b".\r\n")
        assert (await client.read()).code == 250
        await _data(client)
        client.send(b"A: 1\r\n\r\n" + _LINES * 2 + b".\r\n")
        assert (await client.read()).code == 250

    small, large = (submission.content for submission in host.intake.accepted)
    assert isinstance(small, RawMessage)
    assert small.body == _LINES
    assert isinstance(large, RawMessage)
    assert isinstance(large.body, SpooledBody)
    assert large.body.size_octets == 2 * len(_LINES)
    assert host.budget.used_octets == 0


async def test_client_that_leaves_in_data_leaves_nothing_behind() -> None:
    """No file, no memory, no message."""
    async with _in_data() as (host, client):
        files = _spooled_files(host)
        client.send(b"A: 1\r\n\r\n" + _LINES * 4)
        await client.writer.drain()
        client.leave()
        await host.listener.drain(asyncio.get_running_loop().time() + 5)

        assert files == _spooled_files(host)
    assert not host.intake.accepted
    assert host.budget.used_octets == 0


async def test_client_that_half_closes_in_data_stores_nothing() -> None:
    """Half a message is none."""
    async with _in_data() as (host, client):
        client.send(b"A: 1\r\n\r\nhalf a mess")
        client.writer.write_eof()

        assert await client.is_closed()
    assert not host.intake.accepted


async def test_client_that_half_closes_after_the_dot_is_answered() -> None:
    """It can still read (library-facts section 4, 2)."""
    async with _in_data() as (host, client):
        client.send(b"A: 1\r\n\r\nx\r\n.\r\nQUIT\r\n")
        client.writer.write_eof()

        assert (await client.read()).code == 250
        assert (await client.read()).code == 221
        assert await client.is_closed()
    assert len(host.intake.accepted) == 1


async def test_header_section_over_the_limit_is_refused_after_the_end() -> None:
    """With or without a body."""
    async with _in_data(LimitsSection(header_octets=1000)) as (host, client):
        client.send(b"A: 1\r\n" * 200 + b"\r\nbody\r\n.\r\n")
        answer = await client.read()
        await _data(client)
        client.send(b"A: 1\r\n" * 200 + b".\r\n")
        again = await client.read()

    assert str(answer).startswith("550 5.6.0 header_too_large: ")
    assert str(again) == str(answer)
    assert not host.intake.accepted


async def test_memory_of_all_messages_is_bounded() -> None:
    """A message that finds no room is told 452 at its end; the others are not hurt."""
    limits = LimitsSection(memory_octets=50_000)
    first, second = b"A: 1\r\n\r\n" + _LINES[:46_800], b"A: 1\r\n\r\n" + _LINES[:7800]
    async with _in_data(limits) as (host, client), connect(host.address) as other:
        await client.ask("\r\n.")
        await client.ask_all([f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<a@example.net>"])
        client.send(b"BDAT %d\r\n%b" % (len(first), first))
        assert (await client.read()).code == 250
        await other.hello()
        await other.log_in(MAILBOX, TOKEN)
        await _data(other)
        other.send(second + b".\r\n")
        late = await other.read()
        done = await client.ask("BDAT 0 LAST")
        await _data(other)
        other.send(second + b".\r\n")
        again = await other.read()

    assert str(late).startswith("452 4.3.1 storage_full: ")
    assert [done.code, again.code] == [250, 250]
    assert host.budget.used_octets == 0


async def test_message_is_not_begun_when_memory_is_spent() -> None:
    """452 to DATA, before any octet of it; a chunk is read first."""
    async with submission_host(limits=LimitsSection(memory_octets=1000)) as host:
        host.budget.hold(0, 1000)
        async with connect(host.address) as client:
            await client.hello()
            await client.log_in(MAILBOX, TOKEN)
            data = await _data(client)
            client.send(b"BDAT 6 LAST\r\nQUIT\r\n")
            chunk = await client.read()
            assert (await client.ask("NOOP")).code == 250

    assert str(data).startswith("452 4.3.1 storage_full: ")
    assert str(chunk).startswith("452 4.3.1 storage_full: ")


async def test_connections_are_capped_by_address_and_in_all() -> None:
    """421 4.3.2, then the end; the open ones do not notice."""
    for limits in (
        LimitsSection(connections_per_ip=2),
        LimitsSection(connections=2, connections_per_ip=10),
    ):
        async with (
            submission_host(limits=limits) as host,
            connect(host.address) as one,
            connect(host.address) as two,
        ):
            await one.hello()
            await two.hello()
            async with connect(host.address) as three:
                answer = await three.read()
                assert (answer.code, answer.status) == (421, "4.3.2")
                assert await three.is_closed()
            assert (await one.ask("NOOP")).code == 250
            assert host.metrics.smtp_connections_refused.value == 1
            await two.ask("QUIT")
            assert await two.is_closed()
            async with connect(host.address) as four:
                assert (await four.hello()).code == 250
        assert host.caps.open == 0


async def test_stranger_may_make_no_error_when_connections_are_scarce() -> None:
    """Stress: one error, and out (B6)."""
    limits = LimitsSection(connections=2, connections_per_ip=10)
    async with (
        submission_host(limits=limits) as host,
        connect(host.address) as good,
        connect(host.address) as bad,
    ):
        await good.hello()
        await good.log_in(MAILBOX, TOKEN)
        await bad.hello()

        assert (await bad.ask("NONSENSE")).code == 500
        assert (await bad.read()).code == 421
        assert (await good.ask("NONSENSE")).code == 500
        assert (await good.ask("NOOP")).code == 250


async def test_many_recipients_that_are_refused_end_the_session() -> None:
    """Ten tries for each that may be accepted."""
    async with (
        submission_host(limits=LimitsSection(recipients=2)) as host,
        connect(host.address) as client,
    ):
        await client.hello()
        await client.log_in(MAILBOX, TOKEN)
        await client.ask(f"MAIL FROM:<{MAILBOX}>")
        for _ in range(20):
            assert (await client.ask("RCPT TO:<x@blocked.example>")).code == 550
        last = await client.ask("RCPT TO:<x@blocked.example>")

        assert (last.code, last.status) == (421, "4.7.0")


async def test_reloaded_limits_are_those_of_the_next_session() -> None:
    """Who is connected keeps the terms of its EHLO."""
    async with submission_host() as host, connect(host.address) as old:
        await old.hello()
        narrow = LimitsSection(idle_commands=1, connections_per_ip=2)
        host.listener.use(replace(host.terms, limits=narrow))
        host.caps.use(narrow)
        async with connect(host.address) as new:
            await new.hello()
            async with connect(host.address) as third:
                assert (await third.read()).code == 421
            for _ in range(2):
                assert (await old.ask("NOOP")).code == 250
            assert (await new.ask("NOOP")).code == 250
            assert (await new.ask("NOOP")).code == 421
