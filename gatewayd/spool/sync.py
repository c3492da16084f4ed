"""fsync: of a file, of a directory, and of a directory for many who wait for it at once."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Final

from gatewayd.errors import StoreBroken

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)


class Sync:
    """Makes the names in one directory durable.

    One thread at a time does it, for all who came before it began; who comes later waits for the
    next one. Those who shared an fsync share its error. Once it has failed for good it has failed
    for everybody who comes: the next fsync would say that all is well.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._changed = threading.Condition()
        self._asked = 0
        self._done = 0
        self._is_running = False
        self._errors: dict[int, BaseException] = {}  # of those asked for, until they are told
        self._broken: StoreBroken | None = None

    def wait(self) -> None:
        """Return when every name that was there before the call is durable.

        Raises:
            OSError, StoreBroken: as `sync`.
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
            while self._is_running and self._done < mine:
                self._changed.wait()
            if self._done >= mine:
                error = self._errors.pop(mine, None)
                if error is not None:
                    raise error
                return
            if self._broken is not None:
                raise self._broken
            self._is_running = True
            before, upto = self._done, self._asked
        failed: BaseException | None = None
        try:
            sync_directory(self._directory)
        except BaseException as error:
            failed = error
            raise
        finally:
            with self._changed:
                self._is_running = False
                self._done = upto
                if isinstance(failed, StoreBroken):
                    self._broken = failed
                if failed is not None:
                    others = set(range(before + 1, upto + 1)) - {mine}
                    self._errors.update(dict.fromkeys(others, failed))
                self._changed.notify_all()


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
