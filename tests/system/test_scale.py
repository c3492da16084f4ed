"""What a long queue and many idle clients cost, counted and not timed.

| what                                  | is held by                                               |
|---------------------------------------|----------------------------------------------------------|
| the work of a statement               | steps of SQLite's machine, with 1000 and 20,000 messages |
| memory in front of 20,000 messages    | what the daemon has more than with an empty queue        |
| messages in memory                    | recipients that are claimed at once                      |
| kill -9 in the middle of them         | what the next start takes back                           |
| an idle TLS client                    | what 300 of them add, and leave behind                   |

`python -m tests.bench.scale` and `python -m tests.bench.idle` measure the same with a million
messages and ten thousand clients.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sized
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from gatewayd.clock import SystemClock
from gatewayd.ids import MailboxId, QueueId
from gatewayd.queue import views
from gatewayd.queue.claim import Claim, take
from gatewayd.store import claims, messages
from gatewayd.store.database import Tx
from gatewayd.store.messages import MessageFilter
from gatewayd.store.sqlite import SqliteDialect
from tests.bench import idle, scale
from tests.bench.processes import resident_mib
from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FEW, MANY = 1000, 20_000
MAILBOXES = 20
DUE = 300
SOON_S = 60.0
READY_RECIPIENTS = 2000  # delivery.ready_recipients
SPARE_MIB = 64  # above an empty daemon
IDLE = 300
IDLE_KIB = 64  # a client
WARM_MIB = 8  # what the first TLS sessions of a process need for good
STEPS = 10  # between two counts
SLACK_STEPS = 200
LOOKS = 15
SEND = "/api/v1/messages/send"
MESSAGE = {"to": "ann@rcpt.test", "text": "x"}
LEASE = dt.timedelta(minutes=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """Two daemons that do not run. Half of their messages are of `mailbox`, and some are due."""

    few: Gateway
    many: Gateway
    mailbox: MailboxId


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    few = Gateway(tmp_path_factory.mktemp("few"), smarthost=scale.hop(scale.HOP_AWAY))
    few.prepare()
    mailboxes = scale.add_mailboxes(few, MAILBOXES)
    pattern = scale.make_pattern(few)
    scale.put_off(few)
    many = copied(few, tmp_path_factory.mktemp("many"))
    with few, many:
        for gateway, count in ((few, FEW), (many, MANY)):
            scale.fill(gateway, pattern, mailboxes, numbers=range(1, count))
            scale.make_due(gateway, mailboxes[0], DUE)
        yield Filled(few=few, many=many, mailbox=MailboxId(mailboxes[0]))


def copied(gateway: Gateway, directory: Path, *, next_hop: int = scale.HOP_AWAY) -> Gateway:
    """Another daemon with a copy of all that one has, which does not run."""
    made = Gateway(directory, smarthost=scale.hop(next_hop))
    shutil.copytree(gateway.state_dir, made.state_dir, dirs_exist_ok=True)
    made.token = gateway.token
    return made


# The work of a statement.


@contextmanager
def counted(gateway: Gateway) -> Iterator[tuple[Tx, Callable[[], int]]]:
    """A transaction that is undone, and how many steps SQLite has made in it so far."""
    dialect = SqliteDialect(scale.database_of(gateway), clock=SystemClock())
    engine = dialect.writer_engine()
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += STEPS
        return 0

    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        transaction = connection.begin()
        driver.set_progress_handler(step, STEPS)
        yield Tx(connection, dialect), lambda: steps
        transaction.rollback()
    engine.dispose()


def page(tx: Tx, wanted: MessageFilter, before: QueueId | None = None) -> list[QueueId]:
    """A page as `messages list` reads it."""
    found = views.messages(tx, messages.newest_first(tx, wanted, before=before, limit=51))
    return [one.queue_id for one in found]


def claimed(tx: Tx, mailbox: MailboxId) -> list[Claim]:
    return take(tx, {mailbox: 50}, lease=LEASE).claims


ANY: Final = MessageFilter()
WORKS: Final[dict[str, tuple[int, Callable[[Tx, MailboxId], Sized]]]] = {
    "lanes": (MAILBOXES, lambda tx, _: claims.lanes(tx)),
    "claim": (50, claimed),
    "first page of all": (51, lambda tx, _: page(tx, ANY)),
    "second page of all": (51, lambda tx, _: page(tx, ANY, before=page(tx, ANY)[-1])),
    "first page of a mailbox": (51, lambda tx, of: page(tx, MessageFilter(mailbox_id=of))),
    "first page of what is queued": (51, lambda tx, _: page(tx, MessageFilter(state="queued"))),
    "expired leases": (0, lambda tx, _: claims.expired(tx, before=tx.now, limit=1000)),
    "what may be forgotten": (
        0,
        lambda tx, _: messages.at_rest_before(
            tx, tx.now - dt.timedelta(days=30), open_states=["queued"], limit=200
        ),
    ),
}


@pytest.mark.parametrize("name", WORKS)
def test_work_does_not_grow_with_the_queue(filled: Filled, name: str) -> None:
    """Twenty times the messages, and SQLite makes no more steps."""
    expected, work = WORKS[name]
    made = []
    for gateway in (filled.few, filled.many):
        with counted(gateway) as (tx, steps):
            assert len(work(tx, filled.mailbox)) == expected
            made.append(steps())
    few, many = made

    assert many <= few * 1.2 + SLACK_STEPS


# The daemon.


def states(gateway: Gateway) -> Counter[str]:
    """How many recipients are in each state."""
    with closing(sqlite3.connect(scale.database_of(gateway), timeout=30)) as connection:
        query = "SELECT state, count(*) FROM recipients GROUP BY state"
        return Counter(dict(connection.execute(query).fetchall()))


def started_mib(gateway: Gateway) -> float:
    """Start it; what it has in memory once it has counted its queue."""
    gateway.start()
    assert gateway.process is not None
    eventually(lambda: gateway.metric("queue_depth") > 0, within_s=SOON_S, what=gateway.tail)
    return resident_mib(gateway.process.pid)


def test_what_is_queued_is_not_in_memory(filled: Filled, tmp_path: Path) -> None:
    """It serves in front of 80 MiB of messages, and has little more in memory than without."""
    with (
        copied(filled.few, tmp_path / "few") as few,
        copied(filled.many, tmp_path / "many") as many,
    ):
        without = started_mib(few)
        having = started_mib(many)
        answer = few.post(SEND, MESSAGE), many.post(SEND, MESSAGE)
        assert many.metric("queue_depth") >= MANY - DUE

    assert [status for status, _ in answer] == [202, 202]
    assert having - without < SPARE_MIB


def test_kill_in_front_of_a_long_queue_loses_nothing(filled: Filled, tmp_path: Path) -> None:
    """Few of those that are due are claimed at once; the next start gives each of them back."""
    gate = threading.Event()
    with SmtpSink(gate=gate) as sink, copied(filled.many, tmp_path, next_hop=sink.port) as gateway:
        scale.make_due(gateway, filled.mailbox, MANY)
        before = states(gateway)
        gateway.start()
        eventually(lambda: is_still(lambda: states(gateway)["claimed"]), within_s=SOON_S)
        assert gateway.process is not None
        gateway.process.kill()
        gateway.wait_for_exit()
        held = states(gateway)
        gateway.smarthost = scale.hop(scale.HOP_AWAY)
        gateway.write_config()
        gateway.start()
        (told,) = gateway.logged("queue_recovered")
        gate.set()

    assert 0 < held["claimed"] <= READY_RECIPIENTS
    assert held.total() == before.total()
    assert held["claimed"] == told["released"] + told["in_doubt"]


def is_still(look: Callable[[], int]) -> bool:
    """Whether a number that is not 0 stays as it is for a while."""
    first = look()
    return first > 0 and all(look() == first for _ in range(LOOKS))


def test_idle_tls_clients_cost_little_and_leave_nothing(tmp_path: Path) -> None:
    """They are logged in and wait; one more than allowed is told so."""
    with idle.gateway_for(tmp_path, IDLE) as gateway:
        gateway.prepare()
        gateway.start()
        figures = idle.measure(gateway, IDLE, tls=True, probes=1, settled_s=0)
        assert gateway.stop() == 0, gateway.tail()
    before, after = figures.sockets

    assert figures.too_many.startswith(b"421 4.3.2 ")
    assert figures.full - figures.empty < IDLE * IDLE_KIB / 1024 + WARM_MIB
    assert after <= before
