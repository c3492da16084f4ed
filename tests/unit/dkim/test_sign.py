"""dkim.sign: dkimpy verifies what we sign, and nothing that was changed."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.dkim.key import SigningKey, generate_ed25519
from gatewayd.dkim.sign import SIGNED, body_hash, sign
from gatewayd.mail.header import HeaderSection

Verdicts = Callable[[bytes], list[bool]]

SIGNED_AT = dt.datetime(2026, 11, 21, 9, 30, tzinfo=dt.UTC)
HEADER = (
    b"Received: from a by b; Sat, 21 Nov 2026 09:30:00 +0000\r\n"
    b"From: Agent <agent@example.org>\r\n"
    b"To: a@example.net,\r\n\tb@example.net\r\n"
    b"Subject: =?utf-8?q?caf=C3=A9?=   and more \r\n"
    b"Date: Sat, 21 Nov 2026 09:30:00 +0000\r\n"
    b"Message-ID: <1@example.org>\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"List-Unsubscribe: <https://example.org/u/1>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)
BODY = "Hello  there \r\n\tcaf\u00e9\r\n\r\n..\r\n\r\n".encode()


def signed(*keys: SigningKey, header: bytes = HEADER, body: bytes = BODY) -> bytes:
    """A whole message with its signatures on top."""
    fields = sign(HeaderSection(header), body_hash([body]), keys, SIGNED_AT)
    return fields + header + b"\r\n" + body


def tag(field: bytes, name: str) -> str:
    """The value of a tag of the first signature, unfolded."""
    text = re.sub(r"\s+", "", field.partition(b"\r\nReceived")[0].decode())
    return dict(part.partition("=")[::2] for part in text.partition(":")[2].split(";"))[name]


def test_both_signatures_verify(
    rsa_key: SigningKey, ed25519_key: SigningKey, verify: Verdicts
) -> None:
    """RSA and Ed25519 over one message (RFC 8463 3)."""
    assert verify(signed(rsa_key, ed25519_key)) == [True, True]


@pytest.mark.parametrize("body", [b"", b"\r\n", b"x", b"x \r\n\r\n\r\n", b" \r\n x", b"x\r\n" * 99])
def test_both_signatures_verify_for_every_end_of_body(
    body: bytes, rsa_key: SigningKey, ed25519_key: SigningKey, verify: Verdicts
) -> None:
    """As the body arrives, with a CRLF at its end."""
    message = signed(rsa_key, ed25519_key, body=body)

    assert verify(message if message.endswith(b"\r\n") else message + b"\r\n") == [True, True]


values = st.text(st.sampled_from("ab,:; \t<>@\u00e9"), max_size=30)
fields = st.tuples(st.sampled_from([*SIGNED, "Received", "X-Other", "from", "SUBJECT"]), values)


@settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(fields, max_size=25), st.binary(max_size=200))
def test_any_header_section_verifies(
    verify: Verdicts, ed25519_key: SigningKey, rest: list[tuple[str, str]], octets: bytes
) -> None:
    """Also with fields that stand several times, which are signed from the lowest up."""
    header = HEADER + b"".join(f"{name}: {value}\r\n".encode() for name, value in rest)
    body = octets.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"

    assert verify(signed(ed25519_key, header=header, body=body)) == [True]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: ", b"Subject: not "),
        (b"From: Agent", b"From: Agenda"),
        (b"One-Click", b"Two-Click"),
        (b"/u/1", b"/u/2"),
        (b"Hello", b"Goodbye"),
        (b"From:", b"From: evil@example.com\r\nFrom:"),
        (b"From:", b"To: evil@example.com\r\nFrom:"),
        (b"From:", b"Subject: evil\r\nFrom:"),
        (b"From:", b"Date: Sun, 22 Nov 2026 09:30:00 +0000\r\nFrom:"),
        (b"From:", b"Message-ID: <2@example.org>\r\nFrom:"),
        (b"From:", b"Cc: evil@example.com\r\nFrom:"),
    ],
)
def test_changed_message_does_not_verify(
    old: bytes, new: bytes, rsa_key: SigningKey, ed25519_key: SigningKey, verify: Verdicts
) -> None:
    """Neither a changed field nor one more of the oversigned ones (RFC 6376 8.15)."""
    message = signed(rsa_key, ed25519_key)
    at = message.index(b"Received:")

    changed = message[:at] + message[at:].replace(old, new, 1)

    assert changed != message
    assert verify(changed) == [False, False]


def test_refolded_header_still_verifies(rsa_key: SigningKey, verify: Verdicts) -> None:
    """Relaxed: folding, runs of spaces and the case of names may change on the way."""
    message = signed(rsa_key)

    changed = message.replace(b"net,\r\n\tb", b"net,   b").replace(b"Subject:  ", b"SUBJECT:\r\n ")

    assert verify(changed) == [True]


def test_signed_names_are_those_present_and_one_more_of_six(ed25519_key: SigningKey) -> None:
    """The table of the module, over a message with every field but a few."""
    assert tag(signed(ed25519_key), "h") == (
        "From:From:To:To:Cc:Subject:Subject:Date:Date:Message-ID:Message-ID:MIME-Version:"
        "Content-Type:Content-Transfer-Encoding:List-Unsubscribe:List-Unsubscribe-Post"
    )


def test_repeated_field_is_signed_from_the_bottom(
    ed25519_key: SigningKey, verify: Verdicts
) -> None:
    """To change the order of two equal names breaks the signature (RFC 6376 5.4.2)."""
    message = signed(ed25519_key, header=HEADER + b"Reply-To: a@a.org\r\nReply-To: b@b.org\r\n")
    swapped = message.replace(b"a@a.org\r\nReply-To: b@b.org", b"b@b.org\r\nReply-To: a@a.org")

    assert verify(message) == [True]
    assert verify(swapped) == [False]


def test_time_of_signature_is_the_argument(ed25519_key: SigningKey) -> None:
    """`t=` is in seconds since 1970 in UTC, whatever the zone."""
    berlin = SIGNED_AT.astimezone(dt.timezone(dt.timedelta(hours=1)))
    section, digest = HeaderSection(HEADER), body_hash([BODY])

    fields = sign(section, digest, [ed25519_key], berlin)

    assert str(int(SIGNED_AT.timestamp())) == tag(fields, "t")
    assert sign(section, digest, [ed25519_key], SIGNED_AT) == fields


def test_signing_is_deterministic(rsa_key: SigningKey, ed25519_key: SigningKey) -> None:
    """Every attempt gives the same octets."""
    assert signed(rsa_key, ed25519_key) == signed(rsa_key, ed25519_key)


def test_lines_are_folded(rsa_key: SigningKey, ed25519_key: SigningKey) -> None:
    """At most 78 octets in a line, and each field ends with CRLF (RFC 5322 2.1.1)."""
    fields = sign(HeaderSection(HEADER), body_hash([BODY]), [rsa_key, ed25519_key], SIGNED_AT)

    assert fields.endswith(b"\r\n")
    assert max(len(line) for line in fields.split(b"\r\n")) <= 78
    section = HeaderSection(fields)
    assert [field.name for field in section.fields] == [b"DKIM-Signature", b"DKIM-Signature"]


def test_long_domain_has_a_line_of_its_own() -> None:
    """There is no place to fold in it, and the line stays below 998 octets."""
    key = generate_ed25519(".".join(["a" * 60] * 4), "s" * 60)

    fields = sign(HeaderSection(HEADER), body_hash([BODY]), [key], SIGNED_AT)

    assert f"\r\n\td={key.domain};\r\n".encode() in fields


def test_no_key_gives_no_field() -> None:
    """A domain without keys is sent unsigned."""
    assert sign(HeaderSection(HEADER), body_hash([BODY]), [], SIGNED_AT) == b""


def test_header_section_without_from_is_refused(ed25519_key: SigningKey) -> None:
    """From must be signed (RFC 6376 5.4)."""
    with pytest.raises(ValueError, match="From"):
        sign(HeaderSection(b"To: a@b.org\r\n"), body_hash([]), [ed25519_key], SIGNED_AT)


def test_time_without_zone_is_refused(ed25519_key: SigningKey) -> None:
    """It would be read in the zone of the machine."""
    with pytest.raises(ValueError, match="zone"):
        sign(HeaderSection(HEADER), body_hash([]), [ed25519_key], SIGNED_AT.replace(tzinfo=None))


def test_body_hash_takes_blocks() -> None:
    """Blocks of a file hash as the whole."""
    assert body_hash([BODY]) == body_hash(bytes([octet]) for octet in BODY)
