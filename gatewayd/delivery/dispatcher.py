"""Dispatcher: claims what is due, and hands it out so that no next hop waits for another.

```
 Queue.lanes ──> whose next hop has room? ──> Queue.claim ──> Destination ──> one task per claim
      ^                                           Handover ──> waiting, running
      └──── woken by: a commit, room at a next hop, the next due time, the end of a pause
```

| bound                 | is                                              | so that                |
|-----------------------|-------------------------------------------------|------------------------|
| running at a next hop | its window (`concurrency.py`)                   | it is not flooded      |
| waiting for it        | two windows more if it answered last time       | it is never idle       |
| claimed at once       | claim_messages                                  | a claim is short       |
| recipients in memory  | ready_recipients; who holds as many as are free | the dead cannot starve |
|                       | gets no more, but each may hold one message     | the living             |

A claim is for a batch: a next hop gets more work when it has room for a window of it, or has none
waiting; otherwise each outcome would cost a transaction for the next claim. While nothing that is
due waits for a next hop, what it has room for is offered to acceptances, which then claim at once
(`queue/handover.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from gatewayd.clock import Clock
from gatewayd.config.delivery import DeliverySection, NextHop
from gatewayd.delivery.attempt import Running
from gatewayd.delivery.concurrency import Window
from gatewayd.delivery.destination import Destination, shares_of, turned
from gatewayd.delivery.ports import Log, QueuePort
from gatewayd.delivery.smtp.pool import Pool
from gatewayd.errors import StoreError, StoreFull, StoreUnavailable
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import AttemptId, MailboxId
from gatewayd.queue.claim import Claim
from gatewayd.queue.enqueue import SANDBOX_LANE
from gatewayd.queue.handover import Handover

PAUSE_S: Final = 1.0  # after the store was busy
NOTHING_CLAIMED_S: Final = 0.05  # others took what was due, or the database's clock is behind
FORGOTTEN_S: Final = 600.0  # a next hop without work
TIDY_S: Final = 5.0  # between two looks at idle sessions and next hops
STEP_S: Final = 1.0  # of the wall clock against the monotonic one; more is no drift


class Route(Protocol):
    """Where mail goes, and how; `smarthost.Smarthost`."""

    async def next_hop(self, lane: MailboxId) -> NextHop | None: ...

    async def attempt(self, running: Running, next_hop: NextHop | None) -> bool: ...


class Dispatcher:
    """The service that delivers.

    Args:
        poll_s: how long to trust in wake-ups; 1 s where other nodes share the database.
    """

    name = "delivery"

    def __init__(  # noqa: PLR0913 - what delivery stands on, each a thing of its own
        self,
        *,
        queue: QueuePort,
        handover: Handover,
        route: Route,
        pool: Pool,
        section: DeliverySection,
        wakeup: Wakeup,
        clock: Clock,
        log: Log,
        poll_s: float,
    ) -> None:
        self._queue = queue
        self._handover = handover
        self._route = route
        self._pool = pool
        self._section = section
        self._wakeup = wakeup
        self._clock = clock
        self._log = log
        self._poll_s = poll_s
        self._destinations: dict[NextHop | None, Destination] = {}
        self._running: dict[AttemptId, tuple[Running, asyncio.Task[None]]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._is_draining = False
        self._is_store_away = False
        self._turn = 0
        self._ready = 0  # recipients of all that is held
        self._late: list[Claim] = []  # handed over while we stop

    async def run(self, ready: asyncio.Event) -> None:
        """Deliver until drained."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            tidy = group.create_task(self._tidy())
            self._handover.open(self._receive)
            ready.set()
            try:
                while not self._is_draining:
                    await self._wakeup.wait(await self._fetch())
            finally:
                self._handover.close()
                tidy.cancel()

    async def drain(self, deadline: float) -> None:
        """Claim no more; what is past its marker may end until `deadline`; give the rest back.

        Args:
            deadline: on the clock's `monotonic`.
        """
        self._is_draining = True
        self._handover.close()
        self._wakeup.notify()
        given_back = {
            claim.attempt_id: claim
            for each in self._destinations.values()
            for claim in each.waiting
        }
        for each in self._destinations.values():
            each.waiting.clear()
        given_back |= self._cancel(lambda running: not running.must_end)
        await self._wait_for_running(max(0.0, deadline - self._clock.monotonic()))
        given_back |= self._cancel(lambda _: True)
        await self._wait_for_running(PAUSE_S)
        await self._await_commits()
        await self._give_back([*given_back.values(), *self._late])
        await self._pool.close()

    def _cancel(self, chosen: Callable[[Running], bool]) -> dict[AttemptId, Claim]:
        """End the attempts that are chosen; what they were about."""
        cancelled: dict[AttemptId, Claim] = {}
        for attempt_id, (running, task) in self._running.items():
            if chosen(running):
                task.cancel()
                cancelled[attempt_id] = running.claim
        return cancelled

    async def _wait_for_running(self, timeout_s: float) -> None:
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    async def _await_commits(self) -> None:
        """Let what is on its way to us come; from a store that fails nothing does."""
        with contextlib.suppress(StoreError):  # whoever wrote is told, and the drain goes on
            await self._queue.flush()

    async def _give_back(self, claims: Collection[Claim]) -> None:
        if not claims:
            return
        try:
            await self._queue.release(claims)
        except (StoreUnavailable, StoreFull) as fault:
            # Their leases end by themselves, or at the next start.
            self._log.error("release_failed", claims=len(claims), reason=str(fault))

    # Claiming.

    async def _fetch(self) -> float:
        """Claim what there is room for; seconds until it is worth looking again."""
        try:
            lanes = await self._queue.lanes()
            now = self._clock.now()
            due = [lane for lane, due_at in lanes.items() if due_at <= now]
            wants, homes = await self._wants(due)
            claims = await self._queue.claim(wants) if wants else []
        except (StoreUnavailable, StoreFull) as fault:
            if not self._is_store_away:
                self._log.error("claims_paused", reason=str(fault))
            self._is_store_away = True
            return PAUSE_S
        self._is_store_away = False
        if self._is_draining:
            await self._give_back(claims)
            return 0.0
        wait_s = self._place(claims, wants=wants, homes=homes, lanes=lanes, now=now)
        await self._let_go_of_paused(homes.values())
        return wait_s

    async def _wants(
        self, due: list[MailboxId]
    ) -> tuple[dict[MailboxId, int], dict[MailboxId, Destination]]:
        """How many messages of each lane to claim, and where each of these lanes goes."""
        homes: dict[MailboxId, Destination] = {}
        lanes_of: dict[NextHop | None, list[MailboxId]] = {}
        for lane in due:
            next_hop = await self._route.next_hop(lane)
            homes[lane] = self._destination(next_hop)
            lanes_of.setdefault(next_hop, []).append(lane)
        for each in self._destinations.values():
            each.has_more = False
        left = self._section.claim_messages
        free_recipients = self._section.ready_recipients - self._ready
        wants: dict[MailboxId, int] = {}
        self._turn += 1
        for next_hop, lanes in turned(list(lanes_of.items()), self._turn):
            destination = self._destinations[next_hop]
            destination.has_more = True  # until a claim shows otherwise
            if destination.recipients and destination.recipients >= free_recipients:
                continue
            room = min(destination.room, left)
            shares = shares_of(turned(lanes, self._turn), room)
            wants.update(shares)
            left -= sum(shares.values())
        return wants, homes

    def _place(
        self,
        claims: Collection[Claim],
        *,
        wants: Mapping[MailboxId, int],
        homes: Mapping[MailboxId, Destination],
        lanes: Mapping[MailboxId, dt.datetime],
        now: dt.datetime,
    ) -> float:
        """Start what was claimed; seconds until the next look."""
        for claim in claims:
            self._hold(claim, homes[_lane(claim)])
        for destination in set(homes.values()):
            self._start(destination)
        # A claim reads rows of recipients, so a few messages to many may be all that it saw.
        counts: dict[MailboxId, int] = {}
        for claim in claims:
            lane = _lane(claim)
            counts[lane] = counts.get(lane, 0) + len(claim.recipients)
        for destination in set(homes.values()):
            mine = [lane for lane, home in homes.items() if home is destination]
            destination.has_more = any(
                lane not in wants or counts.get(lane, 0) >= wants[lane] for lane in mine
            )
        for lane, destination in homes.items():
            self._handover.lead(lane, destination.offered)
        for destination in self._destinations.values():
            self._offer(destination)
        if claims and any(each.has_more and each.room for each in set(homes.values())):
            return 0.0
        return self._until_next(wants, homes, lanes, now)

    def _until_next(
        self,
        wants: Mapping[MailboxId, int],
        homes: Mapping[MailboxId, Destination],
        lanes: Mapping[MailboxId, dt.datetime],
        now: dt.datetime,
    ) -> float:
        waits = [self._poll_s]
        waits.extend(
            (due_at - now).total_seconds() for lane, due_at in lanes.items() if lane not in homes
        )
        waits.extend(
            probe_in_s
            for each in set(homes.values())
            if (probe_in_s := each.window.probe_in_s) is not None
        )
        if wants:
            # Something was due and had room. If it was not all of it, room will wake us; if it was
            # none, it is not worth asking for at once.
            waits.append(PAUSE_S)
        return max(NOTHING_CLAIMED_S, min(waits))

    # What acceptances have claimed.

    def _receive(self, claims: Sequence[Claim]) -> None:
        """Take what was handed over."""
        if self._group is None or self._is_draining:
            self._late.extend(claims)
        else:
            self._group.create_task(self._take_over(claims))

    async def _take_over(self, claims: Sequence[Claim]) -> None:
        """Start it, where it goes now."""
        homes: dict[MailboxId, Destination] = {}
        try:
            for lane in {_lane(claim) for claim in claims}:
                homes[lane] = self._destination(await self._route.next_hop(lane))
        except (StoreUnavailable, StoreFull):
            await self._give_back(claims)
            return
        if self._is_draining:
            await self._give_back(claims)
            return
        for claim in claims:
            self._hold(claim, homes[_lane(claim)])
        for lane, destination in homes.items():
            self._start(destination)
            self._handover.lead(lane, destination.offered)
            self._offer(destination)
        await self._let_go_of_paused(homes.values())

    def _offer(self, destination: Destination) -> None:
        """Say what an acceptance may claim for it: nothing while something due waits for room."""
        left = self._section.ready_recipients - self._ready
        is_open = not destination.has_more and not self._is_draining
        self._handover.offer(
            destination.offered,
            claims=destination.free if is_open else 0,
            recipients=left - destination.recipients,
        )

    def _destination(self, next_hop: NextHop | None) -> Destination:
        destination = self._destinations.get(next_hop)
        if destination is None:
            section = self._section
            window = Window(
                start=section.concurrency_start, maximum=section.concurrency_max, clock=self._clock
            )
            destination = Destination(next_hop, window, self._clock.monotonic())
            self._destinations[next_hop] = destination
        return destination

    # Working.

    def _hold(self, claim: Claim, destination: Destination) -> None:
        destination.waiting.append(claim)
        self._count(len(claim.recipients), destination)

    def _count(self, recipients: int, destination: Destination) -> None:
        """So many recipients more, or less, are held for a destination."""
        destination.recipients += recipients
        self._ready += recipients

    def _start(self, destination: Destination) -> None:
        """Start as much of what waits as may run."""
        group = self._group
        if group is None or self._is_draining:
            return
        destination.used_at = self._clock.monotonic()
        while destination.waiting and destination.window.free:
            running = Running(destination.waiting.popleft())
            destination.window.started()
            task = group.create_task(self._work(running, destination))
            self._running[running.claim.attempt_id] = (running, task)

    async def _work(self, running: Running, destination: Destination) -> None:
        """One task: an attempt, then whatever its end makes room for."""
        claim, window = running.claim, destination.window
        try:
            is_reached = await self._route.attempt(running, destination.next_hop)
        except BaseException:
            # Cancelled by a drain, or the store is broken: nothing new is started.
            window.ended()
            raise
        finally:
            del self._running[claim.attempt_id]
            self._count(-len(claim.recipients), destination)
        if is_reached:
            window.reached()
        else:
            window.unreachable()
        await self._let_go_of_paused([destination])
        self._start(destination)
        self._offer(destination)
        if destination.has_more and destination.room:
            self._wakeup.notify()

    async def _let_go_of_paused(self, destinations: Iterable[Destination]) -> None:
        """Give back what waits for a next hop that is gone: untried, so not counted.

        Also what was on its way here when the pause began: nothing else would start it.
        """
        for destination in set(destinations):
            if destination.window.is_paused and destination.waiting:
                claims = list(destination.waiting)
                destination.waiting.clear()
                self._count(-sum(len(claim.recipients) for claim in claims), destination)
                await self._give_back(claims)

    async def _tidy(self) -> None:
        """Renew leases, take back those that others let expire, say goodbye to what is not used."""
        renewed, told_s = self._clock.monotonic(), self._offset_s()
        every_s = min(TIDY_S, self._section.renew_s)
        while True:
            await asyncio.sleep(every_s)
            self._pool.sweep()
            now = self._clock.monotonic()
            for next_hop, each in list(self._destinations.items()):
                if not each.held and not each.window.is_paused and now - each.used_at > FORGOTTEN_S:
                    del self._destinations[next_hop]
                    self._handover.forget(each.offered)
            try:
                # Who has set the wall clock has ended leases of ours, or made them longer.
                offset_s = self._offset_s()
                was_set = abs(offset_s - told_s) > STEP_S
                if was_set or now - renewed >= self._section.renew_s:
                    await self._renew()
                    renewed, told_s = now, offset_s
                await self._queue.recover(all_leases=False, held=self._held())
                await self._queue.requeue_in_doubt()
            except (StoreUnavailable, StoreFull) as fault:
                self._log.error("renewal_failed", reason=str(fault))

    def _offset_s(self) -> float:
        """How far the wall clock is from the one that nobody sets."""
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _held(self) -> list[Claim]:
        """What we work on, and what waits for it."""
        held = [running.claim for running, _ in self._running.values()]
        held.extend(claim for each in self._destinations.values() for claim in each.waiting)
        return held

    async def _renew(self) -> None:
        """Hold longer what we hold; what is lost and not begun is forgotten."""
        held = self._held()
        lost = await self._queue.renew(held) if held else set()
        if not lost:
            return
        self._log.warning("leases_lost", claims=len(lost))
        for each in self._destinations.values():
            kept = [claim for claim in each.waiting if claim.attempt_id not in lost]
            dropped = [claim for claim in each.waiting if claim.attempt_id in lost]
            each.waiting = deque(kept)
            self._count(-sum(len(claim.recipients) for claim in dropped), each)


def _lane(claim: Claim) -> MailboxId:
    """The lane a claim came from."""
    return SANDBOX_LANE if claim.sandbox else claim.mailbox_id
