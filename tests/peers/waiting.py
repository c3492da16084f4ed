"""Bounded waits on a condition: nothing in the tests sleeps for a fixed time."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.02
_never = threading.Event()


def eventually(
    condition: Callable[[], T], *, within_s: float, what: str | Callable[[], str] = "the condition"
) -> T:
    """The first true value of `condition`, asked again and again.

    Raises:
        TimeoutError: it stayed false; `what` says what was waited for.
    """
    until = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= until:
            text = what if isinstance(what, str) else what()
            raise TimeoutError(f"not within {within_s} s: {text}")
        _never.wait(POLL_S)


def is_listening(port: int) -> bool:
    """Whether a server takes connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, below those that the system gives to clients.

    A daemon that is killed and started again needs the same ones, so they stay ours until this
    process ends: other workers and other runs of the tests see that by a name in the kernel.
    """
    found: list[int] = []
    for number in itertools.islice(_numbers, PORTS):
        if len(found) == count:
            return found
        port = FIRST_PORT + number % PORTS
        if _hold(port):
            found.append(port)
    raise OSError(f"no {count} free ports from {FIRST_PORT} on")


def _hold(port: int) -> bool:
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            name.bind(f"\0gatewayd-test-port-{port}")
            probe.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            return False
    _held.append(name)
    return True


FIRST_PORT = 21_000
PORTS = 10_000
_numbers = itertools.count(os.getpid() * 37)
_held: list[socket.socket] = []
