"""What is secret stays where it belongs, at the most talkative level of the log.

A daemon logs at DEBUG and redacts addresses; it is given mail by both doors, bad logins, bad
requests, a next hop that quotes addresses back, a reload and a backup. Then everything that it
wrote, and what the system shows of it, is searched for what only a few places may hold:

| secret                       | may be in                                    |
|------------------------------|----------------------------------------------|
| token                        | nothing                                      |
| password of the smarthost    | its file                                     |
| password of a mailbox's hop  | nothing: it is sealed in the database        |
| octets of a message          | the database and the spool                   |
| an address of a recipient    | the database                                 |
"""

from __future__ import annotations

import contextlib
import smtplib
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gatewayd.config.delivery import TlsMode
from gatewayd.mailboxes.accounts import Change
from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually
from tests.peers.web import fetch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BODY = "marker-of-a-body-5f2c"
RECIPIENT = "marker-of-a-recipient"
REFUSED = "marker-of-a-refused-recipient"
PASSWORD = "marker-of-a-smarthost-password"
HOP_PASSWORD = "marker-of-a-next-hop-password"
ROUND_S = 60.0


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    quoting = f"550 5.7.1 <{REFUSED}@rcpt.test>: no, {REFUSED}@rcpt.test\r\n".encode()
    with SmtpSink(refused={f"{REFUSED}@rcpt.test": quoting}) as running:
        yield running


@pytest.fixture
def gateway(sink: SmtpSink, tmp_path: Path) -> Iterator[Gateway]:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    made = Gateway(
        tmp_path / "gateway",
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
    )
    text = made.config_file.read_text()
    made.config_file.write_text(
        text.replace('addresses = "plain"', 'level = "debug"\naddresses = "redacted"')
    )
    with made:
        made.prepare()
        made.operate(
            lambda kernel: kernel.mailboxes.create(
                "other@sender.test",
                Change(
                    next_hop_host="127.0.0.1",
                    next_hop_port=1,
                    next_hop_tls_mode=TlsMode.NONE_ON_LOOPBACK.value,
                    next_hop_user="user",
                    next_hop_password=HOP_PASSWORD,
                ),
            )
        )
        yield made


def use_it(gateway: Gateway, sink: SmtpSink) -> None:
    """Good and bad requests by both doors."""
    for to in (RECIPIENT, REFUSED, "broken\r\nX: y"):
        gateway.post(
            "/api/v1/messages/send",
            {"to": f"{to}@rcpt.test", "subject": BODY, "text": BODY, "unknown": gateway.token}
            if "\r" in to
            else {"to": f"{to}@rcpt.test", "subject": BODY, "text": BODY},
        )
    large = (BODY * 3 + "\r\n") * 2000
    octets = f"Subject: {BODY}\r\n\r\n{large}".encode()
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=30) as client:
        with contextlib.suppress(smtplib.SMTPAuthenticationError):
            client.login(gateway.mailbox, gateway.token + "x")
        client.login(gateway.mailbox, gateway.token)
        client.sendmail(gateway.mailbox, [f"{RECIPIENT}@rcpt.test"], octets)
        for line in (f"MAIL FROM:<{RECIPIENT}@rcpt.test>", f"VRFY {RECIPIENT}", gateway.token):
            client.docmd(line)
    eventually(lambda: len(sink.copies) == 2, within_s=ROUND_S, what=gateway.tail)
    eventually(
        lambda: gateway.metric("outbound_messages_failed_total") == 1,
        within_s=ROUND_S,
        what=gateway.tail,
    )


def found_in(secret: str, places: dict[str, bytes]) -> list[str]:
    return [name for name, octets in places.items() if secret.encode() in octets]


def test_secrets_are_found_nowhere_else(gateway: Gateway, sink: SmtpSink, tmp_path: Path) -> None:
    """Log, metrics, command line, environment, answers to operators, backup."""
    gateway.start()
    use_it(gateway, sink)
    gateway.command("reload")
    backup = tmp_path / "backup.db"
    gateway.command("db", "backup", str(backup))
    assert gateway.process is not None
    process = Path("/proc") / str(gateway.process.pid)
    listed = [
        gateway.command("mailboxes", "list"),
        gateway.command("tokens", "list"),
        gateway.command("keys", "list"),
        gateway.command("config", "show"),
        gateway.command("status"),
    ]
    outside = {
        "log": gateway.log_file.read_bytes(),
        "command line": (process / "cmdline").read_bytes(),
        "environment": (process / "environ").read_bytes(),
        "metrics": fetch(f"http://127.0.0.1:{gateway.ports.metrics}/metrics"),
        "operators": repr(listed).encode(),
    }
    assert gateway.stop() == 0
    outside["log"] = gateway.log_file.read_bytes()
    inside = {
        path.name: path.read_bytes()
        for path in (*gateway.state_dir.rglob("*"), backup)
        if path.is_file() and path.stat().st_size
    }

    for secret in (gateway.token, PASSWORD, HOP_PASSWORD):
        assert found_in(secret, outside | inside) == []
    for secret in (BODY, f"{RECIPIENT}@", REFUSED):
        assert found_in(secret, outside) == []
        assert "gatewayd.db" in found_in(secret, inside)


def test_files_are_for_the_daemon_alone(gateway: Gateway, sink: SmtpSink, tmp_path: Path) -> None:
    """Nobody else can read the state directory or a backup; no key is in a backup."""
    gateway.start()
    use_it(gateway, sink)
    backup = tmp_path / "backup.db"
    gateway.command("db", "backup", str(backup))
    modes = {
        path: stat.S_IMODE(path.stat().st_mode) for path in (*gateway.state_dir.rglob("*"), backup)
    }
    assert gateway.stop() == 0

    assert {path: mode for path, mode in modes.items() if mode & 0o077} == {}
    lines = [
        line.split()
        for file in (gateway.state_dir / "keys").glob("*.keys")
        for line in file.read_text().splitlines()
        if not line.startswith("#")
    ]
    keys = [words[2] for words in lines]
    assert keys
    assert [key for key in keys if key.encode() in backup.read_bytes()] == []


def test_transcript_of_an_attempt_holds_no_address(gateway: Gateway, sink: SmtpSink) -> None:
    """What the next hop said is kept, but not to whom."""
    gateway.start()
    use_it(gateway, sink)
    assert gateway.stop() == 0
    file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True)) as connection:
        transcripts = [row[0] for row in connection.execute("SELECT transcript FROM attempts")]

    assert any("550 5.7.1" in text for text in transcripts)
    assert [text for text in transcripts if RECIPIENT in text or REFUSED in text] == []
