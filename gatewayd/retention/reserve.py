"""A file that is given up on a full disk, so that what was already sent can still be recorded.

Without it an outcome could not be kept, and its message would be sent again. New mail is refused
long before (`intake/space.py`); the file is made again when there is space.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

NAME: Final = "reserve.bin"


class Reserve:
    """Keeps so many octets of the disk for bad times. Safe to call from any thread."""

    def __init__(self, directory: Path, octets: int) -> None:
        self._path = directory / NAME
        self._octets = octets

    @property
    def is_kept(self) -> bool:
        try:
            return self._path.stat().st_size >= self._octets
        except OSError:
            return False

    def keep(self, free_octets: int) -> bool:
        """Make the file if it is not there and leaves as much again free; whether it is kept."""
        if self.is_kept:
            return True
        if free_octets < 2 * self._octets:
            return False
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._octets)
        except OSError:
            self.give_up()
            return False
        finally:
            os.close(descriptor)
        return True

    def tend(self, free_octets: int) -> bool:
        """Give the file up when the disk is nearly full, make it again when it is not.

        Returns:
            Whether it was given up now.
        """
        if free_octets < self._octets // 4:
            return self.give_up()
        self.keep(free_octets)
        return False

    def give_up(self) -> bool:
        """Free the octets; False: they were free already."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
