"""What delivery stands on, in memory: queue, keys, spool, clock, metrics, log."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gatewayd import ids
from gatewayd.config.delivery import NextHop
from gatewayd.dkim.key import SigningKey
from gatewayd.errors import LeaseLost, SpoolDamaged
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.mail.address import ForwardPath, ReversePath
from gatewayd.mail.envelope import BodyType, Notify, Ret
from gatewayd.mail.message import Body, RawMessage, SpooledBody
from gatewayd.mail.outcome import Outcome, Released
from gatewayd.queue.claim import Claim, ClaimedRecipient
from gatewayd.queue.enqueue import SANDBOX_LANE
from gatewayd.queue.outcome import AttemptRecord

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
MESSAGE = (
    b"From: ann@example.com\r\nTo: bob@example.net\r\nSubject: hello\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nHello.\r\n"
)


def spooled(body: Body) -> RawMessage:
    """The same message with another body."""
    return RawMessage(RawMessage.parse(MESSAGE).header, body)


class ManualClock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> dt.datetime:
        return NOW + dt.timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


def claim_of(  # noqa: PLR0913 - what tests vary
    *recipients: str,
    message: bytes | RawMessage = MESSAGE,
    mailbox: str = "ann@example.com",
    mailbox_id: str = "mailbox-1",
    reverse_path: str = "ann@example.com",
    sandbox: bool = False,
    body_type: BodyType = BodyType.SEVEN_BIT,
    smtputf8: bool = False,
    envid: str | None = None,
    ret: Ret | None = None,
    notify: Collection[Notify] = (),
    orcpt: str | None = None,
) -> Claim:
    """A claim for these recipients, one by default."""
    raw = RawMessage.parse(message) if isinstance(message, bytes) else message
    return Claim(
        attempt_id=ids.attempt_id(NOW),
        queue_id=QueueId(ids.uuid7(NOW)),
        mailbox_id=MailboxId(mailbox_id),
        mailbox=mailbox,
        hold_in_doubt=False,
        sandbox=sandbox,
        accepted_at=NOW,
        reverse_path=ReversePath.parse(reverse_path),
        body_type=body_type,
        smtputf8=smtputf8,
        envid=envid,
        ret=ret,
        recipients=tuple(
            ClaimedRecipient(
                recipient_id=ids.recipient_id(NOW),
                forward_path=ForwardPath.parse(text),
                attempts=1,
                notify=frozenset(notify),
                orcpt=orcpt,
            )
            for text in recipients or ("bob@example.net",)
        ),
        message=raw,
        lease_until=NOW + dt.timedelta(minutes=20),
    )


@dataclass(slots=True)
class Settled:
    """What the queue was told of one attempt."""

    claim: Claim
    outcomes: Mapping[RecipientId, Outcome]
    attempt: AttemptRecord

    @property
    def in_order(self) -> list[Outcome]:
        return [self.outcomes[each.recipient_id] for each in self.claim.recipients]


@dataclass(slots=True)
class FakeQueue:
    """A queue in memory. Each call is a line of `journal`; `faults` are raised, one for a call."""

    journal: list[str] = field(default_factory=list)
    wakeup: Wakeup = field(default_factory=Wakeup)
    due: dict[MailboxId, list[Claim]] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    released: list[Claim] = field(default_factory=list)
    renewed: list[AttemptId] = field(default_factory=list)
    marked: set[AttemptId] = field(default_factory=set)
    lost: set[AttemptId] = field(default_factory=set)
    faults: dict[str, list[Exception]] = field(default_factory=dict)
    wants: list[Mapping[MailboxId, int]] = field(default_factory=list)
    requeues: bool = False  # released recipients are due again
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_flush: Callable[[], None] = lambda: None

    def put(self, *claims: Claim) -> None:
        for claim in claims:
            lane = SANDBOX_LANE if claim.sandbox else claim.mailbox_id
            self.due.setdefault(lane, []).append(claim)
        self.wakeup.notify()

    async def until_settled(self, count: int) -> None:
        """Wait for so many outcomes."""
        await self.until(lambda: len(self.settled) >= count)

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something to be true after a call."""
        while not is_true():
            self.changed.clear()
            await self.changed.wait()

    async def lanes(self) -> dict[MailboxId, dt.datetime]:
        self._fault("lanes")
        return {lane: LONG_AGO for lane, claims in self.due.items() if claims}

    async def claim(self, wants: Mapping[MailboxId, int]) -> list[Claim]:
        self._fault("claim")
        self.wants.append(dict(wants))
        claimed: list[Claim] = []
        for lane, count in wants.items():
            claims = self.due.get(lane, [])
            claimed.extend(claims[:count])
            del claims[:count]
        self.journal.append("claim")
        return claimed

    async def mark(self, one: Claim) -> None:
        self._fault("mark")
        if one.attempt_id in self.lost:
            raise LeaseLost(one.attempt_id)
        self.marked.add(one.attempt_id)
        self.journal.append("mark")

    async def settle(
        self, one: Claim, outcomes: Mapping[RecipientId, Outcome], attempt: AttemptRecord
    ) -> None:
        self._fault("settle")
        if one.attempt_id in self.lost:
            raise LeaseLost(one.attempt_id)
        self.journal.append("settle")
        self.settled.append(Settled(one, dict(outcomes), attempt))
        again = [
            each
            for each in one.recipients
            if isinstance(outcomes[each.recipient_id], Released) and self.requeues
        ]
        if again:
            self.put(replace(one, recipients=tuple(again), attempt_id=ids.attempt_id(NOW)))
        self.wakeup.notify()
        self.changed.set()

    async def renew(self, held: Collection[Claim]) -> set[AttemptId]:
        self._fault("renew")
        self.renewed.extend(each.attempt_id for each in held)
        self.changed.set()
        return {each.attempt_id for each in held} & self.lost

    async def release(self, held: Collection[Claim]) -> None:
        self._fault("release")
        self.released.extend(held)
        if self.requeues:
            self.put(*held)
        self.changed.set()

    async def recover(
        self,
        *,
        all_leases: bool,
        held: Collection[Claim] = (),  # noqa: ARG002 - as the port has it
    ) -> tuple[int, int]:
        self.journal.append(f"recover all={all_leases}")
        return 0, 0

    async def flush(self) -> None:
        self._fault("flush")
        self.on_flush()

    async def requeue_in_doubt(self) -> int:
        return 0

    def _fault(self, name: str) -> None:
        faults = self.faults.get(name)
        if faults:
            raise faults.pop(0)


@dataclass(slots=True)
class FakeNextHops:
    """Next hops by mailbox, and one for the others."""

    by_mailbox: dict[str, NextHop | None] = field(default_factory=dict)
    smarthost: NextHop | None = None

    async def next_hop(self, mailbox_id: MailboxId) -> NextHop | None:
        return self.by_mailbox.get(mailbox_id, self.smarthost)


@dataclass(slots=True)
class FakeKeys:
    """Signing keys by domain."""

    by_domain: dict[str, tuple[SigningKey, ...]] = field(default_factory=dict)

    async def signing_keys(self, domain: str) -> tuple[SigningKey, ...]:
        return self.by_domain.get(domain, ())


@dataclass(slots=True)
class FakeSpool:
    """Bodies by key; `damaged` fail their check, `broken` after their first block."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    blocks_read: int = 0

    def add(self, octets: bytes, *, key: str = "body") -> SpooledBody:
        self.bodies[key] = octets
        return SpooledBody(
            key=key,
            size_octets=len(octets),
            sha256=hashlib.sha256(octets).hexdigest(),
            has_8bit=not octets.isascii(),
        )

    async def check(self, body: Body) -> None:
        if isinstance(body, SpooledBody) and body.key in self.damaged:
            raise SpoolDamaged("another SHA-256")

    def blocks(self, body: Body) -> Iterator[bytes]:
        octets = body if isinstance(body, bytes) else self.bodies[body.key]
        for start in range(0, len(octets), 65536):
            if start and isinstance(body, SpooledBody) and body.key in self.broken:
                raise SpoolDamaged("too short")
            self.blocks_read += 1
            yield octets[start : start + 65536]


@dataclass(slots=True)
class FakeMetrics:
    """Counts."""

    ended: list[Sequence[Outcome]] = field(default_factory=list)
    unsigned: int = 0

    def attempt_ended(self, *, seconds: float, outcomes: Collection[Outcome]) -> None:
        assert seconds >= 0
        self.ended.append(list(outcomes))

    def message_unsigned(self) -> None:
        self.unsigned += 1


@dataclass(slots=True)
class FakeLog:
    """Keeps events and their fields."""

    lines: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    def error(self, event: str, **fields: object) -> None:
        self.lines.append((event, fields))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]
