"""W5 and W6: mail over HTTP, accepted, and delivered to many recipients of one message.

The client is `post.c`, compiled for the run: raw sockets and a request that was made once. W5 is
beside a bare FastAPI route (`bare.py`) with the same model, and has no next hop. W6 ends when
smtp-sink has everything: a transaction for each recipient where octets differ, one for a message
where they are equal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench import rows
from tests.bench.client import CONNECTIONS, WITHIN_S
from tests.bench.contestants import gateway
from tests.bench.individual import RECIPIENTS, SMALL
from tests.bench.processes import processor_s
from tests.bench.rows import Finding, Measured, Row
from tests.bench.sink import Sink
from tests.bench.tracking import run_canned
from tests.peers.gateway import Gateway
from tests.peers.programs import run
from tests.peers.waiting import eventually, free_ports, is_listening

TEXT: Final = ("Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\n" * 42)[
    :3000
]
EACH: Final = 250  # requests of each connection
EACH_MANY: Final = 10
FEEDERS: Final = 5  # connections that hand in what W6 delivers
TO_EACH, TO_ALL = 4, 40  # messages of each of them
ACCEPTED, FOUND = 202, 302


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Rates of each round, and milliseconds of processor time for each unit."""

    rates: list[float]
    cpu_ms: list[float]

    def note(self, count: int, seconds: float, processor_s: float) -> None:
        self.rates.append(count / seconds)
        self.cpu_ms.append(processor_s * 1000 / count)


def nothing_yet() -> Rounds:
    return Rounds(rates=[], cpu_ms=[])


@dataclass(frozen=True, slots=True)
class Client:
    """The compiled client, and where its requests lie."""

    directory: Path

    def build(self) -> None:
        code = Path(__file__).parent / "post.c"
        run("gcc", "-O2", "-o", self._program, code, "-lpthread")

    @property
    def _program(self) -> Path:
        return self.directory / "post"

    def post(
        self, port: int, octets: bytes, *, connections: int, each: int, status: int = ACCEPTED
    ) -> float:
        """Send the same request again and again; seconds from the first to the last answer."""
        file = self.directory / "request"
        file.write_bytes(octets)
        words = (str(word) for word in (port, connections, each, status))
        done = run(self._program, *words, file, within_s=WITHIN_S)
        return float(json.loads(done.stdout)["seconds"])

    def ceiling(self) -> float:
        """Requests per second against a server that answers everything with the same octets."""
        canned = run_canned()
        octets = request(path="/send", token="", document=message(1))
        seconds = self.post(canned.port, octets, connections=CONNECTIONS, each=1000, status=FOUND)
        canned.stop()
        return CONNECTIONS * 1000 / seconds


def message(recipients: int) -> dict[str, object]:
    """About 3 KB of text for so many."""
    to = [f"u{number}@example.com" for number in range(recipients)]
    field = "to" if recipients == 1 else "bcc"
    return {field: to, "subject": "bench", "text": TEXT}


def request(*, path: str, token: str, document: dict[str, Any]) -> bytes:
    body = json.dumps(document).encode()
    fields = (
        f"POST {path} HTTP/1.1",
        "Host: gw.example",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*fields, "", "")).encode("ascii") + body


def _sent(daemon: Gateway, document: dict[str, Any]) -> bytes:
    return request(path="/api/v1/messages/send", token=daemon.token, document=document)


def measure(directory: Path, wanted: Sequence[str], rounds: int) -> Iterator[Finding]:
    """The rows of W5 and W6 that are wanted."""
    client = Client(directory)
    client.build()
    if "W5" in wanted:
        yield from _accepting(client, rounds)
    if "W6" in wanted:
        for what, once in ((rows.EACH_ALONE, _alone), (rows.ALL_ALIKE, _alike)):
            yield _finding(Row(ident="W6", what=what), _repeated(client, once, rounds))


def _accepting(client: Client, rounds: int) -> Iterator[Finding]:
    print(f"the HTTP client alone: {client.ceiling():,.0f}/s", flush=True)  # noqa: T201 - its purpose
    one, bare, many = nothing_yet(), nothing_yet(), nothing_yet()
    for _ in range(rounds):
        _accept(client, one, message(1), each=EACH, units=1)
        _accept_barely(client, bare)
        _accept(client, many, message(RECIPIENTS), each=EACH_MANY, units=RECIPIENTS)
    yield _finding(Row(ident="W5", what=rows.SEND, peer=rows.FASTAPI), one, bare)
    yield _finding(Row(ident="W5", what=rows.SEND_MANY), many)


def _finding(row: Row, ours: Rounds, theirs: Rounds | None = None) -> Finding:
    peer = theirs or nothing_yet()
    return row.key, Measured(
        ours=tuple(ours.rates),
        theirs=tuple(peer.rates),
        ours_cpu_ms=tuple(ours.cpu_ms),
        theirs_cpu_ms=tuple(peer.cpu_ms),
    )


def _repeated(client: Client, once: Callable[[Client, Rounds], None], rounds: int) -> Rounds:
    found = nothing_yet()
    for _ in range(rounds):
        once(client, found)
    return found


def _accept(
    client: Client, found: Rounds, document: dict[str, Any], *, each: int, units: int
) -> None:
    with gateway(None) as daemon:
        assert daemon.process is not None
        pid = daemon.process.pid
        used_s = processor_s(pid)
        octets = _sent(daemon, document)
        seconds = client.post(daemon.ports.http, octets, connections=CONNECTIONS, each=each)
        found.note(CONNECTIONS * each * units, seconds, processor_s(pid) - used_s)


def _accept_barely(client: Client, found: Rounds) -> None:
    with bare() as (port, pid):
        used_s = processor_s(pid)
        octets = request(path="/send", token="", document=message(1))
        seconds = client.post(port, octets, connections=CONNECTIONS, each=EACH)
        found.note(CONNECTIONS * EACH, seconds, processor_s(pid) - used_s)


@contextmanager
def bare() -> Iterator[tuple[int, int]]:
    """The bare routes in a process of their own: its port and its id."""
    (port,) = free_ports(1)
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.bare", str(port)])
    try:
        eventually(lambda: is_listening(port), within_s=30, what="the bare routes")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _alone(client: Client, found: Rounds) -> None:
    """Links, pixel and way out of each recipient's own, and a reverse-path of its own."""
    document = {**message(RECIPIENTS), "html": SMALL, "track": ["opens", "clicks"]}
    del document["text"]
    with Sink() as sink, gateway(sink.port, bounces="bounces.test", is_public=True) as daemon:
        post = Post(client=client, octets=_sent(daemon, document), each=TO_EACH)
        _deliver(post, found, daemon, sink, transactions=RECIPIENTS)


def _alike(client: Client, found: Rounds) -> None:
    """No public URL, so no links: one message, signed once, for all of its recipients."""
    with Sink() as sink, gateway(sink.port, bounces="bounces.test") as daemon:
        post = Post(client=client, octets=_sent(daemon, message(RECIPIENTS)), each=TO_ALL)
        _deliver(post, found, daemon, sink, transactions=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What each feeder hands in, and how often."""

    client: Client
    octets: bytes
    each: int


def _deliver(post: Post, found: Rounds, daemon: Gateway, sink: Sink, *, transactions: int) -> None:
    """One round: from the first request until smtp-sink has so many transactions a message."""
    assert daemon.process is not None
    pid, messages = daemon.process.pid, FEEDERS * post.each
    used_s, began = processor_s(pid), time.monotonic()
    post.client.post(daemon.ports.http, post.octets, connections=FEEDERS, each=post.each)
    eventually(lambda: sink.messages >= messages * transactions, within_s=WITHIN_S)
    recipients = messages * RECIPIENTS
    found.note(recipients, time.monotonic() - began, processor_s(pid) - used_s)
    eventually(
        lambda: daemon.metric("outbound_messages_sent_total") >= recipients, within_s=WITHIN_S
    )
    # Had they been delivered otherwise, there would have been another number of transactions.
    assert sink.messages == messages * transactions, sink.messages
