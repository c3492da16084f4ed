"""Every reader of a stranger's octets takes time in proportion to them, whatever they are.

Each is given what makes a careless expression or loop quadratic: one short piece, again and again.
The count of pieces grows until that takes two milliseconds, or is as much as a message may have;
four times as many may then take eight times as long. Quadratic is sixteen times. What seems to be
is measured again, at twenty milliseconds and several times: a busy machine is no quadratic reader.

Some rooms look closer, at inputs of their own: tests/unit/mail, tests/unit/reports/test_read.py,
tests/unit/tracking/test_rewrite_linear.py.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from typing import Final

import pytest

from gatewayd.bounces.signed import header_of
from gatewayd.cli.output import clean
from gatewayd.delivery.smtp.transcript import Transcript
from gatewayd.dkim.canonicalize import BodyHash, Canonicalization, relaxed_field
from gatewayd.errors import Refused
from gatewayd.log import _Redactor
from gatewayd.mail import encoded_word, unsubscribe
from gatewayd.mail.address import Address
from gatewayd.mail.compose import ComposeError, Fields, compose
from gatewayd.mail.header import HeaderSection, check, duplicates
from gatewayd.mail.lines import DotReader, LineCheck
from gatewayd.mail.mailbox_list import Mailbox
from gatewayd.mail.structure import limits
from gatewayd.mail.transfer_encoding import encode_text
from gatewayd.reports import addresses, bounce_class, diagnostic, dsn
from gatewayd.smtpd import auth
from gatewayd.suppression import transfer
from gatewayd.tracking.target import read as read_target
from gatewayd.web import body, paging
from tests.fakes.clock import NOW
from tests.fuzz.targets import TARGETS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUICK: Final = (0.002, 1)  # seconds at least, runs
EXACT: Final = (0.020, 5)
TRIES: Final = 3
MOST_OCTETS: Final = 262_144
TIMES: Final = 4
BOUND: Final = 8.0
HTML: Final = HeaderSection(b"Content-Type: multipart/mixed; boundary=b\r\n")
EVE: Final = Address.parse("eve@example.com")
PIECES: Final = (
    b"a", b"a ", b" ", b"\t", b"\r\n", b"\r\n ", b"a\r\n", b"\n", b"\r", b"(", b"()", b")", b"<",
    b"<>", b"<a@", b">", b"@", b"a@", b"a@a.", b"a.", b".", b",", b"a,", b";", b"; a=b", b":",
    b"a:",
    b'"', b'\\"', b"\\", b"=", b"=?", b"=?utf-8?q?a?= ", b"=?a?b?", b"[", b"]", b"{", b"&", b"&#",
    b"&amp", b"%", b"%4", b"-", b"--", b"--b\r\n", b"\xc3\xa9", b"\xff", b"0", b"+2B", b"eyJ",
    b"eyJa.", b"bounce+", b"5.1.1 ", b"550 ", b"user ", b"X: y\r\n", b"To: a@b.c\r\n", b"http://",
    b"\x01", b"Final-Recipient: rfc822; a@b.c\n", b"-----BEGIN ",
)  # fmt: skip
EXPECTED = (ComposeError, Refused, auth.SaslError, ValueError)


def text_of(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def read_lines(octets: bytes) -> None:
    content = DotReader().feed(octets)
    LineCheck().feed(content)


def read_header(octets: bytes) -> None:
    check(octets)
    section = HeaderSection(octets)
    duplicates(section)
    section.find("To")


def compose_fields(octets: bytes) -> None:
    """Subject, display name and a field of the client's own."""
    text = text_of(octets)
    for fields in (
        Fields(from_=EVE, subject=text, text="x"),
        Fields(from_=EVE, to=(Mailbox(EVE, text),), text="x"),
        Fields(from_=EVE, headers=(("X-Run", text),), text=text, html=text),
        Fields(from_=EVE, headers=(("References", text),), text="x"),
    ):
        with contextlib.suppress(ComposeError):
            compose(fields, "<1@example.com>", NOW)


def canonicalize(octets: bytes) -> None:
    relaxed_field(b"X: " + octets)
    for form in Canonicalization:
        found = BodyHash(form)
        found.update(octets)
        found.digest()


def read_form(octets: bytes) -> None:
    unsubscribe.read_form(b"application/x-www-form-urlencoded", octets)
    unsubscribe.read_form(b"multipart/form-data; boundary=b", octets)
    unsubscribe.read_form(b"multipart/form-data;" + octets, b"x")


def read_login(octets: bytes) -> None:
    for mechanism in auth.MECHANISMS.values():
        with contextlib.suppress(auth.SaslError, StopIteration):
            exchange = mechanism(octets)
            next(exchange)


def read_suppressions(octets: bytes) -> None:
    lines = text_of(octets).splitlines(keepends=True)
    for form in transfer.Form:
        for _ in transfer.read(lines, form):
            pass


def read_diagnostic(octets: bytes) -> None:
    text = text_of(octets)
    diagnostic.read(text)
    diagnostic.shown(text)
    bounce_class.classify("", None, text)
    addresses.find(text)
    addresses.typed(text)
    dsn.groups(text)


def read_cursor(octets: bytes) -> None:
    for decode in (paging.decode, paging.decode_number, paging.decode_row):
        with contextlib.suppress(Refused):
            decode(text_of(octets))


def redact(octets: bytes) -> None:
    text = text_of(octets)
    _Redactor(plain=False, key=b"k").text(text)
    Transcript(lambda address: address).remark(f"@{text}")
    clean(text)


READERS: Final[dict[str, Callable[[bytes], object]]] = {
    "address": TARGETS["address"],
    "originators": TARGETS["originators"],
    "xtext": TARGETS["xtext"],
    "command": TARGETS["command"],
    "reverse-path": TARGETS["verp"],
    "token": TARGETS["token"],
    "link": TARGETS["link"],
    "options": TARGETS["options"],
    "reply": TARGETS["reply"],
    "lines": read_lines,
    "header": read_header,
    "header of a report": header_of,
    "encoded words": encoded_word.decode,
    "structure": lambda octets: limits(HTML, octets),
    "content type": lambda octets: limits(
        HeaderSection(b"Content-Type: multipart/mixed; " + octets.replace(b"\r\n", b"") + b"\r\n"),
        b"",
    ),
    "compose": compose_fields,
    "transfer encoding": lambda octets: encode_text(text_of(octets)),
    "canonical form": canonicalize,
    "form": read_form,
    "login": read_login,
    "link of a message": lambda octets: read_target("http://" + text_of(octets), "utf-8"),
    "diagnostic": read_diagnostic,
    "suppressions": read_suppressions,
    "cursor": read_cursor,
    "json": lambda octets: body.parse_json(b'{"a": "' + octets),
    "redaction": redact,
}


def seconds(work: Callable[[bytes], object], octets: bytes, times: int) -> float:
    """Of processor time, the least of some tries: what else the machine does is not in it."""
    found = []
    gc.disable()  # a collection in one of the runs would be measured with it
    try:
        for _ in range(times):
            start = time.process_time()
            with contextlib.suppress(*EXPECTED):
                work(octets)
            found.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(found)


def growth(work: Callable[[bytes], object], piece: bytes, least_s: float, times: int) -> float:
    """How many times as long four times as much takes; 1 if even all of it takes no time."""
    count = 16
    while (once := seconds(work, piece * count, times)) < least_s:
        count *= 2
        if count * len(piece) > MOST_OCTETS:
            return 1.0
    return seconds(work, piece * count * TIMES, times) / once


@pytest.mark.parametrize("name", READERS)
def test_time_is_in_proportion_to_what_is_read(name: str) -> None:
    """ReDoS: no piece, however often, makes a reader slow for its length."""
    work = READERS[name]
    slow = [piece for piece in PIECES if growth(work, piece, *QUICK) > BOUND]
    found = {piece: min(growth(work, piece, *EXACT) for _ in range(TRIES)) for piece in slow}

    assert {piece: times for piece, times in found.items() if times > BOUND} == {}


def test_what_is_quadratic_is_seen() -> None:
    """The control: a reader that looks back at all it has read."""

    def quadratic(octets: bytes) -> None:
        for at in range(0, len(octets), 8):
            octets.rfind(b"!", 0, at)

    assert max(growth(quadratic, b"a", *QUICK) for _ in range(TRIES)) > BOUND
