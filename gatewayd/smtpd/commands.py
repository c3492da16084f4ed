"""The arguments of MAIL, RCPT, BDAT and EHLO: text in, values out.

| parameter | of   | value                                     | source              |
|-----------|------|-------------------------------------------|---------------------|
| SIZE      | MAIL | octets                                    | RFC 1870 3          |
| BODY      | MAIL | 7BIT, 8BITMIME                            | RFC 6152 2          |
| SMTPUTF8  | MAIL | none                                      | RFC 6531 3.4        |
| RET       | MAIL | FULL, HDRS                                | RFC 3461 4.3        |
| ENVID     | MAIL | xtext, kept as sent                       | RFC 3461 4.4        |
| AUTH      | MAIL | xtext or `<>`; read and forgotten         | RFC 4954 5          |
| NOTIFY    | RCPT | NEVER, or a list of SUCCESS FAILURE DELAY | RFC 3461 4.1        |
| ORCPT     | RCPT | type;xtext, kept as sent                  | RFC 3461 4.2        |

Keywords and the values that are words are caseless; other values keep their case. An unknown
parameter is 555 5.5.4 (RFC 5321 4.1.1.11), a wrong value or one that comes twice 501 5.5.4.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Final

from gatewayd.errors import Code, Refused
from gatewayd.mail import xtext
from gatewayd.mail.address import AddressSyntaxError, ForwardPath, ReversePath, split_path
from gatewayd.mail.envelope import BodyType, Notify, Recipient, Ret
from gatewayd.smtpd.replies import Rejected

_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?").fullmatch
_SIZE = re.compile(r"[0-9]{1,20}").fullmatch  # RFC 1870 3
_HELLO_NAME = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}").fullmatch
_CHUNK = re.compile(r"([0-9]{1,20})(?: +(LAST))?", re.IGNORECASE).fullmatch

_REMEMBERED = 1000  # commands of each kind, of at most some 1000 octets

MAIL_PARAMETERS: Final = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
RCPT_PARAMETERS: Final = frozenset({"NOTIFY", "ORCPT"})


@dataclass(frozen=True, slots=True)
class MailCommand:
    """What MAIL said. size_octets: None when SIZE was not given; envid: in xtext, as sent."""

    reverse_path: ReversePath
    size_octets: int | None = None
    body: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str | None = None


@functools.lru_cache(maxsize=_REMEMBERED)  # an agent says the same again and again
def parse_mail(argument: str) -> MailCommand:
    """Read what follows `MAIL `.

    Raises:
        Rejected: with the reply to give.
    """
    path, parameters = _split(argument, "FROM:")
    given = _parameters(parameters, MAIL_PARAMETERS) if parameters else {}
    smtputf8 = "SMTPUTF8" in given
    if given.get("SMTPUTF8"):
        raise _wrong("SMTPUTF8 takes no value")
    if not (smtputf8 or argument.isascii()):
        raise _needs_smtputf8()
    try:
        reverse_path = ReversePath.parse(path)
    except AddressSyntaxError as error:
        raise Rejected(553, "5.1.7", f"sender address: {error}") from error
    if not given:
        return MailCommand(reverse_path)
    if "AUTH" in given and not _is_auth(given["AUTH"]):
        raise _wrong("AUTH is an address in xtext, or <>")
    return MailCommand(
        reverse_path,
        size_octets=_size(given.get("SIZE")),
        body=_body(given.get("BODY")),
        smtputf8=smtputf8,
        ret=_ret(given.get("RET")),
        envid=_envid(given.get("ENVID")),
    )


@functools.lru_cache(maxsize=_REMEMBERED)
def parse_rcpt(argument: str, *, smtputf8: bool) -> Recipient:
    """Read what follows `RCPT `; smtputf8: whether MAIL had SMTPUTF8.

    Raises:
        Rejected: with the reply to give.
        Refused: RECIPIENT_INVALID.
    """
    path, parameters = _split(argument, "TO:")
    if not (smtputf8 or argument.isascii()):
        raise _needs_smtputf8()
    given = _parameters(parameters, RCPT_PARAMETERS) if parameters else {}
    try:
        forward_path = ForwardPath.parse(path)
    except AddressSyntaxError as error:
        raise Refused(Code.RECIPIENT_INVALID, str(error)) from error
    if not given:
        return Recipient(forward_path)
    orcpt = given.get("ORCPT")
    if "ORCPT" in given and not xtext.is_orcpt(orcpt or "", smtputf8=smtputf8):
        raise _wrong("ORCPT is written rfc822;user@example.com, in xtext (RFC 3461 4.2)")
    notify = _notify(given["NOTIFY"]) if "NOTIFY" in given else frozenset[Notify]()
    return Recipient(forward_path, notify, orcpt)


def parse_chunk(argument: str) -> tuple[int, bool] | None:
    """Read what follows `BDAT `: octets, and whether it is the last; None if it is not readable."""
    match = _CHUNK(argument)
    return None if match is None else (int(match[1]), match[2] is not None)


def is_hello_name(argument: str) -> bool:
    """Whether it may stand in a trace field as the client's name.

    Wider than the Domain and address literals of RFC 5321 4.1.1.1: hosts in containers call
    themselves `my_host`, and a wrong name is no reason to refuse a client that will log in.
    """
    return _HELLO_NAME(argument) is not None


def _split(argument: str, keyword: str) -> tuple[str, str]:
    """Path and parameters of an argument that begins with `FROM:` or `TO:`, caseless."""
    if argument[: len(keyword)].upper() != keyword:
        raise Rejected(501, "5.5.4", f"write {keyword}<user@example.com> and parameters after it")
    rest = argument[len(keyword) :]
    if rest.startswith(" "):
        # RFC 5321 3.3: "spaces are not permitted on either side of the colon".
        raise Rejected(501, "5.5.4", f"write {keyword}<user@example.com>: no space after the colon")
    try:
        return split_path(rest)
    except AddressSyntaxError as error:
        status = "5.1.7" if keyword == "FROM:" else "5.1.3"
        raise Rejected(553, status, str(error)) from error


def _parameters(text: str, known: frozenset[str]) -> dict[str, str]:
    """Keyword in upper case to value, "" for none."""
    given: dict[str, str] = {}
    for word in text.split():
        match = _PARAMETER(word)
        if match is None:
            raise _wrong("parameters are written KEYWORD=value, with spaces between")
        keyword = match[1].upper()
        if keyword not in known:
            raise Rejected(555, "5.5.4", f"unknown parameter; known are {', '.join(sorted(known))}")
        if keyword in given:
            raise _wrong(f"{keyword} is given twice")
        given[keyword] = match[2] or ""
    return given


def _wrong(text: str) -> Rejected:
    return Rejected(501, "5.5.4", text)


def _needs_smtputf8() -> Refused:
    return Refused(
        Code.SMTPUTF8_REQUIRED, "an address or parameter is not ASCII: say SMTPUTF8 with MAIL FROM"
    )


def _size(value: str | None) -> int | None:
    if value is None:
        return None
    if _SIZE(value) is None:
        raise _wrong("SIZE is a number of octets")
    return int(value)


def _body(value: str | None) -> BodyType:
    if value is None:
        return BodyType.SEVEN_BIT
    try:
        return BodyType(value.upper())
    except ValueError:
        raise _wrong("BODY is 7BIT or 8BITMIME") from None


def _ret(value: str | None) -> Ret | None:
    if value is None:
        return None
    try:
        return Ret(value.upper())
    except ValueError:
        raise _wrong("RET is FULL or HDRS") from None


def _envid(value: str | None) -> str | None:
    if value is not None and not xtext.is_envid(value):
        raise _wrong("ENVID is at most 100 characters of xtext (RFC 3461 4.4)")
    return value


def _is_auth(value: str) -> bool:
    return value == "<>" or (bool(value) and xtext.is_xtext(value))


def _notify(value: str) -> frozenset[Notify]:
    words = value.upper().split(",")
    try:
        notify = frozenset(map(Notify, words))
    except ValueError:
        notify = frozenset()
    # Each word once, and NEVER alone (RFC 3461 4.1).
    if len(notify) != len(words) or (Notify.NEVER in notify and len(notify) > 1):
        raise _wrong("NOTIFY is NEVER, or SUCCESS, FAILURE and DELAY with commas between")
    return notify
