"""A client takes its time; every deadline is absolute, and ends with 421 4.4.2 and an abort."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.config.limits import TimeoutsSection
from tests.fakes.submission_client import SubmissionClient, connect
from tests.fakes.submission_host import MAILBOX, TOKEN, submission_host

_SOON = 0.05


async def _trickle(client: SubmissionClient, octet: bytes) -> bytes:
    """Send one octet after the other, until the server speaks; returns what it says."""
    for _ in range(1000):
        client.send(octet)
        try:
            async with asyncio.timeout(_SOON / 5):
                return await client.reader.read(1000)
        except TimeoutError:
            continue
    raise AssertionError("the server waited for ever")


async def _begin_data(client: SubmissionClient) -> None:
    await client.hello()
    await client.log_in(MAILBOX, TOKEN)
    await client.ask_all([f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<a@example.net>", "DATA"])


@pytest.mark.parametrize("sent", [b"", b"NO"])
async def test_command_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    """Nor is one that is half here."""
    async with (
        submission_host(timeouts=TimeoutsSection(command_s=_SOON)) as host,
        connect(host.address) as client,
    ):
        await client.hello()
        client.send(sent)
        answer = await client.read()

        assert (answer.code, answer.status) == (421, "4.4.2")
        assert await client.is_closed()
    assert host.metrics.smtp_timeouts.value == 1


async def test_command_in_single_octets_has_one_deadline() -> None:
    """An octet now and then does not move it."""
    async with (
        submission_host(timeouts=TimeoutsSection(command_s=_SOON)) as host,
        connect(host.address) as client,
    ):
        await client.hello()

        assert (await _trickle(client, b"x")).startswith(b"421 4.4.2 ")


async def test_client_in_the_middle_of_a_login_has_a_deadline() -> None:
    """As for a command."""
    async with (
        submission_host(timeouts=TimeoutsSection(command_s=_SOON)) as host,
        connect(host.address) as client,
    ):
        await client.hello()
        await client.ask("AUTH LOGIN")

        assert (await client.read()).code == 421


async def test_message_that_stops_is_not_waited_for() -> None:
    """Even if the rate was good until then."""
    timeouts = TimeoutsSection(data_block_s=_SOON, data_min_octets_per_s=1)
    async with submission_host(timeouts=timeouts) as host, connect(host.address) as client:
        await _begin_data(client)
        client.send(b"Subject: x\r\n\r\nhello\r\n" * 100)
        answer = await client.read()

        assert (answer.code, answer.status) == (421, "4.4.2")
        assert await client.is_closed()
    assert not host.intake.accepted
    assert host.budget.used_octets == 0


async def test_message_below_the_rate_is_cut_off() -> None:
    """Octets keep coming, but too few (smtpd_min_data_rate of Postfix)."""
    timeouts = TimeoutsSection(data_block_s=_SOON * 2, data_min_octets_per_s=1_000_000)
    async with submission_host(timeouts=timeouts) as host, connect(host.address) as client:
        await _begin_data(client)

        assert (await _trickle(client, b"x\r\n")).startswith(b"421 4.4.2 ")


async def test_message_at_the_rate_is_not_cut_off() -> None:
    """It takes longer than a block may, in all."""
    timeouts = TimeoutsSection(data_block_s=_SOON, data_min_octets_per_s=100)
    async with submission_host(timeouts=timeouts) as host, connect(host.address) as client:
        await _begin_data(client)
        client.send(b"Subject: x\r\n\r\n")
        for _ in range(20):
            client.send(b"x" * 70 + b"\r\n")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(_SOON / 10):
                    await client.read()
        client.send(b".\r\n")

        assert (await client.read()).code == 250


async def test_session_ends_after_its_time() -> None:
    """Whatever the client does."""
    timeouts = TimeoutsSection(session_s=_SOON * 2)
    async with submission_host(timeouts=timeouts) as host, connect(host.address) as client:
        await client.hello()
        answer = await client.read()

        assert (answer.code, answer.status) == (421, "4.4.2")
        assert "open for long" in answer.text


async def test_work_of_ours_has_no_deadline() -> None:
    """A slow commit is not the client's fault, and is never cut (library-facts section 4, 1)."""
    timeouts = TimeoutsSection(command_s=_SOON, data_block_s=_SOON)
    async with submission_host(timeouts=timeouts) as host, connect(host.address) as client:
        host.intake.gate = asyncio.Event()
        await _begin_data(client)
        client.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(_SOON * 3):
                await client.read()
        host.intake.gate.set()

        assert (await client.read()).code == 250
