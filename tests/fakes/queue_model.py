"""The queue as dictionaries: what every row has to say after every step.

Nothing of it is shared with the product, so that a mistake would have to be made twice.

| what is kept | as                                                                   |
|--------------|----------------------------------------------------------------------|
| rows         | a recipient: state, tries, when it is due, who holds it, facts       |
| tries        | an attempt: its recipients, its lease, marker and end                |
| told         | events, counted by type and by the recipient or message they name    |
| used         | quota: recipients accepted, by mailbox and UTC hour or day           |
| keys         | idempotency keys that are taken                                      |
| dead         | suppressed addresses, by mailbox                                     |

It is given what only the product can know (ids), and decides everything else itself.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

LEASE = dt.timedelta(seconds=1200)
DOT_MARGIN = dt.timedelta(seconds=610)
FIRST_WAIT, FACTOR, TRIES, MAX_AGE = dt.timedelta(seconds=300), 2.3, 3, dt.timedelta(days=2)
KEPT = dt.timedelta(days=1)  # messages, and idempotency keys
QUOTAS_KEPT = dt.timedelta(days=3)
HOURLY, DAILY = 12, 30

OPEN = frozenset({"queued", "claimed", "in_doubt", "held"})
FINAL = frozenset({"delivered", "failed", "expired", "cancelled", "bounced"})
VERBS = {
    "hold": ("message.held", "held", {"queued"}),
    "release": ("message.released", "queued", {"held"}),
    "retry": ("message.retried", "queued", {"queued", "held", "failed", "expired", "in_doubt"}),
    "cancel": ("message.cancelled", "cancelled", {"queued", "held", "in_doubt"}),
}


@dataclass(kw_only=True)
class Row:
    """A recipient. holds: its mailbox wants what is in doubt to wait for an operator."""

    recipient_id: str
    queue_id: str
    mailbox: str
    address: str
    holds: bool
    alone: bool
    accepted_at: dt.datetime
    due_at: dt.datetime | None
    state: str = "queued"
    tries: int = 0
    attempt_id: str | None = None
    delivered: bool = False
    bounced: bool = False
    delayed: bool = False


@dataclass(kw_only=True)
class Try:
    """An attempt."""

    queue_id: str
    recipient_ids: tuple[str, ...]
    lease_until: dt.datetime
    marked: bool = False
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a client hands over. alone: each recipient gets octets of its own."""

    mailbox: str
    addresses: tuple[str, ...]
    alone: bool
    key: str | None


@dataclass
class QueueModel:
    """The whole queue."""

    rows: dict[str, Row] = field(default_factory=dict)
    tries: dict[str, Try] = field(default_factory=dict)
    told: Counter[tuple[str, str]] = field(default_factory=Counter)
    used: Counter[tuple[str, str, dt.datetime]] = field(default_factory=Counter)
    keys: dict[tuple[str, str], tuple[Wanted, str, dt.datetime]] = field(default_factory=dict)
    dead: set[tuple[str, str]] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)

    # --- accept ---

    def verdict(self, wanted: Wanted, now: dt.datetime) -> str:
        """What is said to a submission: accepted, replayed with its message, or why not."""
        if wanted.key is not None and (known := self.keys.get((wanted.mailbox, wanted.key))):
            earlier, queue_id, until = known
            if until > now:
                return f"replayed {queue_id}" if earlier == wanted else "idempotency_key_reused"
        if any((wanted.mailbox, address) in self.dead for address in wanted.addresses):
            return "recipient_suppressed"
        hour, day = _windows(wanted.mailbox, now)
        units = len(wanted.addresses)
        if self.used[hour] + units > HOURLY or self.used[day] + units > DAILY:
            return "quota_exceeded"
        return "accepted"

    def accept(
        self, wanted: Wanted, queue_id: str, ids: Sequence[str], *, holds: bool, now: dt.datetime
    ) -> None:
        for window in _windows(wanted.mailbox, now):
            self.used[window] += len(ids)
        if wanted.key is not None:
            self.keys[wanted.mailbox, wanted.key] = (wanted, queue_id, now + KEPT)
        for id_, address in zip(ids, wanted.addresses, strict=True):
            assert id_ not in self.accepted
            self.rows[id_] = Row(
                recipient_id=id_, queue_id=queue_id, mailbox=wanted.mailbox, address=address,
                holds=holds, alone=wanted.alone, accepted_at=now, due_at=now,
            )  # fmt: skip
        self.accepted.update(ids)
        self._tell("message.accepted", queue_id)

    # --- workers ---

    def due(self, mailbox: str, now: dt.datetime) -> list[tuple[str, ...]]:
        """What there is to claim, in order: messages, or single recipients."""
        rows = [
            one
            for one in self.rows.values()
            if one.mailbox == mailbox and one.state == "queued" and _when(one) <= now
        ]
        groups: dict[str, list[str]] = {}
        for one in sorted(rows, key=lambda one: (_when(one), one.recipient_id)):
            groups.setdefault(one.recipient_id if one.alone else one.queue_id, []).append(
                one.recipient_id
            )
        return [tuple(group) for group in groups.values()]

    def claim(self, attempt_id: str, ids: Sequence[str], now: dt.datetime) -> None:
        assert attempt_id not in self.tries
        for id_ in ids:
            row = self.rows[id_]
            assert row.state == "queued"
            assert _when(row) <= now
            assert not self.is_dead(row)
            row.state, row.attempt_id, row.tries = "claimed", attempt_id, row.tries + 1
        self.tries[attempt_id] = Try(
            queue_id=self.rows[ids[0]].queue_id, recipient_ids=tuple(ids), lease_until=now + LEASE
        )

    def is_dead(self, row: Row) -> bool:
        """Whether its address was suppressed since: then it is not claimed, but fails."""
        return (row.mailbox, row.address) in self.dead

    def withhold(self, row: Row) -> None:
        row.state, row.due_at = "failed", None
        self._tell("recipient.failed", row.recipient_id)

    def may_mark(self, attempt_id: str, now: dt.datetime) -> bool:
        one = self.tries.get(attempt_id)
        return one is not None and not one.ended and one.lease_until >= now + DOT_MARGIN

    def settle(self, attempt_id: str, outcomes: Mapping[str, str], now: dt.datetime) -> bool:
        """Keep outcomes; False when nothing of it was still the attempt's."""
        is_ours = False
        for id_, word in outcomes.items():
            row = self.rows.get(id_)
            if row is None or row.attempt_id != attempt_id:
                continue
            if row.state == "claimed":
                is_ours = True
                self._settle(row, word, now)
            elif row.state == "bounced" and not row.delivered and not self.tries[attempt_id].ended:
                is_ours = True
                if word == "delivered":
                    row.delivered = True
                    self._tell("recipient.delivered", id_)
        if is_ours:
            self.tries[attempt_id].ended = True
        return is_ours

    def renew(self, attempt_ids: Collection[str], now: dt.datetime) -> set[str]:
        """Hold these longer; those that are lost."""
        live = {id_ for id_ in attempt_ids if id_ in self.tries and not self.tries[id_].ended}
        for id_ in live:
            self.tries[id_].lease_until = now + LEASE
        return set(attempt_ids) - live

    def expired(self, now: dt.datetime | None) -> list[str]:
        """Attempts to take back: those whose lease has ended, or all that are open."""
        return [
            id_
            for id_, one in self.tries.items()
            if not one.ended and (now is None or one.lease_until < now)
        ]

    def take_back(self, attempt_ids: Collection[str], now: dt.datetime) -> tuple[int, int]:
        """How many recipients were released, and how many are in doubt."""
        held = [
            row
            for row in self.rows.values()
            if row.state == "claimed" and row.attempt_id in attempt_ids
        ]
        doubtful = [row for row in held if self.tries[str(row.attempt_id)].marked]
        for row in held:
            self._settle(row, "in_doubt" if row in doubtful else "released", now)
        for id_ in attempt_ids:
            if id_ in self.tries:
                self.tries[id_].ended = True
        return len(held) - len(doubtful), len(doubtful)

    def requeue(self, now: dt.datetime) -> int:
        due = [
            row
            for row in self.rows.values()
            if row.state == "in_doubt" and row.due_at is not None and row.due_at <= now
        ]
        for row in due:
            row.state = "queued"
        return len(due)

    def _settle(self, row: Row, word: str, now: dt.datetime) -> None:
        waits = FIRST_WAIT * FACTOR ** (row.tries - 1)
        is_spent = row.tries >= TRIES or now + waits - row.accepted_at > MAX_AGE
        row.due_at = None
        match word:
            case "released":
                row.state, row.due_at, row.tries = "queued", now, row.tries - 1
            case "delivered":
                row.state, row.delivered = "delivered", True
                self._tell("recipient.delivered", row.recipient_id)
            case "dead" | "refused":
                row.state = "failed"
                self._tell("recipient.failed", row.recipient_id)
                if word == "dead":
                    self.dead.add((row.mailbox, row.address))
            case "deferred" | "in_doubt":
                if word == "in_doubt" or not is_spent:
                    self._tell(f"recipient.{word}", row.recipient_id)
                if word == "in_doubt" and row.holds:
                    row.state = "in_doubt"
                elif is_spent:
                    row.state = "expired"
                    self._tell("recipient.expired", row.recipient_id)
                else:
                    row.state = "queued" if word == "deferred" else "in_doubt"
                    row.due_at = now + waits
            case _:
                raise AssertionError(word)

    # --- operators, reports, time ---

    def move(self, verb: str, queue_id: str, now: dt.datetime) -> int:
        """Do an operator's verb; how many recipients it moved."""
        told, to, sources = VERBS[verb]
        moved = [
            row
            for row in self.of(queue_id)
            if row.state in sources and not (verb == "retry" and self.is_dead(row))
        ]
        for row in moved:
            row.state, row.due_at = to, now if to == "queued" else None
            row.tries = 0 if verb == "retry" else row.tries
        if moved:
            self._tell(told, queue_id)
        return len(moved)

    def why_none(self, verb: str, queue_id: str) -> str:
        """The code when a verb moves nobody."""
        fit = [row for row in self.of(queue_id) if row.state in VERBS[verb][2]]
        if not self.of(queue_id):
            return "not_found"
        return "recipient_suppressed" if fit else "conflict"

    def report(self, row: Row, action: str, *, is_dead: bool) -> str:
        """Take a report about a recipient that is kept: `taken`, `early` or `not_handed_over`."""
        reached = any(one.marked for one in self.tries.values() if one.queue_id == row.queue_id)
        if row.state == "bounced":
            return "taken"
        if row.state in ("queued", "claimed") and not reached:
            return "early"
        if row.state in ("held", "failed", "expired", "cancelled"):
            if not reached:
                return "not_handed_over"
            if action == "failed" and not row.bounced:
                self._bounce(row, is_dead=is_dead)
            return "taken"
        is_sent = row.state in ("delivered", "in_doubt")
        if action == "failed":
            if is_sent or not row.bounced:
                self._bounce(row, is_dead=is_dead)
                row.state, row.due_at = "bounced", None
            return "taken"
        if row.state == "in_doubt":
            row.state, row.due_at, row.delivered = "delivered", None, True
            self._tell("recipient.delivered", row.recipient_id)
        if action == "delayed" and not row.delayed:
            row.delayed = True
            self._tell("recipient.delayed", row.recipient_id)
        return "taken"

    def sweep(self, now: dt.datetime) -> int:
        """Forget what is past its time; how many messages that was."""
        gone = {
            row.queue_id
            for row in self.rows.values()
            if row.accepted_at < now - KEPT
            and all(one.state in FINAL for one in self.of(row.queue_id))
        }
        forgotten = {id_ for id_, row in self.rows.items() if row.queue_id in gone}
        for id_ in forgotten:
            del self.rows[id_]
        self.forgotten |= forgotten
        self.tries = {id_: one for id_, one in self.tries.items() if one.queue_id not in gone}
        for window in [one for one in self.used if one[2] < now - QUOTAS_KEPT]:
            del self.used[window]
        return len(gone)

    def of(self, queue_id: str) -> list[Row]:
        return [row for row in self.rows.values() if row.queue_id == queue_id]

    def _bounce(self, row: Row, *, is_dead: bool) -> None:
        row.bounced = True
        self._tell("recipient.bounced", row.recipient_id)
        if is_dead:
            self.dead.add((row.mailbox, row.address))

    def _tell(self, word: str, about: str) -> None:
        self.told[word, about] += 1


def _when(row: Row) -> dt.datetime:
    assert row.due_at is not None, "what is queued is due at some time"
    return row.due_at


def _windows(mailbox: str, now: dt.datetime) -> tuple[tuple[str, str, dt.datetime], ...]:
    hour = now.replace(minute=0, second=0, microsecond=0)
    return (mailbox, "hour", hour), (mailbox, "day", hour.replace(hour=0))
