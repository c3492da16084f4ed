"""Queue: what delivery holds. Claims, markers and outcomes go to the database in sets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from gatewayd import failpoints
from gatewayd.config.delivery import DeliverySection
from gatewayd.config.returns import SuppressionSection
from gatewayd.errors import LeaseLost
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import AttemptId, MailboxId, RecipientId
from gatewayd.mail.outcome import Deferred, InDoubt, Outcome, Released
from gatewayd.queue import outcome
from gatewayd.queue.claim import Claim, take
from gatewayd.queue.outcome import AttemptRecord, Settlement, Terms
from gatewayd.queue.schedule import Schedule
from gatewayd.store import claims, recipients
from gatewayd.store.database import Database, Tx
from gatewayd.store.sets import SetWriter

RECOVER_LIMIT = 1000  # attempts taken back in one transaction


def schedule_of(section: DeliverySection) -> Schedule:
    retry = section.retry
    return Schedule(
        first=dt.timedelta(seconds=retry.first_s),
        factor=retry.factor,
        jitter=retry.jitter,
        attempts=retry.attempts,
        max_age=dt.timedelta(seconds=retry.max_age_s),
    )


class Metrics(Protocol):
    """What is counted here."""

    def recipients_in_doubt(self, recipients: int) -> None: ...

    def recipients_expired(self, recipients: int) -> None: ...

    def addresses_suppressed(self, addresses: int) -> None: ...

    def recipients_withheld(self, recipients: int) -> None: ...


class Queue:
    """The queue as a worker sees it.

    A claim is durable before anything is sent, the marker before the final dot, the outcome before
    the next work (X1 in docs/reliability.md).

    owed: a nudge when an outcome has put a report to a submitter into the outbox.
    """

    def __init__(
        self,
        database: Database,
        *,
        section: DeliverySection,
        suppression: SuppressionSection,
        wakeup: Wakeup,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._lease = dt.timedelta(seconds=section.lease_s)
        self._margin = dt.timedelta(seconds=section.dot_margin_s)
        self._terms = Terms(
            schedule=schedule_of(section),
            delay_notice=dt.timedelta(seconds=section.delay_notice_s),
            suppression=suppression,
        )
        self._wakeup = wakeup
        self.owed: Final = Wakeup()
        self._metrics = metrics
        self._markers: SetWriter[Claim, None] = SetWriter(database, self._mark)
        self._outcomes: SetWriter[Settlement, bool] = SetWriter(database, self._settle)

    async def lanes(self) -> dict[MailboxId, dt.datetime]:
        """Whose mail is queued, and when the first of it is due.

        A lane is a mailbox, or the one of all sandbox mail (`queue.enqueue.SANDBOX_LANE`).
        """
        rows = await self._database.read(claims.lanes)
        return {MailboxId(lane): due_at for lane, due_at in rows}

    async def claim(self, wants: Mapping[MailboxId, int]) -> list[Claim]:
        """Lease up to so many due messages of each lane; durable when this returns."""
        taken = await self._database.write(lambda tx: take(tx, wants, lease=self._lease))
        if taken.withheld:
            self._metrics.recipients_withheld(taken.withheld)
            self._wakeup.notify()  # fewer were claimed than wanted, though more may be due
        if taken.owed:
            self.owed.notify()
        if taken.claims:
            failpoints.reach("after_claim")
        return taken.claims

    async def mark(self, one: Claim) -> None:
        """Note durably that the final dot may be written from now on.

        Raises:
            LeaseLost: too little is left of the lease to wait for a reply, or it is not ours.
        """
        await self._markers.put(one)

    async def settle(
        self, one: Claim, outcomes: Mapping[RecipientId, Outcome], attempt: AttemptRecord
    ) -> None:
        """Keep what became of each recipient; durable when this returns.

        Raises:
            LeaseLost: the recipients were taken back meanwhile; nothing was changed.
        """
        settlement = Settlement(claim=one, outcomes=outcomes, attempt=attempt)
        owes = await self._outcomes.put(settlement)
        failpoints.reach("after_outcome")
        if owes:
            self.owed.notify()
        if any(isinstance(each, Deferred | Released | InDoubt) for each in outcomes.values()):
            self._wakeup.notify()

    async def renew(self, held: Collection[Claim]) -> set[AttemptId]:
        """Hold these claims longer; the ids of those that are not ours any more."""
        ids = {one.attempt_id for one in held}

        def work(tx: Tx) -> set[AttemptId]:
            return claims.renew(tx, ids, until=tx.now + self._lease)

        return ids - await self._database.write(work) if ids else set()

    async def release(self, held: Collection[Claim]) -> None:
        """Give claims back untried; those with a marker become in doubt."""
        ids = [one.attempt_id for one in held]
        if ids:
            _, in_doubt = await self._database.write(
                lambda tx: outcome.recover(tx, ids, terms=self._terms)
            )
            self._metrics.recipients_in_doubt(in_doubt)
            self._wakeup.notify()
            self.owed.notify()  # what was in doubt may have expired

    async def recover(self, *, all_leases: bool, held: Collection[Claim] = ()) -> tuple[int, int]:
        """Take back expired leases, or all of them when no other worker can live.

        Args:
            all_leases: also those that have not ended yet.
            held: work that goes on here. Its leases may seem to have ended when the clock was set.

        Returns:
            How many recipients were released, and how many are in doubt.
        """
        released = in_doubt = 0
        ours = {one.attempt_id for one in held}

        def work(tx: Tx) -> tuple[int, int, int]:
            before = dt.datetime.max.replace(tzinfo=dt.UTC) if all_leases else tx.now
            ended = claims.expired(tx, before=before, limit=RECOVER_LIMIT)
            ids = [attempt_id for attempt_id in ended if attempt_id not in ours]
            return len(ids), *outcome.recover(tx, ids, terms=self._terms)

        while True:
            count, some, doubtful = await self._database.write(work)
            released, in_doubt = released + some, in_doubt + doubtful
            if count < RECOVER_LIMIT:
                break
        self._metrics.recipients_in_doubt(in_doubt)
        if released or in_doubt:
            self._wakeup.notify()
            self.owed.notify()
        return released, in_doubt

    async def flush(self) -> None:
        """Return when every commit that was on its way has been told."""
        await self._database.write(lambda _: None)

    async def requeue_in_doubt(self) -> int:
        """Let recipients in doubt go back to the queue when their time has come."""
        count = await self._database.write(claims.requeue_in_doubt)
        if count:
            self._wakeup.notify()
        return count

    async def depth(self) -> tuple[int, dt.datetime | None]:
        """How many recipients are queued, and the earliest time at which one is due."""
        return await self._database.read(recipients.depth)

    def _mark(self, tx: Tx, set_: Sequence[Claim]) -> list[LeaseLost | None]:
        ids = [one.attempt_id for one in set_]
        ours = claims.still_ours(tx, ids, until=tx.now + self._margin)
        claims.mark(tx, ours)
        return [None if id_ in ours else LeaseLost(id_) for id_ in ids]

    def _settle(self, tx: Tx, set_: Sequence[Settlement]) -> list[LeaseLost | bool]:
        """Whether the set owes submitters a report, for each member that was ours."""
        results, counted = outcome.settle(tx, set_, terms=self._terms)
        self._metrics.recipients_expired(counted.expired)
        self._metrics.addresses_suppressed(counted.suppressed)
        owes = counted.owed > 0
        return [owes if lost is None else lost for lost in results]
