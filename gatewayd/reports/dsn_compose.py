"""Write a DSN: what became of a message, for its submitter (RFC 3464, RFC 6522).

| part | type                           | when                                                    |
|------|--------------------------------|---------------------------------------------------------|
| 1    | text/plain                     | always: the same in plain words                         |
| 2    | message/delivery-status        | every address is ASCII                                  |
|      | message/global-delivery-status | one is not (RFC 6533 4)                                 |
| 3    | message/rfc822                 | RET=FULL, a recipient failed, the body is given         |
|      | text/rfc822-headers            | otherwise                                               |
|      | message/global, message/global-headers | as these, when the header section is not ASCII  |

All that comes from strangers (ORCPT, diagnostics, host names) is cut and freed from control
characters before it becomes part of a line. The same arguments give the same octets.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from gatewayd.mail import encoded_word, xtext
from gatewayd.mail.address import Address, ForwardPath
from gatewayd.mail.envelope import Ret
from gatewayd.mail.header import HeaderSection, format_date, format_originator, render_field
from gatewayd.mail.message import RawMessage
from gatewayd.mail.transfer_encoding import encode_text
from gatewayd.reports.report import Action

LOCAL_PART: Final = "mailer-daemon"
DISPLAY_NAME: Final = "Mail Delivery System"

_MOST_WORDS: Final = 600  # characters of a diagnostic; Reply allows 512
_MOST_NAME: Final = 255
_MOST_SUBJECT: Final = 120
_HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+"
)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])\Z")
_MSG_ID: Final = re.compile(rb"<[!-;=?-~]{1,250}>\Z")
_END: Final = (
    "The next part says the same for programs. The last part is your message, or its header."
)
_DEFAULT_STATUS: Final = {
    Action.FAILED: "5.0.0",
    Action.DELAYED: "4.0.0",
    Action.DELIVERED: "2.0.0",
    Action.RELAYED: "2.0.0",
    Action.EXPANDED: "2.0.0",
}
_SUBJECTS: Final = (  # the first action that stands in the report
    (Action.FAILED, "Delivery Status Notification (Failure)"),
    (Action.DELAYED, "Delivery Status Notification (Delay)"),
    (Action.RELAYED, "Delivery Status Notification (Relayed)"),
    (Action.EXPANDED, "Delivery Status Notification (Expanded)"),
    (Action.DELIVERED, "Delivery Status Notification (Success)"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutRecipient:
    """What is told of one recipient.

    orcpt: ORCPT as the submitter gave it, in xtext.
    status: enhanced status, "" when there is none.
    code, text: of the reply that decided; None and "" when no peer said anything.
    reason: why, where no peer said it.
    remote_mta: who said it, "" when it was us.
    at: when that was.
    retry_until: of a delay, when it is given up.
    """

    forward_path: ForwardPath
    action: Action
    at: dt.datetime
    orcpt: str | None = None
    status: str = ""
    code: int | None = None
    text: str = ""
    reason: str = ""
    remote_mta: str = ""
    retry_until: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutMessage:
    """What is told of the message.

    body: None when it is too large to come back.
    envid: ENVID as the submitter gave it, in xtext.
    """

    header: HeaderSection
    body: bytes | None
    accepted_at: dt.datetime
    envid: str | None = None
    ret: Ret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressing:
    """Who tells it to whom. message_id: with its angle brackets."""

    hostname: str
    to: Address
    message_id: str
    date: dt.datetime


def compose(
    message: AboutMessage, recipients: Sequence[AboutRecipient], addressing: Addressing
) -> RawMessage:
    """The report for these recipients of one message, at least one."""
    is_global = not all(map(_is_ascii, recipients))
    parts = [
        _text(message, recipients, addressing.hostname),
        _status(message, recipients, addressing.hostname, is_global=is_global),
        _returned(message, recipients),
    ]
    boundary = _boundary(addressing.message_id, parts)
    delimiter = f"\r\n--{boundary}".encode("ascii")
    body = b"".join(b"%b\r\n%b" % (delimiter, part) for part in parts) + delimiter + b"--\r\n"
    header = _header(message, recipients, addressing, boundary)
    if not body.isascii():  # what holds 8bit says so itself (RFC 2045 6.4)
        header += b"Content-Transfer-Encoding: 8bit\r\n"
    return RawMessage(HeaderSection(header), body.removeprefix(b"\r\n"))


def subject(recipients: Sequence[AboutRecipient]) -> str:
    """What the report is about: the worst that happened."""
    actions = {each.action for each in recipients}
    return next(text for action, text in _SUBJECTS if action in actions)


def whole_reply(code: int | None, status: str, text: str) -> str:
    """A reply in one line; the text of a reply in a report begins with its code already."""
    if code is None or text.startswith(str(code)):
        return text
    return " ".join(part for part in (str(code), status, text) if part)


def _header(
    message: AboutMessage,
    recipients: Sequence[AboutRecipient],
    addressing: Addressing,
    boundary: str,
) -> bytes:
    sender = format_originator(DISPLAY_NAME, Address(LOCAL_PART, addressing.hostname))
    lines = [
        render_field("From", sender),
        render_field("To", str(addressing.to), smtputf8=True),
        render_field("Subject", subject(recipients)),
        render_field("Date", format_date(addressing.date)),
        render_field("Message-ID", addressing.message_id),
        render_field("Auto-Submitted", "auto-replied"),  # RFC 3834 5
    ]
    original = message.header.first("Message-ID") or b""
    if _MSG_ID.match(original):
        about = original.decode("ascii")
        lines += [render_field("In-Reply-To", about), render_field("References", about)]
    return b"".join(
        [
            *lines,
            b"MIME-Version: 1.0\r\n",
            b"Content-Type: multipart/report; report-type=delivery-status;\r\n"
            b' boundary="%b"\r\n' % boundary.encode("ascii"),
        ]
    )


# The first part: words.


def _text(message: AboutMessage, recipients: Sequence[AboutRecipient], hostname: str) -> bytes:
    about = _clean(encoded_word.decode(message.header.first("Subject") or b""), _MOST_SUBJECT)
    named = f'with the subject "{about}"' if about else "without a subject"
    accepted = f"{message.accepted_at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    paragraphs = [
        f"This is the mail system of {hostname}.",
        f"It is about your message of {accepted},\n{named}.",
        *(_paragraph(each) for each in recipients),
        _END,
    ]
    encoding, octets = encode_text("\n\n".join(paragraphs))
    fields = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return fields.encode("ascii") + b"\r\n" + octets


def _paragraph(recipient: AboutRecipient) -> str:
    lines = [f"<{recipient.forward_path}> {_sentence(recipient)}"]
    said = whole_reply(recipient.code, recipient.status, _clean(recipient.text, _MOST_WORDS))
    if said:
        lines.append(f"  {_clean(recipient.remote_mta, _MOST_NAME) or 'It'} said: {said}")
    elif recipient.reason:
        lines.append(f"  {_clean(recipient.reason, _MOST_WORDS)}")
    return "\n".join(lines)


def _sentence(recipient: AboutRecipient) -> str:
    match recipient.action:
        case Action.FAILED:
            return "could not be reached. It is not tried again."
        case Action.DELAYED:
            until = recipient.retry_until
            limit = f" until {until.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC" if until else ""
            return (
                f"could not be reached yet. It is tried again{limit}; "
                "you need not send your message once more."
            )
        case Action.DELIVERED:
            return "has your message."
        case Action.RELAYED:
            return (
                "is served by a system that took your message and does not tell what becomes of it."
            )
        case Action.EXPANDED:
            return "is a list, and your message was sent on to its members."
        case _:
            assert_never(recipient.action)


# The second part: fields.


def _status(
    message: AboutMessage,
    recipients: Sequence[AboutRecipient],
    hostname: str,
    *,
    is_global: bool,
) -> bytes:
    about = [("Reporting-MTA", f"dns; {hostname}")]
    envid = _decoded(message.envid or "")
    if envid:
        about.insert(0, ("Original-Envelope-Id", envid))
    about.append(("Arrival-Date", format_date(message.accepted_at)))
    groups = [about, *(_group(each, is_global=is_global) for each in recipients)]
    octets = b"\r\n".join(
        b"".join(render_field(name, value, smtputf8=is_global) for name, value in group)
        for group in groups
    )
    kind = "message/global-delivery-status" if is_global else "message/delivery-status"
    return _entity(kind, octets)


def _group(recipient: AboutRecipient, *, is_global: bool) -> list[tuple[str, str]]:
    """The fields of one recipient, in the order of RFC 3464 2.3."""
    fields = []
    if original := _original(recipient.orcpt, is_global=is_global):
        fields.append(("Original-Recipient", original))
    fields += [
        ("Final-Recipient", _typed(str(recipient.forward_path))),
        ("Action", recipient.action.value),
        ("Status", recipient.status or _DEFAULT_STATUS[recipient.action]),
    ]
    host = recipient.remote_mta
    if len(host) <= _MOST_NAME and _HOST.match(host):
        fields.append(("Remote-MTA", f"dns; {host}"))
    if diagnostic := _diagnostic(recipient):
        shown = diagnostic if is_global else _as_ascii(diagnostic)
        fields.append(("Diagnostic-Code", shown))
    fields.append(("Last-Attempt-Date", format_date(recipient.at)))
    if recipient.action is Action.DELAYED and recipient.retry_until is not None:
        fields.append(("Will-Retry-Until", format_date(recipient.retry_until)))
    return fields


def _diagnostic(recipient: AboutRecipient) -> str:
    """What was said, with its type; "" when nothing was (RFC 3464 2.3.6)."""
    said = whole_reply(recipient.code, recipient.status, _clean(recipient.text, _MOST_WORDS))
    if said:
        return f"smtp; {said}"
    reason = _clean(recipient.reason, _MOST_WORDS)
    return f"x-gatewayd; {reason}" if reason else ""


def _original(orcpt: str | None, *, is_global: bool) -> str:
    """Original-Recipient for an ORCPT, out of its xtext (RFC 3461 6.3, RFC 6533 3)."""
    kind, semicolon, given = (orcpt or "").partition(";")
    if not semicolon:
        return ""
    if kind.lower() != "utf-8":
        address = _decoded(given)
        return f"{kind}; {address if is_global else _as_ascii(address)}" if address else ""
    try:
        address = _clean(xtext.decode_utf8_address(given), _MOST_WORDS)
    except xtext.XtextSyntaxError:
        return ""
    return f"utf-8; {address if is_global else xtext.encode_utf8_address(address)}"


def _typed(address: str) -> str:
    """An address with the type that it needs (RFC 3464 2.3.2, RFC 6533 3)."""
    return f"rfc822; {address}" if address.isascii() else f"utf-8; {address}"


def _is_ascii(recipient: AboutRecipient) -> bool:
    return recipient.forward_path.address.is_ascii


# The third part: the message.


def _returned(message: AboutMessage, recipients: Sequence[AboutRecipient]) -> bytes:
    header = message.header.octets
    is_global = not header.isascii()
    # RET is about failures; a success or a delay brings back the header only (RFC 3461 4.3).
    has_failed = any(each.action is Action.FAILED for each in recipients)
    if message.ret is Ret.FULL and has_failed and message.body is not None:
        kind = "message/global" if is_global else "message/rfc822"
        return _entity(kind, b"%b\r\n%b" % (header, message.body))
    return _entity("message/global-headers" if is_global else "text/rfc822-headers", header)


def _entity(kind: str, octets: bytes) -> bytes:
    """A part that may not be encoded (RFC 2046 5.2.1)."""
    encoding = "" if octets.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    if octets and not octets.endswith(b"\r\n"):
        octets += b"\r\n"
    return f"Content-Type: {kind}\r\n{encoding}\r\n".encode("ascii") + octets


def _boundary(message_id: str, parts: Sequence[bytes]) -> str:
    """A boundary that stands in no part: what they hold goes into it."""
    digest = hashlib.sha256(message_id.encode("ascii"))
    for part in parts:
        digest.update(part)
    return "=_" + digest.hexdigest()[:32]


# Words of strangers.


def _clean(text: str, most: int) -> str:
    """One line without anything that a terminal or a header obeys."""
    return " ".join(_HIDDEN.sub(" ", text).split())[:most]


def _decoded(given: str) -> str:
    try:
        return _clean(xtext.decode(given), _MOST_WORDS)
    except xtext.XtextSyntaxError:
        return ""


def _as_ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")
