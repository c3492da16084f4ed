"""kill -9 at random moments under load: nothing accepted is lost, what comes twice was in doubt.

Ten kills, or as many as GATEWAYD_KILLS_RANDOM says. Clients hand in 50 messages a second by SMTP
and HTTP, half of them with an idempotency key, and never stop while the daemon dies and starts.
At the end each copy that is too many is held against the event log: its Message-ID was in doubt
as often. GATEWAYD_SEED repeats the moments, as far as a machine can.
"""

from __future__ import annotations

import os
import random  # noqa: TID251 - for moments that a seed repeats
import sys
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger, Tally
from tests.peers.traffic import (
    Arrivals,
    Books,
    Killer,
    Traffic,
    assert_reconciled,
)
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(21_600)]

KILLS = int(os.environ.get("GATEWAYD_KILLS_RANDOM", "10"))
SEED = int(os.environ.get("GATEWAYD_SEED", "1"))
RATE = 50.0
ROUND_S = 120.0


def gateway_to(sink: Arrivals, directory: Path) -> Gateway:
    gateway = Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        retry="first_s = 0.2\nfactor = 1.0\nattempts = 100\n",
    )
    gateway.prepare()
    return gateway


def test_random_kills_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lost: none, by any door. A key is never taken twice, whatever was killed in between."""
    ledger, tally = Ledger(), Tally()
    with Arrivals() as sink, gateway_to(sink, tmp_path) as gateway:
        killer = Killer(gateway, random.Random(SEED))  # noqa: S311 - no secret
        killer.start()
        with Traffic([gateway], ledger, RATE):
            while killer.kills < KILLS:
                killer.strike()
                tally.add(sink.take())
        ledger.resubmit(gateway)
        books = Books(gateway)
        eventually(books.is_drained, within_s=ROUND_S, what=gateway.tail)
        assert gateway.stop() == 0, gateway.tail()
        tally.add(sink.take())
        verdict, doubts = ledger.judge(tally), books.in_doubt()

        with capsys.disabled():
            sys.stdout.write(
                f"\n{killer.kills} kills, {len(ledger.entries)} messages: "
                f"lost {len(verdict.lost)}, twice {sum(verdict.duplicates.values())} of "
                f"{doubts.total()} in doubt, taken twice without a key {len(verdict.resubmitted)}, "
                f"with one {len(verdict.twice_by_key)}; ready after {_spread(killer.ready_s)}"
            )
        assert_reconciled(verdict, doubts)
        assert len(ledger.entries) > KILLS
        assert books.select("PRAGMA integrity_check") == [("ok",)]


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f} s, at most {ordered[-1]:.1f} s\n"
