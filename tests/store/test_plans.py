"""No statement that mail waits for reads a whole table: SQLite is asked how it would run each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId, TokenId
from gatewayd.store import (
    claims,
    events,
    idempotency,
    mailboxes,
    messages,
    notices,
    quotas,
    recipients,
    returns,
    suppressions,
    tokens,
    tracking,
)
from gatewayd.store.database import Tx
from gatewayd.store.returns import BounceFact
from tests.fakes import rows, stores
from tests.fakes.clock import NOW, ManualClock

A, M, Q, R, T = AttemptId("a"), MailboxId("m"), QueueId("q"), RecipientId("r"), TokenId("t")
GONE = BounceFact(recipient_id=R, klass="permanent", reason="user_unknown")
OUTCOME = {
    "recipient_id": R, "state": "queued", "attempts": 1, "due_at": NOW, "reply_code": 451,
    "reply_status": "4.2.0", "reason": "", "delivered_at": None,
}  # fmt: skip
ENDED = {"attempt_id": A, "next_hop": "", "phase": "", "tls": "", "transcript": ""}
HOT: dict[str, Callable[[Tx], object]] = {
    "tokens.by_ids": lambda tx: tokens.by_ids(tx, [T]),
    "mailboxes.by_ids": lambda tx: mailboxes.by_ids(tx, [M]),
    "mailboxes.by_address_key": lambda tx: mailboxes.by_address_key(tx, "a@x"),
    "idempotency.find": lambda tx: idempotency.find(tx, [(M, "k"), (MailboxId("n"), "l")]),
    "idempotency.forget": lambda tx: idempotency.forget(tx, [(M, "k")]),
    "idempotency.remove_expired": idempotency.remove_expired,
    "suppressions.find": lambda tx: suppressions.find(tx, [("m", "a@x"), ("m", "b@x")]),
    "suppressions.locked": lambda tx: suppressions.locked(tx, [("m", "a@x"), ("n", "b@x")]),
    "suppressions.are_any": lambda tx: suppressions.are_any(tx, "m"),
    "quotas.take": lambda tx: quotas.take(tx, [(T, "hour", NOW)]),
    "quotas.put": lambda tx: quotas.put(tx, {(T, "hour", NOW): 1}),
    "quotas.put both": lambda tx: quotas.put(tx, {(T, "hour", NOW): 1, (T, "day", NOW): 2}),
    "messages.by_ids": lambda tx: messages.by_ids(tx, [Q]),
    "messages.octets_by_ids": lambda tx: messages.octets_by_ids(tx, [Q]),
    "messages.referenced": lambda tx: messages.referenced(tx, ["s"]),
    "recipients.addresses": lambda tx: recipients.addresses(tx, [Q]),
    "recipients.of_messages": lambda tx: recipients.of_messages(tx, [Q]),
    "recipients.locked": lambda tx: recipients.locked(tx, Q),
    "recipients.depth": recipients.depth,
    "recipients.count_before": lambda tx: recipients.count_before(tx, "m", NOW, limit=10),
    "recipients.last_deferral": lambda tx: recipients.last_deferral(tx, "m"),
    "events.of_message": lambda tx: events.of_message(tx, Q),
    "events.of_message_by_type": lambda tx: events.of_message_by_type(tx, Q, ["x"], limit=9),
    "events.of_mailbox": lambda tx: events.of_mailbox(tx, M, after=0, limit=9),
    "events.is_owned": lambda tx: events.is_owned(tx, Q, M),
    "events.before": lambda tx: events.before(tx, NOW),
    "tracking.locked": lambda tx: tracking.locked(tx, [R]),
    "tracking.owners": lambda tx: tracking.owners(tx, [Q]),
    "claims.due": lambda tx: claims.due(tx, "m", limit=10),
    "claims.lease": lambda tx: claims.lease(tx, {A: (Q, [R, R])}, until=NOW),
    "claims.settle": lambda tx: claims.settle(tx, [OUTCOME, OUTCOME]),
    "claims.end": lambda tx: claims.end(tx, [ENDED, ENDED]),
    "claims.still_ours": lambda tx: claims.still_ours(tx, [A], until=NOW),
    "claims.mark": lambda tx: claims.mark(tx, [A]),
    "claims.renew": lambda tx: claims.renew(tx, [A], until=NOW),
    "claims.held": lambda tx: claims.held(tx, [R]),
    "claims.held_by": lambda tx: claims.held_by(tx, [A]),
    "claims.expired": lambda tx: claims.expired(tx, before=NOW, limit=10),
    "claims.close": lambda tx: claims.close(tx, [A]),
    "claims.requeue_in_doubt": claims.requeue_in_doubt,
    "claims.of_messages": lambda tx: claims.of_messages(tx, [Q]),
    "claims.still_open": lambda tx: claims.still_open(tx, [A]),
    "returns.is_known": lambda tx: returns.is_known(tx, "r"),
    "returns.locked": lambda tx: returns.locked(tx, ["r", "q"]),
    "returns.marked": lambda tx: returns.marked(tx, [Q]),
    "returns.told": lambda tx: returns.told(tx, [Q], word="recipient.notified"),
    "returns.bounce": lambda tx: returns.bounce(tx, [GONE]),
    "returns.note_bounce": lambda tx: returns.note_bounce(tx, [GONE]),
    "returns.note_delay": lambda tx: returns.note_delay(tx, [R]),
    "returns.note_delivery": lambda tx: returns.note_delivery(tx, [R]),
    "returns.deliver": lambda tx: returns.deliver(tx, [R]),
    "returns.complain": lambda tx: returns.complain(tx, [R]),
    "notices.waiting": lambda tx: notices.waiting(tx, ["n"]),
    "notices.remove": lambda tx: notices.remove(tx, ["n"]),
}
# A scan of what the statement itself has made, or of a partial index of open things, is no harm.
HARMLESS = re.compile(
    r"SCAN (recipients USING (COVERING )?INDEX recipients_due|lane$|given$|\d+ CONSTANT ROWS)"
)


@pytest.fixture
def explained(
    tmp_path: Path, sqlite_template: Path, clock: ManualClock
) -> Iterator[tuple[Tx, list[str]]]:
    """A transaction, and the plan of every statement that is executed in it."""
    store = stores.sqlite(tmp_path, sqlite_template, clock)
    dialect = store.make_dialect()
    engine = dialect.writer_engine()
    plans: list[str] = []

    def explain(*given: Any) -> None:  # noqa: ANN401 - an event's arguments
        _, cursor, statement, parameters, _, is_many = given
        if not statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            return
        values = parameters[0] if is_many else parameters
        found = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        plans.extend(row[3] for row in found)

    event.listen(engine, "before_cursor_execute", explain)
    with engine.begin() as connection:
        yield Tx(connection, dialect), plans
    engine.dispose()


@pytest.mark.parametrize("name", HOT)
def test_statement_seeks(name: str, explained: tuple[Tx, list[str]]) -> None:
    tx, plans = explained

    HOT[name](tx)

    assert plans
    assert [plan for plan in plans if "SCAN" in plan and not HARMLESS.match(plan)] == []


def test_lanes_seeks_once_per_lane(explained: tuple[Tx, list[str]]) -> None:
    """The recursion is over lanes; each lookup is a seek into the partial index of queued work."""
    tx, plans = explained

    assert claims.lanes(tx) == []

    on_table = [plan for plan in plans if "recipients" in plan]
    assert on_table
    assert {plan.split(" (")[0] for plan in on_table} == {
        "SEARCH recipients USING INDEX recipients_due"
    }


def test_rows_fit_the_schema() -> None:
    """The columns of the rows that tests write are those of the tables."""
    assert rows.recipient("q", 0).keys() <= recipients.RecipientRow.__dataclass_fields__.keys()
