"""What is fuzzed: one function per parser. It gets any octets, and raises only on a defect.

| target      | parser                               | and holds                                 |
|-------------|--------------------------------------|-------------------------------------------|
| address     | mail/address.py                      | what was parsed is parsed to the same again |
| originators | mail/mailbox_list.py                 |                                           |
| header      | mail/header.py                       | fields joined are the section             |
| lines       | mail/lines.py                        | blocks of any size give the same          |
| reply       | mail/reply.py                        | rendered and parsed it is the same        |
| structure   | mail/structure.py                    |                                           |
| xtext       | mail/xtext.py                        | decoded and encoded it is the same        |
| command     | smtpd/commands.py                    | what it lets pass has no control character |
| verp        | mail/verp.py                         | nothing is authentic                      |
| token       | tokens/verify.py                     | nothing is authentic                      |
| link        | tracking/links.py                    | nothing is authentic                      |
| options     | policy/options.py                    |                                           |
| report      | reports/read.py                      | addresses have no line end                |
| html        | tracking/rewrite.py                  | without links and pixel nothing changes   |
| session     | smtpd, a whole session over a socket | answers are replies; no message of nobody |
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable
from typing import Final

from gatewayd.config.security import TokensSection
from gatewayd.errors import Refused
from gatewayd.ids import RecipientId
from gatewayd.keys.ring import Key, KeyRing, KeyState, Purpose
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail import structure, xtext
from gatewayd.mail.address import (
    Address,
    AddressSyntaxError,
    ForwardPath,
    ReversePath,
    split_path,
)
from gatewayd.mail.header import HeaderSection, check
from gatewayd.mail.lines import DotReader, LineCheck
from gatewayd.mail.mailbox_list import HeaderSyntaxError, addresses
from gatewayd.mail.reply import Reply, ReplySyntaxError
from gatewayd.policy import options
from gatewayd.policy.submission import Options
from gatewayd.reports.read import read
from gatewayd.smtpd.commands import parse_chunk, parse_mail, parse_rcpt
from gatewayd.smtpd.replies import Rejected
from gatewayd.tokens.verify import Verifier
from gatewayd.tracking.links import Links
from gatewayd.tracking.rewrite import compile_body
from tests.fakes.clock import ManualClock
from tests.fuzz.session import converse

CLOCK: Final = ManualClock()
KEY: Final = Key(kid="a", state=KeyState.ACTIVE, secret=bytes(range(32)), created_at=CLOCK.now())


def address(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    for kind in (Address, ForwardPath, ReversePath):
        with contextlib.suppress(AddressSyntaxError):
            found = kind.parse(text)
            assert kind.parse(str(found)) == found
    with contextlib.suppress(AddressSyntaxError):
        split_path(text)


def originators(octets: bytes) -> None:
    with contextlib.suppress(HeaderSyntaxError):
        addresses(octets)


def header(octets: bytes) -> None:
    if check(octets) is None:
        section = HeaderSection(octets)
        assert b"".join(field.raw for field in section.fields) == octets
        assert all(section.find(name.decode()) for name in section.by_name)


def lines(octets: bytes) -> None:
    size, octets = 1 + (octets[0] if octets else 0), octets[1:]
    whole, parts = (DotReader(), LineCheck()), (DotReader(), LineCheck())
    content = whole[0].feed(octets)
    whole[1].feed(content)
    pieces = b""
    for start in range(0, len(octets), size):
        if not parts[0].ended:
            piece = parts[0].feed(octets[start : start + size])
            parts[1].feed(piece)
            pieces += piece
    assert pieces == content
    assert parts[0].ended == whole[0].ended
    assert parts[1].fault == whole[1].fault


def reply(octets: bytes) -> None:
    with contextlib.suppress(ReplySyntaxError):
        found = Reply.parse(octets.split(b"\r\n"))
        rendered = found.render()
        assert Reply.parse(rendered.split(b"\r\n")[:-1]).code == found.code


def mime(octets: bytes) -> None:
    head, _, body = octets.partition(b"\r\n\r\n")
    if check(head + b"\r\n") is None:
        structure.limits(HeaderSection(head + b"\r\n"), body)


def extended_text(octets: bytes) -> None:
    text = octets.decode("latin-1")
    with contextlib.suppress(xtext.XtextSyntaxError):
        plain = xtext.decode(text)
        assert xtext.decode(xtext.encode(plain)) == plain
    with contextlib.suppress(xtext.XtextSyntaxError):
        xtext.decode_utf8_address(text)
    xtext.is_envid(text)
    xtext.is_orcpt(text, smtputf8=True)


def command(octets: bytes) -> None:
    text = octets.decode("utf-8", "surrogateescape")
    with contextlib.suppress(Rejected, Refused):
        mail = parse_mail(text)
        assert not any(character < " " for character in str(mail.reverse_path))
    with contextlib.suppress(Rejected, Refused):
        recipient = parse_rcpt(text, smtputf8=True)
        assert not any(character < " " for character in str(recipient.forward_path))
    parse_chunk(text)


_PATHS: Final = ReversePaths(
    KeyRing(purpose=Purpose.VERP, keys=(KEY,)),
    domain="bounces.example.com",
    lifetime=dt.timedelta(days=14),
    clock=CLOCK,
)


def verp(octets: bytes) -> None:
    assert _PATHS.read(octets.decode("utf-8", "replace")) is None


_VERIFIER: Final = Verifier(
    KeyRing(purpose=Purpose.JWT, keys=(KEY,)),
    section=TokensSection(),
    token_octets=8192,
    clock=CLOCK,
)


def token(octets: bytes) -> None:
    with contextlib.suppress(Refused):
        _VERIFIER.verify(octets.decode("utf-8", "replace"))
        raise AssertionError("a token that nobody issued")


_LINKS: Final = Links(KeyRing(purpose=Purpose.TRACKING, keys=(KEY,)), "https://mail.example.com")


def link(octets: bytes) -> None:
    text = octets.decode("utf-8", "replace")
    one, _, rest = text.partition("&")
    assert _LINKS.read_open(one) is None
    assert _LINKS.read_click(one, rest, one) is None
    assert _LINKS.read_unsubscribe(one) is None
    assert _LINKS.find(octets) == set[RecipientId]()


def wishes(octets: bytes) -> None:
    if check(octets) is None:
        with contextlib.suppress(Refused):
            options.read(HeaderSection(octets), Options())


def report(octets: bytes) -> None:
    for one in read(octets).recipients:
        assert "\n" not in one.address + one.original_address + one.diagnostic
        assert len(one.diagnostic) <= 512


def html(octets: bytes) -> None:
    head, _, body = octets.partition(b"\r\n\r\n")
    if check(head + b"\r\n") is not None:
        head, body = b"Content-Type: text/html", octets
    compiled = compile_body(HeaderSection(head + b"\r\n"), body, opens=False, clicks=True)
    assert not compiled.is_changed or compiled.render(_same, "https://mail.example.com/o.gif")


def _same(url: str) -> str:
    return url


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "address": address,
    "originators": originators,
    "header": header,
    "lines": lines,
    "reply": reply,
    "structure": mime,
    "xtext": extended_text,
    "command": command,
    "verp": verp,
    "token": token,
    "link": link,
    "options": wishes,
    "report": report,
    "html": html,
    "session": converse,
}
