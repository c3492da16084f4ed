"""policy: sender binding, sizes and counts, header form, options; one rule at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Refused
from gatewayd.mail.address import Address, ForwardPath, ReversePath
from gatewayd.mail.envelope import Recipient
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage
from gatewayd.policy import content, identity, options, recipients
from gatewayd.policy.submission import Options
from tests.fakes.world import ANN, MESSAGE

MAILBOX = Address.parse(ANN)
SMALL = LimitsSection(
    message_octets=300, header_octets=200, header_lines=6, subject_octets=10, received_hops=2,
    mime_depth=2, mime_parts=3, recipients=2,
)  # fmt: skip


def _code(call: object, *arguments: object, **named: object) -> Code | None:
    try:
        call(*arguments, **named)  # type: ignore[operator]  # a function of the room
    except Refused as refused:
        return refused.kind
    return None


# --- sender binding ---


@pytest.mark.parametrize(
    ("path", "is_good"),
    [
        (ANN, True), ("Ann@EXAMPLE.COM", True), ("", False), ("eve@example.com", False),
        ("ann@example.org", False), ("ann@sub.example.com", False), ("ann+x@example.com", False),
    ],
)  # fmt: skip
def test_reverse_path_is_the_mailbox(path: str, is_good: bool) -> None:
    """Domain folded, local-part ASCII-caseless; the null one is not a submitter's."""
    code = _code(identity.check_reverse_path, ReversePath.parse(path), MAILBOX)

    assert code is (None if is_good else Code.SENDER_NOT_ALLOWED)


@pytest.mark.parametrize("name", identity.BOUND)
@pytest.mark.parametrize(
    ("value", "is_good"),
    [
        (b"ann@example.com", True),
        (b"Ann <ANN@Example.com>", True),
        (b'"eve@example.com" <ann@example.com>', True),
        (b"=?utf-8?q?eve=40example=2Ecom?= <ann@example.com>", True),
        (b"ann@example.com (Ann)", True),
        (b"(eve@example.com) ann@example.com", False),
        (b"Ann\r\n <ann@example.com>", True),
        (b"eve@example.com", False),
        (b"ann@example.com, eve@example.com", False),
        (b"ann@example.com, ann@example.com", False),
        (b"ann@example.com <eve@example.com>", False),
        (b"<eve@example.com> <ann@example.com>", False),
        (b"Team: ann@example.com;", False),
        (b"", False),
        (b"ann@example.com\x00", False),
        (b"<@evil.example:ann@example.com>", False),
        (b"ann@example.com.", False),
        (b"undisclosed:;", False),
    ],
)
def test_originator_field_is_the_mailbox(name: str, value: bytes, is_good: bool) -> None:
    """A field that two readers could read in two ways is refused (RFC 6409 8.1)."""
    header = HeaderSection(name.encode() + b": " + value + b"\r\n")
    code = _code(identity.check_header, header, MAILBOX)

    assert code is (None if is_good else Code.SENDER_NOT_ALLOWED)


def test_a_long_originator_field_is_read_and_not_remembered() -> None:
    """4096 fields are kept: with comments of 60 KiB in each they would fill the memory."""
    comments = b"".join(b"\r\n (" + b"x" * 900 + b")" for _ in range(60))
    header = HeaderSection(b"From: " + ANN.encode() + comments + b"\r\n")
    before = identity._remembered_key.cache_info().misses

    assert _code(identity.check_header, header, MAILBOX) is None
    assert identity._remembered_key.cache_info().misses == before


# --- limits ---


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (b"X: " + b"x" * 200 + b"\r\n", Code.HEADER_TOO_LARGE),
        (b"X: y\r\n" * 5, Code.HEADER_TOO_LARGE),
        (b"Subject: again\r\n", Code.HEADER_INVALID),
        (b"From: ann@example.com\r\n", Code.HEADER_INVALID),
        (b"X: a\x00b\r\n", Code.HEADER_INVALID),
        (b"X: a\x7fb\r\n", Code.HEADER_INVALID),
        (b"X: a\rb\r\n", Code.HEADER_INVALID),
        (b"X: a\nBcc: eve@example.com\r\n", Code.HEADER_INVALID),
        (b"No colon\r\n", Code.HEADER_INVALID),
        (b": empty\r\n", Code.HEADER_INVALID),
        (b"X : space\r\n", Code.HEADER_INVALID),
        (b"X: a\tb\r\n c\r\n", None),
    ],
)
def test_header_that_reads_in_one_way_only(more: bytes, code: Code | None) -> None:
    header = HeaderSection(b"From: ann@example.com\r\nSubject: s\r\n" + more)

    assert _code(content.check_header_form, header, SMALL) is code


HEAD = b"From: ann@example.com\r\n"
PARTS = b"Content-Type: multipart/mixed; boundary=b\r\n"


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (HEAD + b"\r\n" + b"x\r\n" * 80, None),
        (HEAD + b"\r\n" + b"x\r\n" * 100, Code.MESSAGE_TOO_LARGE),
        (HEAD + b"Subject: 0123456789\r\n\r\n", None),
        (HEAD + b"Subject: 0123456789a\r\n\r\n", Code.SUBJECT_TOO_LONG),
        (HEAD + b"Received: x\r\n" * 2 + b"\r\n", None),
        (HEAD + b"Received: x\r\n" * 3 + b"\r\n", Code.TOO_MANY_HOPS),
        (HEAD + b"\r\na\rb\r\n", Code.LINE_ENDINGS_INVALID),
        (HEAD + b"\r\na\nb\r\n", Code.LINE_ENDINGS_INVALID),
        (HEAD + b"\r\na\x00b\r\n", Code.LINE_ENDINGS_INVALID),
        (HEAD + PARTS + b"\r\n" + b"--b\r\n\r\nx\r\n" * 2 + b"--b--\r\n", None),
        (HEAD + PARTS + b"\r\n" + b"--b\r\n\r\nx\r\n" * 4 + b"--b--\r\n", Code.MIME_TOO_COMPLEX),
    ],
)
def test_message_within_the_limits(octets: bytes, code: Code | None) -> None:
    assert _code(content.check, RawMessage.parse(octets), SMALL) is code


def test_body_that_was_checked_while_it_came_is_not_gone_over_again() -> None:
    """Size, subject and hops are looked at in any case."""
    message = RawMessage.parse(HEAD + b"\r\na\rb\r\n")
    checked = replace(message, is_checked=True)

    assert checked == message
    assert _code(content.check, checked, SMALL) is None
    assert _code(content.check, replace(checked, body=b"x" * 10_000), SMALL) is (
        Code.MESSAGE_TOO_LARGE
    )


def test_line_of_998_octets_is_the_longest() -> None:
    """(RFC 5321 4.5.3.1.6)."""
    for octets, code in ((998, None), (999, Code.LINE_TOO_LONG)):
        message = RawMessage.parse(HEAD + b"\r\n" + b"x" * octets + b"\r\n")
        assert _code(content.check, message, LimitsSection()) is code


def test_header_in_utf8_needs_smtputf8() -> None:
    message = RawMessage.parse("Subject: h\u00e9\r\n\r\n".encode())

    assert _code(content.check_utf8, message, smtputf8=False) is Code.SMTPUTF8_REQUIRED
    assert _code(content.check_utf8, message, smtputf8=True) is None
    assert _code(content.check_utf8, RawMessage.parse(MESSAGE), smtputf8=False) is None


def test_count_of_recipients() -> None:
    for count, code in (
        (0, Code.RECIPIENT_MISSING),
        (1, None),
        (2, None),
        (3, Code.TOO_MANY_RECIPIENTS),
    ):
        assert _code(recipients.check_count, count, SMALL) is code


def test_recipient_in_utf8_needs_smtputf8() -> None:
    recipient = Recipient(ForwardPath.parse("j\u00fcrgen@example.net"))

    assert _code(recipients.check_utf8, recipient, smtputf8=False) is Code.SMTPUTF8_REQUIRED
    assert _code(recipients.check_utf8, recipient, smtputf8=True) is None


# --- options ---


def test_options_are_read_from_the_header_section() -> None:
    """They stand over those that came otherwise."""
    header = HeaderSection(
        b'Idempotency-Key: "a\\"b"\r\nX-Gatewayd-Tags: one, two/2 ,\r\n'
        b'x-gatewayd-metadata: {"order": "17",\r\n "who": "=?utf-8?q?J=C3=BCrgen?="}\r\n'
    )

    found = options.read(header, Options(idempotency_key="other", tags=("t",)))

    assert found.idempotency_key == 'a"b'
    assert found.tags == ("one", "two/2")
    assert dict(found.metadata)["order"] == "17"


def test_options_that_came_otherwise_stay() -> None:
    given = Options(idempotency_key="k", tags=("t",), metadata=(("a", "b"),), fingerprint=b"f")

    assert options.read(HeaderSection(HEAD), given) == given


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"Idempotency-Key: ", Code.IDEMPOTENCY_KEY_INVALID),
        (b"Idempotency-Key: a b", Code.IDEMPOTENCY_KEY_INVALID),
        (b'Idempotency-Key: ""', Code.IDEMPOTENCY_KEY_INVALID),
        (b'Idempotency-Key: "a', Code.IDEMPOTENCY_KEY_INVALID),
        (b"Idempotency-Key: " + b"k" * 257, Code.IDEMPOTENCY_KEY_INVALID),
        (b"Idempotency-Key: " + b"k" * 256, None),
        ("Idempotency-Key: \u00fc".encode(), Code.IDEMPOTENCY_KEY_INVALID),
        (b"Idempotency-Key: a\r\nIdempotency-Key: a", Code.OPTION_INVALID),
        (b"X-Gatewayd-Tags: a\r\nX-Gatewayd-Tags: b", Code.OPTION_INVALID),
        (b"X-Gatewayd-Tags: " + b"a," * 21, Code.OPTION_INVALID),
        (b"X-Gatewayd-Tags: " + b"a," * 20, None),
        (b"X-Gatewayd-Tags: a b", Code.OPTION_INVALID),
        (b"X-Gatewayd-Tags: " + b"a" * 65, Code.OPTION_INVALID),
        (b'X-Gatewayd-Tags: a"b', Code.OPTION_INVALID),
        (b"X-Gatewayd-Metadata: nothing", Code.OPTION_INVALID),
        (b"X-Gatewayd-Metadata: []", Code.OPTION_INVALID),
        (b'X-Gatewayd-Metadata: {"a": 1}', Code.OPTION_INVALID),
        (b'X-Gatewayd-Metadata: {"": "a"}', Code.OPTION_INVALID),
        (b"X-Gatewayd-Metadata: " + b'{"a":' * 900, Code.OPTION_INVALID),
        (b"X-Gatewayd-Track: off", None),
        (b"X-Gatewayd-Track: opens, Clicks", None),
        (b"X-Gatewayd-Track: off, opens", Code.OPTION_INVALID),
        (b"X-Gatewayd-Track: all", Code.OPTION_INVALID),
        (b"X-Gatewayd-Track: ", Code.OPTION_INVALID),
        (b"X-Gatewayd-Later: off", Code.OPTION_INVALID),
    ],
)
def test_option_that_is_wrong_is_refused(line: bytes, code: Code | None) -> None:
    """An unknown one too: it would be taken out without effect."""
    header = HeaderSection(HEAD + line + b"\r\n")

    assert _code(options.read, header, Options()) is code
