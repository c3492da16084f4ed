"""The daemon stops, or the client goes away, in the middle of things."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gatewayd.clock import SystemClock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.listeners import SubmissionListener
from gatewayd.config.types import Bind
from gatewayd.smtpd import Caps, Listener, MemoryBudget, submission_terms
from gatewayd.smtpd.auth import LoginThrottle
from gatewayd.smtpd.simulated_returns import Returns
from gatewayd.smtpd.simulator import MailCatcher, SimulatorHandler
from gatewayd.smtpd.submission import VERBS
from tests.fakes.submission_client import SubmissionClient, connect
from tests.fakes.submission_host import MAILBOX, TOKEN, FakeMetrics, submission_host

_CONTENT = b"Subject: x\r\n\r\nhello\r\n.\r\n"


def _in(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def _begin_data(client: SubmissionClient) -> None:
    await client.hello()
    await client.log_in(MAILBOX, TOKEN)
    await client.ask_all([f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<a@example.net>", "DATA"])


async def test_idle_sessions_are_told_and_ended() -> None:
    """421 4.3.2, before and after login, and inside an AUTH exchange (S1)."""
    async with (
        submission_host() as host,
        connect(host.address) as stranger,
        connect(host.address) as known,
        connect(host.address) as asked,
    ):
        await stranger.hello()
        await known.hello()
        await known.log_in(MAILBOX, TOKEN)
        await known.ask(f"MAIL FROM:<{MAILBOX}>")
        await asked.hello()
        await asked.ask("AUTH LOGIN")
        await host.listener.drain(_in(5))

        for client in (stranger, known, asked):
            answer = await client.read()
            assert (answer.code, answer.status) == (421, "4.3.2")
            assert await client.is_closed()
    assert host.caps.open == 0


async def test_nobody_is_accepted_any_more() -> None:
    """The port is closed at once."""
    async with submission_host() as host:
        address = host.address
        await host.listener.drain(_in(5))
        with pytest.raises(ConnectionRefusedError):
            async with connect(address):
                pass


async def test_message_in_progress_may_end() -> None:
    """It is accepted, then the session is ended."""
    async with submission_host() as host, connect(host.address) as client:
        await _begin_data(client)
        async with asyncio.TaskGroup() as group:
            group.create_task(host.listener.drain(_in(5)))
            await asyncio.sleep(0)
            client.send(_CONTENT)
            assert (await client.read()).code == 250
            assert (await client.read()).code == 421
            assert await client.is_closed()
    assert len(host.intake.accepted) == 1


async def test_message_that_does_not_end_is_cut_off_at_the_deadline() -> None:
    """A stop does not wait for ever."""
    async with submission_host() as host, connect(host.address) as client:
        await _begin_data(client)
        client.send(b"Subject: x\r\n")
        await host.listener.drain(_in(0.05))

        assert await client.is_closed()
    assert not host.intake.accepted
    assert host.caps.open == 0


async def test_drain_is_legal_at_any_time() -> None:
    """Before run, twice, and after."""
    async with submission_host() as host:
        await host.listener.drain(_in(1))
        await host.listener.drain(_in(1))
    await host.listener.drain(_in(1))
    ready = asyncio.Event()
    await host.listener.run(ready)

    assert ready.is_set()


async def test_client_that_leaves_after_the_dot_does_not_cancel_the_commit() -> None:
    """It is accepted, and counted as one whose 250 nobody read (library-facts F6)."""
    async with submission_host() as host, connect(host.address) as client:
        host.intake.gate = asyncio.Event()
        await _begin_data(client)
        client.send(_CONTENT)
        await host.intake.entered.wait()
        client.leave()
        for _ in range(20):  # rounds of the loop, in which the server sees it go
            await asyncio.sleep(0)
        host.intake.gate.set()
        await host.listener.drain(_in(5))

    assert len(host.intake.accepted) == 1
    assert host.metrics.smtp_unacked_commit.value == 1
    assert host.caps.open == 0


async def test_client_that_leaves_in_any_state_is_forgotten() -> None:
    """Its place, its token's place, and its memory are free again."""
    async with submission_host() as host:
        for commands in (
            [],
            ["EHLO x"],
            ["EHLO x", "AUTH LOGIN"],
            ["EHLO x", f"MAIL FROM:<{MAILBOX}>"],
        ):
            async with connect(host.address) as client:
                await client.read()
                for command in commands:
                    await client.ask(command)
                client.leave()
        async with connect(host.address) as client:
            await _begin_data(client)
            client.send(b"Subject: x\r\n\r\n" + b"x" * 100)
            client.leave()
        await host.listener.drain(_in(5))

    assert host.caps.open == 0
    assert host.budget.used_octets == 0
    assert host.metrics.smtp_sessions.value == 0


async def test_listener_takes_sockets_that_are_bound_already() -> None:
    """As systemd hands them over; several are one listener (S4)."""
    limits, clock, metrics = LimitsSection(), SystemClock(), FakeMetrics()
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [each.getsockname()[1] for each in sockets]
    catcher = MailCatcher(clock)
    listener = Listener(
        name="activated",
        bind=Bind("127.0.0.1", 1),
        sockets=sockets,
        terms=submission_terms(
            section=SubmissionListener(name="activated", bind=Bind("127.0.0.1", 1)),
            hostname="mail.example.com",
            limits=limits,
            timeouts=TimeoutsSection(),
            budget=MemoryBudget(1000),
            throttle=LoginThrottle(clock=clock, per_minute=1, per_day=1),
            clock=clock,
            metrics=metrics,
            on_fatal=lambda _: None,
        ),
        verbs=VERBS,
        make_handler=lambda _: SimulatorHandler(catcher, Returns(None, clock=SystemClock())),
        caps=Caps(limits),
        tls_context=None,
        is_overloaded=bool,
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(listener.run(ready))
        await ready.wait()
        for port in ports:
            async with connect(Bind("127.0.0.1", port)) as client:
                assert (await client.hello()).code == 250
        await listener.drain(_in(5))

    assert ports == [address.port for address in listener.addresses]
