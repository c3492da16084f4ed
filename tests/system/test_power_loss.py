"""Power loss: what was acknowledged is on the disk, in the worst case that POSIX allows.

The daemon runs with `powerloss/shadow.c` preloaded, which mirrors a file only when it is synced.
It is killed under load; then the mirror is the disk, and a daemon starts on it. Twice, or as often
as GATEWAYD_LOSSES says. The control runs the same with `synchronous=NORMAL`, and must lose mail:
else the mirror would show nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger
from tests.peers.programs import run
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LOSSES = int(os.environ.get("GATEWAYD_LOSSES", "2"))
MESSAGES = 24  # offered in one round
LARGE = 100_000  # octets of a body that is a file of the spool
ROUND_S = 60.0

NORMAL = """\
import sqlite3

class Careless(sqlite3.Connection):
    def execute(self, statement, *parameters):
        return super().execute(statement.replace("synchronous=FULL", "synchronous=NORMAL"))

connect = sqlite3.connect
sqlite3.connect = lambda *words, **more: connect(*words, **{"factory": Careless, **more})
"""


@pytest.fixture(scope="module")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim, compiled."""
    library = tmp_path_factory.mktemp("shadow") / "shadow.so"
    code = Path(__file__).parent / "powerloss" / "shadow.c"
    warnings = ("-Wall", "-Wno-format-truncation")
    run("gcc", "-O1", *warnings, "-shared", "-fPIC", "-o", library, code, "-ldl")
    return library


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as running:
        yield running


def gateway_to(sink: SmtpSink, directory: Path) -> Gateway:
    gateway = Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        retry="first_s = 0.2\nfactor = 1.0\nattempts = 100\n",
    )
    gateway.prepare()
    return gateway


def lose_power(
    gateway: Gateway,
    ledger: Ledger,
    shadow: Path,
    *,
    at: str,
    more: Mapping[str, str] | None = None,
) -> None:
    """Run it under load until it dies at this point; its disk is then what it had synced."""
    disk = gateway.directory / "disk"
    shutil.rmtree(disk, ignore_errors=True)
    shutil.copytree(gateway.state_dir, disk)
    (disk / ".inodes").mkdir()
    gateway.start(
        environment={
            "LD_PRELOAD": str(shadow),
            "SHADOW_SRC": str(gateway.state_dir),
            "SHADOW_DST": str(disk),
            "GATEWAYD_FAILPOINTS": at,
            **(more or {}),
        },
        may_die=True,
    )
    ledger.submit(gateway, MESSAGES, text="Hello\r\n" + "x" * 70 * 4)
    ledger.submit(gateway, 4, text=("y" * 76 + "\r\n") * (LARGE // 78))
    assert gateway.wait_for_exit(ROUND_S) == -signal.SIGKILL, gateway.tail()
    shutil.rmtree(disk / ".inodes")
    shutil.rmtree(gateway.state_dir)
    disk.rename(gateway.state_dir)


def is_drained(gateway: Gateway) -> bool:
    file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
        states = connection.execute("SELECT DISTINCT state FROM recipients").fetchall()
    return states == [("delivered",)]


def in_doubt(gateway: Gateway) -> int:
    file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
    query = "SELECT count(*) FROM events WHERE type = 'recipient.in_doubt'"
    with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(connection.execute(query).fetchone()[0])


def test_power_loss_keeps_what_was_acknowledged(
    shadow: Path, sink: SmtpSink, tmp_path: Path
) -> None:
    """Lost: none. Twice: what is in doubt at most. The database is whole each time."""
    ledger = Ledger()
    with gateway_to(sink, tmp_path) as gateway:
        for loss in range(LOSSES):
            point = ("after_commit", "before_commit")[loss % 2]
            lose_power(gateway, ledger, shadow, at=f"{point}=kill@{12 + 3 * (loss % 7)}")
            gateway.start()
            ledger.resubmit(gateway)
            eventually(lambda: is_drained(gateway), within_s=ROUND_S, what=gateway.tail)
            assert gateway.stop() == 0
            verdict = ledger.compare(sink.copies)

            assert (verdict.lost, verdict.twice_by_key) == ((), ())
            assert sum(verdict.duplicates.values()) <= in_doubt(gateway)


def test_control_without_full_sync_loses_mail(shadow: Path, sink: SmtpSink, tmp_path: Path) -> None:
    """With synchronous=NORMAL the same power loss takes acknowledged mail with it."""
    careless = tmp_path / "careless"
    careless.mkdir()
    (careless / "sitecustomize.py").write_text(NORMAL)
    path = os.pathsep.join(filter(None, [str(careless), os.environ.get("PYTHONPATH")]))
    ledger = Ledger()
    with gateway_to(sink, tmp_path / "gateway") as gateway:
        lose_power(gateway, ledger, shadow, at="after_commit=kill@40", more={"PYTHONPATH": path})
        acked = {entry.number for entry in ledger.entries if entry.is_acked}
        file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True)) as connection:
            (kept,) = connection.execute("SELECT count(*) FROM messages").fetchone()

        assert kept < len(acked)
