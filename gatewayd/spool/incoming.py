"""IncomingFile: one file on its way into the spool."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Final

from gatewayd.spool.sync import sync

_CLOSED: Final = -1  # no descriptor


class IncomingFile:
    """One file on its way into the spool. What its methods raise is OSError, but for `drop`."""

    def __init__(self, key: str, temporary: Path, final: Path) -> None:
        self.key = key
        self.digest = hashlib.sha256()
        self._temporary = temporary
        self._final = final
        self._descriptor = _CLOSED

    def write(self, octets: bytes) -> None:
        """Into the page cache. The first octets make the file."""
        if self._descriptor == _CLOSED:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._temporary, flags, 0o600)
        self.digest.update(octets)
        left = memoryview(octets)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def end(self) -> None:
        """Make the octets durable, and give the file its name; that is not durable yet."""
        if self._descriptor == _CLOSED:
            raise AssertionError("a file without octets")
        sync(self._descriptor)
        self._close()
        self._temporary.rename(self._final)

    def drop(self) -> None:
        """Close and remove it as far as the disk allows; `sweep` does the rest."""
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, _CLOSED
        if descriptor != _CLOSED:
            os.close(descriptor)
