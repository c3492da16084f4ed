"""A client tries to end DATA where only another server sees an end (CVE-2023-51764 and others)."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.config.listeners import ListenerTls
from tests.fakes.submission_client import SubmissionClient, connect
from tests.fakes.submission_host import MAILBOX, TOKEN, Host, client_context, submission_host

_ENDS = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\n\r.\r\n",
    b"\r\n.\r\r\n",
    b"\n\n.\n\n",
]
_PAYLOAD = (
    f"MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
    "Subject: smuggled\r\n\r\nx\r\n"
).encode()


async def _begin(client: SubmissionClient) -> None:
    await client.hello()
    if not client.writer.get_extra_info("ssl_object"):
        assert (await client.log_in(MAILBOX, TOKEN)).code == 235
    else:
        await client.log_in(MAILBOX, TOKEN)
    answers = await client.ask_all([f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<a@example.net>", "DATA"])
    assert [answer.code for answer in answers] == [250, 250, 354]


async def _assert_refused_once(host: Host, client: SubmissionClient) -> None:
    """One refusal for one message, nothing stored, and the session is still in step."""
    answer = await client.read()
    assert (answer.code, answer.status) == (550, "5.5.2")
    assert answer.text.startswith("5.5.2 line_endings_invalid: ")
    assert (await client.ask("NOOP still in step")).code == 250
    assert not host.intake.accepted


@pytest.mark.parametrize("end", _ENDS, ids=repr)
async def test_other_end_of_data_is_refused_after_the_real_one(end: bytes) -> None:
    """In one write; what follows the false end is content, not commands."""
    async with submission_host() as host, connect(host.address) as client:
        await _begin(client)
        client.send(b"Subject: x\r\n\r\nfirst" + end + _PAYLOAD + b".\r\n")

        await _assert_refused_once(host, client)


@pytest.mark.parametrize("tls", [ListenerTls.NONE, ListenerTls.IMPLICIT], ids=["tcp", "tls"])
@pytest.mark.parametrize("end", _ENDS, ids=repr)
async def test_other_end_of_data_is_refused_in_pieces(end: bytes, tls: ListenerTls) -> None:
    """Octet by octet around the false end, in TCP segments and TLS records."""
    context = client_context() if tls is ListenerTls.IMPLICIT else None
    async with submission_host(tls=tls) as host, connect(host.address, tls=context) as client:
        await _begin(client)
        client.send(b"Subject: x\r\n\r\nfirst")
        for octet in end + b"MAIL":
            client.send(bytes([octet]))
            for _ in range(4):  # rounds of the loop, in which the server reads it
                await asyncio.sleep(0)
        client.send(_PAYLOAD.removeprefix(b"MAIL") + b".\r\n")

        await _assert_refused_once(host, client)


async def test_false_end_in_the_header_section_is_refused() -> None:
    """It need not be in the body."""
    async with submission_host() as host, connect(host.address) as client:
        await _begin(client)
        client.send(b"Subject: x\n.\n" + _PAYLOAD + b"\r\n.\r\n")

        await _assert_refused_once(host, client)


async def test_message_after_a_real_end_is_a_message_of_its_own() -> None:
    """Pipelining past the dot is allowed (RFC 2920 3.1)."""
    async with submission_host() as host, connect(host.address) as client:
        await _begin(client)
        client.send(b"Subject: 1\r\n\r\nfirst\r\n.\r\n" + _PAYLOAD + b".\r\n")
        codes = [(await client.read()).code for _ in range(5)]

    assert codes == [250, 250, 250, 354, 250]
    assert host.intake.contents == [
        b"Subject: 1\r\n\r\nfirst\r\n",
        b"Subject: smuggled\r\n\r\nx\r\n",
    ]


async def test_dots_are_unstuffed_once() -> None:
    """RFC 5321 4.5.2."""
    async with submission_host() as host, connect(host.address) as client:
        await _begin(client)
        client.send(b"Subject: x\r\n\r\n..\r\n...two\r\n..one\r\n.\r\n")
        assert (await client.read()).code == 250

    assert host.intake.contents == [b"Subject: x\r\n\r\n.\r\n..two\r\n.one\r\n"]


async def test_nul_and_long_line_are_refused() -> None:
    """RFC 5322 2.1.1, 4."""
    async with submission_host() as host, connect(host.address) as client:
        await _begin(client)
        client.send(b"Subject: x\r\n\r\n" + b"x" * 999 + b"\r\n.\r\n")
        answer = await client.read()

    assert str(answer).startswith("550 5.6.0 line_too_long: ")
    assert not host.intake.accepted
