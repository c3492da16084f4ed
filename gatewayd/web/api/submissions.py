"""What a client sent, as the Submission that intake takes; and intake's faults back to its JSON.

The reverse-path and From are the mailbox of the token. Recipients that are named twice are one:
the first place counts.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, Protocol

from starlette.types import Scope

from gatewayd.errors import Code, Fault, Refused
from gatewayd.mail import mailbox_list
from gatewayd.mail.address import Address, AddressSyntaxError, ForwardPath, ReversePath
from gatewayd.mail.compose import Attachment, Fields
from gatewayd.mail.envelope import BodyType, Envelope, Recipient
from gatewayd.mail.mailbox_list import HeaderSyntaxError, Mailbox
from gatewayd.mail.message import RawMessage
from gatewayd.policy.submission import Accepted, Door, Options, Submission, Trace
from gatewayd.tokens.claims import Principal
from gatewayd.web import problems
from gatewayd.web.api.models import AttachmentObject, SendMessage

_RECIPIENT_FIELDS: Final[tuple[Literal["to", "cc", "bcc"], ...]] = ("to", "cc", "bcc")
_ADDRESS_CHARACTERS: Final = 64  # of IPv6, with the name of an interface
_IN_ENVELOPE: Final = re.compile(r"/recipients/(\d{1,9})\b")


class Intake(Protocol):
    """Takes responsibility for submissions."""

    async def accept(self, submission: Submission) -> Accepted:
        """Return when the message is on stable storage; raise Refused or StoreError if not."""
        ...


class Named(NamedTuple):
    """One recipient as the client named it: `pointer` says where."""

    address: Address
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A submission, and where in the request its parts stand.

    pointers: of each recipient of the envelope.
    prefix: before every other pointer, in a batch.
    """

    submission: Submission
    pointers: tuple[str, ...]
    prefix: str = ""

    async def hand_to(self, intake: Intake) -> Accepted:
        """Hand it over; a refusal points into what the client sent.

        Raises:
            Refused: with pointers of the request instead of `/recipients/N` of the envelope.
        """
        try:
            return await intake.accept(self.submission)
        except Refused as refused:
            if not refused.faults:
                raise
            raise self._relocated(refused) from refused

    def _relocated(self, refused: Refused) -> Refused:
        return Refused(
            refused.kind,
            refused.public,
            reason=refused.reason,
            faults=[replace(each, pointer=self._place(each.pointer)) for each in refused.faults],
            retry_after_s=refused.retry_after_s,
        )

    def _place(self, pointer: str) -> str:
        match = _IN_ENVELOPE.match(pointer)
        if match is not None and int(match[1]) < len(self.pointers):
            return self.pointers[int(match[1])] + pointer[match.end() :]
        return self.prefix + pointer


def from_fields(
    message: SendMessage,
    document: Mapping[str, object],
    principal: Principal,
    *,
    options: Options,
    trace: Trace,
    prefix: str = "",
) -> Draft:
    """The submission of a message that came as JSON.

    Args:
        message: what the client wants sent.
        document: the JSON object it was read from.
        principal: who sends it.
        options: key and fingerprint; tags, metadata and tracking are the message's.
        trace: where it came from.
        prefix: where in the request the document stood.
    """
    to, cc, bcc = (message.mailboxes(field) for field in _RECIPIENT_FIELDS)
    content = Fields(
        from_=principal.mailbox,
        to=to,
        cc=cc,
        subject=message.subject,
        text=message.text,
        html=message.html,
        headers=tuple(message.headers.items()) if message.headers else (),
        attachments=tuple(map(_attachment, message.attachments)) if message.attachments else (),
    )
    if message.tags or message.metadata or message.track is not None:
        options = Options(
            idempotency_key=options.idempotency_key,
            fingerprint=options.fingerprint,
            tags=tuple(message.tags or ()),
            metadata=tuple((message.metadata or {}).items()),
            track=_track(message),
        )
    return _draft(
        _named((to, cc, bcc), document, prefix),
        principal,
        content=content,
        options=options,
        trace=trace,
        prefix=prefix,
    )


def from_octets(
    message: RawMessage,
    forward_paths: Sequence[str],
    principal: Principal,
    *,
    options: Options,
    trace: Trace,
) -> Draft:
    """The submission of a message that came as message/rfc822.

    Args:
        message: its octets.
        forward_paths: the `rcpt` parameters; when there are none, To, Cc and Bcc are read.
        principal: who sends it.
        options: without tags and metadata, for which this form has no place.
        trace: where it came from.

    Raises:
        Refused: a recipient cannot be read, or there is none.
    """
    named = _from_parameters(forward_paths) if forward_paths else _from_header(message)
    if not named:
        raise _recipient_missing()
    return _draft(named, principal, content=message, options=options, trace=trace)


def trace(scope: Scope) -> Trace:
    """Where a request came from."""
    client = scope.get("client")
    return Trace(
        door=Door.HTTP,
        peer=_ip(client[0]) if client else "",
        helo="",
        protocol="HTTP",
        tls=scope.get("state", {}).get("tls", ""),
        request_id=problems.request_id(scope),
    )


def _draft(
    named: Iterable[Named],
    principal: Principal,
    *,
    content: Fields | RawMessage,
    options: Options,
    trace: Trace,
    prefix: str = "",
) -> Draft:
    once: dict[tuple[str, str], Named] = {}
    for each in named:
        once.setdefault((each.address.local_part, each.address.ascii_domain), each)
    sender = _as_ascii(principal.mailbox)
    addresses = [_as_ascii(each.address) for each in once.values()]
    is_ascii = sender.is_ascii and all(address.is_ascii for address in addresses)
    body, smtputf8 = BodyType.SEVEN_BIT, not is_ascii
    if isinstance(content, RawMessage):
        body = BodyType.EIGHT_BIT if content.has_8bit else BodyType.SEVEN_BIT
        smtputf8 = smtputf8 or content.needs_smtputf8
    envelope = Envelope(
        ReversePath(sender),
        tuple([Recipient(ForwardPath(address)) for address in addresses]),
        body,
        smtputf8=smtputf8,
    )
    return Draft(
        submission=Submission(
            principal=principal, envelope=envelope, content=content, options=options, trace=trace
        ),
        pointers=tuple([each.pointer for each in once.values()]),
        prefix=prefix,
    )


def _as_ascii(address: Address) -> Address:
    """The same mailbox with A-labels, where that spares the next hop SMTPUTF8."""
    if address.is_ascii or not address.local_part.isascii():
        return address
    return Address(address.local_part, address.ascii_domain)


def _track(message: SendMessage) -> frozenset[str] | None:
    if message.track is None:
        return None
    return frozenset() if message.track == "off" else frozenset(message.track)


def _attachment(given: AttachmentObject) -> Attachment:
    return Attachment(
        filename=given.filename,
        content_type=given.content_type,
        content=given.content,
        content_id=given.content_id,
        disposition=given.disposition or ("inline" if given.content_id else "attachment"),
    )


def _named(
    given: Iterable[Sequence[Mailbox]], document: Mapping[str, object], prefix: str
) -> Iterator[Named]:
    """Whom the recipient fields name, in their order."""
    for field, mailboxes in zip(_RECIPIENT_FIELDS, given, strict=True):
        if mailboxes:
            is_list = isinstance(document.get(field), list)
            for index, mailbox in enumerate(mailboxes):
                place = f"{prefix}/{field}/{index}" if is_list else f"{prefix}/{field}"
                yield Named(mailbox.address, place)


def _from_parameters(forward_paths: Sequence[str]) -> list[Named]:
    named: list[Named] = []
    faults: list[Fault] = []
    for index, text in enumerate(forward_paths):
        pointer = f"/query/rcpt/{index}"
        try:
            named.append(Named(Address.parse(text), pointer))
        except AddressSyntaxError as error:
            faults.append(_recipient_invalid(pointer, str(error)))
    if faults:
        raise Refused(
            Code.RECIPIENT_INVALID, f"{faults[0].pointer}: {faults[0].detail}", faults=faults
        )
    return named


def _from_header(message: RawMessage) -> list[Named]:
    """Whom To, Cc and Bcc name. The section may be anything yet: intake is to judge it."""
    named: list[Named] = []
    for field in ("To", "Cc", "Bcc"):
        for value in message.header.find(field):
            if not value.strip():
                continue  # `Bcc:` may be empty (RFC 5322 3.6.3)
            pointer = f"/{field.lower()}"
            try:
                found = mailbox_list.addresses(value, allow_groups=True)
            except HeaderSyntaxError as error:
                fault = _recipient_invalid(pointer, str(error))
                raise Refused(
                    Code.RECIPIENT_INVALID,
                    f"The field {field} cannot be read: {error}. "
                    "Mend it, or name the recipients in rcpt parameters.",
                    faults=[fault],
                ) from None
            named += [Named(address, pointer) for address in found]
    return named


def _recipient_invalid(pointer: str, detail: str) -> Fault:
    return Fault(pointer=pointer, detail=detail, code=Code.RECIPIENT_INVALID)


def _recipient_missing() -> Refused:
    detail = "name each recipient in a rcpt parameter, or in To, Cc or Bcc"
    fault = Fault(pointer="/query/rcpt", detail=detail, code=Code.RECIPIENT_MISSING)
    return Refused(Code.RECIPIENT_MISSING, f"No recipient: {detail}.", faults=[fault])


def _ip(host: str) -> str:
    """The address of a peer; a proxy may have written anything."""
    return _remembered_ip(host) if len(host) <= _ADDRESS_CHARACTERS else ""


@functools.lru_cache(maxsize=4096)  # a client keeps its connections, and comes back
def _remembered_ip(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""
