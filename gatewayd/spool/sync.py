"""fsync: of a file, of a directory, and of a directory for many who wait for it at once."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gatewayd.errors import StoreBroken

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)

Done = Callable[[BaseException | None], None]


class Sync:
    """Makes the names in one directory durable.

    One thread at a time does it, for all who asked before it began, and again for who asked
    meanwhile; nobody else waits. Those who shared an fsync share its error. Once it has failed for
    good it has failed for everybody who comes: the next fsync would say that all is well.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._waiting: list[Done] = []
        self._is_running = False
        self._broken: StoreBroken | None = None

    def ask(self, done: Done) -> None:
        """Call `done`, on whatever thread, when every name that is there now is durable.

        Args:
            done: is given what went wrong, OSError or StoreBroken as `sync` raises it. It raises
                nothing.
        """
        with self._lock:
            self._waiting.append(done)
            if self._is_running:
                return
            self._is_running = True
        while waiting := self._take_waiting():
            error = self._sync()
            for each in waiting:
                each(error)

    def _take_waiting(self) -> list[Done]:
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._is_running = bool(waiting)
        return waiting

    def _sync(self) -> BaseException | None:
        if self._broken is not None:
            return self._broken
        try:
            sync_directory(self._directory)
        except StoreBroken as error:
            self._broken = error
            return error
        except BaseException as error:  # noqa: BLE001 - it is told to all who asked
            return error
        return None


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable; raises as `sync`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Make what an open file holds durable.

    Raises:
        OSError: there is no space.
        StoreBroken: the octets are gone, and the next fsync would say that all is well.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise StoreBroken(f"fsync of the spool failed: {error.strerror}") from error
