"""Read what came back: whichever form it has, one Report.

The first that fits decides:

| order | what                                                       | kind       | by             |
|-------|------------------------------------------------------------|------------|----------------|
| 1     | fields of a delivery status, with a recipient              | dsn        | dsn.py         |
| 2     | fields of feedback, or a complaint in another form         | abuse      | arf.py         |
| 3     | disposition of a message, vacation notice, challenge       | auto_reply | auto_reply.py  |
| 4     | signs of a mail system, the form of a bounce in the text   | text       | bounce_text.py |
| 5     | Auto-Submitted: auto-replied                               | auto_reply | auto_reply.py  |
| 6     | anything else                                              | other      |                |

What stands inside an attached message is never looked at for 1 to 5: a bounce that a person passes
on or talks about is no bounce. `read` never raises, and takes time in proportion to the octets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gatewayd.reports import arf, auto_reply, bounce_text, dsn, notice, origin
from gatewayd.reports.notice import Notice
from gatewayd.reports.parts import Part, decode, header_fields, parse, split
from gatewayd.reports.report import Kind, Report

MAX_STATUS: Final = 262_144  # octets of fields


def read(octets: bytes) -> Report:
    """What a message that came back says."""
    message = parse(octets)
    report = _read(message)
    if not any(recipient.address for recipient in report.recipients):
        inner = _wrapped(message)
        return report if inner is None else _read(inner)
    return report


def _read(message: Part) -> Report:
    leaves = tuple(_leaves(message))
    sender = origin.of(message)
    said = notice.of(leaves)
    report = (
        _delivery_status(message, leaves, sender, said)
        or arf.read(message, leaves, said.original, sender)
        or _answer(message)
        or bounce_text.read(message, sender, said)
    )
    if report is None:
        is_answer = auto_reply.is_likely(message)
        return Report(kind=Kind.AUTO_REPLY if is_answer else Kind.OTHER, detector="read")
    return replace(report, original=said.original, message_id=_message_id(said.original))


def _wrapped(message: Part) -> Part | None:
    """The report that a mail system passes on as an attachment of its own empty one, if it is so.

    Both must be a mail system's: a person who forwards a bounce has not bounced.
    """
    outer = origin.of(message)
    if outer.is_list or not (outer.is_system and outer.says_bounce):
        return None
    attached = next((part for part in _leaves(message) if part.kind == "message/rfc822"), None)
    if attached is None:
        return None
    inner = parse(attached.octets())
    sender = origin.of(inner)
    return inner if sender.is_report and sender.is_system else None


def _leaves(part: Part) -> Iterator[Part]:
    if not part.parts:
        yield part
    for child in part.parts:
        yield from _leaves(child)


def _answer(message: Part) -> Report | None:
    if message.has("x-failed-recipients") or bounce_text.is_rejection(message):
        return None
    if auto_reply.is_receipt(message) or auto_reply.is_certain(message):
        return Report(kind=Kind.AUTO_REPLY, detector="auto_reply")
    return None


def _delivery_status(
    message: Part, leaves: tuple[Part, ...], sender: origin.Origin, said: Notice
) -> Report | None:
    text = _status_text(message, leaves, sender)
    if not text:
        return None
    about, groups = dsn.groups(text)
    if not groups:
        return None
    only = said.original_to[0] if len(said.original_to) == 1 else ""
    recipients = [
        dsn.recipient(
            about | group,
            words=said.about,
            whole=said.text if len(groups) == 1 else "",
            only_original=only,
            is_delay=sender.says_delay,
        )
        for group in groups
    ]
    return Report(
        kind=Kind.DSN,
        recipients=tuple(recipients),
        reporting_mta=dsn.mta(about.get("reporting-mta", "")),
        original_envelope_id=about.get("original-envelope-id", "").strip()[:100],
        detector="dsn",
    )


def _status_text(message: Part, leaves: tuple[Part, ...], sender: origin.Origin) -> str:
    """The fields of a delivery status, "" when the message has none of its own."""
    is_report = message.kind == "multipart/report" or message.kind in dsn.KINDS
    is_sent_by_system = is_report or sender.is_system or sender.is_null
    if not is_sent_by_system and (sender.is_in_thread or not sender.is_bounce_like):
        return ""
    for part in leaves:
        if part.kind in dsn.KINDS:
            # Without a blank line between, the fields are in the header of the part.
            is_joined = part.has("final-recipient")
            text = decode(part.raw[:MAX_STATUS], "") if is_joined else part.text(limit=MAX_STATUS)
            if "ecipient" in text:
                return text
    # Without a media type of its own a person may have pasted it.
    for part in leaves if is_sent_by_system and not sender.is_answer else ():
        if part.kind in ("text/plain", "application/octet-stream"):
            text = part.text()
            if dsn.looks_like_status(text):
                return text
    return ""


def _message_id(original: bytes) -> str:
    for name, value in header_fields(split(original)[0]):
        if name == "message-id":
            return value[:998].decode("utf-8", "replace").strip()
    return ""
