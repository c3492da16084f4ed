"""The stored copy: the submitted octets with the few edits that we make, and no other.

Added: Received; From, Date and Message-ID where absent. Replaced: the display name in From, if the
operator set one. Taken out: Bcc, and the fields that speak to us. Body octets never change, so
signed and encrypted mail stays valid (RFC 6409 8).
"""

from __future__ import annotations

import datetime as dt
import hashlib

from gatewayd.errors import Code, Fault, Refused
from gatewayd.ids import QueueId
from gatewayd.mail import encoded_word, received
from gatewayd.mail.compose import ComposeError, Fields, compose
from gatewayd.mail.envelope import BodyType, Envelope, Recipient
from gatewayd.mail.header import HeaderSection, format_date
from gatewayd.mail.mailbox_list import format_originator
from gatewayd.mail.message import RawMessage
from gatewayd.policy import options
from gatewayd.policy.submission import Door, Submission

SUBJECT_SHOWN = 200  # characters kept for lists
_NOT_KEPT = frozenset((b"bcc", b"resent-bcc"))
_CHANGES_WITH_EACH_TRY = frozenset((b"received", b"date", b"message-id"))


def octets_of(submission: Submission, queue_id: QueueId, at: dt.datetime) -> RawMessage:
    """The message as submitted; fields of the API are composed.

    Raises:
        Refused: header_invalid, with a pointer to the field that cannot be written.
    """
    content = submission.content
    if isinstance(content, Fields):
        try:
            return compose(content, message_id(submission, queue_id), at)
        except ComposeError as error:
            fault = Fault(pointer=error.pointer, detail=error.detail, code=Code.HEADER_INVALID)
            raise Refused(Code.HEADER_INVALID, error.detail, faults=[fault]) from error
    return content


def message_id(submission: Submission, queue_id: QueueId) -> str:
    return f"<{queue_id}@{submission.principal.mailbox.ascii_domain}>"


def envelope_of(submission: Submission, message: RawMessage) -> Envelope:
    """The envelope that is stored: each address once, and what the content needs of a next hop.

    Over HTTP nobody can say BODY or SMTPUTF8, so they follow from the octets.
    """
    given = submission.envelope
    recipients = _once(given.recipients)
    smtputf8 = given.smtputf8
    if submission.trace.door is Door.HTTP:
        address = given.reverse_path.address
        smtputf8 = (
            message.needs_smtputf8
            or (address is not None and not address.is_ascii)
            or not all(recipient.forward_path.address.is_ascii for recipient in recipients)
        )
    body = BodyType.EIGHT_BIT if message.has_8bit else given.body
    if (recipients, smtputf8, body) == (given.recipients, given.smtputf8, given.body):
        return given
    return Envelope(
        given.reverse_path,
        recipients,
        body,
        smtputf8=smtputf8,
        envid=given.envid,
        ret=given.ret,
    )


def fingerprint(envelope: Envelope, message: RawMessage) -> bytes:
    """Digest of what makes a submission the same when a client sends it again over SMTP."""
    digest = hashlib.sha256(str(envelope.reverse_path).encode())
    for recipient in envelope.recipients:
        digest.update(b"\n" + str(recipient.forward_path).encode())
    digest.update(b"\n\n")
    for field in message.header.fields:
        if field.key not in _CHANGES_WITH_EACH_TRY:
            digest.update(field.raw)
    body = message.body
    digest.update(b"\r\n" + (body if isinstance(body, bytes) else body.sha256.encode()))
    return digest.digest()


def stored(  # noqa: PLR0913 - what each field is made of
    message: RawMessage,
    submission: Submission,
    envelope: Envelope,
    *,
    queue_id: QueueId,
    display_name: str | None,
    hostname: str,
    at: dt.datetime,
) -> RawMessage:
    """The stored copy."""
    principal, trace = submission.principal, submission.trace
    header = message.header
    if options.may_stand_in(header) or b"bcc" in header.octets.lower():
        header = header.without(_is_not_kept)
    by_name = header.by_name
    utf8 = envelope.smtputf8
    if b"from" not in by_name:
        originator = format_originator(display_name or "", principal.mailbox, smtputf8=utf8)
        header = header.append("From", originator, smtputf8=utf8)
    elif display_name is not None:
        originator = format_originator(display_name, principal.mailbox, smtputf8=utf8)
        header = header.replace("From", originator, smtputf8=utf8)
    if b"date" not in by_name:
        header = header.append("Date", format_date(at))
    if b"message-id" not in by_name:
        header = header.append("Message-ID", message_id(submission, queue_id))
    field = received.write(
        by=hostname,
        helo=trace.helo,
        peer=trace.peer,
        protocol=trace.protocol,
        tls=trace.tls,
        queue_id=queue_id,
        for_=envelope.recipients[0].forward_path if len(envelope.recipients) == 1 else None,
        at=at,
    )
    return RawMessage(header.prepend("Received", field, smtputf8=utf8), message.body)


def shown_subject(header: HeaderSection) -> str:
    return encoded_word.decode(header.first("Subject") or b"")[:SUBJECT_SHOWN]


def shown_message_id(header: HeaderSection) -> str:
    return (header.first("Message-ID") or b"").decode("utf-8", "replace")[:998]


def _is_not_kept(key: bytes) -> bool:
    return key in _NOT_KEPT or options.is_option(key)


def _once(recipients: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
    if len(recipients) == 1:
        return recipients
    seen: dict[str, Recipient] = {}
    for recipient in recipients:
        seen.setdefault(recipient.forward_path.address.canonical, recipient)
    return tuple(seen.values())
