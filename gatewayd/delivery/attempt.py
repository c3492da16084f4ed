"""One attempt: one claim, at one next hop, to a durable outcome for each of its recipients.

```
 render     octets for these recipients, signed             rendering.py, signing.py
 return     VERP: a reverse-path that names them            keys/verp.py
 session    from the pool, or new                           smtp/pool.py, smtp/connection.py
 envelope, message                                          smtp/transaction.py
 marker     durable before the final dot                    Queue.mark
 dot, reply
 outcome    durable before the session takes other work     Queue.settle
```

A session that died while it was idle costs nothing: the attempt is made again, once, on a new one.
An attempt ends with an outcome whatever happens, but for two cases: the lease was lost, then the
work is somebody else's; and the store itself is broken, then the daemon must stop.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gatewayd import failpoints
from gatewayd.clock import Clock
from gatewayd.config.delivery import DeliverySection, NextHop
from gatewayd.delivery import trouble
from gatewayd.delivery.ports import Log, Metrics, QueuePort
from gatewayd.delivery.signing import Rendered, Signer
from gatewayd.delivery.smtp.connection import NoSession
from gatewayd.delivery.smtp.pool import Pool
from gatewayd.delivery.smtp.transaction import Limits, Transaction
from gatewayd.delivery.smtp.transcript import Redact, Transcript
from gatewayd.delivery.trouble import Phase
from gatewayd.errors import LeaseLost, SpoolDamaged, StoreBroken, StoreFull, StoreUnavailable
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail import xtext
from gatewayd.mail.envelope import Envelope, Notify, Recipient
from gatewayd.mail.outcome import Delivered, Outcome
from gatewayd.queue.claim import Claim, ClaimedRecipient
from gatewayd.queue.outcome import AttemptRecord

SETTLE_FIRST_S: Final = 0.1  # wait before the second try to keep an outcome
SETTLE_LAST_S: Final = 5.0  # and the longest wait
SETTLE_TRIES: Final = 130  # about ten minutes: after that the lease ends and says the rest


@dataclass(slots=True, eq=False)
class Running:
    """A claim that is being worked on, as the dispatcher sees it.

    must_end: its marker or its outcome is on the way to the disk, or the dot is on the wire: it is
    not to be cancelled while there is time to wait.
    """

    claim: Claim
    must_end: bool = False


@dataclass(slots=True)
class _Course:
    """How one attempt went."""

    started_at: dt.datetime
    next_hop: str
    transcript: Transcript
    phase: Phase = Phase.NONE
    tls: str = ""
    is_reached: bool = True
    is_dsn_offered: bool = False


class Attempts:
    """Makes attempts.

    Args:
        redact: an address as it may be kept in a transcript.
        reverse_paths: makes those by which reports come back; None without a bounce domain.
    """

    def __init__(  # noqa: PLR0913 - what one attempt touches, each a thing of its own
        self,
        *,
        queue: QueuePort,
        pool: Pool,
        signer: Signer,
        section: DeliverySection,
        clock: Clock,
        metrics: Metrics,
        log: Log,
        redact: Redact,
        reverse_paths: ReversePaths | None,
    ) -> None:
        self._queue = queue
        self._pool = pool
        self._signer = signer
        self._section = section
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._redact = redact
        self._reverse_paths = reverse_paths

    async def run(self, running: Running, next_hop: NextHop | None) -> bool:
        """Make one attempt and keep what came of it.

        Returns:
            Whether a session with the next hop came about and lasted.

        Raises:
            StoreBroken: nothing can be kept any more.
        """
        claim = running.claim
        course = _Course(
            started_at=self._clock.now(),
            next_hop=str(next_hop or ""),
            transcript=Transcript(self._redact),
        )
        before = self._clock.monotonic()
        try:
            if next_hop is None:
                outcomes: Sequence[Outcome] = _all(claim, trouble.no_route())
            else:
                outcomes = await self._hand_over(running, next_hop, course)
        except LeaseLost:
            self._log.warning("lease_lost", queue_id=claim.queue_id, attempt_id=claim.attempt_id)
            return course.is_reached
        running.must_end = True
        seconds = self._clock.monotonic() - before
        if await self._settle(claim, outcomes, course):
            self._metrics.attempt_ended(seconds=seconds, outcomes=outcomes)
            self._tell(claim, outcomes, course, seconds)
        return course.is_reached

    async def _hand_over(
        self, running: Running, next_hop: NextHop, course: _Course
    ) -> Sequence[Outcome]:
        claim = running.claim
        try:
            content = await self._signer.render(claim)
            return await self._converse(running, next_hop, content, course)
        except NoSession as failure:
            course.phase = failure.phase
            course.transcript.opening(failure.transcript)
            course.is_reached = False
            return _all(claim, failure.outcome)
        except SpoolDamaged as damage:
            self._log.error("spool_damaged", queue_id=claim.queue_id, reason=str(damage))
            return _all(claim, trouble.damaged())
        except (LeaseLost, StoreBroken):
            raise
        except Exception as fault:  # noqa: BLE001 - one message must not stop the mail of others
            # The type only: the text of a fault may quote the message.
            self._log.error(
                "attempt_broke", queue_id=claim.queue_id, phase=course.phase, fault=_name(fault)
            )
            return _all(claim, trouble.own_fault(course.phase))

    async def _converse(
        self, running: Running, next_hop: NextHop, content: Rendered, course: _Course
    ) -> Sequence[Outcome]:
        """Transact on a session of the pool; once more on a new one if that had died meanwhile."""
        limits = Limits(
            section=self._section,
            attempt_until=asyncio.get_running_loop().time() + self._section.attempt_s,
        )
        is_stale, outcomes = await self._transact(running, next_hop, content, course, limits)
        if is_stale:
            _, outcomes = await self._transact(
                running, next_hop, content, course, limits, is_fresh=True
            )
        return outcomes

    async def _transact(
        self,
        running: Running,
        next_hop: NextHop,
        content: Rendered,
        course: _Course,
        limits: Limits,
        *,
        is_fresh: bool = False,
    ) -> tuple[bool, Sequence[Outcome]]:
        course.phase = Phase.CONNECT
        connection = await self._pool.take(next_hop, until=limits.attempt_until, is_fresh=is_fresh)
        failpoints.reach("after_connect")
        course.tls = connection.tls
        course.is_dsn_offered = connection.capabilities.dsn
        transaction = Transaction(
            connection,
            self._envelope(running.claim),
            content,
            limits=limits,
            before_dot=self._marker(running),
            transcript=course.transcript,
        )
        try:
            outcomes = await transaction.run()
        finally:
            course.phase = transaction.phase
            course.is_reached = not transaction.is_lost
            self._pool.put_back(connection)
        return transaction.is_stale, outcomes

    def _marker(self, running: Running) -> Callable[[], Awaitable[None]]:
        async def before_dot() -> None:
            running.must_end = True
            await self._queue.mark(running.claim)

        return before_dot

    def _envelope(self, claim: Claim) -> Envelope:
        """Whose mail it is, and where reports about it come back to.

        With a reverse-path of ours it is we who ask for reports (RFC 3461 5.2.7 is the like for
        mailing lists): of failure always, since only so a dead address is learned; what a submitter
        wants to hear beside that is passed on, and what comes back is told to it.
        """
        paths, reverse_path = self._reverse_paths, claim.reverse_path
        returns = paths is not None and not reverse_path.is_null
        if paths is not None and returns:
            ident = claim.recipients[0].recipient_id if claim.is_individual else claim.queue_id
            reverse_path = paths.make(ident)
        return Envelope(
            reverse_path,
            tuple(_recipient(each, returns=returns) for each in claim.recipients),
            claim.body_type,
            smtputf8=claim.smtputf8,
            envid=claim.envid,
            ret=claim.ret,
        )

    async def _settle(self, claim: Claim, outcomes: Sequence[Outcome], course: _Course) -> bool:
        """Keep the outcomes, however long the store is busy; False if they came too late."""
        by_id = {
            recipient.recipient_id: outcome
            for recipient, outcome in zip(claim.recipients, outcomes, strict=True)
        }
        record = AttemptRecord(
            next_hop=course.next_hop,
            phase=course.phase.value,
            tls=course.tls,
            transcript=str(course.transcript),
            started_at=course.started_at,
            ended_at=self._clock.now(),
            dsn_offered=course.is_dsn_offered,
        )
        pause_s = SETTLE_FIRST_S
        for tried in range(SETTLE_TRIES):
            try:
                await self._queue.settle(claim, by_id, record)
            except LeaseLost:
                self._log.warning("outcome_came_late", queue_id=claim.queue_id)
                return False
            except (StoreUnavailable, StoreFull) as fault:
                if not tried:
                    self._log.error("outcome_waited", queue_id=claim.queue_id, reason=str(fault))
                await asyncio.sleep(pause_s)
                pause_s = min(SETTLE_LAST_S, pause_s * 2)
            else:
                return True
        self._log.error("outcome_lost", queue_id=claim.queue_id, attempt_id=claim.attempt_id)
        return False

    def _tell(
        self, claim: Claim, outcomes: Sequence[Outcome], course: _Course, seconds: float
    ) -> None:
        counts: dict[str, int] = {}
        reason = ""
        for outcome in outcomes:
            name = type(outcome).__name__
            counts[name] = counts.get(name, 0) + 1
            if not isinstance(outcome, Delivered):
                reason = reason or outcome.reason
        self._log.info(
            "attempt_ended",
            queue_id=claim.queue_id,
            attempt_id=claim.attempt_id,
            next_hop=course.next_hop,
            phase=course.phase.value,
            tls=course.tls,
            outcomes=counts,
            reason=reason,
            seconds=round(seconds, 3),
        )


def _recipient(claimed: ClaimedRecipient, *, returns: bool) -> Recipient:
    notify, orcpt = claimed.notify, claimed.orcpt
    if returns and notify:
        notify = notify - {Notify.NEVER} | {Notify.FAILURE}
    if returns and orcpt is None and claimed.forward_path.address.is_ascii:
        orcpt = f"rfc822;{xtext.encode(str(claimed.forward_path))}"  # RFC 3461 5.2.1
    return Recipient(claimed.forward_path, notify=notify, orcpt=orcpt)


def _all(claim: Claim, outcome: Outcome) -> Sequence[Outcome]:
    return [outcome] * len(claim.recipients)


def _name(fault: Exception) -> str:
    return f"{type(fault).__module__}.{type(fault).__qualname__}"
