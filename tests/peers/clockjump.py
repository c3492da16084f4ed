"""Clockjump: the wall clock of a daemon, which a test sets while it runs.

`tests/system/clockjump/clockjump.c` is compiled and preloaded; what monotonic clocks say stays.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tests.peers.programs import require, run

CODE = Path(__file__).parents[1] / "system" / "clockjump" / "clockjump.c"


class Clockjump:
    """A clock that is right until `set` says how far off it is."""

    def __init__(self, directory: Path) -> None:
        require("gcc")
        self._library = directory / "clockjump.so"
        self._file = directory / "clockjump.offset"
        self.set(0)
        run("gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", self._library, CODE)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the daemon is started with."""
        return {"LD_PRELOAD": str(self._library), "CLOCKJUMP_FILE": str(self._file)}

    def set(self, offset_s: int) -> None:
        """Be this many seconds ahead of the true time; at once, and for who starts later."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("=q", offset_s))
