"""daemon.systemd: what systemd is told, and what it hands over."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayd.daemon.systemd import (
    READY,
    STOPPING,
    Notifier,
    listen_fds,
    reloading,
    status,
    watchdog_s,
)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_states_arrive_as_one_datagram(tmp_path: Path, kind: str) -> None:
    """On a socket with a path, and on an abstract one, which is written with @."""
    name = f"@gatewayd-{secrets.token_hex(8)}" if kind == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1))
        receiver.settimeout(5)
        sent = Notifier.of({"NOTIFY_SOCKET": name}).notify(READY, status("3 listeners\nopen"))

        assert sent
        assert receiver.recv(1024) == b"READY=1\nSTATUS=3 listeners open"


def test_without_systemd_nothing_is_said() -> None:
    """A start by hand."""
    assert not Notifier.of({}).notify(STOPPING)


def test_absent_socket_raises_nothing(tmp_path: Path) -> None:
    """The daemon does not fall over its supervisor."""
    assert not Notifier(str(tmp_path / "absent")).notify(READY)


def test_full_socket_is_not_waited_for(tmp_path: Path) -> None:
    """A manager that does not read cannot block the loop."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        answers = {notifier.notify("WATCHDOG=1") for _ in range(2000)}

    assert answers == {True, False}


def test_reloading_tells_the_time() -> None:
    """Type=notify-reload asks for it in microseconds."""
    assert reloading(12.5) == "RELOADING=1\nMONOTONIC_USEC=12500000"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_fed_at_half_its_time(
    environment: dict[str, str], expected: float | None
) -> None:
    """As sd_watchdog_enabled(3) advises; not for another process."""
    assert expected == watchdog_s(environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())},
    ],
)
def test_sockets_of_another_process_are_left_alone(environment: dict[str, str]) -> None:
    """Without LISTEN_PID of our own, descriptor 3 is somebody's file."""
    assert listen_fds(environment) == {}


CHILD = """
import os, sys
from gatewayd.daemon.systemd import listen_fds
environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "3", "LISTEN_FDNAMES": "a:b:a"}
for name, sockets in listen_fds(environment).items():
    for listener in sockets:
        print(name, listener.fileno(), listener.getsockname()[1], listener.get_inheritable())
"""


def test_sockets_come_by_name() -> None:
    """Descriptors from 3 on, several under one name, closed to programs we start."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [listener.getsockname()[1] for listener in listeners]

    def place() -> None:  # descriptors 3, 4, 5 of the child, by way of higher ones
        high = [os.dup2(listener.fileno(), 100 + n) for n, listener in enumerate(listeners)]
        for n, descriptor in enumerate(high):
            os.dup2(descriptor, 3 + n)

    output = subprocess.run(
        [sys.executable, "-c", CHILD],
        preexec_fn=place,
        close_fds=False,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for listener in listeners:
        listener.close()

    assert output.splitlines() == [
        f"a 3 {ports[0]} False",
        f"a 5 {ports[2]} False",
        f"b 4 {ports[1]} False",
    ]
