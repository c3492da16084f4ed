"""events.read: each event once, in order, and none of another mailbox."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import threading
from collections.abc import Sequence

import pytest

from gatewayd.errors import Code, Refused
from gatewayd.events import record
from gatewayd.events.read import HORIZON, LOOKED_AT, EventFilter, Events
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId, QueueId
from gatewayd.store import events
from gatewayd.store.database import Database, Tx
from tests.fakes.clock import NOW, ManualClock
from tests.fakes.stores import Store

M, OTHER = MailboxId("m1"), MailboxId("m2")
ANY = EventFilter()
WAIT_S = 30


def opened(mailbox_id: MailboxId = M, queue_id: str = "q1") -> Event:
    return Event(type=EventType.RECIPIENT_OPENED, mailbox_id=mailbox_id, queue_id=QueueId(queue_id))


def issued(name: str = "") -> Event:
    return Event(type=EventType.TOKEN_ISSUED, mailbox_id=M, data={"name": name})


async def keep(database: Database, *told: Event) -> None:
    await database.write(lambda tx: record.append(tx, told))


async def walk(
    reader: Events, wanted: EventFilter = ANY, *, limit: int = 2, mailbox_id: MailboxId = M
) -> list[str]:
    """Every event's id, page by page, as a client collects them."""
    seen: list[str] = []
    position: int | None = None
    while True:
        page = await reader.of_mailbox(mailbox_id, wanted, position=position, limit=limit)
        seen += [row.event_id for row in page.items]
        position = page.position
        if not page.has_more:
            return seen


async def ids_of(database: Database) -> list[str]:
    rows = await database.read(lambda tx: events.after(tx, 0, limit=10_000))
    return [row.event_id for row in rows]


async def test_pages_show_each_event_once_and_go_on(database: Database, clock: ManualClock) -> None:
    """The position of a page that was the last is where later events begin."""
    reader = Events(database)
    await keep(database, *(opened() for _ in range(5)), opened(OTHER))
    clock.advance(seconds=10)
    first = await walk(reader)
    page = await reader.of_mailbox(M, ANY, position=None, limit=50)
    await keep(database, opened())
    clock.advance(seconds=10)
    more = await reader.of_mailbox(M, ANY, position=page.position, limit=50)

    known = await ids_of(database)
    assert (first, [row.event_id for row in more.items]) == (known[:5], known[6:])
    assert not page.has_more


async def test_filters_take_what_they_say(database: Database, clock: ManualClock) -> None:
    reader = Events(database)
    await keep(database, opened(), issued())
    clock.advance(hours=2)
    await keep(database, opened(queue_id="q2"), opened(OTHER, "q3"))
    clock.advance(seconds=10)
    first, token, second, _ = await ids_of(database)

    for wanted, expected in (
        (EventFilter(types=frozenset({EventType.TOKEN_ISSUED})), [token]),
        (EventFilter(types=frozenset()), []),
        (EventFilter(queue_id=QueueId("q1")), [first]),
        (EventFilter(queue_id=QueueId("q3")), []),  # another mailbox's
        (EventFilter(since=NOW + dt.timedelta(hours=1)), [second]),
        (EventFilter(since=NOW + dt.timedelta(hours=9)), []),
        (EventFilter(since=NOW), [first, token, second]),
    ):
        assert await walk(reader, wanted) == expected, wanted


async def test_rare_word_is_found_page_by_page(database: Database, clock: ManualClock) -> None:
    """A page looks at so many rows and no more; the client is told to ask again."""
    reader = Events(database)
    await keep(database, *(opened() for _ in range(LOOKED_AT + 1)), issued())
    clock.advance(seconds=10)
    rare = EventFilter(types=frozenset({EventType.TOKEN_ISSUED}))

    page = await reader.of_mailbox(M, rare, position=None, limit=50)

    assert (page.items, page.has_more) == ((), True)
    assert len(await walk(reader, rare)) == 1


@pytest.mark.parametrize("minutes", [(), (0,), (0, 0, 5, 9, 9, 30), tuple(range(0, 300, 7))])
async def test_before_an_instant_is_nothing_of_it(
    database: Database, clock: ManualClock, minutes: Sequence[int]
) -> None:
    """Whatever the instant: nothing at or after it stands at or before the position."""
    for minute in minutes:
        clock.seconds = minute * 60.0
        await keep(database, opened())
    rows = await database.read(lambda tx: events.after(tx, 0, limit=10_000))
    for minute in range(-2, 310, 3):
        at = NOW + dt.timedelta(minutes=minute)
        found = await database.read(functools.partial(events.before, at=at))
        late = [row.seq for row in rows if row.at >= at - events.UNSORTED]

        assert found == (min(late) - 1 if late else (rows[-1].seq if rows else 0))


async def test_lower_number_that_commits_later_is_not_lost(
    store: Store, clock: ManualClock
) -> None:
    """Two nodes write: the first number is taken by the one that commits last."""
    if store.kind == "sqlite":
        pytest.skip("one node writes, in the order of its numbers")
    slow, fast = store.open(), store.open()
    reader = Events(fast)
    has_number, may_commit = threading.Event(), threading.Event()

    def work(tx: Tx) -> None:
        record.append(tx, [opened(queue_id="slow")])
        has_number.set()
        assert may_commit.wait(WAIT_S)

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(slow.write(work))
        assert await asyncio.to_thread(has_number.wait, WAIT_S)
        await keep(fast, opened(queue_id="fast"))
        clock.advance(seconds=HORIZON.total_seconds() / 2)
        early = await reader.of_mailbox(M, ANY, position=None, limit=50)
        may_commit.set()
        await writing
    clock.advance(seconds=HORIZON.total_seconds())
    late = await reader.of_mailbox(M, ANY, position=early.position, limit=50)

    assert early.items == ()
    assert [row.queue_id for row in late.items] == ["slow", "fast"]


async def test_events_of_a_message_are_seen_at_once(database: Database) -> None:
    """Without a horizon; another mailbox's message is not found."""
    reader = Events(database)
    await keep(database, opened(), opened(), opened())

    first = await reader.of_message(QueueId("q1"), M, position=None, limit=2)
    rest = await reader.of_message(QueueId("q1"), M, position=first.position, limit=2)

    assert [len(first.items), len(rest.items)] == [2, 1]
    assert [first.has_more, rest.has_more] == [True, False]
    for queue_id, mailbox_id in (("q1", OTHER), ("q2", M)):
        with pytest.raises(Refused) as caught:
            await reader.of_message(QueueId(queue_id), mailbox_id, position=None, limit=2)
        assert caught.value.kind is Code.NOT_FOUND
