"""The wall clock is set while the daemon works: a day ahead, back, half a minute. Nothing breaks.

| what is under way           | seen after a step                                                  |
|-----------------------------|--------------------------------------------------------------------|
| mail is handed in and sent  | lost 0, twice 0, in doubt 0                                        |
| a reply to the dot is due   | the lease is renewed by the new time: not in doubt, not sent twice |
| deferred mail               | tried once more when due by the new time; it does not expire       |
| a quota is spent            | a new window counts anew; the old one is spent as before           |
| an idempotency key was used | the same answer for a day; later a new one, never a fault          |

The daemon's clock stands at ten past noon of tomorrow, so that no step but the test's own begins a
new hour. Tokens are a day old then: one is not believed before it was issued.
"""

from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import pytest

from gatewayd.clock import SystemClock
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.service import Request
from tests.fakes.smtp_sink import SmtpSink
from tests.peers.clockjump import Clockjump
from tests.peers.gateway import Gateway
from tests.peers.ledger import Entry, Ledger, send
from tests.peers.traffic import Arrivals, Books, Traffic
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.peer, pytest.mark.timeout(300)]

HOUR_S = 3600
DAY_S = 24 * HOUR_S
ROUND_S = 60.0
RATE = 50.0
EACH = 20  # messages after each step
SEND = "/api/v1/messages/send"


class Clock:
    """The daemon's: `step` says how far it is from ten past noon of tomorrow."""

    def __init__(self, directory: Path) -> None:
        self._jump = Clockjump(directory)
        self.environment = self._jump.environment
        now = SystemClock().now()
        noon = (now + dt.timedelta(days=1)).replace(hour=12, minute=10, second=0, microsecond=0)
        self._base_s = int((noon - now).total_seconds())
        self.step(0)

    def step(self, offset_s: int) -> None:
        self._jump.set(self._base_s + offset_s)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def gateway_to(port: int, directory: Path, retry: str = "first_s = 0.2\nfactor = 1.0\n") -> Gateway:
    gateway = Gateway(
        directory / "gateway",
        smarthost=f'host = "127.0.0.1"\nport = {port}\ntls_mode = "none-on-loopback"\n',
        retry=retry,
    )
    gateway.prepare()
    return gateway


def deliver_one(gateway: Gateway, sink: SmtpSink, number: int) -> None:
    """A new message gets through, so whatever was due before it has been looked at."""
    before = len(sink.copies)
    assert send(gateway, Entry(number, "http"))
    eventually(lambda: len(sink.copies) > before, within_s=ROUND_S, what=gateway.tail)


def test_steps_under_load_lose_and_double_nothing(clock: Clock, tmp_path: Path) -> None:
    """Mail comes in and goes out as before, whatever time it is."""
    ledger = Ledger()
    with Arrivals() as sink, gateway_to(sink.port, tmp_path) as gateway:
        gateway.start(environment=clock.environment)
        with Traffic([gateway], ledger, RATE, large_each=0) as traffic:
            for offset_s in (0, DAY_S, 0, 30, 0):
                clock.step(offset_s)
                enough = traffic.acked + EACH
                eventually(
                    lambda enough=enough: traffic.acked >= enough,  # type: ignore[misc]  # mypy and a lambda's default
                    within_s=ROUND_S,
                    what=gateway.tail,
                )
        ledger.resubmit(gateway)
        clock.step(2 * DAY_S)  # what was put off while it was tomorrow
        books = Books(gateway)
        eventually(books.is_drained, within_s=ROUND_S, what=gateway.tail)
        verdict = ledger.compare(sink.copies)

        assert (verdict.lost, verdict.duplicates, verdict.twice_by_key) == ((), {}, ())
        assert books.in_doubt().total() == 0
        assert gateway.stop() == 0


def test_lease_is_renewed_when_the_clock_is_a_day_ahead(clock: Clock, tmp_path: Path) -> None:
    """The attempt lives: nobody takes its mail, though its lease has ended by the new time."""
    gate = threading.Event()
    with SmtpSink(gate=gate) as sink, gateway_to(sink.port, tmp_path) as gateway:
        gateway.start(environment=clock.environment)
        assert send(gateway, Entry(0, "smtp"))
        eventually(lambda: sink.copies, within_s=ROUND_S, what=gateway.tail)
        books = Books(gateway)
        claimed = _lease(books)
        clock.step(DAY_S)
        eventually(
            lambda: _lease(books) > claimed or books.in_doubt(),
            within_s=ROUND_S,
            what=gateway.tail,
        )
        gate.set()
        eventually(books.is_drained, within_s=ROUND_S, what=gateway.tail)

        assert books.in_doubt().total() == 0
        assert len(sink.copies) == 1
        assert gateway.stop() == 0


def test_deferred_mail_is_tried_once_more_and_does_not_expire(clock: Clock, tmp_path: Path) -> None:
    """Half a minute makes nothing due; a day makes all due, once; back again nothing is."""
    later = {f"r{number}@rcpt.test": b"451 4.2.0 later\r\n" for number in range(EACH)}
    slowly = "first_s = 7200\nfactor = 1.0\n"
    with SmtpSink(refused=later) as sink, gateway_to(sink.port, tmp_path, slowly) as gateway:
        gateway.start(environment=clock.environment)
        books = Books(gateway)
        for number in range(EACH):
            assert send(gateway, Entry(number, "http"))
        seen = []
        for number, (offset_s, tries) in enumerate([(0, 1), (30, 1), (DAY_S, 2), (0, 2)]):
            clock.step(offset_s)
            eventually(
                lambda tries=tries: _tries(books)[0] >= tries,  # type: ignore[misc]  # mypy and a lambda's default
                within_s=ROUND_S,
                what=gateway.tail,
            )
            deliver_one(gateway, sink, EACH + number)
            seen.append(_tries(books))

        assert seen == [(1, 1), (1, 1), (2, 2), (2, 2)]
        assert gateway.stop() == 0


def test_quota_is_spent_once_in_each_window(clock: Clock, tmp_path: Path) -> None:
    """Tomorrow has a quota of its own, and today's is not filled again by coming back."""
    with gateway_to(1, tmp_path) as gateway:
        limited = Request(mailbox=gateway.mailbox, scopes=tuple(Scope), hourly=3, daily=3)
        gateway.token = gateway.operate(lambda kernel: kernel.tokens.issue(limited)).token
        gateway.start(environment=clock.environment)
        taken = []
        for offset_s in (0, 30, 0, DAY_S, 0, DAY_S, 30):
            clock.step(offset_s)
            answers = [_post(gateway, str(number))[0] for number in range(4)]
            taken.append(answers.count(202))

            assert set(answers) <= {202, 429}
        assert taken == [3, 0, 0, 3, 0, 0, 0]
        assert gateway.stop() == 0


def test_key_is_believed_for_a_day_and_is_never_a_fault(clock: Clock, tmp_path: Path) -> None:
    """The same answer 23 hours later; after 25 hours, and back before that, an answer."""
    with gateway_to(1, tmp_path) as gateway:
        gateway.start(environment=clock.environment)
        answers = []
        for offset_s in (0, 23 * HOUR_S, 0, 30, 25 * HOUR_S, 0):
            clock.step(offset_s)
            answers.append(_post(gateway, "Hello", Idempotency_Key="one"))

        assert [status for status, _ in answers] == [202] * 6
        first, *others = [answer["queue_id"] for _, answer in answers]
        assert [first] * 3 == others[:3]
        stored = Books(gateway).select("SELECT queue_id FROM messages")
        assert {first, *others} == {queue_id for (queue_id,) in stored}
        assert gateway.stop() == 0


def _post(gateway: Gateway, subject: str, **headers: str) -> tuple[int, dict[str, Any]]:
    body = {"to": "ann@rcpt.test", "subject": subject, "text": "Hello"}
    return gateway.post(SEND, body, **headers)


def _lease(books: Books) -> Any:  # noqa: ANN401 - as the database has it
    ((until,),) = books.select("SELECT max(lease_until) FROM attempts")
    return until


def _tries(books: Books) -> tuple[int, int]:
    """The fewest and the most attempts of what is deferred and not given up; 0 if any is."""
    query = "SELECT min(attempts), max(attempts), count(*) FROM recipients WHERE state = 'queued'"
    ((fewest, most, count),) = books.select(query)
    return (fewest, most) if count == EACH else (0, 0)
