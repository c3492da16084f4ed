"""The disk fails: full, then broken; the database is locked, damaged, gone. No mail is lost by it.

| fault                                  | what is seen                                            |
|----------------------------------------|---------------------------------------------------------|
| little space left                      | 452 4.3.1 and 507; again 250 and 202 when there is some |
| no space at all, an outcome is due     | the reserve is given up, the outcome kept, none twice   |
| fdatasync fails once (EIO)             | exit 74; nothing acknowledged after it, nothing lost    |
| another process locks the database     | 451 and 503, never 5yz; later all is well               |
| the database is cut off in the middle  | exit 65, and no new one is made                         |
| a spooled body is changed, or gone     | that message fails, the others are delivered            |
"""

from __future__ import annotations

import os
import smtplib
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger
from tests.peers.programs import require, require_root, run
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 1 << 20
DISK = 96 * MIB
LITTLE = 8 * MIB  # a message may have 10 MiB, and 1.5 times that must be free
RESERVE = 8 * MIB  # less than has to be free for new mail
SOON_S = 20.0
ROUND_S = 60.0
LARGE = ("y" * 76 + "\r\n") * 1300  # more than 64 KiB: it goes to the spool
NOWHERE = 'host = "127.0.0.1"\nport = 1\ntls_mode = "none-on-loopback"\n'
AT_ONCE = "first_s = 0.2\nfactor = 1.0\nattempts = 100\n"


def gateway_to(port: int, directory: Path) -> Gateway:
    return Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n',
        retry=AT_ONCE,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory whose `state` is a file system of its own."""
    require_root()
    require("mount", "umount")
    state = tmp_path / "gateway" / "state"
    state.mkdir(parents=True, mode=0o700)
    run("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", state)
    try:
        yield tmp_path / "gateway"
    finally:
        run("umount", "--lazy", state)


def fill(state: Path, *, leave: int) -> Path:
    """Use the disk up to so many octets."""
    filler = state / "filler"
    with filler.open("ab") as file:
        free = os.statvfs(state).f_bavail * os.statvfs(state).f_frsize
        if free > leave:
            os.posix_fallocate(file.fileno(), file.tell(), free - leave)
    return filler


def states(gateway: Gateway) -> Counter[str]:
    file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
        return Counter(
            dict(connection.execute("SELECT state, count(*) FROM recipients GROUP BY state"))
        )


def submit(gateway: Gateway, text: str = "Hello") -> tuple[int, int]:
    """Offer a message by SMTP and one by HTTP; the codes of both answers."""
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=30) as client:
        client.login(gateway.mailbox, gateway.token)
        code, _ = client.docmd("MAIL", f"FROM:<{gateway.mailbox}>")
        if code == 250:
            client.docmd("RCPT", "TO:<ann@rcpt.test>")
            code, _ = client.data(f"Subject: one\r\n\r\n{text}\r\n".encode())
    body = {"to": "ann@rcpt.test", "subject": "one", "text": text}
    status, _ = gateway.post("/api/v1/messages/send", body)
    return code, status


def mail(gateway: Gateway) -> int:
    """What MAIL is told, without a message."""
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=30) as client:
        client.login(gateway.mailbox, gateway.token)
        return client.docmd("MAIL", f"FROM:<{gateway.mailbox}>")[0]


@pytest.mark.peer
def test_little_space_is_refused_until_there_is_more(small_disk: Path) -> None:
    """Nothing that was accepted is lost, and nobody has to start anything again."""
    with SmtpSink() as sink, gateway_to(sink.port, small_disk) as gateway:
        gateway.prepare()
        gateway.start()
        assert submit(gateway) == (250, 202)
        filler = fill(gateway.state_dir, leave=LITTLE)
        eventually(lambda: submit(gateway) == (452, 507), within_s=SOON_S, what=gateway.tail)

        filler.unlink()
        eventually(lambda: submit(gateway) == (250, 202), within_s=SOON_S, what=gateway.tail)
        eventually(lambda: set(states(gateway)) == {"delivered"}, within_s=SOON_S)

        assert len(sink.copies) == sum(states(gateway).values())
        assert gateway.stop() == 0


@pytest.mark.peer
def test_outcome_is_kept_on_a_full_disk(small_disk: Path) -> None:
    """The reserve file makes room for it, so that what was sent is not sent again."""
    gate = threading.Event()
    with SmtpSink(gate=gate) as sink, gateway_to(sink.port, small_disk) as gateway:
        gateway.write_config()
        config = gateway.config_file.read_text()
        gateway.config_file.write_text(
            config.replace("reserve_octets = 4096", f"reserve_octets = {RESERVE}")
        )
        gateway.prepare()
        gateway.start()
        reserve = gateway.state_dir / "reserve.bin"
        eventually(reserve.exists, within_s=SOON_S, what=gateway.tail)
        assert submit(gateway) == (250, 202)
        eventually(lambda: len(sink.copies) == 2, within_s=SOON_S, what=gateway.tail)
        fill(gateway.state_dir, leave=0)

        gate.set()
        eventually(lambda: states(gateway) == {"delivered": 2}, within_s=SOON_S, what=gateway.tail)

        assert not reserve.exists()
        eventually(lambda: mail(gateway) == 452, within_s=SOON_S, what=gateway.tail)
        assert submit(gateway) == (452, 507)
        assert len(sink.copies) == 2
        (gateway.state_dir / "filler").unlink()
        eventually(reserve.exists, within_s=SOON_S, what=gateway.tail)
        assert gateway.stop() == 0


@pytest.mark.peer
@pytest.mark.parametrize("nth", [6, 15])
def test_failed_sync_ends_the_daemon_and_loses_nothing(tmp_path: Path, nth: int) -> None:
    """What a failed fdatasync has left on the disk is unknown, so nothing is promised after it."""
    require("strace")
    ledger = Ledger()
    with SmtpSink() as sink, gateway_to(sink.port, tmp_path) as gateway:
        gateway.prepare()
        inject = f"inject=fdatasync:error=EIO:when={nth}"
        gateway.start(
            wrapper=(
                "strace",
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync",
                "-e",
                inject,
            ),
            may_die=True,
        )
        ledger.submit(gateway, 24)
        code = gateway.wait_for_exit()  # attempts may take all of daemon.shutdown_s

        assert code == 74, gateway.tail()
        gateway.start()
        ledger.resubmit(gateway)
        eventually(lambda: set(states(gateway)) == {"delivered"}, within_s=ROUND_S)
        assert gateway.stop() == 0
        verdict = ledger.compare(sink.copies)
        assert (verdict.lost, verdict.twice_by_key) == ((), ())


def test_database_that_is_locked_by_another_is_a_matter_of_time(tmp_path: Path) -> None:
    """Every answer meanwhile says: later. The wait is `database.busy_s`."""
    with SmtpSink() as sink, gateway_to(sink.port, tmp_path) as gateway:
        gateway.extra += "\n[database]\nbusy_s = 0.5\n"
        gateway.write_config()
        gateway.prepare()
        gateway.start()
        assert submit(gateway) == (250, 202)
        file = gateway.state_dir / "gatewayd.db"
        with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert submit(gateway) == (451, 503)
            other.execute("ROLLBACK")

        assert submit(gateway) == (250, 202)
        eventually(lambda: states(gateway) == {"delivered": 4}, within_s=SOON_S, what=gateway.tail)
        assert len(sink.copies) == 4
        assert gateway.stop() == 0


def test_database_that_is_cut_off_is_not_made_anew(tmp_path: Path) -> None:
    """An operator has to know, and to restore a backup."""
    with Gateway(tmp_path, smarthost=NOWHERE) as gateway:
        gateway.prepare()
        file = gateway.state_dir / "gatewayd.db"
        for journal in gateway.state_dir.glob("gatewayd.db-*"):
            journal.unlink()
        os.truncate(file, 5000)
        before = file.read_bytes()

        gateway.start(may_die=True)

        assert gateway.wait_for_exit() == 65, gateway.tail()
        assert "restore" in gateway.tail()
        assert file.read_bytes() == before


def test_spooled_body_that_is_damaged_fails_alone(tmp_path: Path) -> None:
    """Its digest tells; nobody gets a changed message, and the others go their way."""
    with SmtpSink() as sink, gateway_to(sink.port, tmp_path) as gateway:
        gateway.prepare()
        nowhere = gateway.config_file.read_text()
        gateway.config_file.write_text(nowhere.replace(f"port = {sink.port}", "port = 1"))
        gateway.start()
        for _ in range(2):
            assert submit(gateway, LARGE) == (250, 202)
        assert gateway.stop() == 0
        changed, gone, *_ = sorted((gateway.state_dir / "spool").rglob("*.body")) or sorted(
            path for path in (gateway.state_dir / "spool").rglob("*") if path.is_file()
        )
        octets = bytearray(changed.read_bytes())
        octets[1000] ^= 1
        changed.write_bytes(octets)
        gone.unlink()
        gateway.config_file.write_text(nowhere)
        gateway.start()

        eventually(
            lambda: states(gateway) == {"delivered": 2, "failed": 2},
            within_s=ROUND_S,
            what=lambda: f"{states(gateway)}\n{gateway.tail()}",
        )
        assert len(sink.copies) == 2
        assert gateway.stop() == 0
