"""mail.received: the trace field says how a message came, and nothing a client made up."""

from __future__ import annotations

import datetime as dt
import email.utils

import pytest

from gatewayd.mail import received
from gatewayd.mail.address import ForwardPath
from gatewayd.mail.header import HeaderSection, check

AT = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
BOB = ForwardPath.parse("bob@example.org")


def _write(
    *,
    helo: str = "agent.example",
    peer: str = "192.0.2.1",
    protocol: str = "ESMTPSA",
    tls: str = "TLSv1.3 TLS_AES_256_GCM_SHA384",
    for_: ForwardPath | None = BOB,
) -> str:
    return received.write(
        by="mx.example.com",
        helo=helo,
        peer=peer,
        protocol=protocol,
        tls=tls,
        queue_id="0190-1",
        for_=for_,
        at=AT,
    )


def test_every_clause_is_written() -> None:
    """The form of RFC 5321 4.4, with the tls clause of RFC 8314 4.3."""
    expected = (
        "from agent.example ([192.0.2.1]) by mx.example.com with ESMTPSA (TLSv1.3) id 0190-1 "
        "for <bob@example.org> tls TLS_AES_256_GCM_SHA384; Wed, 04 Mar 2026 05:06:07 +0000"
    )

    assert expected == _write()


def test_cipher_without_an_iana_name_is_a_comment() -> None:
    """The clause takes registered names only (RFC 8314 4.3)."""
    value = _write(tls="TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384", for_=None)

    assert "with ESMTPSA (TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384) id 0190-1;" in value


def test_submission_over_http_without_peer_is_written() -> None:
    """A unix socket has no address; the field still has its from clause."""
    value = _write(helo="", peer="", protocol="HTTP", tls="", for_=None)

    assert value.startswith("from unknown by mx.example.com with HTTP id 0190-1; Wed,")
    assert _write(helo="", peer="192.0.2.1").startswith("from [192.0.2.1] ([192.0.2.1]) by")


@pytest.mark.parametrize(
    ("peer", "literal"),
    [
        ("2001:db8::1", "([IPv6:2001:db8::1])"),
        ("fe80::1%eth0", "([IPv6:fe80::1])"),
        ("127.0.0.1", "([127.0.0.1])"),
    ],
)
def test_peer_is_an_address_literal(peer: str, literal: str) -> None:
    """As RFC 5321 4.1.3 writes it."""
    assert f"from agent.example {literal} by" in _write(peer=peer)


@pytest.mark.parametrize(
    "helo", ["a\r\nBcc: x@y", "a (comment", "a; b", "\u00e9", "a\x00b", "a\u2028b", "x" * 5000]
)
def test_helo_cannot_write_anything_else(helo: str) -> None:
    """Whatever a client says in EHLO, the section stays well formed and has one field more."""
    section = HeaderSection(b"A: b\r\n").prepend("Received", _write(helo=helo))

    assert check(section.octets) is None
    assert len(section.fields) == 2
    assert "(" not in _write(helo=helo).partition(" ([")[0]


def test_recipient_in_utf8_needs_the_extension() -> None:
    """Without SMTPUTF8 the field stays ASCII (RFC 6531 3.7.3)."""
    path = ForwardPath.parse("j\u00fcrgen@example.org")

    assert _write(for_=path).isascii()
    assert "for <j\u00fcrgen@example.org> tls" in _write(for_=path, protocol="UTF8SMTPSA")


def test_protocol_that_is_no_atom_is_a_fault_of_ours() -> None:
    """The keyword comes from our table, never from a client."""
    with pytest.raises(ValueError, match="atom"):
        _write(protocol="SMTP\r\nBcc: x")


@pytest.mark.parametrize(
    ("is_smtputf8", "is_tls", "is_authenticated", "keyword"),
    [
        (False, False, False, "ESMTP"),
        (False, True, False, "ESMTPS"),
        (False, False, True, "ESMTPA"),
        (False, True, True, "ESMTPSA"),
        (True, False, False, "UTF8SMTP"),
        (True, True, True, "UTF8SMTPSA"),
    ],
)
def test_keyword_says_what_the_session_was(
    *, is_smtputf8: bool, is_tls: bool, is_authenticated: bool, keyword: str
) -> None:
    """The registry of RFC 3848 and RFC 6531 4.3."""
    assert keyword == received.protocol(
        is_smtputf8=is_smtputf8, is_tls=is_tls, is_authenticated=is_authenticated
    )


def test_hops_are_counted_in_any_spelling() -> None:
    """A loop is found by the number of trace fields (RFC 5321 6.3)."""
    section = HeaderSection(b"Received: a\r\n b\r\nreceived: c\r\nX-Received: d\r\n")

    assert received.hops(section) == 2


def test_date_is_what_the_email_package_reads() -> None:
    """What follows the last semicolon is the instant."""
    date = _write().rpartition(";")[2]

    assert email.utils.parsedate_to_datetime(date) == AT
