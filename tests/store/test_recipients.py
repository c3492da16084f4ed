"""store.recipients: one row per forward-path."""

from __future__ import annotations

import datetime as dt

from gatewayd.ids import MailboxId, QueueId, RecipientId
from gatewayd.store import claims, recipients
from gatewayd.store.database import Database, Tx
from tests.fakes import rows
from tests.fakes.clock import NOW, ManualClock

HOUR = dt.timedelta(hours=1)


async def _of(database: Database, queue_id: str) -> list[recipients.RecipientRow]:
    found = await database.read(lambda tx: recipients.of_messages(tx, [QueueId(queue_id)]))
    return found.get(QueueId(queue_id), [])


async def test_recipients_read_back_in_the_order_in_which_they_were_given(
    database: Database,
) -> None:
    given = [rows.recipient("q1", position) for position in (2, 0, 1)]
    await rows.keep_message(database, "q1", *given)

    found = await _of(database, "q1")

    assert [row.position for row in found] == [0, 1, 2]
    assert (found[0].due_at, found[0].notify, found[0].orcpt) == (
        NOW,
        "FAILURE,SUCCESS",
        "rfc822;r@example.net",
    )
    assert (found[0].attempt_id, found[0].reply_code, found[0].delivered_at) == (None, None, None)
    addresses = await database.read(lambda tx: recipients.addresses(tx, [QueueId("q1")]))
    assert addresses == {"q1": [(f"q1-r{n}", f"r{n}@example.net") for n in range(3)]}


async def test_change_moves_only_the_recipients_it_names(
    database: Database, clock: ManualClock
) -> None:
    """An operator's word replaces the reply that stood there."""
    await rows.keep_message(database, "q1", rows.recipient("q1", 0), rows.recipient("q1", 1))
    await database.write(
        lambda tx: claims.settle(
            tx,
            [
                {
                    "recipient_id": "q1-r0", "state": "queued", "attempts": 3, "due_at": NOW,
                    "reply_code": 451, "reply_status": "4.7.1", "reason": "later",
                    "delivered_at": None,
                }
            ],
        )
    )  # fmt: skip
    clock.advance(hours=1)

    def work(tx: Tx) -> None:
        assert len(recipients.locked(tx, QueueId("q1"))) == 2
        recipients.change(
            tx, [RecipientId("q1-r0")], state="held", due_at=None, reason="held by me"
        )

    await database.write(work)
    held, other = await _of(database, "q1")

    assert (held.state, held.due_at, held.reason, held.attempts) == ("held", None, "held by me", 3)
    assert (held.reply_code, held.reply_status) == (None, None)
    assert held.updated_at == NOW + HOUR
    assert (other.state, other.due_at, other.updated_at) == ("queued", NOW, NOW)


async def test_change_can_start_the_count_anew(database: Database) -> None:
    await rows.keep_message(database, "q1", rows.recipient("q1", 0, attempts=9))

    await database.write(
        lambda tx: recipients.change(
            tx, [RecipientId("q1-r0")], state="queued", due_at=NOW, reason="", attempts=0
        )
    )

    assert [row.attempts for row in await _of(database, "q1")] == [0]


async def test_counts(database: Database) -> None:
    """By state; what is queued with its earliest due time; what a mailbox owes."""
    await rows.keep_message(
        database, "q1",
        *(
            rows.recipient("q1", n, state=state, due_at=NOW + n * HOUR)
            for n, state in enumerate(
                ["delivered", "queued", "queued", "held", "claimed", "in_doubt", "failed"]
            )
        ),
    )  # fmt: skip
    await rows.keep_message(database, "q2", mailbox_id="m2", accepted_at=NOW)

    assert await database.read(recipients.count_by_state) == {
        "delivered": 1, "queued": 3, "held": 1, "claimed": 1, "in_doubt": 1, "failed": 1,
    }  # fmt: skip
    assert await database.read(recipients.depth) == (3, NOW)
    assert await database.read(lambda tx: recipients.owed_by(tx, MailboxId("m1"))) == 5
    assert await database.read(lambda tx: recipients.owed_by(tx, MailboxId("none"))) == 0


async def test_depth_of_an_empty_queue(database: Database) -> None:
    assert await database.read(recipients.depth) == (0, None)
