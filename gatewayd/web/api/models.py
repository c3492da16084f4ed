"""The JSON that a client sends to be sent on: fields, sizes, and the words for each mistake.

Types are strict: a number is not taken for a string. A field that is not declared here is
refused. What belongs to policy (count of recipients, length of the subject, sizes) is left to it,
so that every door refuses it with the same code.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gatewayd.errors import Code
from gatewayd.mail import mailbox_list
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.mail.mailbox_list import HeaderSyntaxError, Mailbox

MOST_ENTRIES: Final = 10_000  # each is parsed before policy can count them

_CONTROL: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+"  # noqa: S105 - token of RFC 2045 5.1
_PARAMETER: Final = rf'[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*")'
_MEDIA_TYPE: Final = re.compile(
    rf"(?!(?i:multipart/|message/(?!rfc822\b))){_TOKEN}/{_TOKEN}(?:{_PARAMETER})*\Z"
)
_CONTENT_ID: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]+\Z")
_HEADER_NAME: Final = re.compile(
    r"(?i:X-(?!Gatewayd-)[A-Za-z0-9_-]{1,74}|In-Reply-To|References)\Z"
)


class Shape(BaseModel):
    """A JSON object with no field that is not declared, and no conversion of types."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True
    )


def _wrong(code: Code, detail: str, *, at: str = "") -> PydanticCustomError:
    """The error for one mistake; `at` names the field when a whole object is judged."""
    return PydanticCustomError(
        code.word,
        "{detail}",  # braces in the text itself would be read as a template
        {"detail": detail, "at": at},
    )


def _header_text(text: str) -> str:
    if _CONTROL.search(text):
        raise _wrong(Code.HEADER_INVALID, "may not hold line breaks or control characters")
    return text


def _body_text(text: str) -> str:
    if "\0" in text:
        raise _wrong(Code.VALIDATION_FAILED, "may not hold NUL")
    return text


def _address(text: str) -> str:
    try:
        Address.parse(text)
    except AddressSyntaxError as error:
        raise _wrong(Code.RECIPIENT_INVALID, str(error)) from None
    return text


HeaderText = Annotated[str, AfterValidator(_header_text)]
BodyText = Annotated[str, AfterValidator(_body_text)]


class AddressObject(Shape):
    """An address and the name to show beside it."""

    address: Annotated[str, AfterValidator(_address)] = Field(examples=["ann@example.com"])
    name: Annotated[str, StringConstraints(max_length=256), AfterValidator(_header_text)] | None = (
        Field(default=None, examples=["Ann Example"])
    )


def _mailbox(value: str | AddressObject) -> Mailbox:
    if isinstance(value, AddressObject):
        return Mailbox(Address.parse(value.address), value.name or None)
    if "\r" in value or "\n" in value:
        # Folding belongs to header sections; here it could only be meant to make a field.
        raise _wrong(Code.RECIPIENT_INVALID, "may not hold line breaks")
    try:
        if "<" not in value and '"' not in value:
            return Mailbox(Address.parse(value), None)
        found = mailbox_list.mailboxes(value.encode())
    except (AddressSyntaxError, HeaderSyntaxError) as error:
        raise _wrong(Code.RECIPIENT_INVALID, str(error)) from None
    if len(found) != 1:
        raise _wrong(Code.RECIPIENT_INVALID, "give each address an entry of its own")
    return found[0]


def _entry_kind(value: object) -> str:
    return "<object>" if isinstance(value, dict | AddressObject) else "<text>"


Entry = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[AddressObject, Tag("<object>")],
    Discriminator(_entry_kind),
    AfterValidator(_mailbox),
]


def _list_kind(value: object) -> str:
    return "<many>" if isinstance(value, list) else "<one>"


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401 - one entry or a list of them
    return value if isinstance(value, list) else [value]


Mailboxes = Annotated[
    Annotated[Entry, Tag("<one>")] | Annotated[list[Entry], Tag("<many>")],
    Discriminator(_list_kind),
    AfterValidator(_as_list),
]


def _base64(value: object) -> bytes:
    """The octets: padding as RFC 4648 3.2 asks, no line breaks (RFC 4648 3.1)."""
    try:
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise _wrong(
        Code.VALIDATION_FAILED, "must be a string of base64 with padding and without line breaks"
    )


def _media_type(text: str) -> str:
    if not _MEDIA_TYPE.match(text):
        raise _wrong(
            Code.VALIDATION_FAILED,
            "must be a media type such as application/pdf; not multipart/*, "
            "and of message/* only message/rfc822",
        )
    return text


def _content_id(text: str) -> str:
    if not _CONTENT_ID.match(text):
        raise _wrong(
            Code.VALIDATION_FAILED,
            "must be letters, digits, dots, hyphens and one @, without angle brackets",
        )
    return text


class AttachmentObject(Shape):
    """A file that goes with the message."""

    filename: Annotated[
        str, StringConstraints(min_length=1, max_length=255), AfterValidator(_header_text)
    ] = Field(examples=["invoice.pdf"])
    content: Annotated[
        bytes,
        BeforeValidator(_base64),
        WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
    ] = Field(description="The octets in base64.", examples=["JVBERi0xLjQK"])
    content_type: Annotated[str, StringConstraints(max_length=255), AfterValidator(_media_type)] = (
        Field(examples=["application/pdf"])
    )
    content_id: (
        Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_content_id)]
        | None
    ) = Field(default=None, description="For `cid:` in the HTML; makes it inline by default.")
    disposition: Literal["attachment", "inline"] | None = None


def _header_name(name: str) -> str:
    if not _HEADER_NAME.match(name):
        raise _wrong(
            Code.VALIDATION_FAILED, "allowed are X-* (not X-Gatewayd-*), In-Reply-To and References"
        )
    return name


def _once(headers: dict[str, str]) -> dict[str, str]:
    if len({name.lower() for name in headers}) != len(headers):
        raise _wrong(Code.VALIDATION_FAILED, "a field stands twice, in two spellings")
    for name, value in headers.items():
        if not (name[:2] in {"X-", "x-"} or value.isascii()):
            raise _wrong(Code.HEADER_INVALID, f"{name} must be ASCII")
    return headers


Headers = Annotated[
    dict[Annotated[str, AfterValidator(_header_name)], HeaderText],
    Field(max_length=100),
    AfterValidator(_once),
]
TagText = Annotated[
    str, StringConstraints(min_length=1, max_length=64), AfterValidator(_header_text)
]
MetadataValue = Annotated[str, StringConstraints(max_length=1024)]
Metadata = Annotated[
    dict[Annotated[str, StringConstraints(min_length=1, max_length=64)], MetadataValue],
    Field(max_length=50),
]


def _off(value: object) -> object:
    if value != "off":
        raise _wrong(
            Code.VALIDATION_FAILED, 'must be "off" or an array of "opens", "clicks" or both'
        )
    return value


Tracked = Annotated[list[Literal["opens", "clicks"]], Field(min_length=1, max_length=2)]
Track = Annotated[
    Annotated[Literal["off"], BeforeValidator(_off), Tag("<one>")]
    | Annotated[Tracked, Tag("<many>")],
    Discriminator(_list_kind),
    Field(examples=[["opens", "clicks"], "off"]),
]

_RECIPIENTS_HELP: Final = (
    "One entry or a list: `ann@example.com`, `Ann <ann@example.com>`, or "
    "`{address, name}`. At most 100 over to, cc and bcc by default."
)


class SendMessage(Shape):
    """One message. Its From is the mailbox of the token."""

    model_config = ConfigDict(
        title="SendMessage",
        json_schema_extra={
            "anyOf": [{"required": ["to"]}, {"required": ["cc"]}, {"required": ["bcc"]}],
            "examples": [
                {"to": ["ann@example.com"], "subject": "Hello", "text": "Hello Ann.\n"},
            ],
        },
    )

    to: Mailboxes | None = Field(default=None, description=_RECIPIENTS_HELP)
    cc: Mailboxes | None = Field(default=None, description="As `to`.")
    bcc: Mailboxes | None = Field(default=None, description="As `to`; shown to nobody.")
    subject: HeaderText | None = Field(default=None, description="At most 998 octets.")
    text: BodyText | None = Field(default=None, description="This or `html` is required.")
    html: BodyText | None = Field(default=None, description="This or `text` is required.")
    headers: Headers | None = Field(
        default=None, description="X-*, In-Reply-To and References.", examples=[{"X-Run": "17"}]
    )
    attachments: Annotated[list[AttachmentObject], Field(max_length=100)] | None = None
    tags: Annotated[list[TagText], Field(max_length=20)] | None = Field(
        default=None, description="Words to find the message by.", examples=[["invoice"]]
    )
    metadata: Metadata | None = Field(
        default=None, description="Pairs that are kept with the message.", examples=[{"run": "17"}]
    )
    track: Track | None = Field(
        default=None,
        description="What to track of the HTML; without it, what the mailbox says.",
    )

    def mailboxes(self, field: Literal["to", "cc", "bcc"]) -> tuple[Mailbox, ...]:
        """Whom a field names; validation has made Mailboxes of what was sent."""
        return tuple(cast("list[Mailbox]", getattr(self, field) or ()))

    @model_validator(mode="before")
    @classmethod
    def _names_no_more_than_can_be_read(cls, document: object) -> object:
        if isinstance(document, dict):
            lists = [document.get("to"), document.get("cc"), document.get("bcc")]
            if sum([len(each) for each in lists if isinstance(each, list)]) > MOST_ENTRIES:
                detail = f"more than {MOST_ENTRIES} entries in to, cc and bcc"
                raise _wrong(Code.TOO_MANY_RECIPIENTS, detail, at="to")
        return document

    @model_validator(mode="after")
    def _has_what_a_message_needs(self) -> Self:
        if not (self.to or self.cc or self.bcc):
            raise _wrong(Code.RECIPIENT_MISSING, "name a recipient in to, cc or bcc", at="to")
        if self.text is None and self.html is None:
            raise _wrong(Code.VALIDATION_FAILED, "text or html is required", at="text")
        return self


class SendBatch(Shape):
    """Messages that are accepted or refused each by itself."""

    messages: list[Any] = Field(description="One to 100 by default.", min_length=1)
