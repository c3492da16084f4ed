"""The simulator as a next hop: what it offers, how it fails, what it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gatewayd.clock import SystemClock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.types import Bind
from gatewayd.smtpd import MailCatcher, Simulator
from gatewayd.smtpd.simulated_returns import Returns
from tests.fakes.submission_client import SubmissionClient, connect
from tests.fakes.submission_host import FakeMetrics

_MAIL = "MAIL FROM:<agent@example.com>"


@asynccontextmanager
async def _simulator() -> AsyncIterator[tuple[MailCatcher, SubmissionClient]]:
    """A running simulator, and a client that has said hello."""
    clock = SystemClock()
    catcher = MailCatcher(clock)
    simulator = Simulator(
        bind=Bind("127.0.0.1", 0),
        catcher=catcher,
        returns=Returns(None, clock=SystemClock()),
        limits=LimitsSection(),
        timeouts=TimeoutsSection(),
        clock=clock,
        metrics=FakeMetrics(),
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(simulator.run(ready))
        await ready.wait()
        async with connect(simulator.address) as client:
            await client.hello()
            yield catcher, client
        await simulator.drain(asyncio.get_running_loop().time() + 5)


async def test_it_offers_what_a_good_next_hop_does() -> None:
    """But CHUNKING, STARTTLS and AUTH."""
    async with _simulator() as (_, client):
        answer = await client.ask("EHLO x")
        login = await client.ask("AUTH PLAIN x")
        chunk = await client.ask("BDAT 0 LAST")

    keywords = {line.split()[0] for line in answer.lines[1:]}
    assert keywords == {"SIZE", "8BITMIME", "SMTPUTF8", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN"}
    assert [login.code, chunk.code] == [500, 500]


async def test_mail_is_taken_from_anybody_and_kept() -> None:
    """Octet for octet, null reverse-path and all."""
    async with _simulator() as (catcher, client):
        await client.ask_all(["MAIL FROM:<>", "RCPT TO:<a@b.example> NOTIFY=NEVER", "DATA"])
        answer = await client.ask("Subject: x\r\n\r\n..hello\r\n.")

    mail = catcher.newest(1)[0]
    assert answer.text == f"2.0.0 caught as {mail.mail_id}"
    assert mail.octets == b"Subject: x\r\n\r\n.hello\r\n"
    assert mail.reverse_path == ""
    assert mail.recipients == ("a@b.example",)


async def test_special_addresses_fail_alone() -> None:
    """The others of the transaction get their mail."""
    async with _simulator() as (catcher, client):
        answers = await client.ask_all(
            [
                _MAIL,
                "RCPT TO:<a-temperror@b.example>",
                "RCPT TO:<a-permerror@b.example>",
                "RCPT TO:<a-452@b.example>",
                "RCPT TO:<good@b.example>",
                "DATA",
            ]
        )
        await client.ask("Subject: x\r\n\r\nhi\r\n.")

    assert [answer.code for answer in answers] == [250, 451, 550, 452, 250, 354]
    assert catcher.newest(1)[0].recipients == ("good@b.example",)


async def test_timeout_ends_the_connection_after_the_dot() -> None:
    """Without a reply, and without a trace."""
    async with _simulator() as (catcher, client):
        await client.ask_all([_MAIL, "RCPT TO:<a-timeout@b.example>", "DATA"])
        client.send(b"Subject: x\r\n\r\nhi\r\n.\r\n")

        assert await client.is_closed()
    assert len(catcher) == 0


async def test_421_is_said_and_done() -> None:
    """The connection ends."""
    async with _simulator() as (_, client):
        await client.ask(_MAIL)
        answer = await client.ask("RCPT TO:<a-421@b.example>")

        assert (answer.code, answer.status) == (421, "4.3.2")
        assert await client.is_closed()
