"""READY, WATCHDOG, STOPPING, listen fds.

| variable                                | what                                            |
|-----------------------------------------|-------------------------------------------------|
| NOTIFY_SOCKET                           | where the state goes, as sd_notify(3)           |
| WATCHDOG_USEC, WATCHDOG_PID             | how often WATCHDOG=1 is expected                |
| LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID  | sockets that are open already, sd_listen_fds(3) |
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"
FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START


def reloading(monotonic_s: float) -> str:
    """The state at the begin of a reload; READY ends it. Time is CLOCK_MONOTONIC."""
    return f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1_000_000)}"


def status(text: str) -> str:
    """The line that `systemctl status` shows."""
    return f"STATUS={' '.join(text.split())}"


@dataclass(frozen=True, slots=True)
class Notifier:
    """Says to systemd how we are; without NOTIFY_SOCKET it does nothing."""

    address: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Notifier:
        return cls(environment.get("NOTIFY_SOCKET", ""))

    def notify(self, *states: str) -> bool:
        """Send states, one datagram; whether it was taken. Never raises and never waits."""
        if not self.address:
            return False
        abstract = self.address.startswith("@")
        address = f"\0{self.address[1:]}" if abstract else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(states).encode(), address)
            return True
        return False


def watchdog_s(environment: Mapping[str, str]) -> float | None:
    """How often to say WATCHDOG: half of what systemd allows. None: it does not ask for it."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdigit() and int(microseconds) else None


def listen_fds(environment: Mapping[str, str]) -> dict[str, list[socket.socket]]:
    """The listening sockets systemd hands over, by their FileDescriptorName=; the caller owns them.

    Call it once: a second call would give the same descriptors to other socket objects.
    """
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    sockets: dict[str, list[socket.socket]] = {}
    for index in range(int(count)):
        descriptor = FIRST_DESCRIPTOR + index
        os.set_inheritable(descriptor, False)  # not for the programs we may start
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        name = names[index] if index < len(names) and names[index] else "unknown"
        sockets.setdefault(name, []).append(listener)
    return sockets
