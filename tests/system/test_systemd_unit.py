"""systemd/: the units are hardened as far as promised, and systemd finds no fault in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from gatewayd.cli.commands import app
from gatewayd.config.listeners import DEFAULT_SUBMISSION
from gatewayd.config.process import DaemonSection
from gatewayd.config.returns import BouncesSection

UNITS = Path(__file__).parents[2] / "systemd"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze"),
]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as installed, with programs that exist on every machine."""
    for file in UNITS.iterdir():
        text = re.sub(r"(?m)^(Exec\w+=)/opt/\S+.*$", r"\1/bin/true", file.read_text())
        (tmp_path / file.name).write_text(text)
    (tmp_path / "gatewayd-socket.conf").unlink()
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


def with_drop_in(units: Path) -> None:
    directory = units / "gatewayd.service.d"
    directory.mkdir()
    shutil.copy(UNITS / "gatewayd-socket.conf", directory)


def security(unit: Path, threshold: int) -> subprocess.CompletedProcess[str]:
    """`threshold` is tenths of the exposure; the program fails above it."""
    return analyze("security", "--offline=true", f"--threshold={threshold}", str(unit))


def test_service_is_exposed_at_most_1_6(units: Path) -> None:
    """Lower is better; Debian's postfix@.service has 9.6."""
    result = security(units / "gatewayd.service", 16)

    assert result.returncode == 0, result.stdout[-400:]


def test_service_behind_sockets_is_exposed_at_most_1_5(units: Path) -> None:
    """With the drop-in there is no capability left."""
    with_drop_in(units)
    result = security(units / "gatewayd.service", 15)

    assert result.returncode == 0, result.stdout[-400:]


def test_service_that_polls_is_exposed_at_most_1_2(units: Path) -> None:
    """It holds a password, and reads what strangers have written."""
    result = security(units / "gatewayd-bounces-poll.service", 12)

    assert result.returncode == 0, result.stdout[-400:]


def test_service_that_polls_runs_beside_the_daemon_only() -> None:
    """Alone it would own the database, and a daemon that starts then would give up for good."""
    text = (UNITS / "gatewayd-bounces-poll.service").read_text()
    (path,) = re.findall(r"(?m)^ConditionPathExists=(.*)$", text)

    assert DaemonSection.model_fields["run_dir"].default / "control.sock" == Path(path)
    assert "StateDirectory=" not in text


def test_service_that_polls_calls_a_command_that_there_is() -> None:
    """With options that it has."""
    text = (UNITS / "gatewayd-bounces-poll.service").read_text()
    (command,) = re.findall(r"(?m)^ExecStart=/opt/gatewayd/bin/gatewayd (.*)$", text)
    words = command.split()
    known = get_command(app).commands["bounces"].commands["poll-once"]  # type: ignore[attr-defined]  # groups of click

    assert words[:2] == ["bounces", "poll-once"]
    assert known.make_context("poll-once", words[2:]).params["host"] == "imap.example.com"


@pytest.mark.parametrize("drop_in", [False, True])
def test_verify_is_quiet(units: Path, *, drop_in: bool) -> None:
    """No unknown key, no missing unit, no unit that cannot start."""
    if drop_in:
        with_drop_in(units)
    names = sorted(str(file) for file in units.iterdir() if file.is_file())
    result = analyze("verify", *names)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_exit_codes_that_restart_cannot_mend_are_listed() -> None:
    """The exit codes of errors.py that an operator must act on stop the unit."""
    text = (UNITS / "gatewayd.service").read_text()
    (line,) = re.findall(r"(?m)^RestartPreventExitStatus=(.*)$", text)

    assert line.split() == ["65", "73", "77", "78"]


def test_socket_units_are_named_as_the_default_listeners() -> None:
    """A socket is found by the name of its listener, on its port."""
    found = {}
    for file in UNITS.glob("*.socket"):
        text = file.read_text()
        (name,) = re.findall(r"(?m)^FileDescriptorName=(.*)$", text)
        (found[name],) = re.findall(r"(?m)^ListenStream=(.*)$", text)

    expected = {listener.name: str(listener.bind) for listener in DEFAULT_SUBMISSION}
    assert {**expected, "bounces": str(BouncesSection().bind)} == found
