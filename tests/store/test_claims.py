"""store.claims: an attempt is a lease, and its id the fencing token."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter

import pytest

from gatewayd.ids import AttemptId, QueueId, RecipientId
from gatewayd.queue.claim import take
from gatewayd.store import claims, recipients
from gatewayd.store.database import Database, Tx
from tests.fakes import rows
from tests.fakes.clock import NOW, ManualClock
from tests.fakes.stores import Store

HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


async def _due(database: Database, lane: str, limit: int = 10) -> list[str]:
    return [
        r.recipient_id for r in await database.write(lambda tx: claims.due(tx, lane, limit=limit))
    ]


async def test_lanes_names_each_lane_with_queued_work_and_its_earliest_time(
    database: Database,
) -> None:
    """By one seek per lane, whatever is at rest in others."""
    assert await database.read(claims.lanes) == []
    await rows.keep_message(
        database, "q1",
        rows.recipient("q1", 0, lane="b", due_at=NOW + HOUR),
        rows.recipient("q1", 1, lane="a", due_at=NOW + 2 * HOUR),
        rows.recipient("q1", 2, lane="b", due_at=NOW - HOUR),
        rows.recipient("q1", 3, lane="c", state="delivered"),
        rows.recipient("q1", 4, lane="sandbox"),
    )  # fmt: skip

    assert await database.read(claims.lanes) == [
        ("a", NOW + 2 * HOUR), ("b", NOW - HOUR), ("sandbox", NOW),
    ]  # fmt: skip


async def test_due_takes_the_longest_due_first_of_one_lane(database: Database) -> None:
    await rows.keep_message(
        database, "q1",
        rows.recipient("q1", 0, due_at=NOW),
        rows.recipient("q1", 1, due_at=NOW - HOUR),
        rows.recipient("q1", 2, due_at=NOW + MINUTE),
        rows.recipient("q1", 3, due_at=NOW - HOUR, lane="other"),
        rows.recipient("q1", 4, due_at=NOW - HOUR, state="held"),
        rows.recipient("q1", 5, due_at=None),
    )  # fmt: skip

    assert await _due(database, "m1") == ["q1-r1", "q1-r0"]
    assert await _due(database, "m1", limit=1) == ["q1-r1"]
    assert await _due(database, "none") == []


async def test_lease_gives_recipients_to_an_attempt_and_counts_it(database: Database) -> None:
    await rows.keep_message(database, "q1", rows.recipient("q1", 0), rows.recipient("q1", 1))

    attempt_id = await rows.lease(database, "q1", ["q1-r0"], until=NOW + HOUR)

    found = await database.read(lambda tx: recipients.of_messages(tx, [QueueId("q1")]))
    assert [(row.state, row.attempts, row.attempt_id) for row in found[QueueId("q1")]] == [
        ("claimed", 1, attempt_id),
        ("queued", 0, None),
    ]
    made = await database.read(lambda tx: claims.of_messages(tx, [QueueId("q1")]))
    assert [(one.attempt_id, one.lease_until, one.ended_at) for one in made[QueueId("q1")]] == [
        (attempt_id, NOW + HOUR, None)
    ]
    assert await _due(database, "m1") == ["q1-r1"]


async def test_still_ours_wants_an_open_attempt_with_enough_left(database: Database) -> None:
    await rows.keep_message(database, "q1")
    attempt_id = await rows.lease(database, "q1", ["q1-r0"], until=NOW + HOUR)

    async def ours(until: dt.datetime) -> set[AttemptId]:
        return await database.write(lambda tx: claims.still_ours(tx, [attempt_id], until=until))

    assert await ours(NOW + HOUR) == {attempt_id}
    assert await ours(NOW + HOUR + MINUTE) == set()
    await database.write(lambda tx: claims.close(tx, [attempt_id]))
    assert await ours(NOW) == set()


async def test_renew_holds_open_attempts_longer_and_no_ended_one(database: Database) -> None:
    await rows.keep_message(database, "q1", rows.recipient("q1", 0), rows.recipient("q1", 1))
    first = await rows.lease(database, "q1", ["q1-r0"], until=NOW + MINUTE)
    ended = await rows.lease(database, "q1", ["q1-r1"], until=NOW + MINUTE)
    await database.write(lambda tx: claims.close(tx, [ended]))

    renewed = await database.write(lambda tx: claims.renew(tx, [first, ended], until=NOW + HOUR))

    assert renewed == {first}
    made = await database.read(lambda tx: claims.of_messages(tx, [QueueId("q1")]))
    assert {one.attempt_id: one.lease_until for one in made[QueueId("q1")]} == {
        first: NOW + HOUR,
        ended: NOW + MINUTE,
    }


async def test_expired_names_open_attempts_past_their_lease(database: Database) -> None:
    await rows.keep_message(database, "q1", *(rows.recipient("q1", n) for n in range(3)))
    late = await rows.lease(database, "q1", ["q1-r0"], until=NOW - MINUTE)
    ended = await rows.lease(database, "q1", ["q1-r1"], until=NOW - MINUTE)
    await rows.lease(database, "q1", ["q1-r2"], until=NOW)
    await database.write(lambda tx: claims.close(tx, [ended]))

    def work(tx: Tx) -> tuple[list[AttemptId], list[claims.HeldRow]]:
        found = claims.expired(tx, before=NOW, limit=10)
        return found, claims.held_by(tx, found)

    found, held = await database.write(work)

    assert found == [late]
    assert [(row.recipient_id, row.attempt_id, row.marker_at) for row in held] == [
        ("q1-r0", late, None)
    ]


async def test_marker_is_seen_by_whoever_takes_the_work_back(database: Database) -> None:
    await rows.keep_message(database, "q1")
    attempt_id = await rows.lease(database, "q1", ["q1-r0"], until=NOW)
    await database.write(lambda tx: claims.mark(tx, [attempt_id]))

    held = await database.write(lambda tx: claims.held_by(tx, [attempt_id]))

    assert [row.marker_at for row in held] == [NOW]


async def test_held_names_only_the_claimed(database: Database) -> None:
    await rows.keep_message(database, "q1", rows.recipient("q1", 0), rows.recipient("q1", 1))
    attempt_id = await rows.lease(database, "q1", ["q1-r0"], until=NOW)

    ids = [RecipientId("q1-r0"), RecipientId("q1-r1"), RecipientId("none")]
    held = await database.write(lambda tx: claims.held(tx, ids))

    assert {key: (row.attempt_id, row.attempts) for key, row in held.items()} == {
        "q1-r0": (attempt_id, 1)
    }


async def test_end_keeps_the_record_of_an_attempt(database: Database) -> None:
    await rows.keep_message(database, "q1")
    attempt_id = await rows.lease(database, "q1", ["q1-r0"], until=NOW)
    record = {
        "attempt_id": attempt_id, "next_hop": "h:25", "phase": "rcpt", "tls": "TLS",
        "transcript": "C: EHLO",
    }  # fmt: skip
    await database.write(lambda tx: claims.end(tx, [record]))

    made = await database.read(lambda tx: claims.of_messages(tx, [QueueId("q1")]))

    (one,) = made[QueueId("q1")]
    assert (one.ended_at, one.next_hop, one.phase, one.tls, one.transcript) == (
        NOW, "h:25", "rcpt", "TLS", "C: EHLO",
    )  # fmt: skip


async def test_close_leaves_the_end_of_an_attempt_that_has_one(
    database: Database, clock: ManualClock
) -> None:
    await rows.keep_message(database, "q1")
    attempt_id = await rows.lease(database, "q1", ["q1-r0"], until=NOW)
    await database.write(lambda tx: claims.close(tx, [attempt_id]))
    clock.advance(hours=1)
    await database.write(lambda tx: claims.close(tx, [attempt_id]))

    made = await database.read(lambda tx: claims.of_messages(tx, [QueueId("q1")]))

    assert [one.ended_at for one in made[QueueId("q1")]] == [NOW]


async def test_requeue_in_doubt_waits_for_its_time(database: Database) -> None:
    """One that the mailbox holds has none."""
    await rows.keep_message(
        database, "q1",
        rows.recipient("q1", 0, state="in_doubt", due_at=NOW),
        rows.recipient("q1", 1, state="in_doubt", due_at=NOW + MINUTE),
        rows.recipient("q1", 2, state="in_doubt", due_at=None),
        rows.recipient("q1", 3, state="held", due_at=None),
    )  # fmt: skip

    assert await database.write(claims.requeue_in_doubt) == 1
    assert await _due(database, "m1") == ["q1-r0"]


@pytest.mark.peer
@pytest.mark.slow
async def test_two_nodes_claim_each_recipient_once(store: Store) -> None:
    """480 recipients, two daemons that claim at the same time, and 480 leases: SKIP LOCKED."""
    nodes = [store.open(), store.open()]
    for number in range(48):
        queue_id = f"q{number:02}"
        await rows.keep_message(
            nodes[0], queue_id, *(rows.recipient(queue_id, n) for n in range(10))
        )

    async def worker(node: Database) -> list[str]:
        taken: list[str] = []
        while True:
            got = await node.write(lambda tx: take(tx, {LANE: 3}, lease=HOUR).claims)
            if not got:
                return taken
            taken.extend(r.recipient_id for one in got for r in one.recipients)

    taken = await asyncio.gather(*(worker(node) for node in nodes for _ in range(2)))

    counted = Counter(one for some in taken for one in some)
    assert (len(counted), set(counted.values())) == (480, {1})
    assert await nodes[0].read(recipients.count_by_state) == {"claimed": 480}


LANE = rows.message("q").mailbox_id
