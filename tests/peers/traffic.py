"""Traffic: clients that go on submitting, whatever happens to the daemon meanwhile.

Each client sends one message after the other at its share of the rate. One that gets no answer, or
hears `later`, sends the same message again until it is answered, as mail programs do: to the next
daemon, where there are several. A client that was behind does not catch up.

`Killer` ends the daemon with SIGKILL at moments that a seed decides. One kill in five comes before
it is ready, so that recovery is killed too.
"""

from __future__ import annotations

import random  # noqa: TID251 - for moments that a seed repeats
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, LiteralString, Self

import psycopg

from tests.fakes.smtp_sink import Copy, SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger, Verdict, send
from tests.peers.postgres import PostgresServer
from tests.peers.waiting import eventually

AGAIN_S = 0.1  # between two tries of one message
LARGE = "x" * 76 + "\r\n"
LARGE_LINES = 900  # more than 64 KiB: the body is a file of the spool
LOG_OCTETS = 32 << 20
EARLY = 0.25
READY_S = 120.0  # where it is started a thousand times, one start may be slow


class Arrivals(SmtpSink):
    """A sink whose copies are taken from it, so that a long run does not keep them."""

    def take(self) -> list[Copy]:
        with self._lock:
            taken, self._copies = self._copies, []
        return taken


@dataclass(slots=True)
class Traffic:
    """`with` runs the clients; at its end they stop, and a refusal for good is raised.

    Args:
        rate: messages a second of all clients together.
        large_each: one in so many has a body that is a file of the spool; 0 for none.
    """

    gateways: Sequence[Gateway]
    ledger: Ledger
    rate: float
    clients: int = 6
    large_each: int = 50
    _ending: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _pool: ThreadPoolExecutor = field(init=False, repr=False)
    _running: list[Future[None]] = field(default_factory=list, init=False, repr=False)

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self.clients)
        self._running = [self._pool.submit(self._run, index) for index in range(self.clients)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._pool.shutdown()
        if error is None:
            for future in self._running:
                future.result()

    @property
    def acked(self) -> int:
        return sum(entry.is_acked for entry in list(self.ledger.entries))

    def _run(self, index: int) -> None:
        every_s = self.clients / self.rate
        at = time.monotonic() + every_s * index / self.clients
        while not self._ending.wait(max(0.0, at - time.monotonic())):
            at = max(at + every_s, time.monotonic())
            self._hand_in(index)

    def _hand_in(self, index: int) -> None:
        each = self.large_each
        is_large = each > 0 and len(self.ledger.entries) % each == each - 1
        entry = self.ledger.add(LARGE * LARGE_LINES if is_large else "Hello")
        while True:
            entry.tries += 1
            try:
                entry.is_acked = send(self.gateways[index % len(self.gateways)], entry)
            except ConnectionRefusedError:
                index += 1  # the next one, where there are several
            if entry.is_acked or self._ending.wait(AGAIN_S):
                return


@dataclass(slots=True)
class Killer:
    """SIGKILL at random moments, and the start that follows.

    Args:
        most_s: that it lives after it was ready, or was started.
        environment: of each start.

    Attributes:
        ready_s: how long each start took until the daemon was ready.
    """

    gateway: Gateway
    chance: random.Random
    most_s: float = 0.8
    environment: Mapping[str, str] = field(default_factory=dict)
    kills: int = field(default=0, init=False)
    ready_s: list[float] = field(default_factory=list, init=False)

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        if self.gateway.log_file.exists() and self.gateway.log_file.stat().st_size > LOG_OCTETS:
            self.gateway.log_file.write_bytes(b"")
        gateway, began = self.gateway, time.monotonic()
        gateway.start(environment=self.environment, is_awaited=False)
        eventually(
            lambda: not gateway.is_alive() or gateway.is_ready(),
            within_s=READY_S,
            what=gateway.tail,
        )
        assert gateway.is_alive(), gateway.tail()
        self.ready_s.append(time.monotonic() - began)

    def strike(self) -> None:
        """Kill the daemon, which is ready, in a while; afterwards it is ready again."""
        self._kill_in_a_while()
        while self.chance.random() < EARLY:
            self.gateway.start(environment=self.environment, is_awaited=False)
            self._kill_in_a_while()
        self.start()

    def _kill_in_a_while(self) -> None:
        wait_s(self.chance.uniform(0, self.most_s))
        assert self.gateway.process is not None
        self.gateway.process.kill()
        code = self.gateway.wait_for_exit()
        assert code == -signal.SIGKILL, f"it ended by itself: {code}\n{self.gateway.tail()}"
        self.kills += 1


def wait_s(seconds: float) -> None:
    """Let this much time pass: a moment that nobody has chosen cannot be waited for."""
    threading.Event().wait(seconds)


@dataclass(frozen=True, slots=True)
class Books:
    """What the daemon's own database says."""

    gateway: Gateway
    server: PostgresServer | None = None

    def in_doubt(self) -> Counter[str]:
        """How often each Message-ID was in doubt, by the event log."""
        query = (
            "SELECT message_id, count(*) FROM events JOIN messages USING (queue_id)"
            " WHERE type = 'recipient.in_doubt' GROUP BY message_id"
        )
        return Counter(dict(self.select(query)))

    def is_drained(self) -> bool:
        """Whether every recipient is delivered."""
        owed = "SELECT 1 FROM recipients WHERE state != 'delivered' LIMIT 1"
        return not self.select(owed)

    def select(self, query: LiteralString) -> list[Any]:
        if self.server is not None:
            with psycopg.connect(self.server.url) as client:
                return client.execute(query).fetchall()
        file = f"file:{self.gateway.state_dir / 'gatewayd.db'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()


def beyond_doubt(verdict: Verdict, doubts: Counter[str]) -> dict[str, tuple[int, int]]:
    """Message-IDs that came twice more often than they were in doubt: both numbers."""
    return {
        message_id: (copies, doubts[message_id])
        for message_id, copies in verdict.duplicates.items()
        if copies > doubts[message_id]
    }


def assert_reconciled(verdict: Verdict, doubts: Counter[str]) -> None:
    """Lost: none. Twice: each Message-ID no more often than it was in doubt."""
    beyond = beyond_doubt(verdict, doubts)

    assert (verdict.lost, verdict.twice_by_key, verdict.unknown, beyond) == ((), (), 0, {})
