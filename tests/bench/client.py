"""The client of every mail server: `load.c`, compiled for the run, with what it is to hand in.

`ceiling` says what it reaches with no server between it and smtp-sink.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench.processes import processor_s
from tests.bench.sink import Sink
from tests.peers.programs import run

CONNECTIONS: Final = 20
OFFER_S: Final = 120.0  # for a client to hand everything in
WITHIN_S: Final = 300.0  # for all of it to be delivered
KIB4, KB100 = 4096, 100_000
OPENSSL: Final = Path("/usr/include/openssl/ssl.h")  # Debian's libssl-dev


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

    @property
    def first(self) -> Work:
        """What is handed in before the clock starts: two messages on each connection."""
        return replace(self, sessions=1, messages=2, rate=0)


def compiled(directory: Path) -> Path:
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
