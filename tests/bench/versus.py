"""What a comparison of mail servers is made of: a client, a next hop, and a look at processes.

The client is `load.c`, compiled for the run; the next hop is Postfix's smtp-sink. Both cost little,
and `ceiling` says what they reach together, with no server between them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.peers.programs import run
from tests.peers.waiting import eventually, free_ports, is_listening

CONNECTIONS: Final = 20
WITHIN_S: Final = 300.0
OFFER_S: Final = 120.0  # for a client to hand everything in
KIB4, KB100 = 4096, 100_000
OPENSSL: Final = Path("/usr/include/openssl/ssl.h")  # Debian's libssl-dev


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a server takes mail, and how a client proves who it is.

    Args:
        pid: of the server's first process; 0 where nobody asks.
        others: first processes of what works for it.
        is_tls: the port speaks TLS from the first octet.
    """

    port: int
    auth: str
    sender: str
    pid: int = 0
    others: tuple[int, ...] = ()
    is_tls: bool = False

    def processor_s(self) -> float:
        """What it has used of the processors so far, with all that works for it."""
        return sum(processor_s(pid) for pid in (self.pid, *self.others))


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a client hands in: how much, in what portions, and how fast (0: as fast as it goes)."""

    ident: str
    what: str
    octets: int
    sessions: int
    messages: int
    is_delivered: bool
    rate: int = 0

    @property
    def total(self) -> int:
        return CONNECTIONS * self.sessions * self.messages


def build(directory: Path) -> Path:
    """The compiled client; it speaks TLS where OpenSSL's headers are installed."""
    client = directory / "load"
    code = Path(__file__).parent / "load.c"
    tls = ("-DWITH_TLS", "-lssl", "-lcrypto") if OPENSSL.exists() else ()
    run("gcc", "-O2", "-o", client, code, "-lpthread", *tls)
    return client


def offer(client: Path, served: Served, work: Work) -> dict[str, float]:
    """Hand in a whole work; what the client measured."""
    words: list[object] = [served.port, CONNECTIONS]
    words += [work.sessions, work.messages, work.octets, work.rate]
    words += [served.auth, served.sender, "tls" if served.is_tls else "plain"]
    done = run(client, *(str(word) for word in words), within_s=OFFER_S)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def ceiling(client: Path) -> float:
    """Messages per second that the client reaches against a server that does nothing."""
    work = Work(ident="", what="", octets=KIB4, sessions=1, messages=500, is_delivered=False)
    with Sink() as sink:
        said = offer(client, Served(port=sink.port, auth="-", sender="agent@sender.test"), work)
    return work.total / said["seconds"]


def resident_mib(pid: int) -> float:
    """Memory of one process that is in RAM now; 0 for none."""
    if not pid:
        return 0.0
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert resident is not None
    return int(resident[1]) / 1024


def processor_s(pid: int) -> float:
    """What a process and its descendants have used, those that are gone and waited for too.

    User and system time in seconds (proc(5): utime, stime, cutime, cstime).
    """
    if not pid:
        return 0.0
    parents: dict[int, int] = {}
    used: dict[int, int] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        one = int(file.parent.name)
        parents[one] = int(words[1])
        used[one] = sum(int(word) for word in words[11:15])
    ticks = sum(used[one] for one in used if pid in _line(one, parents))
    return ticks / os.sysconf("SC_CLK_TCK")


def _line(pid: int, parents: dict[int, int]) -> list[int]:
    """A process and those that it descends from."""
    line = [pid]
    while line[-1] in parents and parents[line[-1]]:
        line.append(parents[line[-1]])
    return line
