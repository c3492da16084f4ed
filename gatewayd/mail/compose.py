"""API fields to a MIME message, as octets (RFC 5322, RFC 2045 to 2047, RFC 2231).

| given                                | body                                                    |
|--------------------------------------|---------------------------------------------------------|
| text, or nothing                     | text/plain                                              |
| html                                 | text/html                                               |
| text, html                           | multipart/alternative                                   |
| html and an attachment with an id    | html and that attachment in multipart/related (RFC 2387) |
| any other attachment                 | multipart/mixed around all of it                        |

Order of the header: From To Cc Subject Date Message-ID MIME-Version, what the client named,
Content-*. Bcc is not known here, so it cannot be told. The same arguments always give the same
octets: the boundary is derived from the Message-ID and from what could hold it by chance. It
starts with `=_`, which neither quoted-printable nor base64 can contain.

Every value of a client's is refused or encoded before it becomes part of a line: ComposeError
names the field. Lines of the body are at most 76 octets, but for attached messages.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gatewayd.mail import encoded_word
from gatewayd.mail.address import Address
from gatewayd.mail.header import (
    FOLD_AT,
    MAX_LINE,
    HeaderSection,
    HeaderSyntaxError,
    format_date,
    format_originator,
    render_field,
)
from gatewayd.mail.mailbox_list import Mailbox
from gatewayd.mail.message import RawMessage
from gatewayd.mail.transfer_encoding import encode_base64, encode_text

__all__ = ["Attachment", "ComposeError", "Fields", "Mailbox", "compose"]

Disposition = Literal["attachment", "inline"]

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}"  # noqa: S105 - token of RFC 2045 5.1
_MEDIA_TYPE = re.compile(
    rf'{_TOKEN}/{_TOKEN}(?:[ \t]*+;[ \t]*+{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]{{0,100}}"))*+'
)
_MAX_MEDIA_TYPE = 255  # characters with parameters
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,128}")
_MSG_ID = re.compile(r"<[!-;=?-~]{1,250}>")
_MSG_IDS = re.compile(r"<[!-;=?-~]{1,250}>(?:[ \t]++<[!-;=?-~]{1,250}>)*+")
_NOT_LINES = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_MAX_ENCODED_LINE = 76  # RFC 2047 2
_LONGEST_WORD = 900  # octets; the field name comes before it on the line
_CUSTOM_NAME = re.compile(r"X-[!-9;-~]{1,74}", re.IGNORECASE)
_MAX_FILENAME = 255  # octets of UTF-8, what file systems take
_SHORT_FILENAME = 60  # characters that fit on a line of their own
_SECTION = 54  # characters of one section of a long filename (RFC 2231 3)
_MESSAGE_ID_FIELDS = {"in-reply-to": "In-Reply-To", "references": "References"}
_ALLOWED = "allowed are X-* (not X-Gatewayd-*), In-Reply-To and References"
# attribute-char of RFC 2231 7; everything else is `%XX`.
_ATTRIBUTE_CHARS = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~"
)
_PERCENT = tuple(chr(o) if o in _ATTRIBUTE_CHARS else f"%{o:02X}" for o in range(256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes with the message.

    content_type: `type/subtype`, parameters allowed; no multipart, of message/* only rfc822.
    content_id: without angle brackets; the HTML names it as `cid:`.
    """

    filename: str | None
    content_type: str
    content: bytes
    content_id: str | None = None
    disposition: Disposition = "attachment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """What an API client gives, and who it is.

    from_, display_name: of the mailbox, never the client's.
    headers: name and value; X-*, In-Reply-To and References.
    """

    from_: Address
    display_name: str | None = None
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()


class ComposeError(ValueError):
    """A field cannot stand in a message.

    pointer: the field (RFC 6901), such as `/attachments/0/filename`.
    detail: a sentence for the client: what is wrong and what is allowed.
    """

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.pointer = pointer
        self.detail = detail


@dataclass(frozen=True, slots=True)
class _Entity:
    """A MIME entity: its Content-* fields and its body, which ends with CRLF unless empty."""

    fields: bytes
    body: bytes
    encoding: str
    is_multipart: bool = False


def compose(fields: Fields, message_id: str, date: dt.datetime) -> RawMessage:
    """The message for these fields.

    Args:
        fields: the client's and the mailbox's.
        message_id: the value of Message-ID, with its angle brackets.
        date: aware.

    Raises:
        ComposeError: the first field that cannot stand in a message.
    """
    if not _MSG_ID.fullmatch(message_id):
        raise ValueError("a Message-ID is <left@right>")
    header = [
        _originator(fields.from_, fields.display_name),
        _mailboxes("To", fields.to, "/to"),
        _mailboxes("Cc", fields.cc, "/cc"),
        _text_field("Subject", fields.subject, "/subject") if fields.subject else b"",
        b"Date: %b\r\n" % format_date(date).encode("ascii"),
        _field("Message-ID", message_id),
        b"MIME-Version: 1.0\r\n",
        *_custom(fields.headers),
    ]
    entity = _content(fields, message_id)
    header.append(entity.fields)
    section = HeaderSection(b"".join(header))
    # Lines of ours, and no tree. A tree has limits that are not known here.
    return RawMessage(section, entity.body, is_checked=not entity.is_multipart)


@functools.lru_cache(maxsize=4096)  # a mailbox has one, message for message
def _originator(address: Address, display_name: str | None) -> bytes:
    return _mailboxes("From", (Mailbox(address, display_name),), "/from")


def _mailboxes(name: str, mailboxes: Sequence[Mailbox], pointer: str) -> bytes:
    if not mailboxes:
        return b""
    values: list[str] = []
    at = pointer
    try:
        for index, mailbox in enumerate(mailboxes):
            at = pointer if name == "From" else f"{pointer}/{index}"
            address = _as_ascii(mailbox.address)
            values.append(format_originator(mailbox.display_name or "", address))
        value = ", ".join(values)
        # Raw UTF-8 is left only in addresses that have no ASCII form: they need SMTPUTF8 anyway.
        return _field(name, value, smtputf8=True)
    except HeaderSyntaxError as error:
        raise ComposeError(at, str(error)) from error


def _field(name: str, value: str, *, smtputf8: bool = False) -> bytes:
    """As `render_field`; most fields fit on their line as they are, which is found out sooner.

    name: one that is known to be good.
    """
    line = f"{name}: {value}"
    if len(line) <= FOLD_AT and line.isascii() and line.isprintable():
        return b"%b\r\n" % line.encode("ascii")
    return render_field(name, value, smtputf8=smtputf8)


def _as_ascii(address: Address) -> Address:
    """The same mailbox with A-labels, where that spares the next hop SMTPUTF8."""
    if address.is_ascii or not address.local_part.isascii():
        return address
    return Address(address.local_part, address.ascii_domain)


def _custom(headers: Sequence[tuple[str, str]]) -> list[bytes]:
    rendered: list[bytes] = []
    seen: set[str] = set()
    for name, value in headers:
        pointer = "/headers/" + name.replace("~", "~0").replace("/", "~1")
        key = name.lower()
        if key in _MESSAGE_ID_FIELDS:
            if key in seen:
                raise ComposeError(pointer, "may stand only once (RFC 5322 3.6)")
            if not _MSG_IDS.fullmatch(value):
                raise ComposeError(pointer, "must be Message-IDs such as <id@example.com>")
            seen.add(key)
            rendered.append(_field(_MESSAGE_ID_FIELDS[key], value))
        elif _CUSTOM_NAME.fullmatch(name) and not key.startswith("x-gatewayd-"):
            rendered.append(_text_field(name, value, pointer))
        else:
            raise ComposeError(pointer, _ALLOWED)
    return rendered


def _text_field(name: str, text: str, pointer: str) -> bytes:
    """A field in which any text may stand, such that a reader shows exactly this text."""
    _refuse_control(text, pointer)
    try:
        if (
            not text.isascii()
            or "=?" in text
            or text != text.strip(" \t")
            or (len(text) > _LONGEST_WORD and max(map(len, text.split())) > _LONGEST_WORD)
        ):
            text = encoded_word.encode(text, first_width=_MAX_ENCODED_LINE - len(name) - 2)
        return _field(name, text)
    except UnicodeEncodeError as error:
        raise ComposeError(pointer, "must be valid Unicode") from error


def _refuse_control(text: str, pointer: str) -> None:
    if _CONTROL.search(text):
        raise ComposeError(pointer, "may not hold line breaks or control characters")


def _content(fields: Fields, message_id: str) -> _Entity:
    """The tree of the table above, as one entity."""
    text = _text_part("plain", fields.text or "", "/text")
    if fields.html is None and not fields.attachments:
        return text
    html = None if fields.html is None else _text_part("html", fields.html, "/html")
    related: list[_Entity] = []
    mixed: list[_Entity] = []
    for index, attachment in enumerate(fields.attachments):
        in_html = html is not None and attachment.content_id is not None
        (related if in_html else mixed).append(_attachment(attachment, f"/attachments/{index}"))
    boundary = _boundary(message_id, [text, html, *related, *mixed])
    body = text
    if html is not None:
        body = html
        if related:
            body = _multipart('related; type="text/html"', boundary + "r", [html, *related])
        if fields.text is not None:
            body = _multipart("alternative", boundary + "a", [text, body])
    return _multipart("mixed", boundary + "m", [body, *mixed]) if mixed else body


def _text_part(subtype: Literal["plain", "html"], text: str, pointer: str) -> _Entity:
    try:
        encoding, body = encode_text(text)
    except UnicodeEncodeError as error:
        raise ComposeError(pointer, "must be valid Unicode") from error
    return _Entity(_text_fields(subtype, encoding), body, encoding)


@functools.cache
def _text_fields(subtype: Literal["plain", "html"], encoding: str) -> bytes:
    fields = f"Content-Type: text/{subtype}; charset=utf-8\r\n{_encoding_field(encoding)}"
    return fields.encode("ascii")


def _encoding_field(encoding: str) -> str:
    return f"Content-Transfer-Encoding: {encoding}\r\n"


def _boundary(message_id: str, entities: Sequence[_Entity | None]) -> str:
    """A boundary that stands in no entity: base64 cannot hold it, the others are hashed into it."""
    digest = hashlib.sha256(message_id.encode("ascii"))
    for entity in entities:
        if entity is not None and entity.encoding != "base64":
            digest.update(entity.body)
    return "=_" + digest.hexdigest()[:32]


def _multipart(subtype: str, boundary: str, entities: Sequence[_Entity]) -> _Entity:
    # What holds 8bit says so itself (RFC 2045 6.4).
    encoding = "8bit" if any(entity.encoding == "8bit" for entity in entities) else "7bit"
    fields = render_field("Content-Type", f'multipart/{subtype}; boundary="{boundary}"')
    if encoding == "8bit":
        fields += _encoding_field(encoding).encode("ascii")
    delimiter = b"--" + boundary.encode("ascii")
    pieces: list[bytes] = []
    for entity in entities:
        pieces += (delimiter, b"\r\n", entity.fields, b"\r\n", entity.body, b"\r\n")
    pieces += (delimiter, b"--\r\n")
    return _Entity(fields, b"".join(pieces), encoding, is_multipart=True)


def _attachment(attachment: Attachment, pointer: str) -> _Entity:
    media_type = attachment.content_type
    if len(media_type) > _MAX_MEDIA_TYPE or not _MEDIA_TYPE.fullmatch(media_type):
        raise ComposeError(f"{pointer}/content_type", "must be type/subtype, as application/pdf")
    kind = media_type.partition(";")[0].strip().lower()
    if kind == "message/rfc822":
        encoding, body = _message(attachment.content, f"{pointer}/content")
    elif kind.startswith(("multipart/", "message/")):
        raise ComposeError(
            f"{pointer}/content_type", "of multipart and message only message/rfc822 is allowed"
        )
    else:
        encoding, body = "base64", encode_base64(attachment.content)
    if attachment.disposition not in {"attachment", "inline"}:
        raise ComposeError(f"{pointer}/disposition", "must be attachment or inline")
    fields = [
        render_field("Content-Type", media_type),
        _encoding_field(encoding).encode("ascii"),
        _disposition(attachment, f"{pointer}/filename"),
    ]
    content_id = attachment.content_id
    if content_id is not None:
        if not _CONTENT_ID.fullmatch(content_id):
            raise ComposeError(
                f"{pointer}/content_id", "must be as logo@example.com, without angle brackets"
            )
        fields.append(render_field("Content-ID", f"<{content_id}>"))
    return _Entity(b"".join(fields), body, encoding)


def _message(content: bytes, pointer: str) -> tuple[str, bytes]:
    """An attached message: it may not be encoded (RFC 2046 5.2.1), so its lines must be fit."""
    if b"\r" not in content:
        content = content.replace(b"\n", b"\r\n")
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    if _NOT_LINES.search(content) or max(map(len, content.split(b"\r\n"))) > MAX_LINE:
        raise ComposeError(
            pointer, f"a message has CRLF line ends, no NUL, and lines of at most {MAX_LINE} octets"
        )
    return ("7bit" if content.isascii() else "8bit"), content


def _disposition(attachment: Attachment, pointer: str) -> bytes:
    field = f"Content-Disposition: {attachment.disposition}"
    name = attachment.filename
    if not name:
        return f"{field}\r\n".encode("ascii")
    _refuse_control(name, pointer)
    try:
        octets = name.encode()
    except UnicodeEncodeError as error:
        raise ComposeError(pointer, "must be valid Unicode") from error
    if len(octets) > _MAX_FILENAME:
        raise ComposeError(pointer, f"may have at most {_MAX_FILENAME} octets")
    # Readers fold white space and decode words even inside quotes; percent notation is exact.
    is_plain = name.isascii() and "=?" not in name and name == " ".join(name.split())
    if is_plain and len(name) <= _SHORT_FILENAME:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{field};\r\n filename="{escaped}"\r\n'.encode("ascii")
    sections = _sections(name)
    if len(sections) == 1:
        return f"{field};\r\n filename*=utf-8''{sections[0]}\r\n".encode("ascii")
    sections[0] = f"utf-8''{sections[0]}"
    numbered = [f"filename*{number}*={section}" for number, section in enumerate(sections)]
    return ";\r\n ".join([field, *numbered]).encode("ascii") + b"\r\n"


def _sections(name: str) -> list[str]:
    """The name in percent notation, cut between characters (RFC 2231 3, 4)."""
    sections = [""]
    for character in name:
        encoded = "".join(map(_PERCENT.__getitem__, character.encode()))
        if len(sections[-1]) + len(encoded) > _SECTION:
            sections.append("")
        sections[-1] += encoded
    return sections
