"""W1, W2, W3, W4, W8 and W9: mail over SMTP, by this daemon and by other servers in turn.

Each is warm before the clock starts: 40 messages have gone the same way. Its idle memory is from
before them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import rows
from tests.bench.client import KB100, KIB4, WITHIN_S, Served, Work, offer
from tests.bench.contestants import (
    Contestant,
    EximRelay,
    Gatewayd,
    OpenSmtpdRelay,
    PostfixRelay,
)
from tests.bench.processes import resident_mib
from tests.bench.rows import Finding, Measured
from tests.bench.sink import Sink
from tests.peers.waiting import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one contestant did with one work."""

    rate: float
    cpu_ms: float
    p99_ms: float
    idle_mib: float
    loaded_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A work, and who does it in turn; ours is the first."""

    work: Work
    contestants: tuple[Contestant, ...]


ACCEPT: Final = Work(
    ident="W1", what=rows.ACCEPT, octets=KIB4, sessions=1, messages=100, is_delivered=False
)
ACCEPT_ONE: Final = Work(
    ident="W2", what=rows.ACCEPT_ONE, octets=KIB4, sessions=50, messages=1, is_delivered=False
)
DELIVER: Final = Work(
    ident="W3", what=rows.DELIVER, octets=KIB4, sessions=1, messages=100, is_delivered=True
)
DELIVER_LARGE: Final = Work(
    ident="W4", what=rows.DELIVER_LARGE, octets=KB100, sessions=1, messages=50, is_delivered=True
)
PACED: Final = Work(
    ident="W8", what=rows.WAIT, octets=KIB4, sessions=1, messages=150, is_delivered=True, rate=300
)
TLS: Final = (Gatewayd(is_tls=True), PostfixRelay(is_tls=True))

HEATS: Final = (
    Heat(
        work=ACCEPT,
        contestants=(Gatewayd(), PostfixRelay(), EximRelay(), OpenSmtpdRelay()),
    ),
    Heat(work=ACCEPT, contestants=TLS),
    Heat(work=ACCEPT_ONE, contestants=(Gatewayd(), PostfixRelay())),
    Heat(
        work=DELIVER,
        contestants=(Gatewayd(), PostfixRelay(), PostfixRelay(is_signing=True), EximRelay()),
    ),
    Heat(work=DELIVER, contestants=TLS),
    Heat(work=DELIVER_LARGE, contestants=(Gatewayd(), PostfixRelay())),
    Heat(work=PACED, contestants=(Gatewayd(), PostfixRelay())),
)


def measure(client: Path, wanted: Sequence[str], rounds: int) -> Iterator[Finding]:
    """The rows of these idents, and those of W9 where W3 is measured."""
    for heat in HEATS:
        if heat.work.ident in wanted:
            yield from _run(client, heat, rounds)


def _run(client: Path, heat: Heat, rounds: int) -> Iterator[Finding]:
    there = [each for each in heat.contestants if not _is_absent(each, heat.work)]
    if heat.contestants[0] not in there:
        return
    found: dict[str, list[Round]] = {each.name: [] for each in there}
    for _ in range(rounds):
        for contestant in there:
            if contestant.name not in found:
                continue
            try:
                found[contestant.name].append(_one(client, contestant, heat.work))
            except (subprocess.TimeoutExpired, AssertionError) as fault:
                if contestant is heat.contestants[0]:
                    raise
                # A peer that is stuck or falls over has no figure; the others have theirs.
                print(f"{heat.work.ident} without {contestant.name}: {fault}", flush=True)  # noqa: T201 - its purpose
                del found[contestant.name]
    ours = found.pop(heat.contestants[0].name)
    what = heat.work.what + (rows.OVER_TLS if heat.contestants is TLS else "")
    for peer, theirs in found.items():
        key = rows.Row(ident=heat.work.ident, what=what, peer=peer).key
        yield key, _compared(ours, theirs, heat.work)
    if heat.work is DELIVER and heat.contestants is not TLS:
        for what, values in (
            (rows.IDLE, tuple(one.idle_mib for one in ours)),
            (rows.LOADED, tuple(one.loaded_mib for one in ours)),
        ):
            yield rows.Row(ident="W9", what=what).key, Measured(ours=values)


def _is_absent(contestant: Contestant, work: Work) -> bool:
    reason = contestant.lacks()
    if reason:
        print(f"{work.ident} without {contestant.name}: {reason}", flush=True)  # noqa: T201 - its purpose
    return bool(reason)


def _one(client: Path, contestant: Contestant, work: Work) -> Round:
    with Sink() as sink, contestant.serve(sink.port if work.is_delivered else None) as served:
        idle_mib = resident_mib(served.pid)
        _do(client, served, work.first, sink, before=0)
        used_s = served.processor_s()
        rate, p99_ms = _do(client, served, work, sink, before=work.first.total)
        return Round(
            rate=rate,
            cpu_ms=(served.processor_s() - used_s) * 1000 / work.total,
            p99_ms=p99_ms,
            idle_mib=idle_mib,
            loaded_mib=resident_mib(served.pid),
        )


def _do(
    client: Path, served: Served, work: Work, sink: Sink, *, before: int
) -> tuple[float, float]:
    """Messages per second, and the p99 of dot to reply in ms; `before` it, the sink had so many."""
    began = time.monotonic()
    said = offer(client, served, work)
    seconds = said["seconds"]
    if work.is_delivered:
        eventually(lambda: sink.messages >= before + work.total, within_s=WITHIN_S)
        seconds = time.monotonic() - began
    return work.total / seconds, said["p99_ms"]


def _compared(ours: Sequence[Round], theirs: Sequence[Round], work: Work) -> Measured:
    def figure(one: Round) -> float:
        return one.p99_ms if work.rate else one.rate

    return Measured(
        ours=tuple(map(figure, ours)),
        theirs=tuple(map(figure, theirs)),
        ours_cpu_ms=tuple(one.cpu_ms for one in ours),
        theirs_cpu_ms=tuple(one.cpu_ms for one in theirs),
    )
