"""A backup that is made under load is a queue: restored, it delivers all that was acknowledged.

As docs/runbooks/backup.md says: `gatewayd db backup`, then the spool, and the keys from elsewhere.
The first daemon reaches no next hop, so all that it acknowledged is owed in the copy.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gatewayd.store import backup
from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger, Tally
from tests.peers.traffic import Arrivals, Books, Traffic
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RATE = 50.0
BEFORE = 100  # messages that were acknowledged when the backup starts
DURING = 20  # while it runs, or after it
ROUND_S = 90.0
AT_ONCE = "first_s = 0.2\nfactor = 1.0\nattempts = 1000\n"


def gateway_to(port: int, directory: Path) -> Gateway:
    return Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n',
        retry=AT_ONCE,
    )


def back_up(gateway: Gateway, to: Path) -> dict[str, object]:
    """The three things, in the order of the runbook; what the command says."""
    to.mkdir(mode=0o700)
    facts: dict[str, object] = gateway.command("db", "backup", str(to / "gatewayd.db"))
    shutil.copytree(gateway.state_dir / "spool", to / "spool", ignore=_incoming)
    shutil.copytree(gateway.state_dir / "keys", to / "keys")
    return facts


def _incoming(directory: str, names: list[str]) -> list[str]:
    """What is being written comes and goes while it is copied, and no row names it."""
    return names if directory.endswith("/incoming") else []


def test_backup_under_load_delivers_once_what_was_acknowledged(tmp_path: Path) -> None:
    """Each message that was acknowledged before the backup began arrives, and none twice."""
    ledger, tally = Ledger(), Tally()
    with gateway_to(1, tmp_path / "lost") as gateway:
        gateway.prepare()
        gateway.start()
        with Traffic([gateway], ledger, RATE, large_each=10) as traffic:
            eventually(lambda: traffic.acked >= BEFORE, within_s=ROUND_S, what=gateway.tail)
            acked = {entry.number for entry in list(ledger.entries) if entry.is_acked}
            facts = back_up(gateway, tmp_path / "backup")
            enough = len(acked) + DURING
            eventually(lambda: traffic.acked >= enough, within_s=ROUND_S, what=gateway.tail)
        token = gateway.token
    with Arrivals() as sink, gateway_to(sink.port, tmp_path / "restored") as restored:
        shutil.copytree(tmp_path / "backup", restored.state_dir)
        restored.token = token
        verified = restored.command("db", "verify")
        restored.start()
        eventually(Books(restored).is_drained, within_s=ROUND_S, what=restored.tail)
        ledger.submit(restored, 2)  # it takes new mail, with the tokens of the other
        eventually(Books(restored).is_drained, within_s=ROUND_S, what=restored.tail)
        assert restored.stop() == 0, restored.tail()
        tally.add(sink.take())

        assert "ok" == facts["integrity"] == verified["integrity"]
        assert set() == acked - tally.first.keys()
        assert (tally.more, tally.unknown) == ({}, 0)


def test_copy_is_one_snapshot_whatever_is_committed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite begins again after each commit of others, else: a large copy would never end."""
    file, connect = tmp_path / "gatewayd.db", sqlite3.connect
    with closing(connect(file, isolation_level=None)) as daemon:
        daemon.executescript("PRAGMA page_size=512; PRAGMA journal_mode=WAL; CREATE TABLE t (x)")
        daemon.execute("INSERT INTO t VALUES (zeroblob(?))", (3 * backup.PAGES * 512,))
        steps = []

        class Watched(sqlite3.Connection):
            def backup(self, target: sqlite3.Connection, *, pages: int = -1) -> None:  # type: ignore[override]  # as it is called
                super().backup(target, pages=pages, progress=commit)

        def commit(_status: int, _remaining: int, _total: int) -> None:
            steps.append(daemon.execute("INSERT INTO t VALUES (1)"))
            assert len(steps) < 10, "it began again"

        connected: Callable[..., sqlite3.Connection] = lambda *words, **more: connect(  # noqa: E731
            *words, **{"factory": Watched, **more}
        )
        monkeypatch.setattr(sqlite3, "connect", connected)

        backup.copy(file, tmp_path / "copy.db")

    monkeypatch.undo()
    with closing(connect(tmp_path / "copy.db")) as copied:
        assert copied.execute("SELECT count(*) FROM t").fetchone() == (1,)
        assert len(steps) >= 3
