"""gatewayd localserve: what it prints works as it is printed, and fails as it is asked to."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.peers.gateway import GATEWAYD
from tests.peers.programs import require, run
from tests.peers.waiting import eventually
from tests.peers.web import fetch

pytestmark = [pytest.mark.slow]

START_S = 30
KEYS = {
    "smtp_url",
    "smtps_url",
    "http_url",
    "bounce_url",
    "mailbox",
    "token",
    "ca_file",
    "caught_url",
    "state_dir",
}
ANY_PORTS = ("--smtp-port", "0", "--smtps-port", "0", "--http-port", "0")


@dataclass(slots=True)
class Local:
    """A localserve that runs, and what it said."""

    process: subprocess.Popen[bytes]
    output: Path
    facts: dict[str, str]

    def caught(self) -> list[dict[str, Any]]:
        return list(json.loads(fetch(self.facts["caught_url"]))["items"])

    def wait_for(self, subject: str) -> dict[str, Any]:
        """The one caught mail with this subject."""

        def found() -> list[dict[str, Any]]:
            return [mail for mail in self.caught() if mail["subject"] == subject]

        (mail,) = eventually(found, within_s=30, what=lambda: str(self.caught()))
        return mail

    @contextmanager
    def sending(self) -> Iterator[smtplib.SMTP]:
        """A session over implicit TLS, after MAIL."""
        where = urlsplit(self.facts["smtps_url"])
        context = ssl.create_default_context(cafile=self.facts["ca_file"])
        assert where.hostname is not None
        with smtplib.SMTP_SSL(where.hostname, where.port or 0, context=context) as client:
            client.login("token", self.facts["token"])
            client.mail(self.facts["mailbox"])
            yield client

    def rcpt(self, recipient: str) -> str:
        """The reply to RCPT."""
        with self.sending() as client:
            code, text = client.rcpt(recipient)
        return f"{code} {text.decode()}"

    def send(self, recipient: str, subject: str) -> str:
        """The queue id."""
        with self.sending() as client:
            client.rcpt(recipient)
            code, text = client.data(f"Subject: {subject}\r\n\r\nHello\r\n".encode())
        assert code == 250, text
        return text.split()[1].decode()

    def message(self, queue_id: str) -> dict[str, Any]:
        url = f"{self.facts['http_url']}/api/v1/messages/{queue_id}"
        return dict(json.loads(fetch(url, token=self.facts["token"])))

    def recipient(self, queue_id: str) -> dict[str, Any]:
        """The only one of a message."""
        (recipient,) = self.message(queue_id)["recipients"]
        return dict(recipient)

    def reasons(self, address: str) -> list[str]:
        """Why an address is suppressed."""
        url = f"{self.facts['http_url']}/api/v1/suppressions?limit=100"
        items = json.loads(fetch(url, token=self.facts["token"]))["items"]
        return [item["reason"] for item in items if item["address"] == address]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def start(directory: Path, *options: str) -> Local:
    """Start it and wait for its first line."""
    output = directory / "stdout"
    with output.open("wb") as stdout, (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*GATEWAYD, "localserve", *options],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "XDG_STATE_HOME": str(directory / "state")},
        )
    try:
        eventually(
            lambda: b"\n" in output.read_bytes() or process.poll() is not None,
            within_s=START_S,
            what=(directory / "stderr").read_text,
        )
        assert process.poll() is None, (directory / "stderr").read_text()
    except BaseException:
        process.kill()
        raise
    return Local(process, output, {})


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: that of a unix socket may have 107 octets."""
    with tempfile.TemporaryDirectory(prefix="gatewayd-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with tempfile.TemporaryDirectory(prefix="gatewayd-") as name:
        yield from running_in(Path(name))


def running_in(directory: Path) -> Iterator[Local]:
    running = start(directory, "--json", *ANY_PORTS)
    try:
        running.facts = json.loads(running.output.read_text())
        yield running
        assert running.stop() == 0
    finally:
        running.process.kill()


def test_json_is_one_line_with_every_key(local: Local) -> None:
    """A script reads one line and knows everything."""
    text = local.output.read_text()

    assert text.count("\n") == 1
    assert set(json.loads(text)) == KEYS
    assert Path(local.facts["ca_file"]).is_file()
    assert Path(local.facts["state_dir"]).is_dir()


def test_sent_mail_can_be_read_and_downloaded(local: Local) -> None:
    """Listed, shown as a reader shows it, and as octets with both signatures."""
    local.send("ann@example.com", "to be read")
    mail = local.wait_for("to be read")
    url = f"{local.facts['caught_url']}/{mail['mail_id']}"
    shown = json.loads(fetch(url))
    octets = fetch(f"{url}.eml")

    assert shown["text"].strip() == "Hello"
    assert octets.count(b"DKIM-Signature: ") == 2
    assert mail["recipients"] == ["ann@example.com"]


@pytest.mark.parametrize(
    ("local_part", "state"),
    [
        ("x-temperror", "queued"),
        ("x-permerror", "failed"),
        ("x-452", "queued"),
        ("x-550", "failed"),
    ],
)
def test_special_recipient_is_refused_as_its_name_says(
    local: Local, local_part: str, state: str
) -> None:
    """4xx is tried again later, 5xx fails at once; both have an attempt that says why."""
    queue_id = local.send(f"{local_part}@example.com", local_part)

    def tried() -> bool:
        (recipient,) = local.message(queue_id)["recipients"]
        return bool(recipient["attempts"]) and recipient["state"] != "claimed"

    eventually(tried, within_s=30, what=lambda: str(local.message(queue_id)))
    (recipient,) = local.message(queue_id)["recipients"]

    assert recipient["state"] == state


def test_timeout_leaves_the_recipient_in_doubt(local: Local) -> None:
    """The connection closes after the dot, so nobody knows; nothing is caught."""
    queue_id = local.send("x-timeout@example.com", "silence")

    def state() -> str:
        (recipient,) = local.message(queue_id)["recipients"]
        return str(recipient["state"])

    eventually(
        lambda: state() == "in_doubt", within_s=30, what=lambda: str(local.message(queue_id))
    )
    assert [mail for mail in local.caught() if mail["subject"] == "silence"] == []


def test_bounce_comes_back_to_the_verp_address(local: Local) -> None:
    """Taken first; then a DSN comes by SMTP, closes the address, and explain tells both."""
    address = "x-bounce@example.com"
    queue_id = local.send(address, "to nobody")

    eventually(
        lambda: local.recipient(queue_id)["state"] == "bounced",
        within_s=30,
        what=lambda: str(local.message(queue_id)),
    )

    recipient = local.recipient(queue_id)
    url = f"{local.facts['http_url']}/api/v1/messages/{queue_id}/explain"
    explained = json.loads(fetch(url, token=local.facts["token"]))
    assert recipient["delivered_at"]
    assert local.wait_for("to nobody")
    assert "1 bounced" in explained["summary"]
    assert local.reasons(address) == ["hard_bounce"]
    # RCPT may be a second behind: "nobody is suppressed" is remembered so long.
    eventually(lambda: local.rcpt(address).startswith("550 5.7.1 recipient_suppressed"), within_s=5)


def test_complaint_comes_back_to_complaints(local: Local) -> None:
    """The recipient stays delivered; the address is not written to again."""
    address = "x-complaint@example.com"
    queue_id = local.send(address, "not wanted")

    eventually(
        lambda: local.reasons(address) == ["complaint"],
        within_s=30,
        what=lambda: str(local.message(queue_id)),
    )

    assert local.recipient(queue_id)["state"] == "delivered"


def test_bounce_listener_takes_nobody_elses_mail(local: Local) -> None:
    """It is the one of a daemon, on a port of its own."""
    where = urlsplit(local.facts["bounce_url"])
    with smtplib.SMTP(where.hostname or "", where.port or 0) as client:
        client.ehlo()
        offered = set(client.esmtp_features)
        client.mail("")
        code, text = client.rcpt("ann@example.com")

    assert (code, text[:5]) == (550, b"5.7.1")
    assert "starttls" in offered
    assert "auth" not in offered


def test_wrong_token_is_refused_by_both_doors(local: Local) -> None:
    """Loopback is no reason to trust anybody."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{local.facts['http_url']}/api/v1/messages", token="nonsense")
    refused.value.close()
    where = urlsplit(local.facts["smtp_url"])
    with (
        smtplib.SMTP(where.hostname or "", where.port or 0) as client,
        pytest.raises(smtplib.SMTPAuthenticationError),
    ):
        client.login("token", "nonsense")

    assert refused.value.code == 401


def test_printed_lines_deliver_as_they_are(directory: Path) -> None:
    """swaks, curl and smtplib, copied from the terminal and pasted into a shell."""
    require("swaks", "curl", "bash")
    local = start(directory, *ANY_PORTS)
    try:
        eventually(lambda: "read what arrived" in local.output.read_text(), within_s=10)
        text = local.output.read_text()
        (local.facts["caught_url"],) = re.findall(r"mail sent +(\S+)", text)
        swaks, curl, python, read = commands(text)
        for command in (swaks, curl, python.replace("python3", sys.executable, 1)):
            run("bash", "-c", command)
        for subject in ("by swaks", "by curl", "by smtplib"):
            local.wait_for(subject)

        assert len(json.loads(run("bash", "-c", read).stdout)["items"]) == 3
        assert local.stop() == 0
    finally:
        local.process.kill()


def commands(text: str) -> Sequence[str]:
    """The indented blocks below `In another terminal`."""
    _, _, rest = text.partition("In another terminal")
    blocks = re.findall(r"\n\n((?:  .*\n)+)", rest)
    return [re.sub(r"(?m)^  ", "", block) for block in blocks]


def test_second_one_in_the_same_directory_exits_73(directory: Path) -> None:
    """One process owns a state directory."""
    local = start(directory, "--json", *ANY_PORTS)
    try:
        second = run(
            *(*GATEWAYD, "localserve", "--json", *ANY_PORTS),
            environment={"XDG_STATE_HOME": str(directory / "state")},
            expected=(73,),
        )
        assert b"in use by another gatewayd" in second.stderr
        assert local.stop() == 0
    finally:
        local.process.kill()


def test_state_is_kept_and_the_old_token_is_not(directory: Path) -> None:
    """Started again it has the same mailbox, and the token of last time is revoked."""
    facts = []
    for _ in range(2):
        local = start(directory, "--json", *ANY_PORTS)
        try:
            local.facts = json.loads(local.output.read_text())
            facts.append(local.facts)
            if len(facts) == 2:
                local.facts = {**local.facts, "token": facts[0]["token"]}
                with pytest.raises((smtplib.SMTPAuthenticationError, http.client.HTTPException)):
                    local.send("ann@example.com", "too late")
            assert local.stop() == 0
        finally:
            local.process.kill()

    assert facts[0]["mailbox"] == facts[1]["mailbox"]
    assert facts[0]["token"] != facts[1]["token"]
