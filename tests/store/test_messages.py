"""store.messages: accepted messages are kept, found, listed and forgotten."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from gatewayd.ids import MailboxId, QueueId
from gatewayd.store import messages, recipients
from gatewayd.store.database import Database, Tx
from gatewayd.store.messages import MessageFilter
from tests.fakes import rows
from tests.fakes.clock import NOW

HOUR = dt.timedelta(hours=1)


async def _listed(
    database: Database, wanted: MessageFilter, *, before: str | None = None, limit: int = 10
) -> list[str]:
    cursor = None if before is None else QueueId(before)
    found = await database.read(
        lambda tx: messages.newest_first(tx, wanted, before=cursor, limit=limit)
    )
    return [row.queue_id for row in found]


async def test_message_reads_back_equal(database: Database) -> None:
    """Every column, and the octets."""
    row = await rows.keep_message(database, "q1", spool_key="s", spool_sha256="00")

    assert await database.read(lambda tx: messages.by_ids(tx, [row.queue_id])) == {"q1": row}
    assert await database.read(lambda tx: messages.octets_by_ids(tx, [row.queue_id])) == {
        "q1": rows.octets("q1")
    }


async def test_message_that_is_not_there_is_not_found(database: Database) -> None:
    assert await database.read(lambda tx: messages.by_ids(tx, [QueueId("q")])) == {}
    assert await database.read(lambda tx: messages.by_ids(tx, [])) == {}


async def test_spooled_message_has_no_body(database: Database) -> None:
    """Null is not empty: an empty body is a body."""

    def work(tx: Tx) -> None:
        empty = rows.octets("q2", b"")
        messages.add(tx, [rows.message("q1"), rows.message("q2")], [rows.octets("q1", None), empty])
        messages.add(tx, [], [])

    await database.write(work)
    found = await database.read(
        lambda tx: messages.octets_by_ids(tx, [QueueId("q1"), QueueId("q2")])
    )

    assert [found[QueueId(name)].body for name in ("q1", "q2")] == [None, b""]


async def test_list_is_newest_first_in_pages(database: Database) -> None:
    for name in ("q2", "q1", "q3"):
        await rows.keep_message(database, name)

    assert await _listed(database, MessageFilter(), limit=2) == ["q3", "q2"]
    assert await _listed(database, MessageFilter(), before="q2") == ["q1"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (MessageFilter(mailbox_id=MailboxId("m2")), ["q2"]),
        (MessageFilter(state="held"), ["q2"]),
        (MessageFilter(recipient="bob@example.net"), ["q2"]),
        (MessageFilter(state="queued", recipient="bob@example.net"), []),
        (MessageFilter(since=NOW + HOUR), ["q2"]),
        (MessageFilter(until=NOW + HOUR), ["q1"]),
        (MessageFilter(since=NOW, until=NOW + 2 * HOUR), ["q2", "q1"]),
        (MessageFilter(tag="Alpha"), ["q2"]),
        (MessageFilter(tag="alpha"), []),
        (MessageFilter(tag="alp"), []),
        (MessageFilter(tag="a_b"), ["q2"]),
        (MessageFilter(tag="a.b"), []),
        (MessageFilter(tag="%"), []),
    ],
)
async def test_list_by_filter(
    database: Database, wanted: MessageFilter, expected: list[str]
) -> None:
    """A tag is one whole word, in its own case, on both databases."""
    await rows.keep_message(database, "q1", tags=["axb", "beta"])
    held = rows.recipient("q2", 1, state="held", forward_path="bob@example.net")
    await rows.keep_message(
        database, "q2", rows.recipient("q2", 0), held,
        mailbox_id="m2", accepted_at=NOW + HOUR, tags=["Alpha", "a_b"],
    )  # fmt: skip

    assert await _listed(database, wanted) == expected


async def test_referenced_names_the_spool_files_that_are_needed(database: Database) -> None:
    await rows.keep_message(database, "q1", spool_key="needed")

    found = await database.read(lambda tx: messages.referenced(tx, ["needed", "orphan"]))

    assert found == {"needed"}
    assert await database.read(lambda tx: messages.referenced(tx, [])) == set()


async def test_at_rest_leaves_what_is_owed_and_what_is_young(database: Database) -> None:
    """A message with one open recipient is not at rest."""
    for name, state in (("q1", "delivered"), ("q2", "held"), ("q3", "failed")):
        await rows.keep_message(
            database, name, rows.recipient(name, 0, state="delivered"),
            rows.recipient(name, 1, state=state), spool_key=f"s-{name}",
        )  # fmt: skip
    await rows.keep_message(
        database, "q4", rows.recipient("q4", 0, state="delivered"), accepted_at=NOW + HOUR
    )

    found = await database.read(
        lambda tx: messages.at_rest_before(tx, NOW + HOUR, open_states=["queued", "held"], limit=10)
    )

    assert found == [("q1", "s-q1"), ("q3", "s-q3")]


async def test_at_rest_looks_past_what_is_owed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many old messages are held, those behind them are found, up to the limit."""
    monkeypatch.setattr(messages, "LOOKED_AT", 2)
    states = ("held", "held", "held", "failed", "queued", "delivered", "delivered")
    for number, state in enumerate(states):
        name = f"q{number}"
        await rows.keep_message(database, name, rows.recipient(name, 0, state=state))

    def found(limit: int) -> Callable[[Tx], list[tuple[QueueId, str | None]]]:
        states = ["queued", "held"]
        return lambda tx: messages.at_rest_before(tx, NOW + HOUR, open_states=states, limit=limit)

    assert await database.read(found(10)) == [("q3", None), ("q5", None), ("q6", None)]
    assert await database.read(found(2)) == [("q3", None), ("q5", None)]


async def test_remove_forgets_the_message_with_all_that_hangs_on_it(database: Database) -> None:
    await rows.keep_message(database, "q1")
    await rows.keep_message(database, "q2")
    await rows.lease(database, "q1", ["q1-r0"], until=NOW)

    await database.write(lambda tx: messages.remove(tx, [QueueId("q1")]))

    assert await database.read(messages.count) == 1
    assert await database.read(lambda tx: messages.octets_by_ids(tx, [QueueId("q1")])) == {}
    assert await database.read(recipients.count_by_state) == {"queued": 1}
