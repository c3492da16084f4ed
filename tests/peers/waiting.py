"""Bounded waits on a condition: nothing in the tests sleeps for a fixed time."""

from __future__ import annotations

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

    Workers of one test run ask in different ranges, so two of them never get the same port.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    found: list[int] = []
    while len(found) < count:
        _last[0] = (_last[0] + 1) % PORTS_OF_WORKER
        port = FIRST_PORT + worker * PORTS_OF_WORKER + _last[0]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


FIRST_PORT = 21_000
PORTS_OF_WORKER = 1_000
_last = [os.getpid() % PORTS_OF_WORKER]
