"""The queue in any order: accept, claim, marker, crash, lost lease, outcome, report, operator.

Hypothesis draws the steps. Each is done to the real kernel over a real database, and to the model
of tests/fakes/queue_model.py. After each, both say the same, and what is listed in
tests/fakes/queue_invariants.py holds. Two daemons share the database: two writers, two sets of
claims in memory.

The same runs are drawn each time. `GATEWAYD_EXAMPLES=1000` draws as many new ones.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete

from gatewayd.bounces.pipeline import Returned
from gatewayd.config.delivery import DeliverySection, RetrySection
from gatewayd.config.returns import SuppressionSection
from gatewayd.config.storage import RetentionSection
from gatewayd.errors import LeaseLost, Refused
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import QueueId
from gatewayd.mail.address import NULL
from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus
from gatewayd.mailboxes.accounts import Change
from gatewayd.policy.submission import Accepted, Options, Submission
from gatewayd.queue.claim import Claim
from gatewayd.queue.inspect import Moved
from gatewayd.queue.service import Queue
from gatewayd.retention.sweep import Retention
from gatewayd.store import schema
from gatewayd.store.database import Tx
from gatewayd.tokens.claims import Principal
from tests.fakes import queue_invariants, queue_model
from tests.fakes.queue_invariants import Seen
from tests.fakes.queue_model import QueueModel, Row, Wanted
from tests.fakes.returning import RECORD, Returning, dsn, group
from tests.fakes.stores import Store
from tests.fakes.world import World, submission

T = TypeVar("T")

# How often each step is drawn. It is one rule for Hypothesis, because it would leave out some rules
# of many, and most runs would come nowhere.
STEPS = {
    "attempt": 6, "report": 5, "accept": 4, "wait": 4, "recover": 4, "settle": 4, "operate": 3,
    "claim": 2, "mark": 2, "requeue_in_doubt": 2, "submit_again": 1, "claim_at_once": 1,
    "settle_all": 1, "renew": 1, "release": 1, "crash": 1, "restart": 1, "sweep": 2,
}  # fmt: skip
LEASE_S = 1200
TICKS_S = (301, LEASE_S + 1, 60, 3600, 1, 86_401)  # the first wait, a lease, an hour, a day
MAILBOXES = ("retry@example.com", "hold@example.com")  # by what they want of what is in doubt
KEYS = (*[None] * 9, "k1", "k2", "k3")  # small numbers are drawn more often
ACTIONS = ("failed", "failed", "delayed", "delivered")
VERBS = ("hold", "retry", "cancel", "hold", "release")
BEFORE_MARKER = ("deferred", "dead", "refused", "released")
AFTER_MARKER = ("delivered", "deferred", "dead", "refused", "in_doubt")
HTML = (
    b"From: %s\r\nTo: bob@example.net\r\nSubject: hello\r\nContent-Type: text/html\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n<p>Hello.\r\n"
)
DEAD = Reply(550, EnhancedStatus(5, 1, 1), "no such user")
REFUSED = Reply(554, EnhancedStatus(5, 7, 1), "not from you")
OUTCOMES: dict[str, Callable[[], Outcome]] = {
    "delivered": lambda: Delivered(Reply(250, EnhancedStatus(2, 0, 0), "ok")),
    "deferred": lambda: Deferred("busy"),
    "dead": lambda: Failed("refused", DEAD),
    "refused": lambda: Failed("refused", REFUSED),
    "in_doubt": lambda: InDoubt("no reply"),
    "released": lambda: Released("not tried"),
}
EXAMPLES = {"sqlite": 30, "postgres": 12}
STEPS_IN_A_RUN = 60
SECTION = DeliverySection(
    retry=RetrySection(jitter=0, attempts=queue_model.TRIES, max_age_s=2 * 86_400)
)


@dataclass(kw_only=True)
class Node:
    """A daemon: its kernel, and the claims that it believes to hold."""

    world: World
    queue: Queue
    held: list[Claim]


class Kernel:
    """Two daemons on one database, for as many runs as are drawn; each begins with empty tables."""

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.world = world
        world.has_links = True
        world.apply_settings()
        self.nodes = [_node(world), _node(world.second())]
        self.bounces = Returning(world=world).bounces
        self.retention = Retention(world.database, world.spool, RetentionSection(messages_s=86_400))
        self.principals = {name: self.run(self._principal(name)) for name in MAILBOXES}
        self.mailbox_of = {
            id_: name
            for name, one in self.principals.items()
            for id_ in (str(one.mailbox_id), str(one.token_id))
        }

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def together(self, *works: Coroutine[Any, Any, T]) -> list[T | BaseException]:
        async def all_() -> list[T | BaseException]:
            return await asyncio.gather(*works, return_exceptions=True)

        return self.run(all_())

    def begin(self) -> None:
        """Make the tables empty, but for who may send."""
        self.world.clock.seconds = 0
        for node in self.nodes:
            node.held = []

        def work(tx: Tx) -> None:
            for table in schema.metadata.sorted_tables:
                if table not in (schema.mailboxes, schema.tokens):
                    tx.execute(delete(table))

        self.run(self.world.database.write(work))

    async def _principal(self, mailbox: str) -> Principal:
        hold = mailbox.startswith("hold")
        await self.world.mailboxes.create(
            mailbox, Change(on_in_doubt="hold" if hold else "retry", unsubscribe=False)
        )
        return await self.world.principal(
            mailbox,
            hourly=queue_model.HOURLY,
            daily=queue_model.DAILY,
            lifetime_s=31_536_000,
        )

    def look(self) -> Seen:
        reading = self.world.database.read(lambda tx: queue_invariants.look(tx, self.mailbox_of))
        return self.run(reading)


def _node(world: World) -> Node:
    queue = Queue(
        world.database,
        section=SECTION,
        suppression=SuppressionSection(),
        wakeup=Wakeup(),
        metrics=world.metrics,
    )
    return Node(world=world, queue=queue, held=[])


class QueueMachine(RuleBasedStateMachine):
    """One run. Every rule does its step to both, and compares what was answered."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.model = QueueModel()
        self.wanted: list[Wanted] = []
        self.known: list[Row] = []  # every recipient there ever was
        self.before: Seen | None = None
        self.node = self.which = self.how = 0
        kernel.begin()

    @property
    def now(self) -> dt.datetime:
        return self.kernel.world.clock.now()

    @rule(
        kind=st.sampled_from([kind for kind, often in STEPS.items() for _ in range(often)]),
        node=st.integers(0, 1),
        which=st.integers(0, 999),
        how=st.integers(0, 999),
    )
    def step(self, kind: str, node: int, which: int, how: int) -> None:
        """One step, by numbers: so a run depends on no id, and is the same when it is run again."""
        self.node, self.which, self.how = node, which, how
        getattr(self, f"_{kind}")()

    # --- clients ---

    def _accept(self) -> None:
        """New mail; now and then the same twice at once."""
        first = len(self.wanted) * 10
        self.wanted.append(
            Wanted(
                mailbox=MAILBOXES[self.node],
                addresses=tuple(f"r{first + n}@example.net" for n in range(1 + self.which % 3)),
                alone=self.which % 5 == 4,
                key=KEYS[self.how % len(KEYS)],
            )
        )
        self._submit(self.wanted[-1], copies=2 if self.how % 5 == 4 else 1)

    def _submit_again(self) -> None:
        """A client that did not hear the answer, or writes to an address that is suppressed."""
        if self.wanted:
            self._submit(self.wanted[self.which % len(self.wanted)], copies=1 + self.how % 2)

    def _submit(self, wanted: Wanted, *, copies: int) -> None:
        intake = self.kernel.world.intake
        given = self._submission(wanted)
        answers = self.kernel.together(*(intake.accept(given) for _ in range(copies)))
        for answer in sorted(answers, key=_replays_last):
            expected = self.model.verdict(wanted, self.now)
            if isinstance(answer, Refused):
                assert expected == answer.code
                continue
            assert isinstance(answer, Accepted), answer
            if answer.replayed:
                assert expected == f"replayed {answer.queue_id}"
                continue
            assert expected == "accepted"
            ids = [one.recipient_id for one in answer.recipients]
            holds = wanted.mailbox.startswith("hold")
            self.model.accept(wanted, answer.queue_id, ids, holds=holds, now=self.now)
            self.known.extend(self.model.rows[id_] for id_ in ids)

    def _submission(self, wanted: Wanted) -> Submission:
        return submission(
            self.kernel.principals[wanted.mailbox],
            *wanted.addresses,
            content=HTML % wanted.mailbox.encode(),
            options=Options(
                idempotency_key=wanted.key,
                track=frozenset({"opens"}) if wanted.alone else frozenset(),
            ),
        )

    # --- workers ---

    def _claim(self) -> None:
        """A worker takes so many pieces of work of each lane, the longest due first."""
        count = 1 + self.how % 4
        chosen = [some for name in MAILBOXES for some in self.model.due(name, self.now)[:count]]
        expected = [tuple(id_ for id_ in some if not self._is_dead(id_)) for some in chosen]
        found = self.kernel.run(self._lease(self.node, count))
        assert sorted(filter(None, expected)) == sorted(_ids(one) for one in found)
        for id_ in filter(self._is_dead, itertools.chain.from_iterable(chosen)):
            self.model.withhold(self.model.rows[id_])
        self._claimed(self.node, found)

    def _claim_at_once(self) -> None:
        """Both daemons at once: nobody is claimed twice, and who is, was due."""
        count = 1 + self.how % 4
        both = self.kernel.together(self._lease(0, count), self._lease(1, count))
        for each, found in enumerate(both):
            assert not isinstance(found, BaseException), found
            self._claimed(each, found)
        stored = self.kernel.look().rows  # who of the dead was in their reach, only they know
        for row in self.model.rows.values():
            is_dead = row.state == "queued" and self.model.is_dead(row)
            if is_dead and stored[row.recipient_id].state == "failed":
                self.model.withhold(row)

    def _is_dead(self, recipient_id: str) -> bool:
        return self.model.is_dead(self.model.rows[recipient_id])

    async def _lease(self, node: int, count: int) -> list[Claim]:
        wants = {one.mailbox_id: count for one in self.kernel.principals.values()}
        return await self.kernel.nodes[node].queue.claim(wants)

    def _claimed(self, node: int, found: Sequence[Claim]) -> None:
        for one in found:
            self.model.claim(one.attempt_id, _ids(one), self.now)
            tries = [self.model.rows[id_].tries for id_ in _ids(one)]
            assert tries == [each.attempts for each in one.recipients]
        self.kernel.nodes[node].held.extend(found)

    def _mark(self) -> None:
        """The final dot is about to be written; now and then too late for a reply in time."""
        if self.how % 3 == 1:
            self.kernel.world.clock.advance(seconds=LEASE_S / 2)
        if (one := self._held(self.node, self.which)) is not None:
            self._write_marker(self.node, one)

    def _write_marker(self, node: int, one: Claim) -> bool:
        may = self.model.may_mark(one.attempt_id, self.now)
        answer = self.kernel.together(self.kernel.nodes[node].queue.mark(one))[0]
        assert isinstance(answer, LeaseLost) is not may, answer
        if may:
            self.model.tries[one.attempt_id].marked = True
        return may

    def _settle(self) -> None:
        """The outcome of an attempt; of one that was lost long ago, too, or a second time."""
        if (one := self._held(self.node, self.which)) is not None:
            self._end(self.node, [one], self.how)

    def _settle_all(self) -> None:
        """All of a worker's attempts end at once, and are kept as one set."""
        self._end(self.node, self.kernel.nodes[self.node].held, self.how)

    def _attempt(self) -> None:
        """A claim, the marker, an outcome; or no outcome, because the daemon dies before it."""
        before = len(self.kernel.nodes[self.node].held)
        self._claim()
        for one in self.kernel.nodes[self.node].held[before:]:
            if self._write_marker(self.node, one) and self.which % 4:
                self._end(self.node, [one], self.how)

    def _end(self, node: int, ended: Sequence[Claim], how: int) -> None:
        """Keep outcomes: the first of the list for 0; by odd numbers each recipient has another."""
        words = {}
        for one in ended:
            known = self.model.tries.get(one.attempt_id)
            choice = AFTER_MARKER if known is not None and known.marked else BEFORE_MARKER
            words[one.attempt_id] = {
                id_: choice[(how // 2 + how % 2 * place) % len(choice)]
                for place, id_ in enumerate(_ids(one))
            }
        queue = self.kernel.nodes[node].queue
        answers = self.kernel.together(
            *(
                queue.settle(
                    one,
                    {
                        each.recipient_id: OUTCOMES[words[one.attempt_id][each.recipient_id]]()
                        for each in one.recipients
                    },
                    replace(RECORD, phase="rcpt"),
                )
                for one in ended
            )
        )
        for one, answer in zip(ended, answers, strict=True):
            is_ours = self.model.settle(one.attempt_id, words[one.attempt_id], self.now)
            assert isinstance(answer, LeaseLost) is not is_ours, answer

    def _renew(self) -> None:
        """A worker holds its claims longer, and hears self.which are lost."""
        held = self.kernel.nodes[self.node].held
        lost = self.kernel.run(self.kernel.nodes[self.node].queue.renew(held))
        assert self.model.renew([one.attempt_id for one in held], self.now) == lost

    def _release(self) -> None:
        """A worker that stops gives a claim back."""
        if (one := self._held(self.node, self.which)) is not None:
            self.kernel.run(self.kernel.nodes[self.node].queue.release([one]))
            self.model.take_back([one.attempt_id], self.now)

    # --- crashes and time ---

    def _crash(self) -> None:
        """A daemon forgets everything; what it held is still leased."""
        self.kernel.nodes[self.node].held = []

    def _restart(self) -> None:
        """Both stop; the one that starts knows that no other lives."""
        for each in self.kernel.nodes:
            each.held = []
        self._take_back(self.node, all_leases=True)

    def _recover(self) -> None:
        """Leases that have ended are taken back, also from a daemon that lives."""
        if self.how % 2:
            self.kernel.world.clock.advance(seconds=LEASE_S + 1)
        self._take_back(self.node, all_leases=False)

    def _take_back(self, node: int, *, all_leases: bool) -> None:
        found = self.kernel.run(self.kernel.nodes[node].queue.recover(all_leases=all_leases))
        ended = self.model.expired(None if all_leases else self.now)
        assert self.model.take_back(ended, self.now) == found

    def _wait(self) -> None:
        self.kernel.world.clock.advance(seconds=TICKS_S[self.which % len(TICKS_S)])

    def _requeue_in_doubt(self) -> None:
        """What is in doubt goes back to the queue when its time has come."""
        found = self.kernel.run(self.kernel.nodes[self.node].queue.requeue_in_doubt())
        assert self.model.requeue(self.now) == found

    def _sweep(self) -> None:
        """What is at rest is forgotten when it is old, and nothing else."""
        self.kernel.world.clock.advance(days=self.how % 2, seconds=1)
        found = self.kernel.run(self.kernel.retention.sweep(self.now))
        assert self.model.sweep(self.now) == found

    # --- operators and remotes ---

    def _operate(self) -> None:
        """An operator's verb on a message."""
        if not self.known:
            return
        verb = VERBS[self.how % len(VERBS)]
        queue_id = self.known[self.which % len(self.known)].queue_id
        do: Callable[..., Coroutine[Any, Any, Moved]]
        do = getattr(self.kernel.world.inspector, verb)
        answer = self.kernel.together(do(QueueId(queue_id), by="ann"))[0]
        moved = self.model.move(verb, queue_id, self.now)
        if isinstance(answer, Refused):
            assert (answer.code, moved) == (self.model.why_none(verb, queue_id), 0)
        else:
            assert isinstance(answer, Moved), answer
            assert answer.moved == moved

    def _report(self) -> None:
        """A DSN comes to a VERP address of ours, early, in time, late or again."""
        if not self.known:
            return
        is_dead, action = self.how % 2 == 0, ACTIONS[self.how // 2 % len(ACTIONS)]
        sent = [row for row in self.known if row.state not in ("queued", "claimed")]
        among = sent if sent and self.which % 4 else self.known
        row = among[self.which % len(among)]
        said = {"status": "5.1.1", "said": "550 5.1.1 no such user"}
        if not is_dead:
            said = {"status": "5.2.2", "said": "552 5.2.2 mailbox full"}
        octets = dsn(group(row.address, action=action, **said))
        ident = row.queue_id if self.node else row.recipient_id
        answer = self.kernel.together(
            self.kernel.bounces.take(
                Returned(idents=(ident,), reverse_path=NULL, octets=octets, peer="192.0.2.9")
            )
        )[0]
        is_kept = row.recipient_id in self.model.rows
        dead = is_dead and action == "failed"
        expected = self.model.report(row, action, is_dead=dead) if is_kept else "forgotten"
        if isinstance(answer, Refused):
            assert (expected, answer.code) == ("early", "report_too_early")
        else:
            assert not isinstance(answer, BaseException), answer
            assert expected == (answer.why.value if answer.why else "taken")

    def _held(self, node: int, which: int) -> Claim | None:
        held = self.kernel.nodes[node].held
        open_ = [
            one
            for one in held
            if (known := self.model.tries.get(one.attempt_id)) is not None and not known.ended
        ]
        among = open_ if open_ and which % 4 else held  # mostly what there is still to do
        return among[which % len(among)] if among else None

    @invariant()
    def holds(self) -> None:
        seen = self.kernel.look()
        queue_invariants.check(self.model, self.before, seen)
        self.before = seen


def _ids(one: Claim) -> tuple[str, ...]:
    return tuple(each.recipient_id for each in one.recipients)


def _replays_last(answer: object) -> bool:
    """Of equal submissions at once the one that was accepted came first."""
    return not isinstance(answer, Accepted) or answer.replayed


@pytest.fixture
def kernel(store: Store, tmp_path: Path) -> Iterator[Kernel]:
    loop = asyncio.new_event_loop()
    try:
        yield Kernel(World(store=store, spool_directory=tmp_path / "spool"), loop)
    finally:
        loop.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_any_order_of_steps_keeps_every_invariant(kernel: Kernel) -> None:
    """Nothing lost, nothing twice, nothing silently queued again, whatever happens when."""
    wanted = os.environ.get("GATEWAYD_EXAMPLES")

    class Machine(QueueMachine):
        def __init__(self) -> None:
            super().__init__(kernel)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=int(wanted or EXAMPLES[kernel.world.store.kind]),
            stateful_step_count=STEPS_IN_A_RUN,
            deadline=None,
            derandomize=wanted is None,
            database=None,
            phases=[Phase.generate, *([Phase.shrink] if wanted else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )
