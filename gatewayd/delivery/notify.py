"""Notifier: DSNs to submitters whose NOTIFY asked for them (RFC 3461 5.2).

```
 outbox (queue/outcome.py, bounces) ─> Notices.due ─> compose ─> Notices.send ─> the queue
                                       reports/dsn_compose.py    one transaction
```

| returned   | when                                                                       |
|------------|----------------------------------------------------------------------------|
| the message | RET=FULL, a recipient failed, at most 256 KiB, and the spool still has it  |
| its header | otherwise                                                                  |

Whoever puts something into the outbox wakes it, so that it looks seldom where nobody else writes
the database; where other nodes do, it takes over what one that died has left.

A report is signed as all mail of the mailbox is, by the mailbox's domain; its From is
mailer-daemon of our host name, as a mail system's is.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from gatewayd import ids
from gatewayd.clock import Clock
from gatewayd.config.delivery import DeliverySection
from gatewayd.delivery.ports import Log
from gatewayd.errors import SpoolDamaged, StoreError, StoreFull, StoreUnavailable
from gatewayd.events.wakeup import Wakeup
from gatewayd.mail.envelope import Ret
from gatewayd.mail.message import Body, RawMessage
from gatewayd.queue.notices import DueReport, Notice, Report
from gatewayd.reports.dsn_compose import AboutMessage, AboutRecipient, Addressing, compose
from gatewayd.reports.report import Action

RETURNED_OCTETS: Final = 262_144  # of a body that comes back whole
PAUSE_S: Final = 1.0  # after the store was busy


class NoticesPort(Protocol):
    """What is owed; `queue.notices.Notices`."""

    async def due(self) -> list[DueReport]:
        """What is owed, the oldest first, grouped by message."""
        ...

    async def send(self, reports: Sequence[Report]) -> int:
        """Put reports into the queue; how many, durable on return."""
        ...


class Metrics(Protocol):
    """What is counted here."""

    def submitters_notified(self, reports: int) -> None:
        """So many reports were put into the queue."""
        ...


class Spool(Protocol):
    """Large bodies; `spool.directory.Spool`."""

    def incoming(self) -> BodyWriter: ...

    async def check(self, body: Body) -> None:
        """Compare with what was accepted; raises SpoolDamaged."""
        ...

    def blocks(self, body: Body) -> Iterator[bytes]:
        """The body in blocks; raises SpoolDamaged."""
        ...


class BodyWriter(Protocol):
    """Takes one body; see `spool/port.py`."""

    def write(self, block: bytes) -> None: ...

    async def finish(self) -> Body: ...


class Notifier:
    """The service that tells submitters.

    Args:
        wakeup: a nudge when something is owed; nobody else waits for it.
        poll_s: how long to trust in it.
    """

    name = "notify"

    def __init__(  # noqa: PLR0913 - what a report is made of, each a thing of its own
        self,
        *,
        notices: NoticesPort,
        spool: Spool,
        hostname: str,
        section: DeliverySection,
        wakeup: Wakeup,
        clock: Clock,
        metrics: Metrics,
        log: Log,
        poll_s: float,
    ) -> None:
        self._notices = notices
        self._spool = spool
        self._hostname = hostname
        self._tried_for = dt.timedelta(seconds=section.retry.max_age_s)
        self._wakeup = wakeup
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._poll_s = poll_s
        self._is_draining = False
        self._is_store_away = False

    async def run(self, ready: asyncio.Event) -> None:
        """Tell until drained."""
        ready.set()
        while not self._is_draining:
            pause_s = await self._round()
            if pause_s:
                await self._wakeup.wait(pause_s)

    async def drain(self, deadline: float) -> None:  # noqa: ARG002 - a round is short
        """Begin no other round; what is owed stays in the outbox."""
        self._is_draining = True
        self._wakeup.notify()

    async def _round(self) -> float:
        """Tell what is due; seconds until the next look, 0 for at once."""
        try:
            due = await self._notices.due()
            reports = [await self._report(one) for one in due]
            sent = await self._notices.send(reports) if reports else 0
        except (StoreUnavailable, StoreFull) as fault:
            if not self._is_store_away:
                self._log.error("notices_paused", reason=str(fault))
            self._is_store_away = True
            return PAUSE_S
        self._is_store_away = False
        if sent:
            self._metrics.submitters_notified(sent)
            self._log.info("submitters_notified", reports=sent)
            return 0.0
        # What is due and was not sent is another node's, or was dropped.
        return PAUSE_S if due else self._poll_s

    async def _report(self, due: DueReport) -> Report:
        """One report. One that cannot be made is dropped, or it would be tried for ever."""
        now = self._clock.now()
        queue_id = ids.queue_id(now)
        message: RawMessage | None = None
        try:
            about = AboutMessage(
                header=due.message.header,
                body=await self._returned(due),
                accepted_at=due.accepted_at,
                envid=due.envid,
                ret=due.ret,
            )
            addressing = Addressing(
                hostname=self._hostname,
                to=due.mailbox,
                message_id=f"<{queue_id}@{self._hostname}>",
                date=now,
            )
            until = due.accepted_at + self._tried_for
            message = compose(about, [_told(one, until) for one in due.notices], addressing)
            message = RawMessage(message.header, await self._kept(message.body))
        except StoreError:
            raise
        except Exception as fault:  # noqa: BLE001 - one report must not stop those of others
            self._log.error("notice_broke", queue_id=due.queue_id, fault=type(fault).__qualname__)
        return Report(
            about=due, queue_id=queue_id, recipient_id=ids.recipient_id(now), message=message
        )

    async def _returned(self, due: DueReport) -> bytes | None:
        """The body, when it is asked for and not too large."""
        body = due.message.body
        if due.ret is not Ret.FULL:
            return None
        if isinstance(body, bytes):
            return body
        if body.size_octets > RETURNED_OCTETS:
            return None
        try:
            await self._spool.check(body)
            return await asyncio.to_thread(lambda: b"".join(self._spool.blocks(body)))
        except SpoolDamaged as damage:
            self._log.error("spool_damaged", queue_id=due.queue_id, reason=str(damage))
            return None

    async def _kept(self, body: Body) -> Body:
        """The body where bodies of its size lie; a file that no row comes to name is swept."""
        assert isinstance(body, bytes)  # noqa: S101 - composed a moment ago
        writer = self._spool.incoming()
        writer.write(body)
        return await writer.finish()


def _told(notice: Notice, retry_until: dt.datetime) -> AboutRecipient:
    """A notice in the terms of a report."""
    data = notice.data
    action = Action(notice.action)
    code = data.get("code")
    return AboutRecipient(
        forward_path=notice.forward_path,
        action=action,
        at=notice.created_at,
        orcpt=notice.orcpt,
        status=_status(str(data.get("status") or ""), action),
        code=code if isinstance(code, int) else None,
        text=str(data.get("text") or ""),
        reason=str(data.get("reason") or ""),
        remote_mta=_host(data),
        retry_until=retry_until if action is Action.DELAYED else None,
    )


def _status(status: str, action: Action) -> str:
    """The status, unless it is of a class that the action cannot have (RFC 3464 2.3.4)."""
    allowed = {Action.FAILED: "45", Action.DELAYED: "4"}.get(action, "2")
    return status if status[:1] in tuple(allowed) else ""


def _host(data: Mapping[str, Any]) -> str:
    """Who said it: the system that reported, else the next hop without its port."""
    reporting = str(data.get("reporting_mta") or "")
    next_hop = str(data.get("next_hop") or "")
    return reporting or next_hop.rpartition(":")[0]
