"""`python -m tests.bench.lag [WORK ...]`: how long the worst messages within limits hold the loop.

A probe, a process of its own, sends NOOP on an open connection every 5 ms while such a message is
taken and delivered, and notes for each:

| what      | is                                                                         |
|-----------|----------------------------------------------------------------------------|
| wait      | until the reply; includes whatever else the machine was doing              |
| loop      | processor time of the daemon's main thread meanwhile (schedstat)           |
| daemon    | that of all its threads: one may hold the interpreter while the loop waits |
| machine   | by how much the probe's own sleep was too long: what a wait may have in it |

A wait above what the whole daemon used is for a processor. `WORKS` says what is sent.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import multiprocessing
import smtplib
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from gatewayd.daemon import build
from gatewayd.ids import RecipientId
from tests.bench.sink import Sink
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually

TIMES: Final = 3  # each message
PROBE_EVERY_S: Final = 0.005
WITHIN_S: Final = 300.0
LARGEST: Final = 10_400_000  # limits.message_octets, less a header
HTTP_LARGEST: Final = 1_000_000
BOUNCES: Final = "bounces.sender.test"
TO: Final = ("r@rcpt.test",)
MANY: Final = tuple(f"r{number}@rcpt.test" for number in range(100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One NOOP; milliseconds."""

    wait: float
    loop: float
    daemon: float
    machine: float


class Probe:
    """Asks all the time, in a process of its own."""

    def __init__(self, gateway: Gateway) -> None:
        assert gateway.process is not None
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        given = (gateway.ports.plain, gateway.mailbox, gateway.token, gateway.process.pid, other)
        self._process = context.Process(target=_ask, args=given, daemon=True)
        self._process.start()
        self.take()

    def take(self) -> list[Sample]:
        """What was seen since this was called last."""
        self._pipe.send("take")
        samples: list[Sample] = self._pipe.recv()
        return samples

    def close(self) -> None:
        self._pipe.send("stop")
        self._process.join(30)


def _ask(port: int, mailbox: str, token: str, pid: int, pipe: Connection) -> None:
    client = smtplib.SMTP("127.0.0.1", port, timeout=120)
    client.login(mailbox, token)
    samples: list[Sample] = []
    while True:
        if pipe.poll():
            if pipe.recv() == "stop":
                return
            pipe.send(samples)
            samples = []
        slept = time.perf_counter()
        time.sleep(PROBE_EVERY_S)
        woken = time.perf_counter()
        before, began = _used_ms(pid), time.perf_counter()
        code, text = client.noop()
        if code != 250:
            raise ConnectionError(f"{code} {text!r}")
        wait, after = time.perf_counter() - began, _used_ms(pid)
        samples.append(
            Sample(
                wait=wait * 1000,
                loop=after[pid] - before[pid],
                daemon=sum(used - before.get(thread, 0.0) for thread, used in after.items()),
                machine=(woken - slept - PROBE_EVERY_S) * 1000,
            )
        )


def _used_ms(pid: int) -> dict[int, float]:
    """Processor time of each thread, in milliseconds (/proc/PID/task/TID/schedstat)."""
    used = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            used[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e6
    return used


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The daemon, and an address that its reports come back to."""

    gateway: Gateway
    verp: str


Send = Callable[[Target, int], None]


def by_smtp(body: bytes, *, header: bytes = b"", to: Sequence[str] = TO) -> Send:
    """A message over SMTP; body: with CRLF, not stuffed."""

    def send(target: Target, number: int) -> None:
        gateway = target.gateway
        with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=WITHIN_S) as client:
            client.login(gateway.mailbox, gateway.token)
            lines = f"Subject: {number}\r\n".encode() + header + b"\r\n" + body
            client.sendmail(gateway.mailbox, to, lines)

    return send


def by_http(path: str, document: Callable[[], dict[str, object]], *, status: int = 202) -> Send:
    def send(target: Target, number: int) -> None:  # noqa: ARG001 - each is the same
        found, answer = target.gateway.post(path, document())
        if found != status:
            raise ConnectionError(f"{found} {str(answer)[:500]}")

    return send


def by_return(header: bytes, body: bytes) -> Send:
    """A message to the address that reports come back to."""

    def send(target: Target, number: int) -> None:
        with smtplib.SMTP("127.0.0.1", target.gateway.ports.bounces, timeout=WITHIN_S) as client:
            lines = f"Subject: {number}\r\n".encode() + header + b"\r\n" + body
            client.sendmail("", [target.verp], lines)

    return send


def _parts(count: int, octets: int) -> bytes:
    each = b"--b\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 76 + b"\r\n"
    rest = (b"y" * 76 + b"\r\n") * ((octets - count * len(each)) // 78)
    return each * count + rest + b"--b--\r\n"


def _nested(depth: int, octets: int) -> bytes:
    """Parts inside each other, then lines that look like delimiters and are none."""
    opened = b"".join(
        b'--b%d\r\nContent-Type: multipart/mixed; boundary="b%d"\r\n\r\n' % (level, level + 1)
        for level in range(depth)
    )
    return opened + b"--b\r\n" * ((octets - len(opened)) // 5)


def _report(groups: int) -> bytes:
    group = (
        b"Final-Recipient: rfc822; r%d@rcpt.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n"
    )
    return (
        b"--b\r\nContent-Type: text/plain\r\n\r\nNot delivered.\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        b"Reporting-MTA: dns; mx.rcpt.test\r\n\r\n"
        + b"".join(group % number for number in range(groups))
        + b"--b--\r\n"
    )


MIXED: Final = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
NESTED: Final = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b0"\r\n'
REPORT: Final = (
    b"From: MAILER-DAEMON@rcpt.test\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n'
)
SHORT: Final = b"Hello\r\n"
LINKS: Final = "<a href=http://a.b>x" * (HTTP_LARGEST // 20)
ITEM: Final[dict[str, object]] = {"to": "r@rcpt.test", "subject": "s", "html": LINKS[:9800]}
SEND, BATCH = "/api/v1/messages/send", "/api/v1/messages/batch"

WORKS: Final[dict[str, Send]] = {
    "nothing": lambda target, number: time.sleep(2),  # noqa: ARG005 - what the machine does alone
    "10 MiB": by_smtp((b"x" * 76 + b"\r\n") * (LARGEST // 78)),
    "10 MiB of empty lines": by_smtp(b"\r\n" * (LARGEST // 2)),
    "10 MiB of dots": by_smtp(b".\r\n" * (LARGEST // 4)),
    "10 MiB in 900 parts": by_smtp(_parts(900, LARGEST), header=MIXED),
    "10 MiB, 90 deep, false delimiters": by_smtp(_nested(90, LARGEST), header=NESTED),
    "10 MiB to 100 recipients": by_smtp((b"x" * 76 + b"\r\n") * (LARGEST // 78), to=MANY),
    "490 header lines, 64 KiB": by_smtp(
        SHORT, header=b"".join(b"X-%d: %s\r\n" % (n, b"x" * 120) for n in range(490))
    ),
    "To of 60 KiB": by_smtp(
        SHORT,
        header=b"To: " + b",\r\n ".join([b'"x" <a@b.test>, ' * 8 + b"a@b.test"] * 400) + b"\r\n",
    ),
    "HTML of 1 MiB, 50,000 links": by_http(
        SEND, lambda: {"to": list(MANY[:3]), "subject": "s", "html": LINKS, "track": ["clicks"]}
    ),
    "100 messages in a batch, 1 MiB": by_http(BATCH, lambda: {"messages": [ITEM] * 100}),
    "attachment of 700 KiB": by_http(
        SEND,
        lambda: {
            "to": "r@rcpt.test",
            "subject": "s",
            "text": "t",
            "attachments": [
                {
                    "filename": "a.bin",
                    "content_type": "application/octet-stream",
                    "content": base64.b64encode(b"x" * 700_000).decode(),
                }
            ],
        },
    ),
    "40,000 bad recipients": by_http(
        SEND, lambda: {"to": ["no address"] * 40_000, "subject": "s", "text": "t"}, status=422
    ),
    "report of 1 MiB, 8000 recipients": by_return(REPORT, _report(8000)),
    "no report, 1 MiB of text": by_return(
        b"From: MAILER-DAEMON@rcpt.test\r\n", b"<r@rcpt.test>: 550 no\r\n" * 45_000
    ),
}


def is_drained(gateway: Gateway) -> bool:
    file = f"file:{gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=30)) as connection:
        query = "SELECT count(*) FROM recipients WHERE state IN ('queued', 'claimed')"
        (owed,) = connection.execute(query).fetchone()
    return not owed


def reverse_path(gateway: Gateway) -> str:
    """Where a report about one of its delivered recipients comes back to; it does not run."""
    with closing(sqlite3.connect(gateway.state_dir / "gatewayd.db")) as connection:
        (ident,) = connection.execute("SELECT recipient_id FROM recipients").fetchone()

    async def work(kernel: build.Kernel) -> str:
        assert kernel.reverse_paths is not None
        made = kernel.reverse_paths.make(RecipientId(ident)).address
        return f"{made.local_part}@{made.domain}" if made is not None else ""

    return gateway.operate(work)


def measure(target: Target, probe: Probe, send: Send, times: int) -> list[Sample]:
    probe.take()
    for number in range(times):
        send(target, number)
    eventually(lambda: is_drained(target.gateway), within_s=WITHIN_S)
    return probe.take()


def line(name: str, samples: Sequence[Sample]) -> str:
    figures = []
    for values in (
        [sample.wait for sample in samples],
        [sample.loop for sample in samples],
        [sample.daemon for sample in samples],
        [sample.machine for sample in samples],
    ):
        values.sort()
        figures.append(f"{values[len(values) * 99 // 100]:.1f}, {values[-1]:.1f}")
    return f"| {name} | {len(samples)} | {' | '.join(figures)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=int, default=TIMES)
    parser.add_argument("works", nargs="*", default=list(WORKS))
    wanted = parser.parse_args()
    print(  # noqa: T201 - its purpose
        "| work | NOOPs | wait: p99, max ms | loop: p99, max ms | daemon: p99, max ms "
        "| machine: p99, max ms |\n|---|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as directory, Sink() as sink:
        gateway = Gateway(
            Path(directory),
            smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
            bounces=BOUNCES,
            is_public=True,
            extra="[limits]\nidle_commands = 100000000\n[timeouts]\nsession_s = 7200\n",
        )
        gateway.prepare()
        gateway.add_domain()
        with gateway:
            gateway.start()
            by_smtp(SHORT)(Target(gateway=gateway, verp=""), 0)
            eventually(lambda: is_drained(gateway), within_s=WITHIN_S)
            assert gateway.stop() == 0, gateway.tail()
            target = Target(gateway=gateway, verp=reverse_path(gateway))
            gateway.start()
            probe = Probe(gateway)
            for name in wanted.works:
                samples = measure(target, probe, WORKS[name], wanted.times)
                print(line(name, samples), flush=True)  # noqa: T201 - as above
            probe.close()
            assert gateway.stop() == 0, gateway.tail()


if __name__ == "__main__":
    main()
