"""W7: clicks that are redirected, by the listener of `tracking.py` and by a bare Starlette route.

At 1000/s each click is the first of its recipient, and stored meanwhile; p99 counts from when a
click was due. As fast as they come, the recipients are known already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.bench import rows
from tests.bench.client import CONNECTIONS
from tests.bench.processes import processor_s
from tests.bench.rows import Finding, Measured, Row
from tests.bench.sending import bare
from tests.bench.tracking import load, run_canned, run_gateway

CLICKS: Final = 5_000
AGAIN: Final = 4
PACE: Final = 1000.0


def measure(rounds: int) -> Iterator[Finding]:
    """Both rows of W7."""
    rates: list[float] = []
    waits: list[float] = []
    costs: list[float] = []
    bare_rates: list[float] = []
    bare_costs: list[float] = []
    for number in range(rounds):
        served, clicks = run_gateway(CLICKS)
        if not number:
            _say_ceiling(clicks)
        paced = load(served.port, clicks, connections=CONNECTIONS, rate=PACE)
        served.settle()
        waits.append(paced.percentile(0.99))
        rate, cost = _fast(served.port, served.pid, clicks)
        served.stop()
        rates.append(rate)
        costs.append(cost)
        with bare() as (port, pid):
            rate, cost = _fast(port, pid, clicks)
            bare_rates.append(rate)
            bare_costs.append(cost)
    yield (
        Row(ident="W7", what=rows.REDIRECTS, peer=rows.STARLETTE).key,
        Measured(
            ours=tuple(rates),
            theirs=tuple(bare_rates),
            ours_cpu_ms=tuple(costs),
            theirs_cpu_ms=tuple(bare_costs),
        ),
    )
    yield Row(ident="W7", what=rows.REDIRECT_WAIT).key, Measured(ours=tuple(waits))


def _fast(port: int, pid: int, clicks: list[bytes]) -> tuple[float, float]:
    """Redirects per second, and milliseconds of processor time for each."""
    used_s = processor_s(pid)
    result = load(port, clicks * AGAIN, connections=CONNECTIONS, rate=None)
    assert set(result.statuses) == {b"302"}, result.statuses
    return result.per_second, (processor_s(pid) - used_s) * 1000 / result.statuses.total()


def _say_ceiling(clicks: list[bytes]) -> None:
    canned = run_canned()
    result = load(canned.port, clicks * AGAIN, connections=CONNECTIONS, rate=None)
    canned.stop()
    print(f"the client of redirects alone: {result.per_second:,.0f}/s", flush=True)  # noqa: T201 - its purpose
