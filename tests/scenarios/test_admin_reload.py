"""A daemon in this process reads its configuration again: all of it takes effect, or nothing."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import smtplib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gatewayd import log
from gatewayd.cli.main import main
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.config.process import LogSection
from gatewayd.daemon.build import Kernel
from gatewayd.daemon.doors import Doors
from gatewayd.daemon.run import Daemon
from gatewayd.daemon.statedir import owned
from gatewayd.daemon.systemd import Notifier
from gatewayd.daemon.tools import DatabaseTools
from tests.peers.certificates import Certificates, make_certificates
from tests.peers.command import Said, config_text

WITHIN_S = 20
LISTENER = """\
[[submission]]
name = "submissions"
bind = "127.0.0.1:0"
tls = "implicit"
"""


@dataclass(slots=True)
class Running:
    """A daemon, what systemd was told, and commands for it."""

    directory: Path
    capsys: pytest.CaptureFixture[str]
    certificates: Certificates
    notified: socket.socket
    daemon: Daemon = field(init=False)
    doors: Doors = field(init=False)
    kernel: Kernel = field(init=False)

    @property
    def config_file(self) -> Path:
        return self.directory / "gatewayd.toml"

    def write_config(self, more: str = "", *, listener: str = LISTENER) -> None:
        tls = f'[tls]\ncertificate = "{self.certificates.chain}"\n'
        tls += f'private_key = "{self.certificates.key}"\n'
        text = config_text(self.directory, submission=listener)
        self.config_file.write_text(f"{text}{tls}{more}")

    async def command(self, *words: str, code: int = 0) -> Said:
        """Run a command in a thread, as it would run in another process."""
        self.capsys.readouterr()
        found = await asyncio.to_thread(main, [*words, "-c", str(self.config_file)])
        out, err = self.capsys.readouterr()
        assert code == found, err
        return Said(out=out, err=err)

    async def reload(self) -> tuple[list[str], list[str]]:
        """What changed, and what waits for a start."""
        found = json.loads((await self.command("reload", "--json")).out)
        return found["changed"], found["needs_restart"]

    def states(self) -> list[str]:
        """What systemd was told since it was last asked."""
        found: list[str] = []
        while select.select([self.notified], [], [], 0)[0]:
            found += self.notified.recv(4096).decode().split("\n")
        return [state for state in found if not state.startswith(("STATUS", "MONOTONIC"))]

    async def greet(self) -> dict[str, str]:
        """The extensions of a new session; TLS is verified."""
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        bind = self.doors.listeners[0].addresses[0]

        def hello() -> dict[str, str]:
            with smtplib.SMTP_SSL(bind.host, bind.port, context=context, timeout=10) as client:
                client.ehlo()
                return dict(client.esmtp_features)

        return await asyncio.to_thread(hello)


@pytest.fixture
def prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Running]:
    """Before the start, with tables, keys and a certificate."""
    with (
        tempfile.TemporaryDirectory(prefix="gatewayd-") as name,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        directory = Path(name)
        notified.bind(str(directory / "notify"))
        running = Running(directory, capsys, make_certificates(tmp_path / "tls"), notified)
        running.write_config()
        DatabaseTools(load.load(running.config_file), SystemClock()).init()
        yield running
        shutil.rmtree(directory / "state")


@asynccontextmanager
async def started(running: Running) -> AsyncIterator[None]:
    """Run the daemon until the block ends; its exit code is 0."""
    ready = asyncio.Event()

    async def on_ready(doors: Doors, kernel: Kernel) -> None:
        running.doors, running.kernel = doors, kernel
        ready.set()

    config = load.load(running.config_file)
    logging = log.setup(LogSection(level="error"))
    with owned(config.daemon.state_dir):
        running.daemon = Daemon(
            config=config,
            config_file=running.config_file,
            notifier=Notifier(str(running.directory / "notify")),
            on_ready=on_ready,
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(running.daemon.run())
            async with asyncio.timeout(WITHIN_S):
                await ready.wait()
            try:
                yield
            finally:
                running.daemon.stop()
        logging.close()
    assert task.result() == 0


async def test_good_change_is_in_force_for_the_next_session(prepared: Running) -> None:
    """Limits, their caps and the certificate; systemd hears RELOADING and READY."""
    async with started(prepared):
        prepared.states()
        prepared.certificates = make_certificates(prepared.directory / "tls-2")
        prepared.write_config("[limits]\nmessage_octets = 100000\nmemory_octets = 200000\n")
        changed, needs_restart = await prepared.reload()

        assert set(changed) == {
            "tls.certificate",
            "tls.private_key",
            "limits.message_octets",
            "limits.memory_octets",
        }
        assert needs_restart == []
        assert prepared.states() == ["RELOADING=1", "READY=1"]
        assert (await prepared.greet())["size"] == "100000"
        assert prepared.daemon.config.limits.memory_octets == 200000


async def test_what_waits_for_a_start_is_said_every_time_and_not_done(prepared: Running) -> None:
    """It is compared with what is in force, not with the file that was read last."""
    more = '[tokens]\nissuer = "other"\n[limits]\ntoken_octets = 9000\nrecipients = 7\n'
    hostname = ("gateway.test", "other.test")
    async with started(prepared):
        prepared.write_config(more)
        prepared.config_file.write_text(prepared.config_file.read_text().replace(*hostname))
        waiting = ["daemon.hostname", "limits.token_octets", "tokens.issuer"]

        assert await prepared.reload() == (["limits.recipients"], waiting)
        assert await prepared.reload() == ([], waiting)
        assert prepared.daemon.config.limits.recipients == 7
        assert prepared.daemon.config.tokens.issuer == "gatewayd"
        assert (await prepared.greet())["limits"].startswith("RCPTMAX=7")


@pytest.mark.parametrize(
    ("spoil", "code", "expected"),
    [
        ("toml", 78, "line "),
        ("key", 78, "limits.more"),
        ("certificate", 78, "chain.pem"),
        ("pair", 78, "key"),
        ("key file", 77, "jwt.keys"),
        ("no key file", 78, "jwt.keys is missing"),
    ],
)
async def test_bad_change_is_refused_whole(
    prepared: Running, tmp_path: Path, spoil: str, code: int, expected: str
) -> None:
    """The command says what is wrong and with which code; everything stays as it was."""
    more = "[limits]\nrecipients = 7\n"
    async with started(prepared):
        prepared.states()
        before = prepared.daemon.config
        prepared.write_config(more)
        keys = prepared.directory / "state" / "keys" / "jwt.keys"
        match spoil:
            case "toml":
                prepared.write_config(more + "[limits")
            case "key":
                prepared.write_config(more + "more = 1\n")
            case "certificate":
                prepared.certificates.chain.write_text("nonsense")
            case "pair":
                other = make_certificates(tmp_path / "other")
                shutil.copyfile(other.key, prepared.certificates.key)
            case "key file":
                keys.chmod(0o644)
            case _:
                keys.rename(keys.with_suffix(".gone"))
        said = await prepared.command("reload", code=code)

        assert expected in said.err
        assert prepared.daemon.config is before
        # A mistake in the file is seen by the command itself, so the daemon is not even asked.
        was_asked = spoil not in ("toml", "key")
        assert prepared.states() == (["RELOADING=1", "READY=1"] if was_asked else [])
        assert (await prepared.greet())["limits"].startswith("RCPTMAX=100")


async def test_hang_up_is_a_reload_and_a_bad_one_is_survived(prepared: Running) -> None:
    """SIGHUP has nobody to tell: it counts, and the daemon goes on."""
    reloads = {"applied": 0.0, "refused": 0.0}

    async def hang_up(result: str) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        reloads[result] += 1
        async with asyncio.timeout(WITHIN_S):
            while prepared.states()[-1:] != ["READY=1"]:  # noqa: ASYNC110 - of a signal
                await asyncio.sleep(0.01)
        for name, count in reloads.items():
            found = prepared.daemon.metrics.config_reloads.labels(result=name)
            assert count == found._value.get()

    async with started(prepared):
        prepared.states()
        prepared.write_config("[limits]\nrecipients = 7\n")
        await hang_up("applied")
        prepared.write_config("[limits]\nrecipients = 0\n")
        await hang_up("refused")
        prepared.write_config()

        assert prepared.daemon.config.limits.recipients == 7
        assert json.loads((await prepared.command("status", "--json")).out)["pid"] == os.getpid()


async def test_commands_go_through_the_daemon_that_runs(prepared: Running, tmp_path: Path) -> None:
    """It owns the database; what needs it for itself is refused, a backup is not."""
    async with started(prepared):
        await prepared.command("mailboxes", "create", "a/b@example.com")
        listed = json.loads((await prepared.command("mailboxes", "list", "--json")).out)
        copy = tmp_path / "copy.db"
        await prepared.command("db", "backup", str(copy))
        for words in (("db", "init"), ("db", "migrate"), ("serve",)):
            assert "in use" in (await prepared.command(*words, code=73)).err

        assert [row["address"] for row in listed["items"]] == ["a/b@example.com"]
        assert (copy.stat().st_mode & 0o777) == 0o600
        assert (await prepared.command("mailboxes", "destroy", "x@y.test", code=69)).out == ""
