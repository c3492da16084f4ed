"""W10: what a message costs in front of a longer and longer queue, by the tools of `scale.py`.

Two daemons in turn: one has an empty queue, the other one that is filled with more for each row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench import rows, scale
from tests.bench.rows import Finding, Measured, Row

COST: Final = "ms to deliver"  # as scale.py calls it


def measure(client: Path, rounds: int, *, queued: int) -> Iterator[Finding]:
    """A row for each length of the queue up to `queued`."""
    with tempfile.TemporaryDirectory() as directory:
        empty, full = sides = [scale.prepared(Path(directory) / name) for name in ("empty", "full")]
        pattern = scale.make_pattern(full.gateway)
        scale.put_off(full.gateway)
        with empty.gateway, full.gateway:
            there = 0
            for size in (each for each in rows.QUEUE_SIZES if each <= queued):
                scale.fill(full.gateway, pattern, full.mailboxes, numbers=range(there, size))
                there = size
                for side in sides:
                    side.figures.clear()
                for _ in range(rounds):
                    for side in sides:
                        scale.measure_cost(side, client)
                row = Row(ident="W10", what=rows.QUEUED.format(size), peer=rows.EMPTY_QUEUE)
                ours, theirs = (tuple(side.figures[COST]) for side in (full, empty))
                yield row.key, Measured(ours=ours, theirs=theirs)
