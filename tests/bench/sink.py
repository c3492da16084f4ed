"""The next hop of everybody: Postfix's smtp-sink, which costs little and counts what it takes."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from typing import Self

from tests.peers.waiting import eventually, free_ports, is_listening


class Sink:
    """Postfix's smtp-sink: takes everything, counts messages."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self._counts = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the sink ends
        self._process = subprocess.Popen(
            ["smtp-sink", "-c", *user, f"127.0.0.1:{self.port}", "1000"], stdout=self._counts
        )
        eventually(lambda: is_listening(self.port), within_s=10)

    @property
    def messages(self) -> int:
        self._counts.seek(0, os.SEEK_END)
        self._counts.seek(max(0, self._counts.tell() - 200))
        found = re.findall(rb"mesg=(\d+)", self._counts.read())
        return int(found[-1]) if found else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._counts.close()
