"""tracking.recorder, tracking.unsubscribe and their statements, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import update
from structlog.testing import capture_logs

from gatewayd import ids
from gatewayd.config.returns import TrackingSection
from gatewayd.errors import Refused, StoreUnavailable
from gatewayd.events.types import EventType
from gatewayd.ids import QueueId, RecipientId
from gatewayd.metrics import Metrics
from gatewayd.store import events, recipients, schema, suppressions
from gatewayd.store.database import Database
from gatewayd.store.events import EventRow
from gatewayd.store.recipients import RecipientRow
from gatewayd.store.suppressions import ALL, SuppressionRow
from gatewayd.suppression.rules import Why
from gatewayd.tracking import recorder as recording
from gatewayd.tracking.opens import Request
from gatewayd.tracking.recorder import GROUP, Recorder
from gatewayd.tracking.unsubscribe import REASON, How, Unsubscribes
from gatewayd.web.app import RecipientParts, create_api_app
from tests.fakes import rows
from tests.fakes.clock import NOW, ManualClock
from tests.fakes.http_api import FakeApi
from tests.fakes.recipients import BASE, URL, FakeRecipients
from tests.fakes.stores import Store
from tests.fakes.world import World

MESSAGE = QueueId("q1")
BOB, CAT = (RecipientId(f"01936f1e-0000-7000-8000-00000000000{number}") for number in (1, 2))
PERSON = Request(method="GET", user_agent="Firefox/143.0", is_ahead=False)
OTHER = Request(method="GET", user_agent="Firefox/142.0", is_ahead=False)
PROXY = Request(method="GET", user_agent="via ggpht.com GoogleImageProxy", is_ahead=False)
CURL = Request(method="GET", user_agent="curl/8.11.0", is_ahead=False)
HOUR = dt.timedelta(hours=1)


def _recorder(
    database: Database,
    clock: ManualClock,
    *,
    metrics: Metrics | None = None,
    **section: Any,  # noqa: ANN401 - any key of it
) -> Recorder:
    return Recorder(
        database, section=TrackingSection(**section), clock=clock, metrics=metrics or Metrics()
    )


async def _deliver(database: Database, *who: RecipientId, **columns: Any) -> None:  # noqa: ANN401 - as above
    """A message of mailbox m1 that has been delivered to these, an hour ago."""
    given = {"state": "delivered", "delivered_at": NOW - HOUR, "due_at": None, **columns}
    await rows.keep_message(
        database,
        MESSAGE,
        *(
            {**rows.recipient(MESSAGE, position), "recipient_id": one, **given}
            for position, one in enumerate(who or (BOB,))
        ),
    )


async def _row(database: Database, recipient_id: RecipientId = BOB) -> RecipientRow:
    found = await database.read(lambda tx: recipients.of_messages(tx, [MESSAGE]))
    return next(row for row in found[MESSAGE] if row.recipient_id == recipient_id)


async def _events(database: Database) -> list[EventRow]:
    return await database.read(lambda tx: events.after(tx, 0, limit=10_000))


async def _facts(database: Database) -> dict[str, dt.datetime]:
    """Those that are set."""
    row = await _row(database)
    names = ("opened_at", "clicked_at", "machine_opened_at", "machine_clicked_at")
    return {name: at for name in names if (at := getattr(row, name)) is not None}


async def _suppressions(database: Database) -> list[SuppressionRow]:
    return await database.read(
        lambda tx: suppressions.in_order(tx, scope=None, after=None, limit=100)
    )


@contextmanager
def _statements(database: Database) -> Iterator[list[str]]:
    """Every statement that the database is asked meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    engines = {database._writer_engine, database._reader_engine}
    for engine in engines:
        sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            sqlalchemy_event.remove(engine, "before_cursor_execute", note)


# --- the recorder


async def test_what_a_person_did_is_a_fact_and_an_event(
    database: Database, clock: ManualClock
) -> None:
    """With the time when it was seen, not when it was stored."""
    await _deliver(database)
    recorder = _recorder(database, clock)
    recorder.opened(BOB, PERSON)
    clock.advance(seconds=5)
    recorder.clicked(BOB, PERSON, URL)
    clock.advance(seconds=60)
    await recorder.flush()

    assert await _facts(database) == {
        "opened_at": NOW, "clicked_at": NOW + dt.timedelta(seconds=5),
    }  # fmt: skip
    assert [(one.type, one.data) for one in await _events(database)] == [
        ("recipient.opened", {"by": "person", "agent": PERSON.user_agent}),
        ("recipient.clicked", {"by": "person", "agent": PERSON.user_agent, "url": URL}),
    ]
    told = (await _events(database))[0]
    assert (told.mailbox_id, told.queue_id, told.recipient_id) == ("m1", MESSAGE, BOB)


async def test_times_are_exact_to_a_tenth_of_a_second(
    database: Database, clock: ManualClock
) -> None:
    """So that many are one statement; each recipient keeps its own."""
    everybody = [ids.recipient_id(NOW) for _ in range(30)]
    await _deliver(database, *everybody)
    recorder = _recorder(database, clock)
    for one in everybody:
        recorder.opened(one, PERSON)
        clock.advance(seconds=0.03)
    with _statements(database) as statements:
        await recorder.flush()
    found = await database.read(lambda tx: recipients.of_messages(tx, [MESSAGE]))

    assert [row.opened_at for row in found[MESSAGE]] == [
        NOW + dt.timedelta(seconds=number * 30 // 100 / 10) for number in range(30)
    ]
    assert sum(statement.startswith("UPDATE") for statement in statements) == 9


async def test_what_a_machine_did_is_another_fact(database: Database, clock: ManualClock) -> None:
    await _deliver(database)
    recorder = _recorder(database, clock)
    recorder.opened(BOB, PROXY)
    recorder.clicked(BOB, CURL, URL)
    await recorder.flush()

    assert set(await _facts(database)) == {"machine_opened_at", "machine_clicked_at"}
    assert [one.data["by"] for one in await _events(database)] == ["proxy", "scanner"]


async def test_a_thousand_times_the_same_is_told_once(
    database: Database, clock: ManualClock
) -> None:
    """In one flush or in many, by one browser or by others."""
    await _deliver(database)
    metrics = Metrics()
    recorder = _recorder(database, clock, metrics=metrics)
    for number in range(1000):
        for request in (PERSON, OTHER, PROXY, CURL):
            recorder.opened(BOB, request)
            recorder.clicked(BOB, request, URL)
        if number % 100 == 0:
            await recorder.flush()
            clock.advance(seconds=1)
    await recorder.flush()

    assert set((await _facts(database)).values()) == {NOW}
    assert sorted((one.type, one.data["by"]) for one in await _events(database)) == [
        ("recipient.clicked", "person"), ("recipient.clicked", "scanner"),
        ("recipient.opened", "person"), ("recipient.opened", "proxy"),
    ]  # fmt: skip
    text = metrics.render().decode()
    for line in (
        "tracking_opens_total 1.0", "tracking_clicks_total 1.0",
        'tracking_machine_total{kind="open"} 1.0', 'tracking_machine_total{kind="click"} 1.0',
        "tracking_events_dropped_total 0.0",
    ):  # fmt: skip
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("columns", "fact"),
    [
        ({"delivered_at": NOW - dt.timedelta(seconds=3)}, "clicked_at"),
        ({"delivered_at": NOW - dt.timedelta(seconds=2.9)}, "machine_clicked_at"),
        ({"delivered_at": NOW + dt.timedelta(seconds=1)}, "machine_clicked_at"),
        ({"delivered_at": None, "state": "claimed"}, "machine_clicked_at"),
        ({"delivered_at": None, "state": "in_doubt"}, "clicked_at"),
        ({"delivered_at": NOW - HOUR, "state": "bounced"}, "clicked_at"),
    ],
)
async def test_the_time_since_delivery_is_judged_when_it_is_stored(
    database: Database, clock: ManualClock, columns: dict[str, Any], fact: str
) -> None:
    """A scanner of the next hop may be faster than our own note of the 250."""
    await _deliver(database, **columns)
    recorder = _recorder(database, clock)
    recorder.clicked(BOB, PERSON, URL)
    await recorder.flush()

    assert set(await _facts(database)) == {fact}


async def test_nothing_else_of_a_recipient_changes(database: Database, clock: ManualClock) -> None:
    await _deliver(database, BOB, CAT, unsubscribed_at=NOW, complained_at=NOW, bounced_at=NOW)
    before = await _row(database), await _row(database, CAT)
    recorder = _recorder(database, clock)
    recorder.opened(BOB, PERSON)
    await recorder.flush()
    after = await _row(database), await _row(database, CAT)

    assert after[1] == before[1]
    assert {
        name
        for name in RecipientRow.__slots__
        if getattr(before[0], name) != getattr(after[0], name)
    } == {"opened_at"}


async def test_a_recipient_who_is_forgotten_is_passed_over(
    database: Database, clock: ManualClock
) -> None:
    await _deliver(database)
    recorder = _recorder(database, clock)
    recorder.opened(ids.recipient_id(NOW), PERSON)
    recorder.opened(BOB, PERSON)
    await recorder.flush()

    assert recorder.waiting == 0
    assert len(await _events(database)) == 1


async def test_many_are_stored_in_groups(database: Database, clock: ManualClock) -> None:
    """One transaction for each 250, so that others get their turn."""
    everybody = [ids.recipient_id(NOW) for _ in range(2 * GROUP + 1)]
    await _deliver(database, *everybody)
    groups: list[int] = []
    database.observe_groups(lambda works, _: groups.append(works))
    recorder = _recorder(database, clock)
    for one in everybody:
        recorder.opened(one, PERSON)
    await recorder.flush()

    assert len(await _events(database)) == len(everybody)
    assert groups == [1, 1, 1]


async def test_two_daemons_tell_it_once(store: Store, clock: ManualClock) -> None:
    """Both are asked by the same reader, at the same moment."""
    databases = [store.open(), store.open()]
    everybody = [ids.recipient_id(NOW) for _ in range(50)]
    await _deliver(databases[0], *everybody)
    recorders = [_recorder(each, clock) for each in databases]
    for recorder, order in zip(recorders, (everybody, everybody[::-1]), strict=True):
        for one in order:
            recorder.clicked(one, PERSON, URL)
    await asyncio.gather(*(recorder.flush() for recorder in recorders))

    told = await _events(databases[0])
    assert sorted(one.recipient_id or "" for one in told) == sorted(everybody)


async def test_more_than_there_is_room_for_is_dropped_and_counted(
    database: Database, clock: ManualClock
) -> None:
    """Memory is bounded, whoever asks."""
    metrics = Metrics()
    recorder = _recorder(database, clock, metrics=metrics, pending_events=3)
    for _ in range(10):
        recorder.opened(ids.recipient_id(NOW), PERSON)

    assert recorder.waiting == 3
    assert "tracking_events_dropped_total 7.0" in metrics.render().decode().splitlines()


async def test_what_cannot_be_stored_now_is_kept(store: Store, clock: ManualClock) -> None:
    """In order, up to the limit, and said once in the log."""
    database = store.open()
    await _deliver(database, BOB, CAT)
    metrics = Metrics()
    recorder = _recorder(database, clock, metrics=metrics, pending_events=2)
    database.close()
    recorder.opened(BOB, PERSON)
    with capture_logs() as logged:
        await recorder.flush()
        recorder.opened(CAT, PERSON)
        await recorder.flush()
        recorder.opened(ids.recipient_id(NOW), PERSON)

    assert [entry["event"] for entry in logged] == ["tracking_flush_deferred"]
    assert recorder.waiting == 2
    assert "tracking_events_dropped_total 1.0" in metrics.render().decode().splitlines()
    recorder._database = again = store.open()
    await recorder.flush()
    assert recorder.waiting == 0
    assert [one.recipient_id for one in await _events(again)] == [BOB, CAT]


async def test_what_comes_while_the_store_is_asked_does_not_push_out_what_was_first(
    store: Store, clock: ManualClock
) -> None:
    """The limit holds when a group comes back."""
    database = store.open()
    metrics = Metrics()
    recorder = _recorder(database, clock, metrics=metrics, pending_events=2)
    first, second, third = (ids.recipient_id(NOW) for _ in range(3))
    recorder.opened(first, PERSON)
    recorder.opened(second, PERSON)
    database.close()
    flushing = asyncio.ensure_future(recorder.flush())
    await asyncio.sleep(0)  # it has taken its group
    assert recorder.waiting == 0
    recorder.opened(third, PERSON)
    with capture_logs():
        await flushing

    assert [key[1] for key in recorder._waiting] == [first, second]
    assert "tracking_events_dropped_total 1.0" in metrics.render().decode().splitlines()


@pytest.mark.parametrize(("flush_s", "pending"), [(0.01, 10_000), (3600.0, 4)])
async def test_the_service_stores_by_itself(
    database: Database, clock: ManualClock, flush_s: float, pending: int
) -> None:
    """After `flush_s`, and at once when it is half full."""
    await _deliver(database, BOB, CAT)
    stored = asyncio.Event()
    database.observe_groups(lambda _works, _seconds: stored.set())
    recorder = _recorder(database, clock, flush_s=flush_s, pending_events=pending)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(recorder.run(ready))
        await ready.wait()
        recorder.opened(BOB, PERSON)
        recorder.opened(CAT, PERSON)
        async with asyncio.timeout(30):
            await stored.wait()
        assert recorder.waiting == 0
        await recorder.drain(asyncio.get_running_loop().time() + 30)

    assert len(await _events(database)) == 2


async def test_stopping_stores_what_waits(database: Database, clock: ManualClock) -> None:
    """And what an open request adds after that is stored by `last_words`."""
    await _deliver(database, BOB, CAT)
    recorder = _recorder(database, clock, flush_s=3600.0)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(recorder.run(ready))
        await ready.wait()
        recorder.opened(BOB, PERSON)
        await recorder.drain(asyncio.get_running_loop().time() + 30)
    assert len(await _events(database)) == 1
    recorder.opened(CAT, PERSON)
    with capture_logs() as logged:
        await recorder.last_words()

    assert len(await _events(database)) == 2
    assert logged == []


async def test_stopping_is_legal_at_any_time(database: Database, clock: ManualClock) -> None:
    """Before it ran, and twice."""
    recorder = _recorder(database, clock)
    deadline = asyncio.get_running_loop().time() + 30
    await recorder.drain(deadline)
    await recorder.drain(deadline)
    ready = asyncio.Event()
    await recorder.run(ready)

    assert ready.is_set()


async def test_what_is_lost_at_the_end_is_said_once(store: Store, clock: ManualClock) -> None:
    """With what came after the service had stopped; and it is counted."""
    database = store.open()
    metrics = Metrics()
    recorder = _recorder(database, clock, metrics=metrics)
    recorder.opened(BOB, PERSON)
    database.close()
    with capture_logs() as logged:
        await recorder.drain(asyncio.get_running_loop().time() + 30)
        recorder.opened(CAT, PERSON)
        await recorder.last_words()
        await recorder.last_words()

    assert [one for one in logged if one["log_level"] == "error"] == [
        {"event": "tracking_events_lost", "events": 2, "log_level": "error"}
    ]
    assert "tracking_events_dropped_total 2.0" in metrics.render().decode().splitlines()


async def test_store_that_never_answers_does_not_hold_up_the_end(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "LAST_WORDS_S", 0.05)
    monkeypatch.setattr(database, "write", lambda _: asyncio.Event().wait())
    recorder = _recorder(database, clock)
    recorder.opened(BOB, PERSON)
    with capture_logs() as logged:
        async with asyncio.timeout(30):
            await recorder.last_words()

    assert logged == [{"event": "tracking_events_lost", "events": 1, "log_level": "error"}]


# --- the request path


def _client(
    database: Database, clock: ManualClock
) -> tuple[httpx2.AsyncClient, Recorder, FakeRecipients]:
    """The doors over a real recorder and a real database."""
    signed = FakeRecipients(clock=clock)
    recorder = _recorder(database, clock)
    parts = RecipientParts(
        links=signed.links,
        recorder=recorder,
        unsubscribes=Unsubscribes(database),
        requests_per_minute=100_000,
        clock=clock,
        metrics=Metrics(),
    )
    app = create_api_app(FakeApi().parts, recipients=parts)
    headers = {"User-Agent": PERSON.user_agent}
    transport = httpx2.ASGITransport(app=app)
    return (
        httpx2.AsyncClient(transport=transport, base_url=BASE, headers=headers),
        recorder,
        signed,
    )


async def test_a_forged_request_asks_the_database_nothing(
    database: Database, clock: ManualClock
) -> None:
    """No statement, for any of them; and nothing is left to be stored."""
    await _deliver(database)
    client, recorder, signed = _client(database, clock)
    targets = [signed.links.open_url(BOB), signed.links.click_url(BOB, URL)]
    leave = signed.links.unsubscribe_url(BOB)
    with _statements(database) as statements:
        async with client:
            for target in (*targets, leave):
                begin = len(BASE) + len("/unsubscribe/")
                for at in range(begin, len(target)):
                    forged = target[:at] + ("A" if target[at] != "A" else "B") + target[at + 1 :]
                    if target == leave:
                        answer = await client.post(forged, data={"List-Unsubscribe": "One-Click"})
                    else:
                        answer = await client.get(forged)
                    assert answer.status_code == 404, forged
        await recorder.flush()

    assert statements == []
    assert await _events(database) == []


async def test_an_open_and_a_click_ask_nothing_until_they_are_stored(
    database: Database, clock: ManualClock
) -> None:
    await _deliver(database)
    client, recorder, signed = _client(database, clock)
    async with client:
        with _statements(database) as statements:
            click = await client.get(signed.links.click_url(BOB, URL))
            pixel = await client.get(signed.links.open_url(BOB))
            page = await client.get(signed.links.unsubscribe_url(BOB))
            on_the_path = len(statements)
            await recorder.flush()

    assert (click.status_code, pixel.status_code, page.status_code) == (302, 200, 200)
    assert on_the_path == 0
    assert len(statements) > 0
    assert set(await _facts(database)) == {"opened_at", "clicked_at"}


async def test_one_click_over_http(database: Database, clock: ManualClock) -> None:
    await _deliver(database)
    client, _, signed = _client(database, clock)
    url = signed.links.unsubscribe_url(BOB)
    assert urlsplit(url).path.startswith("/unsubscribe/")
    async with client:
        answers = [await client.post(url, data={"List-Unsubscribe": "One-Click"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(await _suppressions(database)) == 1
    assert len(await _events(database)) == 2


# --- unsubscribing


async def test_leaving_suppresses_for_the_mailbox(database: Database) -> None:
    """In one transaction: suppression, fact and both events."""
    await _deliver(database, forward_path="Bob+news@EXAMPLE.net")
    assert await Unsubscribes(database).leave(BOB, How.ONE_CLICK) is True

    (row,) = await _suppressions(database)
    assert (row.scope, row.address_key, row.reason, row.source, row.expires_at) == (
        "m1", "Bob+news@example.net", "unsubscribed", "one-click", None,
    )  # fmt: skip
    assert (await _row(database)).unsubscribed_at == NOW
    told = await _events(database)
    assert [(one.type, one.mailbox_id, one.recipient_id) for one in told] == [
        (EventType.RECIPIENT_UNSUBSCRIBED, "m1", BOB),
        (EventType.SUPPRESSION_ADDED, "m1", BOB),
    ]
    assert told[0].data == {"by": "one-click"}
    assert told[1].data == {
        "address": "Bob+news@example.net", "reason": "unsubscribed", "source": "one-click",
        "scope": "m1",
    }  # fmt: skip


async def test_leaving_a_thousand_times_changes_one_row_once(
    store: Store, clock: ManualClock
) -> None:
    """At the same moment, by two daemons, by either way."""
    databases = [store.open(), store.open()]
    await _deliver(databases[0])
    leaving = [Unsubscribes(each) for each in databases]
    await asyncio.gather(
        *(leaving[number % 2].leave(BOB, list(How)[number % 3 % 2]) for number in range(200))
    )
    clock.advance(seconds=60)
    await leaving[0].leave(BOB, How.PAGE)

    (row,) = await _suppressions(databases[0])
    assert (row.first_seen_at, row.last_seen_at) == (NOW, NOW)
    assert len(await _events(databases[0])) == 2


async def test_leaving_again_after_an_operator_let_mail_go(database: Database) -> None:
    """The suppression comes back; that it left is not told again."""
    await _deliver(database)
    unsubscribes = Unsubscribes(database)
    await unsubscribes.leave(BOB, How.PAGE)
    (row,) = await _suppressions(database)
    await database.write(lambda tx: suppressions.remove(tx, scope=row.scope, key=row.address_key))
    await unsubscribes.leave(BOB, How.PAGE)

    assert [one.reason for one in await _suppressions(database)] == ["unsubscribed"]
    assert [one.type for one in await _events(database)] == [
        "recipient.unsubscribed", "suppression.added", "suppression.added",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "ends", "expected"),
    [
        ("m1", None, [("m1", "unsubscribed", None)]),
        ("m1", NOW + HOUR, [("m1", "unsubscribed", None)]),
        ("m1", NOW - HOUR, [("m1", "unsubscribed", None)]),
        (ALL, None, [(ALL, "complaint", None), ("m1", "unsubscribed", None)]),
        ("m2", None, [("m1", "unsubscribed", None), ("m2", "complaint", None)]),
    ],
)
async def test_leaving_where_a_suppression_is_already(
    database: Database,
    scope: str,
    ends: dt.datetime | None,
    expected: list[tuple[str, str, dt.datetime | None]],
) -> None:
    await _deliver(database)
    there = rows.suppression(scope, "r0@example.net", reason="complaint", expires_at=ends)
    await database.write(lambda tx: suppressions.put(tx, there))
    await Unsubscribes(database).leave(BOB, How.ONE_CLICK)

    found = [(one.scope, one.reason, one.expires_at) for one in await _suppressions(database)]
    assert found == expected


async def test_agent_cannot_take_back_what_a_recipient_said(world: World) -> None:
    """Though the agent's own word was there first, and without end."""
    queue_id = await world.sent("bob@example.net")
    (recipient,) = (await world.inspector.message(queue_id, None)).recipients
    scope = (await world.principal()).mailbox_id
    await world.suppressions.add("bob@example.net", scope=scope, reason="asked", source="api")
    await Unsubscribes(world.database).leave(recipient.recipient_id, How.ONE_CLICK)

    with pytest.raises(Refused) as refused:
        await world.suppressions.take_back("bob@example.net", scope=scope)

    assert refused.value.code == "suppression_protected"


async def test_leaving_sandbox_mail_keeps_nobody_from_real_mail(database: Database) -> None:
    """It is confirmed and noted, once; the list is as it was."""
    await _deliver(database)
    await database.write(lambda tx: tx.execute(update(schema.messages).values(sandbox=True)))
    unsubscribes = Unsubscribes(database)

    assert [await unsubscribes.leave(BOB, how) for how in How] == [True, True]

    assert await _suppressions(database) == []
    assert (await _row(database)).unsubscribed_at == NOW
    assert [one.type for one in await _events(database)] == ["recipient.unsubscribed"]


async def test_a_recipient_that_is_not_there_cannot_leave(database: Database) -> None:
    await _deliver(database)

    assert await Unsubscribes(database).leave(ids.recipient_id(NOW), How.PAGE) is False
    assert await _suppressions(database) == []
    assert await _events(database) == []


async def test_leaving_while_the_store_is_down_is_an_error(store: Store) -> None:
    """Nothing is said before it is on stable storage."""
    database = store.open()
    database.close()

    with pytest.raises(StoreUnavailable):
        await Unsubscribes(database).leave(BOB, How.PAGE)


async def test_facts_of_both_rooms_do_not_undo_each_other(store: Store, clock: ManualClock) -> None:
    """Opened, clicked and left at the same moment, on two nodes."""
    one, two = store.open(), store.open()
    everybody = [ids.recipient_id(NOW) for _ in range(30)]
    await _deliver(one, *everybody)
    recorder, unsubscribes = _recorder(one, clock), Unsubscribes(two)
    for each in everybody:
        recorder.opened(each, PERSON)
        recorder.clicked(each, CURL, URL)
    await asyncio.gather(
        recorder.flush(), *(unsubscribes.leave(each, How.PAGE) for each in everybody)
    )

    found = await one.read(lambda tx: recipients.of_messages(tx, [MESSAGE]))
    assert {
        (row.opened_at, row.clicked_at, row.machine_clicked_at, row.unsubscribed_at)
        for row in found[MESSAGE]
    } == {(NOW, None, NOW, NOW)}


def test_the_word_of_a_suppression_is_the_one_of_the_table() -> None:
    """The two rooms do not see each other."""
    assert Why.UNSUBSCRIBED.value == REASON
