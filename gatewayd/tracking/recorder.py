"""Recorder: opens and clicks from the request path to the database, in groups.

| step                | where                  | what                                            |
|---------------------|------------------------|-------------------------------------------------|
| opened(), clicked() | on the request path    | into memory: no database, no waiting            |
| every `flush_s`, or | the service            | 250 at a time: who it was, then one             |
| when half full      |                        | transaction with facts and events               |
| the store is down   |                        | kept, and tried at the next turn                |
| `pending_events`    | on the request path    | more is dropped, and counted                    |
| drain(),            | at the end             | all that waits; what the store does not take    |
| last_words()        |                        | then is lost: said once, and counted            |

A fact is set once, and told once: the first open and click by a person, and the first of each by a
machine (`opens.py`). Whatever is repeated changes nothing, however often.

The doors close at the same moment as this service, and answer what they have begun. So whoever
runs both calls `last_words` when the doors are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from gatewayd import log
from gatewayd.clock import Clock
from gatewayd.config.returns import TrackingSection
from gatewayd.errors import StoreError
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId, RecipientId
from gatewayd.store import tracking
from gatewayd.store.database import Database, Tx
from gatewayd.store.tracking import Fact, TrackedRow
from gatewayd.tracking import opens
from gatewayd.tracking.opens import Act, Agent, Request, Sighting

LAST_WORDS_S: Final = 10.0  # as long as a store that does not answer can hold up the end
GROUP: Final = 250  # sightings in one transaction: others wait for it

_Key = tuple[Act, RecipientId, Request]

_FACTS: Final[Mapping[tuple[Act, bool], Fact]] = {
    (Act.OPEN, False): "opened_at",
    (Act.OPEN, True): "machine_opened_at",
    (Act.CLICK, False): "clicked_at",
    (Act.CLICK, True): "machine_clicked_at",
}
_WORDS: Final = {Act.OPEN: EventType.RECIPIENT_OPENED, Act.CLICK: EventType.RECIPIENT_CLICKED}

_log = log.get_logger(__name__)


class Metrics(Protocol):
    """What is counted here."""

    def tracked(self, kind: str, *, by_machine: bool) -> None:
        """A first open or click was stored."""
        ...

    def tracking_dropped(self, events: int) -> None: ...


class Recorder:
    """What the doors hand opens and clicks to; a service of the daemon."""

    name = "tracking"

    def __init__(
        self, database: Database, *, section: TrackingSection, clock: Clock, metrics: Metrics
    ) -> None:
        self._database = database
        self._limit = section.pending_events
        self._flush_s = section.flush_s
        self._machine = dt.timedelta(seconds=section.machine_s)
        self._clock = clock
        self._metrics = metrics
        self._waiting: dict[_Key, Sighting] = {}
        self._nudge = asyncio.Event()
        self._stopping = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._is_failing = False

    @property
    def waiting(self) -> int:
        """How many are in memory, not yet stored."""
        return len(self._waiting)

    def opened(self, recipient_id: RecipientId, request: Request) -> None:
        """A pixel was fetched."""
        self._take(Act.OPEN, recipient_id, request, "")

    def clicked(self, recipient_id: RecipientId, request: Request, url: str) -> None:
        """A link was followed to `url`."""
        self._take(Act.CLICK, recipient_id, request, url)

    async def run(self, ready: asyncio.Event) -> None:
        if self._stopping:
            ready.set()
            return
        self._ended.clear()
        try:
            ready.set()
            while not self._stopping:
                await self._wait()
                await self.flush()
        finally:
            self._ended.set()

    async def drain(self, deadline: float) -> None:
        """Store what waits; what is left is for `last_words`."""
        self._stopping = True
        self._nudge.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._ended.wait()
                await self.flush()

    async def last_words(self) -> None:
        """Store what the doors have taken last, or say how much is lost."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self.flush()
        lost, self._waiting = len(self._waiting), {}
        if lost:
            self._metrics.tracking_dropped(lost)
            _log.error("tracking_events_lost", events=lost)

    async def flush(self) -> None:
        """Store what waits, or keep it if the store does not take it now."""
        while self._waiting:
            taken = dict(itertools.islice(self._waiting.items(), GROUP))
            for key in taken:
                del self._waiting[key]
            try:
                await self._store(tuple(taken.values()))
            except asyncio.CancelledError:
                self._put_back(taken)  # it may have been stored even so: again is no harm
                raise
            except StoreError as error:
                self._put_back(taken)
                if not self._is_failing:
                    _log.warning(
                        "tracking_flush_deferred", events=len(self._waiting), reason=str(error)
                    )
                self._is_failing = True
                return
            self._is_failing = False

    def _take(self, act: Act, recipient_id: RecipientId, request: Request, url: str) -> None:
        key = (act, recipient_id, request)
        if key in self._waiting:
            return  # the same again says nothing more
        if len(self._waiting) >= self._limit:
            self._metrics.tracking_dropped(1)
            return
        self._waiting[key] = Sighting(
            act=act, recipient_id=recipient_id, at=self._clock.now(), request=request, url=url
        )
        if len(self._waiting) == self._limit // 2:
            self._nudge.set()

    def _put_back(self, taken: dict[_Key, Sighting]) -> None:
        """Keep the oldest, up to the limit."""
        whole = {**taken, **self._waiting}
        over = max(0, len(whole) - self._limit)
        if over:
            self._metrics.tracking_dropped(over)
            for key in list(whole)[-over:]:
                del whole[key]
        self._waiting = whole

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._flush_s):
                await self._nudge.wait()
        except TimeoutError:
            return
        self._nudge.clear()

    async def _store(self, sightings: Sequence[Sighting]) -> None:
        # User-Agents never seen before may take a while: not on the loop, not in the transaction.
        await asyncio.to_thread(_recognise, sightings)
        told = await self._database.write(lambda tx: self._keep(tx, sightings))
        for act, agent in told:
            self._metrics.tracked(act.value, by_machine=agent.is_machine)

    def _keep(self, tx: Tx, sightings: Sequence[Sighting]) -> list[tuple[Act, Agent]]:
        """Set the facts that are new, and tell them; which those are."""
        rows = tracking.locked(tx, {each.recipient_id for each in sightings})
        owners = tracking.owners(tx, {row.queue_id for row in rows.values()})
        news: dict[tuple[Fact, dt.datetime], set[RecipientId]] = {}
        known: set[tuple[Fact, RecipientId]] = set()
        events: list[Event] = []
        told: list[tuple[Act, Agent]] = []
        for each in sightings:
            row = rows.get(each.recipient_id)
            if row is None or row.queue_id not in owners:
                continue  # forgotten meanwhile
            agent = opens.judge(
                each.act, each.request, since_delivery=_since(row, each.at), machine=self._machine
            )
            fact = _FACTS[each.act, agent.is_machine]
            if getattr(row, fact) is not None or (fact, each.recipient_id) in known:
                continue
            known.add((fact, each.recipient_id))
            news.setdefault((fact, _rounded(each.at)), set()).add(each.recipient_id)
            events.append(_event(each, agent, row, owners[row.queue_id]))
            told.append((each.act, agent))
        for (fact, at), recipient_ids in news.items():
            tracking.keep(tx, fact, recipient_ids, at=at)
        record.append(tx, events)
        return told


def _recognise(sightings: Sequence[Sighting]) -> None:
    """Fill the memory of `opens.py`."""
    for each in sightings:
        opens.recognise(each.act, each.request)


def _since(row: TrackedRow, at: dt.datetime) -> dt.timedelta | None:
    """The time from delivery; what is seen while the attempt still runs comes at once."""
    if row.delivered_at is not None:
        return at - row.delivered_at
    return dt.timedelta(0) if row.state == "claimed" else None


def _rounded(at: dt.datetime) -> dt.datetime:
    """A tenth of a second is as exact as anybody wants it, and lets many be written at once."""
    return at.replace(microsecond=at.microsecond // 100_000 * 100_000)


def _event(sighting: Sighting, agent: Agent, row: TrackedRow, owner: MailboxId) -> Event:
    data = {"by": agent.by.value, "agent": agent.name}
    if sighting.act is Act.CLICK:
        data["url"] = sighting.url
    return Event(
        type=_WORDS[sighting.act],
        mailbox_id=owner,
        queue_id=row.queue_id,
        recipient_id=row.recipient_id,
        data=data,
    )
