"""Several nodes on one PostgreSQL: killed, and the database crashed under them. No mail is lost.

Two daemons share the database, the key files and the spool. Clients go to whichever of them
listens. Leases are as short as their parts allow, so that what a killed node held is taken over
while the test looks; what the node had handed over without an answer is in doubt, and nothing else
comes twice. GATEWAYD_KILLS_NODES says how often a node is killed, GATEWAYD_MESSAGES_NODES how many
messages go before and after that; the database crashes a quarter as often as a node.
"""

from __future__ import annotations

import os
import random  # noqa: TID251 - for moments that a seed repeats
import sys
from pathlib import Path

import pytest

from tests.fakes import stores
from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger, Tally
from tests.peers.postgres import PostgresServer
from tests.peers.traffic import Arrivals, Books, Killer, Traffic, assert_reconciled
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.peer, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("GATEWAYD_KILLS_NODES", "2"))
RATE = 50.0
# Acknowledged before the first kill, and again after the last.
LEAST = int(os.environ.get("GATEWAYD_MESSAGES_NODES", "100"))
ROUND_S = 180.0 + LEAST / 5
LEASES = "lease_s = 18\nrenew_s = 2\nattempt_s = 6\ndot_timeout_s = 3\n"


def node(directory: Path, first: Gateway | None, *, sink: Arrivals, url: str) -> Gateway:
    """A daemon on this database; with the keys and the spool of the first one."""
    made = Gateway(
        directory,
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        delivery=LEASES,
        retry="first_s = 0.2\nfactor = 1.0\nattempts = 1000\n",
        hostname=f"{directory.name}.test",
        extra=f'[database]\nurl = "{url}"\n',
    )
    if first is None:
        made.prepare()
    else:
        made.extra += f'\n[keys]\ndirectory = "{first.state_dir / "keys"}"\n'
        made.write_config()
        made.state_dir.mkdir(mode=0o700)
        (made.state_dir / "spool").symlink_to(first.state_dir / "spool")
        made.token = first.token
    return made


def test_nodes_that_die_and_a_database_that_crashes_lose_nothing(
    postgres: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lost: none. Twice: what was in doubt. Neither node sends what the other one holds."""
    stores.drop_all(postgres)
    ledger, tally = Ledger(), Tally()
    with (
        Arrivals() as sink,
        node(tmp_path / "one", None, sink=sink, url=postgres.url) as one,
        node(tmp_path / "two", one, sink=sink, url=postgres.url) as two,
    ):
        books = Books(one, postgres)
        chance = random.Random(1)  # noqa: S311 - no secret
        killers = [Killer(each, chance) for each in (one, two)]
        for killer in killers:
            killer.start()
        with Traffic([one, two], ledger, RATE) as traffic:
            eventually(lambda: traffic.acked >= LEAST, within_s=ROUND_S, what=one.tail)
            for kill in range(KILLS):
                killers[kill % 2].strike()
                if kill % 4 == 1:
                    postgres.crash()
                tally.add(sink.take())
            enough = traffic.acked + LEAST
            eventually(lambda: traffic.acked >= enough, within_s=ROUND_S, what=one.tail)
        ledger.resubmit(two)
        eventually(books.is_drained, within_s=ROUND_S, what=lambda: one.tail() + two.tail())
        assert (one.stop(), two.stop()) == (0, 0)
        tally.add(sink.take())
        verdict, doubts = ledger.judge(tally), books.in_doubt()
        with capsys.disabled():
            sys.stdout.write(
                f"\n{sum(killer.kills for killer in killers)} kills of two nodes, "
                f"{len(ledger.entries)} messages: lost {len(verdict.lost)}, twice "
                f"{sum(verdict.duplicates.values())} of {doubts.total()} in doubt\n"
            )
        assert_reconciled(verdict, doubts)
