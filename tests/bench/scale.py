"""`python -m tests.bench.scale [--queued 1000000]`: the daemon in front of a long queue.

| figure        | measured                                                                    |
|---------------|-----------------------------------------------------------------------------|
| ready         | from the start to /readyz, after kill -9 in the middle of work              |
| memory        | resident, after two rounds of its gauges, a page of messages and a load      |
| claim         | `Queue.claim` of 50 due messages in this process, with its commit            |
| submission    | 4 KiB messages over SMTP AUTH, 20 connections, next hop away (W1)            |
| page          | the first of `messages list`, over HTTP and by the command                  |
| cost          | the daemon's processor time a message, accepted to delivered (W10)          |

Each with two daemons in turn, one whose queue is empty and one whose queue is filled, at 1000,
10,000 and so on up to `--queued` messages. What is queued was made by the daemon itself, once: a
message of 4 KiB whose next hop was away. Its rows are copied with other ids, times and addresses,
due in a day, for a hundred mailboxes. Times of the processor (proc(5): utime and stime) tell more
than those of the clock where others use the machine.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import smtplib
import sqlite3
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gatewayd.clock import SystemClock
from gatewayd.daemon import build
from gatewayd.ids import MailboxId
from gatewayd.mailboxes.accounts import Change
from tests.bench.client import KIB4, Served, Work, compiled, offer
from tests.bench.processes import resident_mib
from tests.bench.sink import Sink
from tests.peers.gateway import GATEWAYD, Gateway
from tests.peers.programs import run
from tests.peers.waiting import eventually

MAILBOXES: Final = 100  # half of the queue is the first one's
DUE: Final = 10_000
CLAIMED: Final = 50
DAY_S: Final = 86_400
BATCH: Final = 10_000  # messages written in one transaction
WITHIN_S: Final = 300.0
SETTLED_S: Final = 12.0  # the gauges look every 5 s
PAGES: Final = 21
HOP_AWAY: Final = 1  # a port that nobody listens on
WORK: Final = Work(
    ident="", what="", octets=KIB4, sessions=1, messages=100, is_delivered=False
)  # 2000 messages

_MICROSECONDS: Final = 1_000_000

Row = dict[str, Any]


# Filling a queue.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One deferred message as the daemon has stored it: its rows by table."""

    rows: Mapping[str, Sequence[Row]]


def database_of(gateway: Gateway) -> Path:
    return gateway.state_dir / "gatewayd.db"


def make_pattern(gateway: Gateway) -> Pattern:
    """Let the daemon take one message of 4 KiB that it cannot deliver; its next hop is away."""
    gateway.start()
    text = b"Subject: queued\r\nTo: <r@rcpt.test>\r\n\r\n" + (b"x" * 76 + b"\r\n") * 52
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=60) as client:
        client.login(gateway.mailbox, gateway.token)
        client.sendmail(gateway.mailbox, ["r@rcpt.test"], text)
    file = f"file:{database_of(gateway)}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        query = "SELECT queue_id FROM recipients WHERE state = 'queued' AND attempts = 1"
        found = eventually(lambda: connection.execute(query).fetchone(), within_s=60)
        rows = {
            table: [
                dict(row)
                for row in connection.execute(
                    f"SELECT * FROM {table} WHERE queue_id = ?",  # noqa: S608 - names of our own
                    (found["queue_id"],),
                )
            ]
            for table in ("messages", "message_octets", "recipients", "attempts", "events")
        }
    assert gateway.stop() == 0, gateway.tail()
    return Pattern(rows=rows)


def add_mailboxes(gateway: Gateway, count: int) -> list[str]:
    """Other mailboxes beside the daemon's own; the ids of all, its own first."""

    async def work(kernel: build.Kernel) -> None:
        for number in range(1, count):
            await kernel.mailboxes.create(f"agent{number}@sender.test", Change())

    gateway.operate(work)
    with closing(sqlite3.connect(database_of(gateway))) as connection:
        return [
            row[0]
            for row in connection.execute(
                "SELECT mailbox_id FROM mailboxes ORDER BY address <> ?, mailbox_id",
                (gateway.mailbox,),
            )
        ]


def fill(gateway: Gateway, pattern: Pattern, mailboxes: Sequence[str], *, numbers: range) -> None:
    """Write copies of the pattern into the database of a daemon that does not run.

    They were accepted yesterday in the order of their numbers, each of which may be used once for a
    database, and are due tomorrow.
    """
    now = now_us()
    with closing(sqlite3.connect(database_of(gateway), isolation_level=None)) as connection:
        # Nothing is lost here by a crash but this run.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-500000")
        for start in range(numbers.start, numbers.stop, BATCH):
            some = range(start, min(start + BATCH, numbers.stop))
            connection.execute("BEGIN")
            for table, rows in pattern.rows.items():
                for row in rows:
                    given = {name: value for name, value in row.items() if name != "seq"}
                    holes = ", ".join("?" * len(given))
                    connection.executemany(
                        f"INSERT INTO {table} ({', '.join(given)}) VALUES ({holes})",  # noqa: S608 - names of our own
                        _copies(given, mailboxes, some, now),
                    )
            connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")
    os.sync()  # so that what is measured next does not wait for these pages


def _copies(
    row: Row, mailboxes: Sequence[str], numbers: range, now: int
) -> Iterator[tuple[Any, ...]]:
    others = itertools.cycle(mailboxes[1:] or mailboxes)
    for number in numbers:
        at = now - DAY_S * _MICROSECONDS + number * 1000
        mailbox = mailboxes[0] if number % 2 else next(others)
        queue_id = _id(at, number, 1)
        copied = {
            "queue_id": queue_id,
            "recipient_id": row.get("recipient_id") and _id(at, number, 2),
            "attempt_id": row.get("attempt_id") and _id(at, number, 3),
            "event_id": _id(at, number, 4 if row.get("type") == "message.accepted" else 5),
            "mailbox_id": mailbox,
            "lane": mailbox,
            "message_id": f"<{queue_id}@sender.test>",
            "forward_path": f"r{number}@rcpt.test",
            "due_at": at + 2 * DAY_S * _MICROSECONDS,
        }
        times = dict.fromkeys(
            ("accepted_at", "updated_at", "started_at", "ended_at", "lease_until", "at"), at
        )
        values = {**row, **copied, **times}
        yield tuple(values[name] for name in row)


def _id(at: int, number: int, kind: int) -> str:
    """A UUIDv7 of its time."""
    milliseconds = at // 1000
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{kind:03x}-8000-{number:012x}"


def make_due(gateway: Gateway, mailbox_id: str, count: int) -> None:
    """Let so many of a mailbox's messages be due now."""
    with closing(sqlite3.connect(database_of(gateway))) as connection, connection:
        connection.execute(
            "UPDATE recipients SET due_at = ? WHERE recipient_id IN (SELECT recipient_id FROM "
            "recipients WHERE state = 'queued' AND lane = ? ORDER BY due_at LIMIT ?)",
            (now_us(), mailbox_id, count),
        )


def put_off(gateway: Gateway) -> None:
    """Let nothing be due before tomorrow."""
    with closing(sqlite3.connect(database_of(gateway))) as connection, connection:
        tomorrow = now_us() + DAY_S * _MICROSECONDS
        connection.execute(
            "UPDATE recipients SET due_at = ? WHERE state = 'queued' AND due_at < ?",
            (tomorrow, tomorrow - DAY_S * _MICROSECONDS // 2),
        )


# Measuring.


@dataclass(slots=True)
class Side:
    """One of the two daemons, and what was measured with it."""

    name: str
    gateway: Gateway
    mailboxes: list[str]
    figures: dict[str, list[float]] = field(default_factory=dict)

    def note(self, figure: str, value: float) -> None:
        self.figures.setdefault(figure, []).append(value)

    def median(self, figure: str) -> float:
        return statistics.median(self.figures[figure])

    @property
    def pid(self) -> int:
        assert self.gateway.process is not None
        return self.gateway.process.pid

    @property
    def served(self) -> Served:
        gateway = self.gateway
        login = base64.b64encode(f"\0{gateway.mailbox}\0{gateway.token}".encode()).decode()
        return Served(port=gateway.ports.plain, auth=login, sender=gateway.mailbox, pid=self.pid)

    def serve(self, next_hop: int) -> None:
        self.gateway.smarthost = hop(next_hop)
        self.gateway.write_config()
        self.gateway.start()


def now_us() -> int:
    return int(SystemClock().now().timestamp() * _MICROSECONDS)


def hop(port: int) -> str:
    return f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n'


def processor_s(pid: int) -> float:
    """What a process has used so far, on all threads (proc(5): utime and stime)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure_submission(side: Side, client: Path) -> None:
    side.serve(HOP_AWAY)
    used = processor_s(side.pid)
    said = offer(client, side.served, WORK)
    side.note("accepted/s", WORK.total / said["seconds"])
    side.note("ms to accept", (processor_s(side.pid) - used) * 1000 / WORK.total)
    assert side.gateway.stop() == 0, side.gateway.tail()
    put_off(side.gateway)


def measure_cost(side: Side, client: Path) -> None:
    with Sink() as sink:
        side.serve(sink.port)
        used, began = processor_s(side.pid), time.monotonic()
        offer(client, side.served, WORK)
        eventually(lambda: sink.messages >= WORK.total, within_s=WITHIN_S)
        side.note("delivered/s", WORK.total / (time.monotonic() - began))
        side.note("ms to deliver", (processor_s(side.pid) - used) * 1000 / WORK.total)
        side.note("MiB after a load", resident_mib(side.pid))
        assert side.gateway.stop() == 0, side.gateway.tail()


def measure_idle(side: Side) -> None:
    """Memory and processor time when nothing is to be done."""
    side.serve(HOP_AWAY)
    time.sleep(SETTLED_S)
    used = processor_s(side.pid)
    time.sleep(SETTLED_S)
    side.note("MiB idle", resident_mib(side.pid))
    side.note("% of a processor idle", (processor_s(side.pid) - used) * 100 / SETTLED_S)
    measure_pages(side)
    side.note("MiB after pages", resident_mib(side.pid))
    assert side.gateway.stop() == 0, side.gateway.tail()


def measure_pages(side: Side) -> None:
    gateway = side.gateway
    for figure, query in (
        ("ms a page over HTTP", ""),
        ("ms a page, state=queued", "&state=queued"),
        ("ms a page, state=failed", "&state=failed"),
        ("ms a page, recipient", "&recipient=r1%40rcpt.test"),
    ):
        request = urllib.request.Request(  # noqa: S310 - to our own daemon
            f"{gateway.http_url}/api/v1/messages?limit=50{query}",
            headers={"Authorization": f"Bearer {gateway.token}"},
        )
        for _ in range(PAGES if not query else 3):
            began = time.monotonic()
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                json.load(answer)
            side.note(figure, (time.monotonic() - began) * 1000)
    for figure, words in (
        ("ms of the command, a page", ("messages", "list")),
        ("ms of the command, nothing", ("tokens", "list", "--mailbox", gateway.mailbox)),
    ):
        for _ in range(3):
            began = time.monotonic()
            run(*GATEWAYD, *words, "-c", gateway.config_file, "--json")
            side.note(figure, (time.monotonic() - began) * 1000)


def measure_claims(side: Side) -> None:
    """Claim some thousand messages that are due, in this process, and give them back."""
    make_due(side.gateway, side.mailboxes[0], DUE)

    async def work(kernel: build.Kernel) -> None:
        held = []
        lane = MailboxId(side.mailboxes[0])
        while True:
            began, used = time.perf_counter(), time.process_time()
            claimed = await kernel.queue.claim({lane: CLAIMED})
            if len(claimed) < CLAIMED:
                held.extend(claimed)
                break
            side.note("ms a claim", (time.perf_counter() - began) * 1000)
            side.note("ms a claim, processor", (time.process_time() - used) * 1000)
            held.extend(claimed)
        for start in range(0, len(held), 1000):
            await kernel.queue.release(held[start : start + 1000])
        for _ in range(PAGES):
            began = time.perf_counter()
            await kernel.queue.lanes()
            side.note("ms to see lanes", (time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            await kernel.queue.depth()
            side.note("ms to see depth", (time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        await kernel.retention.sweep(SystemClock().now())
        side.note("ms to sweep", (time.perf_counter() - began) * 1000)

    side.gateway.operate(work)
    put_off(side.gateway)


def measure_restart(side: Side, client: Path) -> None:
    """Kill it while it takes mail and some thousand messages are due; time to ready."""
    make_due(side.gateway, side.mailboxes[0], DUE)
    with Sink() as sink:
        side.serve(sink.port)
        offer(client, side.served, WORK)
        assert side.gateway.process is not None
        side.gateway.process.kill()
        side.gateway.wait_for_exit()
        began = time.monotonic()
        side.gateway.start()
        side.note("s to ready after kill -9", time.monotonic() - began)
        assert side.gateway.stop() == 0, side.gateway.tail()
    put_off(side.gateway)


def prepared(directory: Path) -> Side:
    gateway = Gateway(directory, smarthost=hop(HOP_AWAY))
    gateway.prepare()
    gateway.add_domain()
    return Side(name=directory.name, gateway=gateway, mailboxes=add_mailboxes(gateway, MAILBOXES))


def measure_in_turn(sides: Sequence[Side], client: Path, rounds: int) -> None:
    for _ in range(rounds):
        for side in sides:
            measure_submission(side, client)
            measure_cost(side, client)


def measure_once(sides: Sequence[Side], client: Path, pattern: Pattern) -> None:
    for side in sides:
        measure_idle(side)
        measure_restart(side, client)
    empty, _ = sides
    fill(empty.gateway, pattern, empty.mailboxes[:1], numbers=range(DUE))
    for side in sides:
        measure_claims(side)


def table(sides: Sequence[Side]) -> str:
    empty, full = sides
    lines = [
        "| figure | queue empty: median, p99 | queue filled: median, p99 | ratio |",
        "|---|---|---|---|",
    ]
    for figure in full.figures:
        one, other = (
            f"{side.median(figure):.2f}, {p99(side.figures[figure]):.2f}"
            if figure in side.figures
            else "-"
            for side in sides
        )
        ratio = "-"
        if empty.figures.get(figure) and empty.median(figure):
            ratio = f"{full.median(figure) / empty.median(figure):.2f}"
        lines.append(f"| {figure} | {one} | {other} | {ratio} |")
    return "\n".join(lines)


def p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]


def sizes(queued: int) -> list[int]:
    """1000, 10,000 and so on; the last is what was asked for."""
    powers = itertools.takewhile(lambda size: size < queued, (10**n for n in itertools.count(3)))
    return [*powers, queued]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--queued", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        client = compiled(Path(directory))
        empty, full = sides = [prepared(Path(directory) / name) for name in ("empty", "filled")]
        pattern = make_pattern(full.gateway)
        put_off(full.gateway)
        with empty.gateway, full.gateway:
            there = 0
            for size in sizes(wanted.queued):
                fill(full.gateway, pattern, full.mailboxes, numbers=range(there, size))
                there = size
                for side in sides:
                    side.figures.clear()
                measure_in_turn(sides, client, wanted.rounds)
                if size == wanted.queued:
                    measure_once(sides, client, pattern)
                mib = database_of(full.gateway).stat().st_size / 2**20
                print(f"\n{size} queued, {mib:.0f} MiB:\n\n{table(sides)}", flush=True)  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
