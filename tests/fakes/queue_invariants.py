"""What has to be true of the queue after every step: each invariant by itself, with its name.

| invariant                   | of what is stored alone | against the model          |
|-----------------------------|-------------------------|----------------------------|
| nobody is lost              | messages have octets    | rows are who was accepted  |
| rows, attempts              |                         | every column that counts   |
| doubt is never silent       | marker, outcome, report | who was in the attempt     |
| one lease each              | open leases             | who was in the attempt     |
| events are told once        | ids are unique          | types and whom they name   |
| delivered is counted once   | facts, states, events   |                            |
| quota is debited once       | never over the limit    | counters                   |
| readers agree               | lists, counts, depth    | lanes                      |
| dead addresses              | one event each          | who is suppressed          |
| final stays                 | this look, and the last |                            |
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from gatewayd.store import claims, messages, recipients, schema
from gatewayd.store.database import Tx
from gatewayd.store.messages import MessageFilter
from gatewayd.store.recipients import RecipientRow
from tests.fakes import queue_model
from tests.fakes.queue_model import FINAL, OPEN, QueueModel

STATES = (*sorted(OPEN), *sorted(FINAL))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Everything that is stored."""

    now: dt.datetime
    rows: dict[str, RecipientRow]
    messages: set[str]
    octets: set[str]
    attempts: dict[str, claims.AttemptRow]
    events: list[Any]
    used: dict[tuple[str, str, dt.datetime], int]
    dead: set[tuple[str, str]]
    counted: dict[str, int]
    depth: int
    lanes: dict[str, dt.datetime]
    listed: tuple[str, set[str]]  # a state, and the messages that are listed by it


def look(tx: Tx, mailbox_of: Mapping[str, str]) -> Seen:
    """Read it all, in one transaction. mailbox_of: the names of mailboxes, tokens and lanes."""
    queue_ids = set(tx.execute(select(schema.messages.c.queue_id)).scalars())
    rows = [one for some in recipients.of_messages(tx, queue_ids).values() for one in some]
    tries = [one for some in claims.of_messages(tx, queue_ids).values() for one in some]
    told = list(tx.execute(select(*schema.events.c).order_by(schema.events.c.seq)))
    state = STATES[len(told) % len(STATES)]  # each in its turn
    listed = messages.newest_first(tx, MessageFilter(state=state), before=None, limit=1000)
    quotas, suppressed = select(*schema.quotas.c), select(*schema.suppressions.c)
    return Seen(
        now=tx.now,
        rows={one.recipient_id: one for one in rows},
        messages=queue_ids,
        octets=set(tx.execute(select(schema.message_octets.c.queue_id)).scalars()),
        attempts={one.attempt_id: one for one in tries},
        events=told,
        used={
            (mailbox_of[row.token_id], row.window, row.starts_at): row.used
            for row in tx.execute(quotas)
            if row.used
        },
        dead={
            (mailbox_of[row.scope], row.address_key) for row in tx.execute(suppressed)
        },
        counted=recipients.count_by_state(tx),
        depth=recipients.depth(tx)[0],
        lanes={mailbox_of[lane]: due_at for lane, due_at in claims.lanes(tx)},
        listed=(state, {row.queue_id for row in listed}),
    )  # fmt: skip


def check(model: QueueModel, before: Seen | None, seen: Seen) -> None:
    """Raise an AssertionError that names what does not hold."""
    for invariant in _INVARIANTS:
        invariant(model, seen)
    if before is not None:
        _final_stays(before, seen)


def _nobody_is_lost(model: QueueModel, seen: Seen) -> None:
    """Who was accepted is there, until the whole message is at rest and past its time."""
    stored = set(seen.rows)
    _assert_same("accepted and not forgotten", model.accepted - model.forgotten, stored)
    owed = {row.queue_id for row in seen.rows.values()}
    _assert_same("messages that recipients wait for", owed, seen.messages)
    _assert_same("messages with octets", owed, seen.octets)


def _rows_are_as_expected(model: QueueModel, seen: Seen) -> None:
    stored = {
        id_: (row.state, row.attempts, None if row.state == "claimed" else row.due_at,
              row.attempt_id, *(at is not None for at in _facts(row)))
        for id_, row in seen.rows.items()
    }  # fmt: skip
    expected = {
        id_: (row.state, row.tries, None if row.state == "claimed" else row.due_at,
              row.attempt_id, row.delivered, row.bounced, row.delayed)
        for id_, row in model.rows.items()
    }  # fmt: skip
    _assert_same("recipients", expected, stored)


def _attempts_are_as_expected(model: QueueModel, seen: Seen) -> None:
    stored = {
        id_: (one.queue_id, one.lease_until, one.marker_at is not None, one.ended_at is not None)
        for id_, one in seen.attempts.items()
    }
    expected = {
        id_: (one.queue_id, one.lease_until, one.marked, one.ended)
        for id_, one in model.tries.items()
    }
    _assert_same("attempts", expected, stored)


def _doubt_is_never_silent(model: QueueModel, seen: Seen) -> None:
    """An attempt with a marker has an outcome for everybody, or they wait for it; or a report."""
    told = {(event.data.get("attempt_id"), event.recipient_id) for event in seen.events}
    silent = {
        (id_, row.recipient_id, row.state)
        for id_, one in seen.attempts.items()
        for row in (seen.rows[each] for each in model.tries[id_].recipient_ids)
        if one.marker_at is not None
        and (id_, row.recipient_id) not in told
        and row.bounced_at is None
        and not (row.state == "claimed" and row.attempt_id == id_ and one.ended_at is None)
    }
    _assert_same("marked, and nothing said of it", set(), silent)


def _one_lease_each(model: QueueModel, seen: Seen) -> None:
    """Nobody is in two hands; who is claimed is in one."""
    hands = Counter(
        each
        for id_, one in seen.attempts.items()
        if one.ended_at is None and one.lease_until >= seen.now
        for each in model.tries[id_].recipient_ids
    )
    twice = {id_ for id_, count in hands.items() if count > 1}
    _assert_same("in two hands", set(), twice)
    open_ = {id_ for id_, one in seen.attempts.items() if one.ended_at is None}
    nobody = {
        id_
        for id_, row in seen.rows.items()
        if row.state == "claimed" and row.attempt_id not in open_
    }
    _assert_same("claimed by nobody", set(), nobody)


def _events_are_told_once(model: QueueModel, seen: Seen) -> None:
    told = Counter(
        (event.type, event.recipient_id or event.queue_id)
        for event in seen.events
        if not event.type.startswith(("suppression.", "return."))
    )
    _assert_same("events", dict(model.told), dict(told))
    _assert_same("event ids", len(seen.events), len({event.event_id for event in seen.events}))


def _delivered_is_counted_once(model: QueueModel, seen: Seen) -> None:
    events = [event.recipient_id for event in seen.events if event.type == "recipient.delivered"]
    _assert_same("delivered, as told", len(set(events)), len(events))
    stored = {id_ for id_, row in seen.rows.items() if row.delivered_at is not None}
    _assert_same("delivered, as noted", set(events) - model.forgotten, stored)
    states = {id_ for id_, row in seen.rows.items() if row.state == "delivered"}
    _assert_same("delivered without a time", set(), states - stored)


def _quota_is_debited_once(model: QueueModel, seen: Seen) -> None:
    used = {window: used for window, used in model.used.items() if used}
    _assert_same("quota", used, seen.used)
    allowed = {"hour": queue_model.HOURLY, "day": queue_model.DAILY}
    over = {window for window, used in seen.used.items() if used > allowed[window[1]]}
    _assert_same("over their quota", set(), over)
    accepted = [event.data for event in seen.events if event.type == "message.accepted"]
    _assert_same(
        "recipients accepted", len(model.accepted), sum(data["recipients"] for data in accepted)
    )


def _readers_agree(model: QueueModel, seen: Seen) -> None:
    """What a message is listed, counted and claimed by is what its recipients are."""
    states = Counter(row.state for row in seen.rows.values())
    _assert_same("recipients by state", dict(states), seen.counted)
    _assert_same("depth", states["queued"], seen.depth)
    state, listed = seen.listed
    wanted = {row.queue_id for row in seen.rows.values() if row.state == state}
    _assert_same(f"messages with one that is {state}", wanted, listed)
    due = [row for row in model.rows.values() if row.state == "queued"]
    _assert_same("lanes", {row.mailbox for row in due}, set(seen.lanes))
    for name, due_at in seen.lanes.items():
        first = min(row.due_at for row in due if row.mailbox == name and row.due_at is not None)
        _assert_same(f"first of {name}", first, due_at)


def _dead_addresses_are_suppressed(model: QueueModel, seen: Seen) -> None:
    _assert_same("suppressed", model.dead, seen.dead)
    added = [event for event in seen.events if event.type == "suppression.added"]
    _assert_same("suppressed, as told", len(seen.dead), len(added))


def _final_stays(before: Seen, seen: Seen) -> None:
    """From rest a report leads, from failed and expired an operator; nothing else does."""
    news = seen.events[len(before.events) :]
    retried = {event.queue_id for event in news if event.type == "message.retried"}
    moved = {
        (id_, row.state, seen.rows[id_].state)
        for id_, row in before.rows.items()
        if row.state in FINAL and id_ in seen.rows and seen.rows[id_].state != row.state
    }
    lawful = {
        (id_, was, now)
        for id_, was, now in moved
        if (was, now) == ("delivered", "bounced")
        or (was in ("failed", "expired") and now == "queued" and seen.rows[id_].queue_id in retried)
    }
    _assert_same("left their rest", lawful, moved)


_INVARIANTS = (
    _nobody_is_lost,
    _rows_are_as_expected,
    _attempts_are_as_expected,
    _doubt_is_never_silent,
    _one_lease_each,
    _events_are_told_once,
    _delivered_is_counted_once,
    _quota_is_debited_once,
    _readers_agree,
    _dead_addresses_are_suppressed,
)


def _facts(row: RecipientRow) -> tuple[dt.datetime | None, ...]:
    return row.delivered_at, row.bounced_at, row.delayed_at


def _assert_same(what: str, expected: Any, stored: Any) -> None:  # noqa: ANN401 - all that has ==
    """As `assert expected == stored`, but it names only what differs."""
    if expected == stored:
        return
    if isinstance(expected, dict) and isinstance(stored, dict):
        both = expected.keys() & stored.keys()
        alike = {key for key in both if expected[key] == stored[key]}
        expected = {key: value for key, value in expected.items() if key not in alike}
        stored = {key: value for key, value in stored.items() if key not in alike}
    raise AssertionError(f"{what}: expected {expected}, but stored is {stored}")
