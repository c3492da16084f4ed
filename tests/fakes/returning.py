"""Returning: what comes back to a World, and the reports that tests send."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gatewayd.bounces.pipeline import Bounces, Returned, Taken
from gatewayd.config.returns import SuppressionSection
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import QueueId, RecipientId
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail.address import NULL, ReversePath
from gatewayd.mail.envelope import Notify
from gatewayd.mail.outcome import Delivered, Outcome
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus
from gatewayd.queue.claim import Claim
from gatewayd.queue.outcome import AttemptRecord
from gatewayd.store import events, notices, recipients
from gatewayd.store.database import Tx
from gatewayd.store.events import EventRow
from gatewayd.store.notices import NoticeRow
from gatewayd.store.recipients import RecipientRow
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, World, submission

DOMAIN = "bounces.example.com"
PUBLIC_URL = "https://gw.example"
TAKEN = Delivered(Reply(250, EnhancedStatus(2, 0, 0), "ok"))
RECORD = AttemptRecord(
    next_hop="h:25", phase="dot", tls="", transcript="C: MAIL", started_at=NOW, ended_at=NOW
)


@dataclass(kw_only=True)
class Returning:
    """A World whose next hop sends reports."""

    world: World
    section: SuppressionSection = field(default_factory=SuppressionSection)

    def __post_init__(self) -> None:
        clock = self.world.clock
        ring = new_ring(Purpose.VERP, created_at=NOW)
        self.reverse_paths = ReversePaths(
            ring, domain=DOMAIN, lifetime=dt.timedelta(days=14), clock=clock
        )
        self.links = Links(new_ring(Purpose.TRACKING, created_at=NOW), PUBLIC_URL)
        self.bounces = Bounces(
            self.world.database,
            reverse_paths=self.reverse_paths,
            find_tokens=self.links.find_leaving,
            section=self.section,
            parse_octets=2_097_152,
            clock=clock,
            metrics=self.world.metrics,
            on_owed=self.world.queue.owed.notify,
            executor=None,
        )

    async def queued(self, *to: str, notify: str = "", sandbox: bool = False) -> QueueId:
        """A message of Ann's in the queue, with this NOTIFY for each recipient."""
        principal = await self.world.principal(ANN, sandbox=sandbox)
        asked = submission(principal, *to)
        wanted = frozenset(Notify(word) for word in notify.split(",") if word)
        envelope = replace(
            asked.envelope,
            recipients=tuple(replace(one, notify=wanted) for one in asked.envelope.recipients),
        )
        accepted = await self.world.intake.accept(replace(asked, envelope=envelope))
        return accepted.queue_id

    async def claim(self) -> list[Claim]:
        lanes = await self.world.queue.lanes()
        return await self.world.queue.claim(dict.fromkeys(lanes, 10))

    async def sent(
        self,
        *to: str,
        outcome: Outcome = TAKEN,
        notify: str = "",
        sandbox: bool = False,
        offers_dsn: bool = False,
    ) -> QueueId:
        """A message whose dot was written, with this outcome for all."""
        queue_id = await self.queued(*to, notify=notify, sandbox=sandbox)
        for claim in await self.claim():
            await self.world.queue.mark(claim)
            await self.settle(claim, outcome, offers_dsn=offers_dsn)
        return queue_id

    async def settle(self, claim: Claim, outcome: Outcome, *, offers_dsn: bool = False) -> None:
        """Keep the same outcome for all recipients of an attempt."""
        by_id = {one.recipient_id: outcome for one in claim.recipients}
        await self.world.queue.settle(claim, by_id, replace(RECORD, dsn_offered=offers_dsn))

    async def notified(self, notice: NoticeRow) -> None:
        """What delivery/notify.py does when the DSN is in the queue."""

        def work(tx: Tx) -> None:
            told = Event(
                type=EventType.RECIPIENT_NOTIFIED,
                queue_id=notice.queue_id,
                recipient_id=notice.recipient_id,
                data={"action": notice.action, "notice_queue_id": "q"},
            )
            record.append(tx, [told])
            notices.remove(tx, [notice.notice_id])

        await self.world.database.write(work)

    async def rows(self, queue_id: QueueId) -> list[RecipientRow]:
        return (await self.world.database.read(lambda tx: recipients.of_messages(tx, [queue_id])))[
            queue_id
        ]

    async def row(self, queue_id: QueueId) -> RecipientRow:
        (row,) = await self.rows(queue_id)
        return row

    async def told(self, queue_id: QueueId) -> list[EventRow]:
        return await self.world.database.read(lambda tx: events.of_message(tx, queue_id))

    async def words(self, queue_id: QueueId) -> list[str]:
        """Types of the events about a message, but for its acceptance."""
        return [one.type for one in (await self.told(queue_id))[1:]]

    async def notices(self) -> list[tuple[RecipientId, str]]:
        rows = await self.world.database.write(lambda tx: notices.take(tx, 100))
        return [(row.recipient_id, row.action) for row in rows]

    async def suppressed(self) -> list[tuple[str, str, str]]:
        """Address, reason and source of all on the list."""
        rows = await self.world.suppressions.list(scope=None, after=None, limit=100)
        return [(row.address, row.reason, row.source) for row in rows]

    async def take(self, ident: str, octets: bytes, *, reverse_path: ReversePath = NULL) -> Taken:
        """What came to the VERP address of an id."""
        return await self.bounces.take(
            Returned(idents=(ident,), reverse_path=reverse_path, octets=octets, peer="192.0.2.9")
        )

    async def complain(self, octets: bytes) -> Taken:
        """What came to complaints@."""
        return await self.bounces.take(
            Returned(
                is_complaint=True,
                reverse_path=ReversePath.parse("fbl@provider.example"),
                octets=octets,
                peer="192.0.2.9",
            )
        )

    def counted(self, name: str, **labels: str) -> float:
        return self.world.metrics.registry.get_sample_value(name, labels) or 0.0


def dsn(
    *groups: Mapping[str, str], original: bytes = b"Subject: hello\r\n\r\n", to: str = "x@y.example"
) -> bytes:
    """A DSN with these groups of fields (RFC 3464)."""
    told = "\r\n".join(
        "".join(f"{name}: {value}\r\n" for name, value in group.items()) for group in groups
    )
    return (
        b"From: MAILER-DAEMON@mx.example\r\nTo: " + to.encode() + b"\r\n"
        b"Subject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered.\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; mx.example\r\n\r\n" + told.encode() + b"\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + original + b"\r\n--b--\r\n"
    )


def group(
    address: str = "bob@example.net",
    *,
    action: str = "failed",
    status: str = "5.1.1",
    said: str = "550 5.1.1 no such user",
    original: str = "",
) -> dict[str, str]:
    """One recipient of a DSN."""
    fields = {"Original-Recipient": f"rfc822; {original}"} if original else {}
    if address:
        fields["Final-Recipient"] = f"rfc822; {address}"
    return {**fields, "Action": action, "Status": status, "Diagnostic-Code": f"smtp; {said}"}


def arf(
    original: bytes, *, feedback: str = "abuse", named: str = "", encoding: str = "7bit"
) -> bytes:
    """A report of feedback about a message (RFC 5965)."""
    about = f"Original-Rcpt-To: {named}\r\n" if named else ""
    return (
        b"From: <fbl@provider.example>\r\nTo: <complaints@" + DOMAIN.encode() + b">\r\n"
        b"Subject: FW: hello\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"
        b"--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        b"Feedback-Type: " + feedback.encode() + b"\r\nUser-Agent: FBL/1\r\nVersion: 1\r\n"
        + about.encode()
        + b"\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: "
        + encoding.encode() + b"\r\n\r\n" + original + b"\r\n--b--\r\n"
    )  # fmt: skip
