"""Real clients: smtplib of the standard library, on every kind of port."""

from __future__ import annotations

import asyncio
import smtplib
from email.message import EmailMessage

import pytest

from gatewayd.config.listeners import ListenerTls
from gatewayd.config.types import Bind
from tests.fakes.submission_host import (
    MAILBOX,
    TOKEN,
    client_context,
    octets,
    submission_host,
)

_TOKEN = TOKEN * 80  # as long as a real one


def _message() -> EmailMessage:
    message = EmailMessage()
    message["From"] = MAILBOX
    message["To"] = "bob@example.net"
    message["Subject"] = "hello"
    message.set_content("A line.\n.A line with a dot.\n..\nThe end.\n")
    return message


def _open(address: Bind, tls: ListenerTls) -> smtplib.SMTP:
    context = client_context()
    if tls is ListenerTls.IMPLICIT:
        return smtplib.SMTP_SSL("localhost", address.port, timeout=10, context=context)
    client = smtplib.SMTP("localhost", address.port, timeout=10)
    if tls is ListenerTls.STARTTLS:
        client.starttls(context=context)
    return client


def _send(address: Bind, tls: ListenerTls) -> dict[str, tuple[int, bytes]]:
    with _open(address, tls) as client:
        client.login(MAILBOX, _TOKEN)
        first = client.send_message(_message())
        second = client.send_message(_message())
        return {**first, **second}


@pytest.mark.parametrize("tls", ListenerTls)
async def test_smtplib_sends_two_messages(tls: ListenerTls) -> None:
    """On one connection, with STARTTLS, implicit TLS and plaintext on loopback."""
    async with submission_host(tls=tls, auth_without_tls=tls is ListenerTls.NONE) as host:
        host.tokens.known.add(_TOKEN)
        refused = await asyncio.to_thread(_send, host.address, tls)

    assert refused == {}
    assert len(host.intake.accepted) == 2
    assert b"\r\n\r\nA line.\r\n.A line with a dot.\r\n..\r\nThe end.\r\n" in octets(
        host.intake.accepted[0]
    )


@pytest.mark.parametrize("method", ["auth_plain", "auth_login"])
@pytest.mark.parametrize("initial", [True, False])
async def test_smtplib_logs_in_by_each_of_its_mechanisms(method: str, initial: bool) -> None:
    """With and without an initial response."""

    def log_in(address: Bind) -> int:
        with _open(address, ListenerTls.NONE) as client:
            client.ehlo()
            client.user, client.password = MAILBOX, _TOKEN
            mechanism = {"auth_plain": "PLAIN", "auth_login": "LOGIN"}[method]
            code, _ = client.auth(mechanism, getattr(client, method), initial_response_ok=initial)
            return code

    async with submission_host() as host:
        host.tokens.known.add(_TOKEN)
        code = await asyncio.to_thread(log_in, host.address)

    assert code == 235


async def test_smtplib_is_told_what_is_wrong() -> None:
    """Each exception of its has our reply."""

    def fail(address: Bind) -> tuple[int, int, int]:
        with _open(address, ListenerTls.NONE) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError) as login:
                client.login(MAILBOX, "wrong")
            client.login(MAILBOX, _TOKEN)
            with pytest.raises(smtplib.SMTPSenderRefused) as sender:
                client.sendmail("other@example.com", ["bob@example.net"], b"x")
            with pytest.raises(smtplib.SMTPRecipientsRefused) as recipients:
                client.sendmail(MAILBOX, ["x@blocked.example"], b"x")
            refused = recipients.value.recipients["x@blocked.example"]
            return login.value.smtp_code, sender.value.smtp_code, refused[0]

    async with submission_host() as host:
        host.tokens.known.add(_TOKEN)
        codes = await asyncio.to_thread(fail, host.address)

    assert codes == (535, 550, 550)


async def test_smtplib_sends_utf8_addresses_and_dsn_parameters() -> None:
    """SMTPUTF8 and DSN are seen in EHLO."""

    def send(address: Bind) -> bool:
        with _open(address, ListenerTls.NONE) as client:
            client.login(MAILBOX, _TOKEN)
            client.sendmail(
                MAILBOX,
                ["jürgen@example.net"],
                b"Subject: x\r\n\r\nhi\r\n",
                mail_options=["SMTPUTF8", "BODY=8BITMIME", "RET=HDRS"],
                rcpt_options=["NOTIFY=FAILURE"],
            )
            return client.has_extn("dsn") and client.has_extn("smtputf8")

    async with submission_host() as host:
        host.tokens.known.add(_TOKEN)
        assert await asyncio.to_thread(send, host.address)

    assert host.intake.accepted[0].envelope.smtputf8
