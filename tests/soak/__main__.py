"""`python -m tests.soak --hours 2`: the daemon under half its rated load for as long as you like.

Clients hand in messages by SMTP and HTTP at a steady rate, next hop is a sink of this process, all
mail is signed. Beside that, as asked for: SIGKILL at random moments, a wall clock that is set half
a day ahead and back (a key is believed for one), PostgreSQL that crashes. At the end both sides of
the ledger are compared.

| promise                                                          | broken: exit 1 when           |
|------------------------------------------------------------------|-------------------------------|
| nothing acknowledged is lost                                     | any is                        |
| what comes twice was in doubt, and no key is taken twice         | any other does                |
| the daemon ends when it is told to, and not before               | it ends by itself, or not 0   |
| B8: RSS grows by at most 1 MiB/h after 20 minutes                | measured for 40 minutes after |
| B8: file descriptors and threads do not grow                     | measured as long as that      |

A shorter run prints its slope, and does not judge it: an allocator needs time to come to rest.
"""

from __future__ import annotations

import argparse
import contextlib
import random  # noqa: TID251 - for moments that a seed repeats
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.clockjump import Clockjump
from tests.peers.gateway import Gateway
from tests.peers.ledger import Ledger, Tally, Verdict
from tests.peers.postgres import PostgresServer, find_bin
from tests.peers.traffic import (
    Arrivals,
    Books,
    Killer,
    Traffic,
    beyond_doubt,
    wait_s,
)
from tests.peers.waiting import eventually
from tests.soak.vitals import Vitals, grows, look, slope_per_hour

AHEAD_S = 43_200
TICK_S = 0.5
SAMPLES = 200  # of one run, at least
WARM_S = 1200.0  # B8: after 20 minutes
JUDGED_S = 2400.0  # a slope over less is noise
RSS_MIB_PER_HOUR = 1.0
DRAIN_S = 600.0
# PostgreSQL: what a killed daemon held is taken back when its lease ends, after 20 minutes else.
LEASES = "lease_s = 60\nrenew_s = 5\nattempt_s = 30\ndot_timeout_s = 20\n"
STEPS_S = (AHEAD_S, 0, 30, 0)  # the offset after each step


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked for. Seconds; 0 for never."""

    duration_s: float
    rate: float
    kill_every_s: float
    step_every_s: float
    crash_every_s: float
    seed: int

    @property
    def warm_s(self) -> float:
        return min(WARM_S, self.duration_s / 3)


@dataclass(slots=True)
class Soak:
    """One run: what it works on, and what it has seen."""

    plan: Plan
    gateway: Gateway
    sink: Arrivals
    clock: Clockjump
    server: PostgresServer | None
    ledger: Ledger = field(default_factory=Ledger)
    tally: Tally = field(default_factory=Tally)
    samples: list[Vitals] = field(default_factory=list)
    killer: Killer = field(init=False)
    steps: int = 0
    crashes: int = 0

    def __post_init__(self) -> None:
        chance = random.Random(self.plan.seed)  # noqa: S311 - no secret
        self.killer = Killer(self.gateway, chance, environment=self.clock.environment)

    def run(self) -> None:
        """Load and faults until the time is over, then wait until the queue is empty."""
        self.killer.start()
        with Traffic([self.gateway], self.ledger, self.plan.rate):
            self._faults_and_looks()
        self.ledger.resubmit(self.gateway)
        if self.steps:  # what was put off while the clock was ahead is due then
            self.clock.set(2 * AHEAD_S)
        books = Books(self.gateway, self.server)
        eventually(books.is_drained, within_s=DRAIN_S, what=self.gateway.tail)
        self.tally.add(self.sink.take())

    def _faults_and_looks(self) -> None:
        plan, began = self.plan, time.monotonic()
        kills, steps, crashes = (
            _every(plan.kill_every_s),
            _every(plan.step_every_s),
            _every(plan.crash_every_s),
        )
        looks = _every(min(10.0, plan.duration_s / SAMPLES))
        minutes = _every(60.0)
        while (at_s := time.monotonic() - began) < plan.duration_s:
            wait_s(TICK_S)
            self.tally.add(self.sink.take())
            if next(kills):
                self.killer.strike()
            if next(steps):
                self.clock.set(STEPS_S[self.steps % len(STEPS_S)])
                self.steps += 1
            if next(crashes) and self.server is not None:
                self.server.crash()
                self.crashes += 1
            if next(looks):
                self._look(at_s)
            if next(minutes):
                self._say(at_s)

    def _look(self, at_s: float) -> None:
        process = self.gateway.process
        assert process is not None
        assert process.poll() is None, f"it ended by itself\n{self.gateway.tail()}"
        self.samples.append(look(process.pid, at_s))

    def _say(self, at_s: float) -> None:
        last = self.samples[-1]
        say(
            f"{at_s / 60:6.1f} min: {len(self.ledger.entries)} handed in, "
            f"{len(self.tally.first)} arrived, rss {last.rss_mib:.1f} MiB, {last.fds} fds, "
            f"{last.threads} threads, {self.killer.kills} kills"
        )


def judge(soak: Soak, verdict: Verdict, books: Books) -> list[str]:
    """Print the figures; the promises that were broken."""
    doubts = books.in_doubt()
    beyond = beyond_doubt(verdict, doubts)
    warm = [each for each in soak.samples if each.at_s >= soak.plan.warm_s]
    measured_s = warm[-1].at_s - warm[0].at_s if warm else 0.0
    rss_slope = slope_per_hour([(each.at_s, each.rss_mib) for each in warm])
    counts = {"fds": [each.fds for each in warm], "threads": [each.threads for each in warm]}
    is_one_process = soak.killer.kills == 0
    say(
        f"{len(soak.ledger.entries)} messages, {soak.killer.kills} kills, {soak.steps} clock "
        f"steps, {soak.crashes} crashes of PostgreSQL\n"
        f"lost {len(verdict.lost)}, twice {sum(verdict.duplicates.values())} of {doubts.total()} "
        f"in doubt, beyond doubt {len(beyond)}, twice by key {len(verdict.twice_by_key)}, "
        f"unknown {verdict.unknown}"
    )
    if is_one_process and warm:
        say(
            f"over {measured_s / 60:.0f} min after {soak.plan.warm_s / 60:.0f} min: "
            f"rss {rss_slope:+.2f} MiB/h to {warm[-1].rss_mib:.1f} MiB, "
            + ", ".join(f"{name} {min(values)} to {max(values)}" for name, values in counts.items())
        )
    broken = []
    if verdict.lost:
        broken.append(f"lost: {verdict.lost[:20]}")
    if beyond or verdict.twice_by_key or verdict.unknown:
        broken.append(f"twice: {dict(list(beyond.items())[:20])}, keys {verdict.twice_by_key[:20]}")
    if measured_s >= JUDGED_S and is_one_process:
        if rss_slope > RSS_MIB_PER_HOUR:
            broken.append(f"B8: rss grows by {rss_slope:.2f} MiB/h")
        broken += [f"B8: {name} grow" for name, values in counts.items() if grows(values)]
    return broken


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _every(period_s: float) -> Iterator[bool]:
    """True once in a period, False when asked before that or for a period of 0."""
    at = time.monotonic() + period_s
    while True:
        is_due = period_s > 0 and time.monotonic() >= at
        at = time.monotonic() + period_s if is_due else at
        yield is_due


@contextlib.contextmanager
def _postgres(kind: str) -> Iterator[PostgresServer | None]:
    if kind != "postgresql":
        yield None
        return
    directory = find_bin()
    if directory is None:
        raise SystemExit("PostgreSQL is not installed")
    server = PostgresServer(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it as the command line says; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--minutes", type=float, help="instead of --hours")
    parser.add_argument("--rate", type=float, default=100.0, help="messages a second")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--kill-every", type=float, default=0.0, metavar="S")
    parser.add_argument("--step-every", type=float, default=0.0, metavar="S", help="set the clock")
    parser.add_argument("--crash-every", type=float, default=0.0, metavar="S", help="of PostgreSQL")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    hours = asked.hours if asked.minutes is None else asked.minutes / 60
    plan = Plan(
        duration_s=hours * 3600,
        rate=asked.rate,
        kill_every_s=asked.kill_every,
        step_every_s=asked.step_every,
        crash_every_s=asked.crash_every,
        seed=asked.seed,
    )
    with tempfile.TemporaryDirectory() as scratch, _postgres(asked.database) as server:
        broken = _soak(plan, Path(scratch), server)
    for promise in broken:
        say(f"BROKEN: {promise}")
    return 1 if broken else 0


def _soak(plan: Plan, directory: Path, server: PostgresServer | None) -> list[str]:
    with (
        Arrivals() as sink,
        Gateway(
            directory / "gateway",
            smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
            retry="first_s = 1\nfactor = 1.0\nattempts = 100000\n",
            delivery=LEASES if server is not None else "",
            extra=f'[database]\nurl = "{server.url}"\n' if server is not None else "",
        ) as gateway,
    ):
        gateway.prepare()
        gateway.add_domain()
        soak = Soak(plan, gateway, sink, Clockjump(directory), server)
        soak.run()
        code = gateway.stop()
        broken = judge(soak, soak.ledger.judge(soak.tally), Books(gateway, server))
    return broken + ([f"exit code {code}"] if code else [])


if __name__ == "__main__":
    sys.exit(main())
