"""`python -m tests.bench.versus`: this daemon and Postfix in turn, on the same machine, same load.

| id | work                                                                              |
|----|-----------------------------------------------------------------------------------|
| W1 | accept, 20 connections, 4 KiB, 100 messages in a session; nothing is delivered     |
| W2 | the same with one message in a session                                            |
| W3 | accept to delivered into smtp-sink, 4 KiB                                          |
| W4 | accept to delivered, 100 kB                                                        |
| W8 | time from the final dot to its reply at 300 messages/s, while delivering           |
| W9 | memory of the daemon, idle and after W3                                           |

Ours: SMTP AUTH with a token, quota, suppression, both DKIM signatures, `synchronous=FULL`. Postfix
with Debian's defaults for durability: no AUTH, no DKIM. Plaintext on loopback on both sides. They
take turns (A B A B ...); the figure is the median of the rounds, and of the ratio of each round.
The client is `load.c`; its own ceiling against smtp-sink is printed first.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

from tests.peers.gateway import Gateway
from tests.peers.postfix import Postfix
from tests.peers.programs import run
from tests.peers.waiting import eventually, free_ports, is_listening

CONNECTIONS: Final = 20
WITHIN_S: Final = 300.0
KIB4, KB100 = 4096, 100_000


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
    """Where a server takes mail, and how a client proves who it is."""

    port: int
    auth: str
    sender: str
    pid: int = 0


class Contestant(Protocol):
    """A server that can be started anew for each round."""

    name: str

    def serve(self, next_hop: int | None) -> Any: ...  # noqa: ANN401 - a context manager of Served


@dataclass(slots=True)
class Ours:
    """The installed daemon, with everything on."""

    name: str = "gatewayd"

    @contextmanager
    def serve(self, next_hop: int | None) -> Iterator[Served]:
        port = next_hop or 1
        with tempfile.TemporaryDirectory() as directory:
            gateway = Gateway(
                Path(directory),
                smarthost=f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n',
            )
            gateway.prepare()
            gateway.add_domain()
            with gateway:
                gateway.start()
                assert gateway.process is not None
                login = base64.b64encode(f"\0{gateway.mailbox}\0{gateway.token}".encode())
                yield Served(
                    port=gateway.ports.plain,
                    auth=login.decode(),
                    sender=gateway.mailbox,
                    pid=gateway.process.pid,
                )
                assert gateway.stop() == 0, gateway.tail()


@dataclass(slots=True)
class Theirs:
    """Postfix as it comes, relaying to one host."""

    name: str = "Postfix"

    @contextmanager
    def serve(self, next_hop: int | None) -> Iterator[Served]:
        (port,) = free_ports(1)
        postfix = Postfix("bench", ports=(port,))
        postfix.configure(
            {
                "myhostname": "postfix.test",
                "mynetworks": "127.0.0.0/8",
                "mydestination": "",
                "relayhost": f"[127.0.0.1]:{next_hop or 1}",
                "defer_transports": "" if next_hop else "smtp",
                "smtp_tls_security_level": "none",
                "smtpd_tls_security_level": "none",
            }
        )
        with postfix:
            yield Served(port=port, auth="-", sender="agent@sender.test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One row of the table."""

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


WORKS: Final = (
    Work(ident="W1", what="accept, 100 a session", octets=KIB4, sessions=1, messages=100,
         is_delivered=False),
    Work(ident="W2", what="accept, 1 a session", octets=KIB4, sessions=50, messages=1,
         is_delivered=False),
    Work(ident="W3", what="accept to delivered", octets=KIB4, sessions=1, messages=100,
         is_delivered=True),
    Work(ident="W4", what="accept to delivered, 100 kB", octets=KB100, sessions=1, messages=50,
         is_delivered=True),
    Work(ident="W8", what="dot to reply at 300/s", octets=KIB4, sessions=1, messages=150,
         is_delivered=True, rate=300),
)  # fmt: skip


@dataclass(slots=True)
class Figures:
    """What the rounds of one work gave, for each contestant: rates, and p99 of the reply in ms."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    waits: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)


def build(directory: Path) -> Path:
    client = directory / "load"
    code = Path(__file__).parent / "load.c"
    run("gcc", "-O2", "-o", client, code, "-lpthread")
    return client


def offer(client: Path, served: Served, work: Work) -> dict[str, float]:
    """Hand in a whole work; what the client measured."""
    words = [served.port, CONNECTIONS, work.sessions, work.messages, work.octets, work.rate]
    done = run(
        client, *(str(word) for word in words), served.auth, served.sender, within_s=WITHIN_S
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(client: Path, contestant: Contestant, work: Work, figures: Figures) -> None:
    """One round."""
    with Sink() as sink, contestant.serve(sink.port if work.is_delivered else None) as served:
        idle = resident_mib(served.pid)
        began = time.monotonic()
        said = offer(client, served, work)
        seconds = said["seconds"]
        if work.is_delivered:
            eventually(lambda: sink.messages >= work.total, within_s=WITHIN_S)
            seconds = time.monotonic() - began
        figures.rates.setdefault(contestant.name, []).append(work.total / seconds)
        figures.waits.setdefault(contestant.name, []).append(said["p99_ms"])
        if served.pid:
            loaded = resident_mib(served.pid)
            figures.memory.setdefault("idle", []).append(idle)
            figures.memory.setdefault("loaded", []).append(loaded)


def resident_mib(pid: int) -> float:
    if not pid:
        return 0.0
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)|VmRSS:\s+(\d+)", text)
    resident = re.search(r"VmRSS:\s+(\d+)", text)
    assert found is not None
    assert resident is not None
    return int(resident[1]) / 1024


def ceiling(client: Path) -> float:
    """What the client reaches against a server that does nothing."""
    work = Work(ident="-", what="", octets=KIB4, sessions=1, messages=500, is_delivered=False)
    with Sink() as sink:
        said = offer(client, Served(port=sink.port, auth="-", sender="agent@sender.test"), work)
    return work.total / said["seconds"]


def table(results: dict[str, Figures]) -> str:
    lines = [
        "| id | work | gatewayd | Postfix | ratio | spread of the ratio | p99 dot to reply |",
        "|---|---|---|---|---|---|---|",
    ]
    for work in WORKS:
        if work.ident not in results:
            continue
        figures = results[work.ident]
        ours, theirs = figures.rates["gatewayd"], figures.rates["Postfix"]
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        waits = (
            f"{statistics.median(figures.waits['gatewayd']):.1f} ms, "
            f"{statistics.median(figures.waits['Postfix']):.1f} ms"
        )
        lines.append(
            f"| {work.ident} | {work.what} | {statistics.median(ours):.0f}/s "
            f"| {statistics.median(theirs):.0f}/s | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} | {waits} |"
        )
    if "W3" in results:
        memory = results["W3"].memory
        lines.append(
            f"\nW9: {statistics.median(memory['idle']):.0f} MiB idle, "
            f"{statistics.median(memory['loaded']):.0f} MiB after W3."
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("works", nargs="*", default=[work.ident for work in WORKS])
    wanted = parser.parse_args()
    results: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as directory:
        client = build(Path(directory))
        print(f"the client alone, against smtp-sink: {ceiling(client):.0f}/s\n")  # noqa: T201 - its purpose
        for work in WORKS:
            if work.ident not in wanted.works:
                continue
            figures = results.setdefault(work.ident, Figures())
            for _ in range(wanted.rounds):
                for contestant in (Ours(), Theirs()):
                    measure(client, contestant, work, figures)
    print(table(results))  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
