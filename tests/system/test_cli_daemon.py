"""The daemon as systemd and an operator see it: exit codes, signals, sd_notify, handed sockets."""

from __future__ import annotations

import os
import select
import signal
import smtplib
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.smtp_sink import SmtpSink
from tests.peers.certificates import make_certificates
from tests.peers.clients import octets_of
from tests.peers.gateway import GATEWAYD, Gateway
from tests.peers.programs import require, run
from tests.peers.waiting import eventually, free_ports

pytestmark = [pytest.mark.slow]

WITHIN_S = 30


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """One that is prepared and not started."""
    with Gateway(tmp_path) as made:
        made.prepare()
        yield made


class Notified:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.states: list[str] = []

    def read(self, wait_s: float = 0.1) -> list[str]:
        """Every state that was said so far."""
        while select.select([self._socket], [], [], wait_s)[0]:
            self.states += self._socket.recv(4096).decode().split("\n")
        return self.states

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def notified() -> Iterator[tuple[Notified, str]]:
    with tempfile.TemporaryDirectory(prefix="gatewayd-") as name:
        path = Path(name) / "notify"
        receiver = Notified(path)
        yield receiver, str(path)
        receiver.close()


# Starting.


def test_second_daemon_exits_73(gateway: Gateway) -> None:
    """One process owns a state directory; the one that runs is not disturbed."""
    gateway.start()
    second = run(*GATEWAYD, "serve", "-c", gateway.config_file, expected=(73,))

    assert b"in use by another gatewayd" in second.stderr
    assert gateway.is_ready()
    assert gateway.stop() == 0


def test_wrong_config_exits_78_with_every_mistake(gateway: Gateway) -> None:
    """All of them at once, each with its key; `config check` says the same."""
    text = gateway.config_file.read_text()
    gateway.config_file.write_text(
        text.replace('tls = "implicit"', 'tls = "maybe"') + "\n[limits]\nrecipients = 0\nmore = 1\n"
    )
    for command in (("serve",), ("config", "check")):
        result = run(*GATEWAYD, *command, "-c", gateway.config_file, expected=(78,))
        said = (result.stdout + result.stderr).decode()

        for key in ("submission.1.tls", "limits.recipients", "limits.more"):
            assert key in said.replace("[1]", ".1")


def test_missing_key_file_exits_78_and_makes_no_other(gateway: Gateway) -> None:
    """A key that is lost is never replaced in silence."""
    (file,) = gateway.state_dir.rglob("jwt.keys")
    file.unlink()
    result = run(*GATEWAYD, "serve", "-c", gateway.config_file, expected=(77, 78))

    assert b"jwt.keys is missing" in result.stderr
    assert not file.exists()


def test_key_file_open_to_others_exits_77(gateway: Gateway) -> None:
    """Anyone who can read it could make tokens."""
    (file,) = gateway.state_dir.rglob("jwt.keys")
    file.chmod(0o644)
    result = run(*GATEWAYD, "serve", "-c", gateway.config_file, expected=(77,))

    assert b"jwt.keys" in result.stderr


def test_database_without_tables_exits_65(tmp_path: Path) -> None:
    """It says which command makes them."""
    with Gateway(tmp_path) as gateway:
        result = run(*GATEWAYD, "serve", "-c", gateway.config_file, expected=(65,))

    assert b"db init" in result.stderr


def test_no_certificate_exits_78_and_says_how_to_get_one(gateway: Gateway) -> None:
    """There is no way to listen for passwords without one."""
    text = gateway.config_file.read_text()
    lines = (line for line in text.splitlines() if not line.startswith(("certificate", "private")))
    gateway.config_file.write_text("\n".join(lines))
    result = run(*GATEWAYD, "serve", "-c", gateway.config_file, expected=(78,))

    assert b"certbot" in result.stderr


# Stopping.


def test_sigterm_closes_idle_sessions_and_exits_0(gateway: Gateway) -> None:
    """An idle client is told 421, new ones are not taken, and the exit code is 0."""
    gateway.start()
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain) as client:
        client.ehlo()
        code = gateway.stop()
        reply = client.getreply()
        client.close()

    assert (code, reply[0]) == (0, 421)


def test_sigterm_lets_a_delivery_end(tmp_path: Path) -> None:
    """What was accepted before the signal arrives once: before the exit or after the start."""
    with SmtpSink() as sink:
        smarthost = f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n'
        with Gateway(tmp_path, smarthost=smarthost) as gateway:
            gateway.prepare()
            gateway.start()
            with smtplib.SMTP("127.0.0.1", gateway.ports.plain) as client:
                client.login(gateway.mailbox, gateway.token)
                for _ in range(20):
                    client.sendmail(gateway.mailbox, ["a@rcpt.test"], octets_of(gateway, "stop"))
                assert gateway.stop() == 0
                client.close()
            gateway.start()
            eventually(lambda: len(sink.copies) >= 20, within_s=WITHIN_S, what=gateway.tail)
            assert gateway.stop() == 0
            ids = [copy.field("Message-ID") for copy in sink.copies]

    assert len(ids) == len(set(ids)) == 20


# Reload.


def test_sighup_takes_a_good_change(gateway: Gateway) -> None:
    """A limit and a certificate are changed while a session stays open."""
    gateway.start()
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain) as client:
        client.ehlo()
        gateway.extra = "[limits]\nmessage_octets = 100000\n"
        gateway.certificates = make_certificates(gateway.directory / "tls-2")
        gateway.write_config()
        hang_up(gateway)
        eventually(lambda: gateway.logged("config_reloaded"), within_s=WITHIN_S, what=gateway.tail)

        assert client.noop()[0] == 250
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain) as client:
        client.ehlo()

        assert client.esmtp_features["size"] == "100000"
    context = ssl.create_default_context(cafile=str(gateway.certificates.ca))
    with smtplib.SMTP_SSL("127.0.0.1", gateway.ports.submissions, context=context) as client:
        assert client.noop()[0] == 250
    assert gateway.stop() == 0


def test_sighup_refuses_a_bad_change_whole(gateway: Gateway) -> None:
    """The old configuration stays, the log says why, and the daemon goes on."""
    gateway.start()
    gateway.extra = "[limits]\nmessage_octets = 4096\nmore = 1\n"
    gateway.write_config()
    hang_up(gateway)
    (refused,) = eventually(
        lambda: gateway.logged("reload_refused"), within_s=WITHIN_S, what=gateway.tail
    )
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain) as client:
        client.ehlo()

        assert client.esmtp_features["size"] == "10485760"
    assert "limits.more" in refused["reason"]
    assert gateway.stop() == 0


def hang_up(gateway: Gateway) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)


# systemd.


def test_systemd_is_told_ready_watchdog_stopping(
    gateway: Gateway, notified: tuple[Notified, str]
) -> None:
    """READY=1 after all is bound, WATCHDOG=1 again and again, STOPPING=1 at the signal."""
    receiver, path = notified
    gateway.start(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "400000"})
    eventually(
        lambda: receiver.read().count("WATCHDOG=1") >= 3,
        within_s=WITHIN_S,
        what=lambda: str(receiver.states),
    )
    hang_up(gateway)
    eventually(lambda: "RELOADING=1" in receiver.read(), within_s=WITHIN_S)

    assert gateway.stop() == 0
    states = receiver.read()
    assert states.index("READY=1") < states.index("RELOADING=1") < states.index("STOPPING=1")
    assert states.count("READY=1") == 2


def test_no_ready_when_a_port_is_taken(gateway: Gateway, notified: tuple[Notified, str]) -> None:
    """A daemon that cannot listen has not started: it exits, and never said READY=1."""
    receiver, path = notified
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", gateway.ports.submission))
        taken.listen()
        result = run(
            *(*GATEWAYD, "serve", "-c", gateway.config_file),
            environment={"NOTIFY_SOCKET": path},
            expected=None,
        )

    assert result.returncode not in (0, -signal.SIGKILL)
    assert "READY=1" not in receiver.read()


@pytest.mark.peer
def test_sockets_come_from_systemd(gateway: Gateway) -> None:
    """With socket activation the port is open before the daemon is, and stays its own."""
    require("systemd-socket-activate")
    (port,) = free_ports(1)
    first = threading.Thread(target=poke, args=(port,))
    first.start()
    gateway.start(
        wrapper=(
            "systemd-socket-activate",
            *("-l", f"127.0.0.1:{port}", "--fdname=plain"),
            *(f"--setenv={name}" for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ),
        )
    )
    first.join(WITHIN_S)
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login(gateway.mailbox, gateway.token)

        assert client.noop()[0] == 250
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", gateway.ports.plain), timeout=5)
    assert gateway.stop() == 0


def poke(port: int) -> None:
    """The first connection: it makes systemd start the daemon."""
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as client:
                client.recv(1024)
                return
        except ConnectionRefusedError:
            select.select([], [], [], 0.02)


# Operators.


def test_status_and_lists_answer_while_it_runs(gateway: Gateway) -> None:
    """The commands talk to the daemon by its socket, so nobody else writes its database."""
    gateway.start()
    status = gateway.command("status")
    mailboxes = gateway.command("mailboxes", "list")["items"]
    tokens = gateway.command("tokens", "list")["items"]

    assert status["version"]
    assert [row["address"] for row in mailboxes] == [gateway.mailbox]
    assert len(tokens) == 1
    assert gateway.stop() == 0


def test_revoked_token_ends_an_open_session_within_a_second(gateway: Gateway) -> None:
    """530 5.7.0 at the next MAIL."""
    gateway.start()
    (token,) = gateway.command("tokens", "list")["items"]
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain) as client:
        client.login(gateway.mailbox, gateway.token)
        gateway.command("tokens", "revoke", token["token_id"])

        def refused() -> bool:
            code, _ = client.mail(gateway.mailbox)
            client.rset()
            return code == 530

        eventually(refused, within_s=1.5)
    assert gateway.stop() == 0
