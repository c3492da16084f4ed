"""cli.client: who is asked, and what is said when nobody or nothing sensible answers."""

from __future__ import annotations

import os
import pwd
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatewayd.cli.client import part
from gatewayd.daemon.statedir import owned
from gatewayd.errors import Refused
from tests.unit.cli.conftest import Cli

NOBODY = 65534


@pytest.fixture
def run_dir(cli: Cli) -> Iterator[Path]:
    """A short path: that of a socket may have 107 octets."""
    with tempfile.TemporaryDirectory(prefix="gatewayd-") as name:
        text = cli.config_file.read_text().replace(f"{cli.config_file.parent}/run", name)
        cli.config_file.write_text(text)
        yield Path(name)


@contextmanager
def listening(run_dir: Path, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody on the control socket who is no daemon."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run_dir / "control.sock"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def hang_up(connection: socket.socket) -> None:
    connection.recv(1)


def babble(connection: socket.socket) -> None:
    if connection.recv(65536):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


@pytest.mark.parametrize("answer", [hang_up, babble])
def test_daemon_that_breaks_off_exits_75(
    cli: Cli, run_dir: Path, answer: Callable[[socket.socket], None]
) -> None:
    """The work may have been done: it says to look first."""
    with listening(run_dir, answer):
        said = cli.run("tokens", "list", code=75)

    assert "look whether the work was done" in said.err


def test_socket_of_a_dead_daemon_is_no_daemon(cli: Cli, run_dir: Path) -> None:
    """What a killed daemon left behind does not stop a command."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run_dir / "control.sock"))

    assert cli.json("mailboxes", "list")["items"] == []


@contextmanager
def unprivileged() -> Iterator[None]:
    """As another user, where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("closed", ["socket", "directory"])
def test_socket_of_another_user_exits_77(cli: Cli, run_dir: Path, closed: str) -> None:
    """It names owner and group, and the command that is allowed."""
    owner = pwd.getpwuid(os.geteuid()).pw_name
    with listening(run_dir, hang_up), tempfile.TemporaryDirectory(prefix="gatewayd-") as name:
        Path(name).chmod(0o755)
        file = Path(name) / "gatewayd.toml"
        file.write_text(cli.config_file.read_text())
        (run_dir / "control.sock").chmod(0)
        run_dir.chmod(0o755 if closed == "socket" else 0)
        try:
            with unprivileged():
                said = cli.bare("status", "-c", str(file), code=77)
        finally:
            run_dir.chmod(0o700)

    named = run_dir / "control.sock" if closed == "socket" else run_dir
    assert f"{named} belongs to user {owner} and group " in said.err
    assert f"sudo -u {owner} gatewayd" in said.err


def test_another_gatewayd_in_the_state_directory_exits_73(cli: Cli) -> None:
    """Without a socket, but with the lock: it starts or stops just now."""
    with owned(cli.state_dir):
        assert "in use by another gatewayd" in cli.run("status", code=73).err
        assert "in use by another gatewayd" in cli.run("db", "init", code=73).err
        assert "in use by another gatewayd" in cli.run("db", "migrate", code=73).err


@pytest.mark.parametrize("text", ["", ".", "..", "\udcff"])
def test_part_refuses_what_is_no_segment(text: str) -> None:
    """`.` and `..` would lead to another resource."""
    with pytest.raises(Refused):
        part(text)


def test_part_is_one_segment() -> None:
    """Nothing of it is taken for a path, a query or an escape."""
    assert part("a/b?c#d%2f@e") == "a%2Fb%3Fc%23d%252f@e"
