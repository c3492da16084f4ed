"""kill -9 at every named fail point: nothing accepted is lost, and what comes twice was in doubt.

The daemon is a process of its own. It is started with one point armed, clients submit until it
is dead, it is started again, clients send again what was never answered, and both ends of the
ledger are compared when the queue is empty. Twice at each point, or as often as GATEWAYD_KILLS
says. With one connection to the next hop there is one attempt at a time, so that what each point
must leave behind is known exactly:

| killed at                                     | copies too many | in doubt |
|-----------------------------------------------|-----------------|----------|
| claim, connect, MAIL, DATA, body, before marker | 0               | 0        |
| after the marker, before the dot              | 0               | 1        |
| after the dot                                 | 0 or 1          | 1        |
| before the outcome                            | 1               | 1        |
| after the outcome                             | 0               | 0        |
| around any commit                             | what is in doubt at most   ||
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatewayd import failpoints
from gatewayd.keys.ring import Purpose
from gatewayd.mailboxes.accounts import Change
from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("GATEWAYD_KILLS", "2"))
MESSAGES = 12  # of one round
ROUND_S = 60.0

# Point -> (fewest copies too many, most, recipients in doubt) of one kill, one attempt at a time.
LEFT_BEHIND = {
    "after_claim": (0, 0, 0),
    "after_connect": (0, 0, 0),
    "after_mail": (0, 0, 0),
    "after_data": (0, 0, 0),
    "during_body": (0, 0, 0),
    "before_marker": (0, 0, 0),
    "after_marker": (0, 0, 1),
    "after_dot": (0, 1, 1),
    "before_outcome": (1, 1, 1),
    "after_outcome": (0, 0, 0),
}
BESIDE_OTHERS = {"after_claim"}  # from the second time on while an attempt of the first runs
AROUND_COMMITS = ("before_commit", "after_commit")
ELSEWHERE = {"rotate_row", "migrate"}  # not on the way of a message: tests of their own
FIRST_COMMIT = 10  # those before it are of the start


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as running:
        yield running


def gateway_to(sink: SmtpSink, directory: Path, *, connections: int) -> Gateway:
    gateway = Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        delivery=(
            f"concurrency_start = {connections}\nconcurrency_max = {connections}\n"
            "claim_messages = 2\n"
        ),
        retry="first_s = 0.2\nfactor = 1.0\nattempts = 100\n",
    )
    gateway.prepare()
    return gateway


def states(gateway: Gateway) -> Counter[str]:
    """How many recipients are in each state, by the database itself."""
    return _counted(gateway, "SELECT state, count(*) FROM recipients GROUP BY state")


def events(gateway: Gateway) -> Counter[str]:
    """How many events there are of each type."""
    return _counted(gateway, "SELECT type, count(*) FROM events GROUP BY type")


def _counted(gateway: Gateway, query: str) -> Counter[str]:
    file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
        return Counter(dict(connection.execute(query)))


def is_drained(gateway: Gateway) -> bool:
    return set(states(gateway)) <= {"delivered"}


def kill_at(gateway: Gateway, ledger: Ledger, point: str, nth: int) -> None:
    """Run it with this point armed, under load, until it has died of it; then run it to the end."""
    gateway.start(environment={"GATEWAYD_FAILPOINTS": f"{point}=kill@{nth}"}, may_die=True)
    ledger.submit(gateway, MESSAGES)
    code = gateway.wait_for_exit(ROUND_S)

    assert code == -signal.SIGKILL, f"{point} was not reached\n{gateway.tail()}"
    gateway.start()
    ledger.resubmit(gateway)
    eventually(
        lambda: is_drained(gateway),
        within_s=ROUND_S,
        what=lambda: f"{point}: {states(gateway)}\n{gateway.tail()}",
    )
    assert gateway.stop() == 0, gateway.tail()


def assert_nothing_lost(ledger: Ledger, sink: SmtpSink) -> dict[str, int]:
    """What is never allowed did not happen; the copies too many, by Message-ID."""
    verdict = ledger.compare(sink.copies)

    assert (verdict.lost, verdict.twice_by_key, verdict.unknown) == ((), (), 0)
    for number in verdict.resubmitted:
        assert ledger.entries[number].tries > 1
    return verdict.duplicates


def test_every_point_is_killed_at() -> None:
    """A new fail point gets a row here."""
    assert {*LEFT_BEHIND, *AROUND_COMMITS} | ELSEWHERE == set(failpoints.POINTS)


@pytest.mark.parametrize("point", LEFT_BEHIND)
def test_kill_on_the_way_leaves_what_the_table_says(
    point: str, sink: SmtpSink, tmp_path: Path
) -> None:
    """Lost: none. Twice: none before the marker, and after it no more than is in doubt."""
    fewest, most, in_doubt = LEFT_BEHIND[point]
    ledger = Ledger()
    with gateway_to(sink, tmp_path, connections=1) as gateway:
        for kill in range(KILLS):
            kill_at(gateway, ledger, point, 1 if point in BESIDE_OTHERS else 1 + kill % 4)
            copies = assert_nothing_lost(ledger, sink)
            kills = kill + 1

            assert kills * in_doubt == events(gateway)["recipient.in_doubt"]
            assert kills * fewest <= sum(copies.values()) <= kills * most


@pytest.mark.parametrize("point", AROUND_COMMITS)
def test_kill_around_a_commit_loses_nothing(point: str, sink: SmtpSink, tmp_path: Path) -> None:
    """Acceptance, claim, marker, outcome: whichever commit it is."""
    ledger = Ledger()
    with gateway_to(sink, tmp_path, connections=1) as gateway:
        for kill in range(KILLS):
            kill_at(gateway, ledger, point, FIRST_COMMIT + 2 * (kill % 8))
            copies = assert_nothing_lost(ledger, sink)

            assert sum(copies.values()) <= events(gateway)["recipient.in_doubt"]


@pytest.mark.parametrize("point", ["after_claim", "after_dot", "before_outcome", "after_commit"])
def test_kill_with_many_attempts_at_once_loses_nothing(
    point: str, sink: SmtpSink, tmp_path: Path
) -> None:
    """With five connections, other attempts are past their marker when one is killed."""
    ledger = Ledger()
    with gateway_to(sink, tmp_path, connections=5) as gateway:
        for kill in range(KILLS):
            kill_at(gateway, ledger, point, 2 if point in BESIDE_OTHERS else 6 + 5 * (kill % 2))
            copies = assert_nothing_lost(ledger, sink)

            assert sum(copies.values()) <= events(gateway)["recipient.in_doubt"]
            assert max(copies.values(), default=0) <= kill + 1


def test_recovery_counts_what_is_in_doubt(sink: SmtpSink, tmp_path: Path) -> None:
    """The metric of the daemon that recovers says what the crash of the other one left."""
    ledger = Ledger()
    with gateway_to(sink, tmp_path, connections=1) as gateway:
        gateway.start(environment={"GATEWAYD_FAILPOINTS": "before_outcome=kill"})
        ledger.submit(gateway, 2)
        gateway.wait_for_exit(ROUND_S)
        gateway.start()

        assert gateway.metric("outbound_in_doubt_total") == 1
        (recovered,) = gateway.logged("queue_recovered")
        assert recovered["in_doubt"] == 1
        assert gateway.stop() == 0


def test_in_doubt_is_held_where_the_mailbox_says_so(sink: SmtpSink, tmp_path: Path) -> None:
    """With on_in_doubt = hold nothing is sent again by itself."""
    ledger = Ledger()
    with gateway_to(sink, tmp_path, connections=1) as gateway:
        gateway.operate(
            lambda kernel: kernel.mailboxes.update(gateway.mailbox, Change(on_in_doubt="hold"))
        )
        kill_and_hold = {"GATEWAYD_FAILPOINTS": "before_outcome=kill"}
        gateway.start(environment=kill_and_hold)
        ledger.submit(gateway, 2)
        gateway.wait_for_exit(ROUND_S)
        gateway.start()
        ledger.resubmit(gateway)
        eventually(
            lambda: set(states(gateway)) == {"delivered", "in_doubt"},
            within_s=ROUND_S,
            what=lambda: str(states(gateway)),
        )

        listed = gateway.command("messages", "list", "--state", "in_doubt")["items"]

        assert states(gateway)["in_doubt"] == len(listed) == 1
        assert gateway.stop() == 0
    assert ledger.compare(sink.copies).duplicates == {}


KILLED_CHILD = """
import sys
from pathlib import Path
from gatewayd import failpoints
from tests.peers.gateway import Gateway
failpoints.arm(sys.argv[1])
{work}
"""


def kill_in_child(points: str, work: str, *arguments: str) -> None:
    """Do an operator's work in another process, and see it die at the armed point."""
    command = [sys.executable, "-c", KILLED_CHILD.format(work=work), points, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ROUND_S)

    assert done.returncode == -signal.SIGKILL, done.stderr


MIGRATE = """
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.daemon import build
from gatewayd.daemon.statedir import owned
config = load.load(Path(sys.argv[2]))
with owned(config.daemon.state_dir):
    build.initialise(config, SystemClock())
"""


def test_kill_inside_a_migration_leaves_no_half_schema(sink: SmtpSink, tmp_path: Path) -> None:
    """The next `db init` begins again, and the daemon runs on what it made."""
    directory = tmp_path / "gateway"
    with Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
    ) as gateway:
        for _ in range(KILLS):
            kill_in_child("migrate=kill", MIGRATE, str(gateway.config_file))
        gateway.prepare()
        ledger = Ledger()
        gateway.start()
        ledger.submit(gateway, 2)
        eventually(lambda: len(sink.copies) == 2, within_s=ROUND_S, what=gateway.tail)

        assert gateway.stop() == 0


ROTATE = """
import asyncio
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.daemon import build
from gatewayd.daemon.statedir import owned
from gatewayd.keys.ring import Purpose
from gatewayd.metrics import Metrics
config = load.load(Path(sys.argv[2]))
async def rotate():
    kernel = build.kernel(
        config, clock=SystemClock(), metrics=Metrics(), smarthost=None, on_broken=print
    )
    await kernel.keys.rotate(Purpose.FERNET, "switch")
with owned(config.daemon.state_dir):
    asyncio.run(rotate())
"""


def test_kill_between_rows_of_a_rotation_is_taken_up_again(sink: SmtpSink, tmp_path: Path) -> None:
    """Killed at each row in turn, both keys open what is there; at the end one is enough."""
    with gateway_to(sink, tmp_path, connections=1) as gateway:
        gateway.add_domain()  # two secrets
        gateway.operate(lambda kernel: kernel.keys.rotate(Purpose.FERNET, "begin"))
        for _ in range(2):
            kill_in_child("rotate_row=kill", ROTATE, str(gateway.config_file))
        gateway.operate(lambda kernel: kernel.keys.rotate(Purpose.FERNET, "switch"))
        finished = gateway.operate(lambda kernel: kernel.keys.rotate(Purpose.FERNET, "finish"))
        ledger = Ledger()
        gateway.start()
        ledger.submit(gateway, 2)
        eventually(lambda: len(sink.copies) == 2, within_s=ROUND_S, what=gateway.tail)

        assert [state for _, state in finished.keys] == ["active"]
        assert all(copy.field("DKIM-Signature") for copy in sink.copies)
        assert gateway.stop() == 0
