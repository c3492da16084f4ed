"""A client begins TLS, and somebody in the middle tries to be part of it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from gatewayd.config.limits import TimeoutsSection
from gatewayd.config.listeners import ListenerTls
from gatewayd.smtpd.server import server_tls
from tests.fakes.submission_client import connect
from tests.fakes.submission_host import (
    MAILBOX,
    TOKEN,
    client_context,
    submission_host,
    write_certificate,
)


async def test_message_over_starttls_is_accepted_with_its_facts() -> None:
    """They will stand in Received (RFC 3848, RFC 8314 4.3)."""
    async with (
        submission_host(tls=ListenerTls.STARTTLS, auth_without_tls=False) as host,
        connect(host.address) as client,
    ):
        await client.hello()
        await client.start_tls(client_context())
        await client.ask("EHLO inner.example")
        await client.log_in(MAILBOX, TOKEN)
        await client.ask_all([f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<a@example.net>", "DATA"])
        answer = await client.ask("Subject: x\r\n\r\nhi\r\n.")

    assert answer.code == 250
    trace = host.intake.accepted[0].trace
    assert trace.protocol == "ESMTPSA"
    assert trace.helo == "inner.example"
    assert trace.peer == "127.0.0.1"
    assert trace.tls.startswith("TLSv1.3 TLS_AES_")


@pytest.mark.parametrize(
    "injected",
    [b"RSET\r\n", b"RSET\r\nMAIL FROM:<x@y.example>\r\n", b"x", b"\r\n", b"EHLO evil\r\n"],
)
async def test_plaintext_after_starttls_ends_the_session(injected: bytes) -> None:
    """It never becomes part of what is said under TLS (CVE-2011-0411, CVE-2024-34083)."""
    async with submission_host(tls=ListenerTls.STARTTLS) as host, connect(host.address) as client:
        await client.hello()
        client.send(b"STARTTLS\r\n" + injected)
        answer = await client.read()

        assert (answer.code, answer.status) == (503, "5.5.1")
        assert await client.is_closed()
    assert not host.intake.accepted


async def test_plaintext_in_place_of_the_handshake_ends_the_session() -> None:
    """It goes to the TLS engine, which does not understand it."""
    async with submission_host(tls=ListenerTls.STARTTLS) as host, connect(host.address) as client:
        await client.hello()
        assert (await client.ask("STARTTLS")).code == 220
        client.send(b"EHLO x\r\nNOOP\r\n")

        while rest := await client.reader.read(1000):
            assert b"250" not in rest


async def test_everything_said_before_tls_is_forgotten() -> None:
    """EHLO, login and transaction (RFC 3207 4.2)."""
    async with (
        submission_host(tls=ListenerTls.STARTTLS, auth_without_tls=True) as host,
        connect(host.address) as client,
    ):
        await client.hello()
        assert (await client.log_in(MAILBOX, TOKEN)).code == 235
        assert (await client.ask(f"MAIL FROM:<{MAILBOX}>")).code == 250
        await client.start_tls(client_context())
        rcpt = await client.ask("RCPT TO:<a@example.net>")
        mail = await client.ask(f"MAIL FROM:<{MAILBOX}>")
        await client.ask("EHLO x")
        login = await client.ask(f"MAIL FROM:<{MAILBOX}>")

    assert [rcpt.code, mail.code, login.code] == [503, 503, 530]
    assert mail.text == "5.5.1 say EHLO first"


async def test_starttls_where_it_makes_no_sense_is_refused() -> None:
    """Twice, with an argument, before EHLO, on ports without it."""
    async with submission_host(tls=ListenerTls.STARTTLS) as host, connect(host.address) as client:
        await client.read()
        early = await client.ask("STARTTLS")
        await client.ask("EHLO x")
        wordy = await client.ask("STARTTLS now")
        await client.start_tls(client_context())
        await client.ask("EHLO x")
        twice = await client.ask("STARTTLS")
    async with submission_host() as host, connect(host.address) as client:
        await client.hello()
        absent = await client.ask("STARTTLS")
    async with (
        submission_host(tls=ListenerTls.IMPLICIT) as host,
        connect(host.address, tls=client_context()) as client,
    ):
        await client.hello()
        implicit = await client.ask("STARTTLS")

    assert [each.code for each in (early, wordy, twice, absent, implicit)] == [
        503,
        501,
        503,
        502,
        503,
    ]


@pytest.mark.parametrize("tls", [ListenerTls.STARTTLS, ListenerTls.IMPLICIT])
async def test_handshake_that_never_ends_is_cut_off(tls: ListenerTls) -> None:
    """A connection in its handshake counts as one, and has a deadline."""
    timeouts = TimeoutsSection(tls_handshake_s=0.05)
    async with submission_host(tls=tls, timeouts=timeouts) as host, connect(host.address) as client:
        if tls is ListenerTls.STARTTLS:
            await client.hello()
            await client.ask("STARTTLS")
        client.send(b"\x16\x03\x01")

        assert await client.is_closed()
    assert host.caps.open == 0


async def test_client_that_leaves_in_the_handshake_is_forgotten() -> None:
    """Its place is free again."""
    async with submission_host(tls=ListenerTls.IMPLICIT) as host:
        async with connect(host.address) as client:
            client.send(b"\x16\x03\x01")
            client.writer.close()
        async with connect(host.address, tls=client_context()) as other:
            await other.hello()
    assert host.caps.open == 0
    assert host.metrics.smtp_sessions.value == 0


async def test_tls_1_1_is_refused() -> None:
    """RFC 8996."""
    old = ssl.create_default_context()
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    async with submission_host(tls=ListenerTls.IMPLICIT) as host:
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on OpenSSL
            async with connect(host.address, tls=old):
                pass


async def test_reload_changes_the_certificate_of_the_next_handshake(tmp_path: Path) -> None:
    """And no open session notices."""
    async with (
        submission_host(tls=ListenerTls.IMPLICIT) as host,
        connect(host.address, tls=client_context()) as old,
    ):
        await old.hello()
        host.listener.reload_tls(server_tls(*write_certificate(tmp_path)))
        async with connect(host.address, tls=client_context()) as new:
            await new.hello()
            certificates = [
                client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                for client in (old, new)
            ]
        assert (await old.ask("NOOP")).code == 250

    assert certificates[0] != certificates[1]
