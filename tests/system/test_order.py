"""strace shows the order on the system call level: stable storage first, then 250 and 202.

For each message: the octets of it are written to the write-ahead log (`pwrite64`), after that an
`fdatasync` of the log begins, it returns 0, and only then an answer that accepts is written to a
socket. A body that goes to the spool is a file whose `fsync`, `rename` and directory `fsync` come
before that, too.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from tests.peers.gateway import Gateway
from tests.peers.programs import require
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.peer, pytest.mark.slow]

CALLS = "fdatasync,fsync,pwrite64,rename,renameat,renameat2,sendto,write,sendmsg,writev"
NOWHERE = 'host = "127.0.0.1"\nport = 1\ntls_mode = "none-on-loopback"\n'
MESSAGES = 20
LARGE = (b"x" * 76 + b"\r\n") * 1300  # more than 64 KiB: it goes to the spool

LINE = re.compile(r"(?P<pid>\d+) +(?P<text>.*)")
UNFINISHED = re.compile(r"(?P<text>.*) <unfinished \.\.\.>")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<text>.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call: the lines at which it began and returned, and its whole text."""

    began: int
    returned: int
    text: str

    @property
    def name(self) -> str:
        return self.text.partition("(")[0]

    @property
    def is_good(self) -> bool:
        return re.search(r"\) = -1 ", self.text) is None


def calls_of(lines: Iterable[str]) -> list[Call]:
    """The calls of a trace, those joined that were interrupted by another thread's."""
    found: list[Call] = []
    begun: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines):
        match = LINE.fullmatch(line.rstrip("\n"))
        assert match is not None, line
        pid, text = match["pid"], match["text"]
        if unfinished := UNFINISHED.fullmatch(text):
            begun[pid] = number, unfinished["text"]
        elif resumed := RESUMED.fullmatch(text):
            began, head = begun.pop(pid)
            found.append(Call(began=began, returned=number, text=head + resumed["text"]))
        else:
            found.append(Call(began=number, returned=number, text=text))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The calls of one daemon, and the queue ids it gave, in order."""

    calls: list[Call]
    by_smtp: list[str]
    by_http: list[str]
    spooled: str

    def stored(self, queue_id: str) -> Call:
        """The first write of a message to the database's log."""
        return next(
            call
            for call in self.calls
            if call.name == "pwrite64" and "gatewayd.db-wal>" in call.text and queue_id in call.text
        )

    def synced(self, written: Call) -> Call:
        """The first sync of the log that began when that write had returned."""
        return next(
            call
            for call in self.calls
            if call.name == "fdatasync"
            and "gatewayd.db-wal>" in call.text
            and call.began > written.returned
            and call.is_good
        )

    def answered(self, start: str) -> list[Call]:
        """What was written to sockets and begins like this."""
        pattern = re.compile(rf'\w+\(\d+<socket:.*?>, .*?"{start}')
        return [
            call
            for call in self.calls
            if call.name in ("write", "sendto", "sendmsg", "writev") and pattern.match(call.text)
        ]


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """What a daemon did while it took MESSAGES over SMTP, a large one, and as many over HTTP."""
    require("strace")
    directory = tmp_path_factory.mktemp("order")
    output = directory / "trace"
    with Gateway(directory / "gateway", smarthost=NOWHERE) as gateway:
        gateway.prepare()
        gateway.start(
            wrapper=(
                "strace",
                "-D",
                "-f",
                "-y",
                "-s",
                "8192",
                "-e",
                f"trace={CALLS}",
                "-o",
                str(output),
            )
        )
        with smtplib.SMTP("127.0.0.1", gateway.ports.plain) as client:
            client.login(gateway.mailbox, gateway.token)
            by_smtp = [by_smtplib(gateway, client, b"Hello\r\n") for _ in range(MESSAGES)]
            by_smtp.append(by_smtplib(gateway, client, LARGE))
        by_http = [by_api(gateway) for _ in range(MESSAGES)]
        assert gateway.stop() == 0
    ended = re.compile(r"\+\+\+ exited with 0 \+\+\+\n\Z")
    eventually(lambda: ended.search(output.read_text(errors="replace")), within_s=30)
    with output.open(errors="replace") as lines:
        calls = calls_of(line for line in lines if "(" in line or "<... " in line)
    return Trace(calls=calls, by_smtp=by_smtp, by_http=by_http, spooled=by_smtp[-1])


def by_smtplib(gateway: Gateway, client: smtplib.SMTP, body: bytes) -> str:
    client.mail(gateway.mailbox)
    client.rcpt("ann@rcpt.test")
    code, text = client.data(b"Subject: order\r\n\r\n" + body)
    assert code == 250, text
    return text.split()[1].decode()


def by_api(gateway: Gateway) -> str:
    wish = {"to": "ann@rcpt.test", "subject": "order", "text": "Hello"}
    status, answer = gateway.post("/api/v1/messages/send", wish)
    assert status == 202, answer
    return str(answer["queue_id"])


def assert_synced_before(trace: Trace, queue_ids: list[str], answers: list[Call]) -> None:
    """Each message was on stable storage when its answer began to be written."""
    assert len(answers) == len(queue_ids)
    for queue_id, answer in zip(queue_ids, answers, strict=True):
        synced = trace.synced(trace.stored(queue_id))

        assert synced.returned < answer.began


def test_fdatasync_returns_before_every_250(trace: Trace) -> None:
    """No 250 to the final dot before the message is on stable storage."""
    answers = trace.answered(r"250 2\.\d\.0 [0-9a-f-]{36} accepted")

    assert_synced_before(trace, trace.by_smtp, answers)


def test_fdatasync_returns_before_every_202(trace: Trace) -> None:
    """No 202 before the message is on stable storage."""
    assert_synced_before(trace, trace.by_http, trace.answered("HTTP/1.1 202"))


def test_spool_file_is_durable_before_its_row_is_written(trace: Trace) -> None:
    """The file, then its name, then the row that points to it."""
    stored = trace.stored(trace.spooled)
    before = [call for call in trace.calls if call.returned < stored.began and call.is_good]
    renamed = [call for call in before if call.name.startswith("rename")][-1]
    synced = [call for call in before if call.name in ("fsync", "fdatasync")]
    new_name = renamed.text.rpartition('"')[0].rpartition('"')[2]
    old_name = renamed.text.partition('"')[2].partition('"')[0]

    assert "/spool/" in new_name
    assert any(f"<{old_name}>" in call.text for call in synced if call.returned < renamed.began)
    directory = new_name.rpartition("/")[0]
    assert any(f"<{directory}>" in call.text for call in synced if call.began > renamed.returned)
