"""Stop and reload under load: nothing is lost, nothing is sent twice, nobody is cut off.

| what                              | what is seen                                               |
|-----------------------------------|------------------------------------------------------------|
| SIGTERM under load, several times | exit 0; lost 0; twice 0; no connection taken after a second |
| SIGTERM twice                     | the same                                                   |
| SIGHUP a hundred times under load | it lives; lost 0; open sessions go on                      |
| standard error is closed          | it lives; mail goes on                                     |
| restart behind sockets of systemd | no client sees a refused connection                        |
"""

from __future__ import annotations

import os
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.ledger import Entry, Ledger, send
from tests.peers.waiting import eventually, is_listening

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STOPS = int(os.environ.get("GATEWAYD_STOPS", "2"))
RELOADS = 100
MESSAGES = 40
ROUND_S = 60.0


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as running:
        yield running


@pytest.fixture
def gateway(sink: SmtpSink, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(
        tmp_path,
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        retry="first_s = 0.2\nfactor = 1.0\nattempts = 100\n",
    )
    with made:
        made.prepare()
        yield made


def is_drained(gateway: Gateway) -> bool:
    file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
        query = "SELECT state, count(*) FROM recipients GROUP BY state"
        return set(Counter(dict(connection.execute(query)))) <= {"delivered"}


def load(gateway: Gateway, ledger: Ledger) -> threading.Thread:
    """Clients that submit while the test goes on, and end when the daemon does."""
    thread = threading.Thread(target=ledger.submit, args=(gateway, MESSAGES))
    thread.start()
    return thread


def assert_all_arrived_once(ledger: Ledger, sink: SmtpSink) -> None:
    verdict = ledger.compare(sink.copies)

    assert (verdict.lost, verdict.duplicates, verdict.twice_by_key) == ((), {}, ())


@pytest.mark.parametrize("times", [1, 2])
def test_sigterm_under_load(gateway: Gateway, sink: SmtpSink, times: int) -> None:
    """What was acknowledged arrives once; what was not is sent again by its client."""
    ledger = Ledger()
    for stop in range(STOPS):
        gateway.start()
        clients = load(gateway, ledger)
        seen = len(sink.copies) + 3 + stop % 7
        eventually(lambda seen=seen: len(sink.copies) >= seen, within_s=ROUND_S)  # type: ignore[misc]  # mypy and a lambda's default
        assert gateway.process is not None
        for _ in range(times):
            gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: not is_listening(gateway.ports.plain), within_s=5)
        assert gateway.wait_for_exit() == 0, gateway.tail()
        clients.join(ROUND_S)
    gateway.start()
    ledger.resubmit(gateway)
    eventually(lambda: is_drained(gateway), within_s=ROUND_S, what=gateway.tail)

    assert_all_arrived_once(ledger, sink)
    assert gateway.stop() == 0


def test_sighup_storm_under_load(gateway: Gateway, sink: SmtpSink) -> None:
    """Each reload is whole or nothing; a session that was open stays open."""
    ledger = Ledger()
    gateway.start()
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=30) as client:
        client.login(gateway.mailbox, gateway.token)
        clients = load(gateway, ledger)
        assert gateway.process is not None
        for _ in range(RELOADS):
            gateway.process.send_signal(signal.SIGHUP)
            assert client.noop()[0] == 250 or client.rset()[0] == 250
            client.sendmail(
                gateway.mailbox, ["open@rcpt.test"], b"Subject: still open\r\n\r\nHello\r\n"
            )
        clients.join(ROUND_S)
        eventually(lambda: is_drained(gateway), within_s=ROUND_S, what=gateway.tail)
    eventually(lambda: gateway.logged("config_reloaded"), within_s=ROUND_S)

    acked = [entry for entry in ledger.entries if entry.is_acked]
    assert len(acked) == MESSAGES
    assert len(sink.copies) == MESSAGES + RELOADS
    assert ledger.compare(sink.copies).lost == ()
    assert gateway.stop() == 0


def test_closed_standard_error_stops_nothing(gateway: Gateway, sink: SmtpSink) -> None:
    """Lines that cannot be written are dropped."""
    reader, writer = os.pipe()
    gateway.process = subprocess.Popen(
        [sys.executable, "-m", "gatewayd", "serve", "-c", str(gateway.config_file)],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    os.close(reader)
    eventually(gateway.is_ready, within_s=ROUND_S)
    ledger = Ledger()

    ledger.submit(gateway, MESSAGES)
    eventually(lambda: len(sink.copies) == MESSAGES, within_s=ROUND_S)

    assert_all_arrived_once(ledger, sink)
    assert gateway.stop() == 0


WITH_SOCKET = 'export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=plain; exec "$@" 3<&{}'


def test_restart_behind_a_socket_refuses_nobody(gateway: Gateway, sink: SmtpSink) -> None:
    """The socket outlives the daemon: who comes in between waits, and is served by the next."""
    ledger = Ledger()
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as held:
        gateway.ports.plain = held.getsockname()[1]
        os.set_inheritable(held.fileno(), True)
        wrapper = ("bash", "-c", WITH_SOCKET.format(held.fileno()), "bash")
        clients = threading.Thread(target=keep_sending, args=(gateway, ledger, stopping))
        for number in range(3):
            gateway.start(wrapper=wrapper, pass_fds=(held.fileno(),))
            if number == 0:
                clients.start()
            goal = len(sink.copies) + 10
            eventually(lambda goal=goal: len(sink.copies) >= goal, within_s=ROUND_S)  # type: ignore[misc]  # mypy and a lambda's default
            if number < 2:
                assert gateway.stop() == 0, gateway.tail()
        stopping.set()
        clients.join(ROUND_S)
        eventually(lambda: is_drained(gateway), within_s=ROUND_S, what=gateway.tail)
        assert gateway.stop() == 0

    assert all(entry.is_acked for entry in ledger.entries)
    verdict = ledger.compare(sink.copies)
    assert (verdict.lost, verdict.duplicates, verdict.twice_by_key) == ((), {}, ())


def keep_sending(gateway: Gateway, ledger: Ledger, stopping: threading.Event) -> None:
    """One message after the other by SMTP, with a key; again where no answer came."""
    while not stopping.is_set():
        entry = Entry(len(ledger.entries), "smtp-key")
        ledger.entries.append(entry)
        while not entry.is_acked:
            entry.tries += 1
            entry.is_acked = send(gateway, entry)
