"""`python -m tests.bench.tracking`: redirects and pixels per second of one process, over real HTTP.

The API's listener as the daemon runs it (uvicorn, all layers, uvloop where it is installed), real
links and signatures, the real recorder on SQLite with `synchronous=FULL`, and what was built kept
from the garbage collector. What is called "first" is the first of its recipient, so each is also
stored while the next ones come; what is not is known already. requests_per_minute is on, and
raised; everything else is the default.

The client is another process: one thread, raw sockets, keep-alive, one request at a time on each
connection. Its ceiling is measured first, against a server that answers everything with the same
octets. At a rate, the time of a request begins when it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import gc
import multiprocessing
import re
import selectors
import socket
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from gatewayd import ids
from gatewayd.clock import SystemClock
from gatewayd.config.listeners import HttpSection
from gatewayd.config.returns import TrackingSection
from gatewayd.config.types import Bind
from gatewayd.daemon.run import _loop_factory
from gatewayd.ids import QueueId, RecipientId
from gatewayd.keys.ring import KeyRing, Purpose, new_ring
from gatewayd.metrics import Metrics
from gatewayd.store import messages, migrate
from gatewayd.store.database import Database, Tx
from gatewayd.store.sqlite import SqliteDialect
from gatewayd.tracking.links import Links
from gatewayd.tracking.recorder import Recorder
from gatewayd.tracking.unsubscribe import Unsubscribes
from gatewayd.web.app import RecipientParts, create_api_app
from gatewayd.web.server import HttpServer
from tests.fakes import rows
from tests.fakes.http_api import FakeApi

HOST = "127.0.0.1"
BASE = "https://gw.example"
URL = "https://www.example.org/shop/item?id={}&utm_source=newsletter&utm_medium=email"
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/141.0.0.0 Safari/537.36"
)
CANNED = b"HTTP/1.1 302 Found\r\nlocation: https://www.example.org/\r\ncontent-length: 0\r\n\r\n"
WITHIN_S = 60.0

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)").search


# --- servers, each in a process of its own


async def _serve_gateway(
    ring: KeyRing, recipient_ids: Sequence[RecipientId], to: Connection
) -> None:
    clock, metrics = SystemClock(), Metrics()
    with tempfile.TemporaryDirectory() as directory:
        dialect = SqliteDialect(Path(directory) / "gatewayd.db", clock=clock)
        migrate.upgrade(dialect)
        database = Database(dialect)
        await database.write(lambda tx: _fill(tx, recipient_ids))
        longest_s = [0.0]
        database.observe_groups(
            lambda _, seconds: longest_s.__setitem__(0, max(seconds, longest_s[0]))
        )
        recorder = Recorder(
            database,
            section=TrackingSection(),
            clock=clock,
            metrics=metrics,
        )
        parts = RecipientParts(
            links=Links(ring, BASE),
            recorder=recorder,
            unsubscribes=Unsubscribes(database),
            requests_per_minute=1 << 31,
            clock=clock,
            metrics=metrics,
        )
        app = create_api_app(FakeApi().parts, recipients=parts)
        server = HttpServer(name="http", app=app, at=Bind(HOST, 0), section=HttpSection())
        async with asyncio.TaskGroup() as group:
            for service in (recorder, server):
                ready = asyncio.Event()
                group.create_task(service.run(ready))
                await ready.wait()
            # As the daemon does when it is ready: a full collection is a pause of 0.1 to 0.3 s.
            gc.collect()
            gc.freeze()
            to.send(server.addresses[0].port)
            while await asyncio.to_thread(to.recv):
                while recorder.waiting:
                    await recorder.flush()
                to.send(True)
            deadline = asyncio.get_running_loop().time() + 30
            await server.drain(deadline)
            await recorder.drain(deadline)
        text = metrics.render().decode()
        counted = [line for line in text.splitlines() if line.startswith("tracking_")]
        counted.append(f"longest transaction {longest_s[0]:.2f} s")
        to.send((time.process_time(), "; ".join(counted)))
        await asyncio.to_thread(database.close)


def _fill(tx: Tx, recipient_ids: Sequence[RecipientId]) -> None:
    """One message to all of them, delivered an hour ago."""
    queue_id = ids.queue_id(tx.now)
    messages.add(tx, [rows.message(queue_id)], [rows.octets(queue_id)])
    at = tx.now - dt.timedelta(hours=1)
    columns = {"state": "delivered", "delivered_at": at, "due_at": None}
    rows.add_recipients(
        tx,
        [
            {**rows.recipient(QueueId(queue_id), position, **columns), "recipient_id": one}
            for position, one in enumerate(recipient_ids)
        ],
    )


class _Canned(asyncio.Protocol):
    """Answers each request with the same octets."""

    def connection_made(  # type: ignore[override]  # it is the transport of a stream
        self, transport: asyncio.Transport
    ) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(CANNED * data.count(b"\r\n\r\n"))


async def _serve_canned(to: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(_Canned, HOST, 0)
    to.send(server.sockets[0].getsockname()[1])
    await asyncio.to_thread(to.recv)
    server.close()
    to.send((time.process_time(), ""))


def _run_gateway(ring: KeyRing, recipient_ids: Sequence[RecipientId], to: Connection) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_gateway(ring, recipient_ids, to))


def _run_canned(to: Connection) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_canned(to))


class Served:
    """A server process, and what it says of itself when it is stopped."""

    def __init__(self, target: Callable[..., None], *given: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(*given, theirs), daemon=True)
        self._process.start()
        self.port = int(self._receive())

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def _receive(self) -> Any:  # noqa: ANN401 - of the pipe
        if not self._pipe.poll(WITHIN_S):
            self._process.kill()
            raise RuntimeError("the server does not answer")
        return self._pipe.recv()

    def settle(self) -> None:
        """Return when all that it has seen is stored."""
        self._pipe.send(True)
        self._receive()

    def stop(self) -> tuple[float, str]:
        """Seconds of CPU time, and its counters."""
        self._pipe.send(False)
        told = self._receive()
        self._process.join(WITHIN_S)
        return float(told[0]), str(told[1])


# --- the client


@dataclass(slots=True)
class Result:
    """What came back: by status, and how long each took."""

    seconds: float
    statuses: Counter[bytes] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return self.statuses.total() / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds that this share of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _connect(port: int, count: int) -> list[socket.socket]:
    opened = [socket.create_connection((HOST, port)) for _ in range(count)]
    for each in opened:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each.setblocking(False)
    return opened


def _is_whole(octets: bytes) -> bool:
    """Whether an answer is there with its body."""
    head, gap, body = octets.partition(b"\r\n\r\n")
    length = _LENGTH(head)
    if not octets:
        raise RuntimeError("the server closed the connection")
    return bool(gap) and length is not None and len(body) >= int(length[1])


def load(port: int, requests: Sequence[bytes], *, connections: int, rate: float | None) -> Result:
    """Send every request once, as fast as answers come, or at a rate whatever comes.

    At a rate, the time of a request begins when it was due, not when a connection was free.
    """
    selector = selectors.EpollSelector()
    idle = deque(_connect(port, connections))
    for each in idle:
        selector.register(each, selectors.EVENT_READ)
    began = time.perf_counter()
    due_of: dict[socket.socket, float] = {}
    come: dict[socket.socket, bytes] = {}
    result = Result(0.0)
    sent = done = 0
    while done < len(requests):
        now = time.perf_counter()
        while idle and sent < len(requests):
            due = now if rate is None else began + sent / rate
            if due > now:
                break
            each = idle.popleft()
            each.send(requests[sent])
            due_of[each] = due
            sent += 1
        wait_s = 1.0
        if rate is not None and idle and sent < len(requests):
            wait_s = max(0.0, began + sent / rate - time.perf_counter())
        for key, _ in selector.select(wait_s):
            each = cast("socket.socket", key.fileobj)  # nothing else is registered
            octets = come.pop(each, b"") + each.recv(65536)
            if not _is_whole(octets):
                come[each] = octets
                continue
            result.statuses[octets[9:12]] += 1
            result.latencies.append(time.perf_counter() - due_of[each])
            idle.append(each)
            done += 1
    result.seconds = time.perf_counter() - began
    for each in idle:
        each.close()
    selector.close()
    return result


def _request(target: str) -> bytes:
    fields = (
        f"GET {target} HTTP/1.1",
        "Host: gw.example",
        f"User-Agent: {BROWSER}",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Accept-Language: en-GB,en;q=0.7",
        "Accept-Encoding: gzip, deflate, br",
    )
    return "\r\n".join((*fields, "", "")).encode("ascii")


def _forge(request: bytes) -> bytes:
    """Another token of the right shape."""
    at = request.index(b"/track/click/") + 20
    other = b"B" if request[at : at + 1] == b"A" else b"A"
    return request[:at] + other + request[at + 1 :]


def recipients_of(count: int) -> tuple[KeyRing, list[RecipientId], list[bytes], list[bytes]]:
    """Keys, so many recipients, and what each of them asks for: a click and a pixel."""
    now = SystemClock().now()
    ring = new_ring(Purpose.TRACKING, created_at=now)
    recipient_ids = [ids.recipient_id(now) for _ in range(count)]
    links = Links(ring, BASE)
    clicks, pixels = [], []
    for number, one in enumerate(recipient_ids):
        target = links.click_url(one, URL.format(number % 60)).removeprefix(BASE)
        clicks.append(_request(target))
        pixels.append(_request(links.open_url(one).removeprefix(BASE)))
    return ring, recipient_ids, clicks, pixels


def run_gateway(count: int) -> tuple[Served, list[bytes]]:
    """The listener with so many recipients, and a click of each."""
    ring, recipient_ids, clicks, _ = recipients_of(count)
    return Served(_run_gateway, ring, recipient_ids), clicks


def run_canned() -> Served:
    """A server that answers everything with the same redirect."""
    return Served(_run_canned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--connections", type=int, default=20)
    options = parser.parse_args()
    ring, recipient_ids, clicks, pixels = recipients_of(options.requests)
    canned = run_canned()
    ceiling = load(canned.port, clicks, connections=options.connections, rate=None)
    canned.stop()
    _say("the client alone", ceiling)
    served = Served(_run_gateway, ring, recipient_ids)
    for what, requests, rate in (
        ("first clicks at 5000/s", clicks, 5000.0),
        ("clicks", clicks, None),
        ("forged clicks", [_forge(one) for one in clicks], None),
        ("first opens at 1000/s", pixels[:10_000], 1000.0),
        ("opens", pixels, None),
    ):
        result = load(served.port, requests, connections=options.connections, rate=rate)
        _say(what, result)
        served.settle()  # so that nobody pays for what came before
    cpu_s, counted = served.stop()
    print(f"server: {cpu_s:.1f} s of CPU time; {counted}")  # noqa: T201 - its purpose


def _say(what: str, result: Result) -> None:
    statuses = ", ".join(f"{status.decode()}: {n}" for status, n in result.statuses.items())
    print(  # noqa: T201 - its purpose
        f"{what:24} {result.per_second:7.0f}/s   p50 {result.percentile(0.5):5.2f} ms   "
        f"p99 {result.percentile(0.99):6.2f} ms   {statuses}",
        flush=True,
    )


if __name__ == "__main__":
    main()
