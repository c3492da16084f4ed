"""Read a complaint: whose mail was taken for spam. Pure.

Whoever sends to complaints@ can write any address into a report, so none is believed. A recipient
is named by what carries a MAC of ours inside the reported message (RFC 5965 2: it is a part of the
report), and by nothing else:

| where in the reported message                 | believed                                        |
|-----------------------------------------------|-------------------------------------------------|
| header section: VERP address, unsubscribe URL | yes                                             |
| body: VERP address, or unsubscribe URL        | only where the header section has none, and     |
|                                               | From is the mailbox that sent our message: a    |
|                                               | recipient's own mail may quote ours             |

Tokens of opens and clicks name nobody here: proxies and whoever a link was passed on to have them.
Who holds an unsubscribe URL may stop the mail of its recipient in any case.

A VERP address that recipients share needs one more thing: the report names one of them, as
Original-Rcpt-To or Removal-Recipient (RFC 5965 3).

| Feedback-Type (RFC 5965 7.3)                   | does                                           |
|------------------------------------------------|------------------------------------------------|
| abuse, fraud, virus, opt-out, opt-out-list     | `complained_at` once, and suppression          |
| not-spam, auth-failure, other, any other word  | nothing                                        |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gatewayd.bounces.decide import same
from gatewayd.bounces.signed import Signed, header_of
from gatewayd.ids import QueueId, RecipientId
from gatewayd.reports import addresses, arf, parts
from gatewayd.reports.report import Report
from gatewayd.store.recipients import RecipientRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """What a report of feedback says, as far as it may be believed.

    idents: ids of recipients or messages whose MACs stand in the reported message.
    is_quoted: they stand in its body only.
    sender: From of the reported message, as a key.
    named: recipients that the report names, as keys.
    """

    feedback_type: str
    source: str
    idents: frozenset[str]
    is_quoted: bool
    sender: str
    named: frozenset[str]

    @property
    def is_complaint(self) -> bool:
        return self.feedback_type in arf.COMPLAINTS


def read(report: Report, signed: Signed) -> Complaint:
    """What may be believed of a report of feedback."""
    header = header_of(report.original)
    idents = signed.addresses(header) | signed.tokens(header)
    is_quoted = not idents
    if is_quoted:
        for text in _texts(report.original):
            idents |= signed.addresses(text) | signed.tokens(text)
    fields = parts.header_fields(header.replace(b"\r\n", b"\n"))
    sender = next((value for name, value in fields if name == "from"), b"")
    return Complaint(
        feedback_type=report.feedback_type,
        source=report.reporting_mta,
        idents=frozenset(idents),
        is_quoted=is_quoted,
        sender=same(addresses.first(sender[-1024:].decode("utf-8", "replace"))),
        named=frozenset(same(one.address) for one in report.recipients if one.address),
    )


def complainers(
    complaint: Complaint, rows: Mapping[RecipientId, RecipientRow], senders: Mapping[QueueId, str]
) -> list[RecipientRow]:
    """Who of these recipients has complained.

    Args:
        complaint: what was reported.
        rows: recipients of its ids, and all those of the messages among its ids.
        senders: the reverse-path that each message was submitted with.
    """
    found: list[RecipientRow] = []
    of_message: dict[QueueId, list[RecipientRow]] = {}
    for row in rows.values():
        if row.queue_id in complaint.idents:
            of_message.setdefault(row.queue_id, []).append(row)
    for row in rows.values():
        sender = same(senders.get(row.queue_id, ""))
        if complaint.is_quoted and (not sender or sender != complaint.sender):
            continue
        sharers = of_message.get(row.queue_id, [])
        is_named = len(sharers) == 1 or same(row.forward_path) in complaint.named
        if row.recipient_id in complaint.idents or (row in sharers and is_named):
            found.append(row)
    return found


def _texts(original: bytes) -> Iterator[bytes]:
    """The body of the reported message: as it is, and the parts whose encoding hides it."""
    yield original
    waiting = [parts.parse(original)]
    while waiting:
        part = waiting.pop()
        waiting.extend(part.parts)
        encoding = part.find("content-transfer-encoding").strip().lower()
        if not part.parts and encoding in (b"base64", b"quoted-printable"):
            yield part.octets()
