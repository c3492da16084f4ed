"""intake.prepare: the stored copy has the edits that we promise, and no other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import Code, Refused
from gatewayd.ids import MailboxId, QueueId, TokenId
from gatewayd.intake import prepare
from gatewayd.mail.address import Address
from gatewayd.mail.envelope import BodyType
from gatewayd.mail.message import RawMessage, SpooledBody
from gatewayd.policy.submission import Door, Submission
from gatewayd.tokens.claims import Principal, Scope
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, MESSAGE, fields, submission

CORPUS = Path(__file__).parents[2] / "corpus" / "mime"
QUEUE_ID = QueueId("01936f1e-0000-7000-8000-000000000001")
DATE = b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\n"
MESSAGE_ID = b"Message-ID: <" + QUEUE_ID.encode() + b"@example.com>\r\n"


def _principal(mailbox: str = ANN) -> Principal:
    return Principal(
        token_id=TokenId("t"), mailbox_id=MailboxId("m"), mailbox=Address.parse(mailbox),
        scopes=frozenset(Scope), hourly=None, daily=None, allowed_recipient_domains=None,
        sandbox=False, expires_at=NOW,
    )  # fmt: skip


def _stored(given: Submission, *, display_name: str | None = None) -> RawMessage:
    message = prepare.octets_of(given, QUEUE_ID, NOW)
    return prepare.stored(
        message, given, prepare.envelope_of(given, message), queue_id=QUEUE_ID,
        display_name=display_name, hostname="mail.example.com", at=NOW,
    )  # fmt: skip


def _after_received(message: RawMessage) -> bytes:
    """The header section without our Received, which must be its first field."""
    first, *rest = message.header.fields
    assert first.key == b"received"
    return b"".join(field.raw for field in rest)


def _sent(content: bytes, *to: str, display_name: str | None = None) -> bytes:
    given = submission(_principal(), *to, content=content)
    return _after_received(_stored(given, display_name=display_name))


def test_complete_message_gets_nothing_but_received() -> None:
    head, _, body = MESSAGE.partition(b"\r\n\r\n")
    stored = _stored(submission(_principal()))

    assert (_after_received(stored), stored.body) == (head + b"\r\n", body)


def test_received_names_who_by_and_for(tmp_path: Path) -> None:  # noqa: ARG001 - none is written
    """(RFC 5321 4.4)."""
    value = _stored(submission(_principal())).header.first("Received")

    assert value is not None
    for word in (
        b"from client.example ([192.0.2.1])", b"by mail.example.com", b"with ESMTPSA",
        QUEUE_ID.encode(), b"for <bob@example.net>", b"Sat, 21 Nov 2026 12:00:00 +0000",
    ):  # fmt: skip
        assert word in b" ".join(value.split())


def test_received_names_no_recipient_where_there_are_more() -> None:
    """A blind copy would show in it."""
    stored = _stored(submission(_principal(), "bob@example.net", "zoe@example.net"))

    assert b"zoe@" not in stored.header.octets
    assert b" for " not in (stored.header.first("Received") or b"")


def test_what_is_absent_is_added() -> None:
    """From, Date and Message-ID, and only these."""
    assert _sent(b"Subject: s\r\n\r\n") == (
        b"Subject: s\r\nFrom: ann@example.com\r\n" + DATE + MESSAGE_ID
    )


def test_message_without_header_section_gets_one() -> None:
    assert _sent(b"\r\nHello.\r\n") == b"From: ann@example.com\r\n" + DATE + MESSAGE_ID


def test_what_is_not_for_the_recipient_is_taken_out() -> None:
    """Bcc and the options, folded or not, in any case; what only looks like them stays."""
    options = (
        b"BCC: eve@example.com,\r\n zoe@example.com\r\nResent-Bcc: x@example.com\r\n"
        b"idempotency-key: k\r\nX-GATEWAYD-Tags: a,\r\n\tb\r\n"
    )
    kept = b"X-Gateway: a\r\nBcc-Like: b\r\nX-Bcc: c\r\n"
    complete = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n"

    assert _sent(options + kept + MESSAGE) == kept + complete


@pytest.mark.parametrize(
    ("display_name", "expected"),
    [
        ("Ann", b"From: Ann <ann@example.com>\r\n"),
        ("Ann, Esq.", b'From: "Ann, Esq." <ann@example.com>\r\n'),
        ("Ann \u00c5", b"From: =?utf-8?b?QW5uIMOF?= <ann@example.com>\r\n"),
    ],
)
def test_display_name_of_the_operator_replaces_the_submitted_one(
    display_name: str, expected: bytes
) -> None:
    """In its place, whatever stood there; added with From where that was absent."""
    given = (
        b'From: "Somebody"\r\n <ANN@example.com>\r\nSubject: s\r\n' + DATE + MESSAGE_ID + b"\r\n"
    )

    assert _sent(given, display_name=display_name) == (
        expected + b"Subject: s\r\n" + DATE + MESSAGE_ID
    )
    assert expected in _sent(b"Subject: s\r\n\r\n", display_name=display_name)


def test_submitted_display_name_stays_without_one_of_the_operator() -> None:
    given = b"From: Anna <ann@example.com>\r\n"

    assert _sent(given + b"\r\n").startswith(given)


@pytest.mark.parametrize("file", sorted(CORPUS.glob("*.eml")), ids=lambda file: file.name)
def test_body_octets_of_a_real_message_never_change(file: Path) -> None:
    """Signed and encrypted mail stays valid: S/MIME, PGP/MIME, 8-bit, long lines."""
    octets = file.read_bytes().replace(b"agent@sender.test", ANN.encode())
    submitted = RawMessage.parse(octets)
    stored = _stored(submission(_principal(), content=submitted))

    assert stored.body == submitted.body
    kept = [field.raw for field in stored.header.fields]
    assert kept[1:] == [field.raw for field in submitted.header.fields]


@given(st.binary(max_size=300))
def test_body_octets_never_change(body: bytes) -> None:
    assert _stored(submission(_principal(), content=b"\r\n" + body)).body == body


def test_spooled_body_stays_where_it_is() -> None:
    body = SpooledBody(key="k", size_octets=99, sha256="00", has_8bit=True)
    message = RawMessage(RawMessage.parse(MESSAGE).header, body)

    assert _stored(submission(_principal(), content=message)).body is body


def test_fields_are_composed_and_named_after_the_message() -> None:
    message = prepare.octets_of(
        submission(_principal(), content=fields(), door=Door.HTTP), QUEUE_ID, NOW
    )

    assert MESSAGE_ID in message.header.octets
    assert DATE in message.header.octets
    assert message.body == b"Hello.\r\n"


def test_field_that_cannot_be_written_is_refused_with_its_pointer() -> None:
    given = submission(_principal(), content=fields("a\r\nBcc: eve@x"), door=Door.HTTP)

    with pytest.raises(Refused) as caught:
        prepare.octets_of(given, QUEUE_ID, NOW)

    assert caught.value.kind is Code.HEADER_INVALID
    assert [fault.pointer for fault in caught.value.faults] == ["/subject"]


# --- the envelope ---


def test_envelope_names_each_recipient_once() -> None:
    """The domain in any case; the local-part as it is (RFC 5321 2.4)."""
    given = submission(_principal(), "bob@example.net", "bob@EXAMPLE.net", "Bob@example.net")
    envelope = prepare.envelope_of(given, RawMessage.parse(MESSAGE))

    assert [str(one.forward_path) for one in envelope.recipients] == [
        "bob@example.net",
        "Bob@example.net",
    ]


@pytest.mark.parametrize(
    ("mailbox", "to", "content", "smtputf8"),
    [
        (ANN, "bob@example.net", b"", False),
        (ANN, "j\u00fcrgen@example.net", b"", True),
        ("j\u00fcrgen@example.com", "bob@example.net", b"", True),
        (ANN, "bob@example.net", "Subject: h\u00e9\r\n".encode(), True),
    ],
)
def test_envelope_of_http_asks_for_smtputf8_where_something_needs_it(
    mailbox: str, to: str, content: bytes, smtputf8: bool
) -> None:
    """Nobody could say it; then a From can be added too (RFC 6531 3.1)."""
    given = submission(_principal(mailbox), to, content=content + b"\r\nHello.\r\n", door=Door.HTTP)
    message = prepare.octets_of(given, QUEUE_ID, NOW)

    assert prepare.envelope_of(given, message).smtputf8 is smtputf8
    assert mailbox.encode() in _after_received(_stored(given))


def test_envelope_of_smtp_says_what_the_client_said() -> None:
    given = submission(_principal(), smtputf8=True)

    assert prepare.envelope_of(given, RawMessage.parse(MESSAGE)).smtputf8 is True


def test_envelope_says_8bit_where_the_octets_are() -> None:
    """Whatever the client said (RFC 6152)."""
    given = submission(_principal())
    for octets, body in ((b"\xff", BodyType.EIGHT_BIT), (b"x", BodyType.SEVEN_BIT)):
        message = RawMessage.parse(MESSAGE + octets)
        assert prepare.envelope_of(given, message).body is body


# --- fingerprints ---


def _fingerprint(content: bytes, *to: str) -> bytes:
    given = submission(_principal(), *to, content=content)
    message = RawMessage.parse(content)
    return prepare.fingerprint(prepare.envelope_of(given, message), message)


def test_fingerprint_forgets_what_changes_with_each_try() -> None:
    again = b"Received: from x\r\n" + MESSAGE.replace(b"<1@", b"<2@").replace(b"12:00", b"12:01")

    assert _fingerprint(again) == _fingerprint(MESSAGE)


@pytest.mark.parametrize(
    "other",
    [
        MESSAGE + b"x", MESSAGE.replace(b"hello", b"Hello"), b"X: y\r\n" + MESSAGE,
        MESSAGE.replace(b"Subject: hello\r\n", b""),
    ],
)  # fmt: skip
def test_fingerprint_tells_other_octets(other: bytes) -> None:
    assert _fingerprint(other) != _fingerprint(MESSAGE)


def test_fingerprint_tells_other_envelopes() -> None:
    found = {
        _fingerprint(MESSAGE, *to)
        for to in (("a@x.example",), ("b@x.example",), ("a@x.example", "b@x.example"))
    }

    assert len(found) == 3


def test_fingerprint_of_a_spooled_body_is_that_of_its_octets() -> None:
    """By its digest; the same body again is the same message."""
    given = submission(_principal())
    header = RawMessage.parse(MESSAGE).header
    body = SpooledBody(key="k1", size_octets=9, sha256="00", has_8bit=False)
    found = [
        prepare.fingerprint(given.envelope, RawMessage(header, each))
        for each in (
            body,
            dataclasses.replace(body, key="k2"),
            dataclasses.replace(body, sha256="11"),
        )
    ]

    assert found[0] == found[1] != found[2]


# --- what lists show ---


def test_subject_is_shown_decoded_short_and_without_control_characters() -> None:
    header = RawMessage.parse(b"Subject: =?utf-8?q?h=C3=A9_=00_=0A?= " + b"x" * 300 + b"\r\n\r\n")

    shown = prepare.shown_subject(header.header)

    assert shown.startswith("h\u00e9 ")
    assert len(shown) == prepare.SUBJECT_SHOWN
    assert shown.isprintable()
