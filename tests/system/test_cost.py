"""A message costs no more of the interpreter than it did: counted, so no load of the machine shows.

`python -m tests.bench.cost` prints the figures. Who makes a part cheaper writes its new figure here
so that it stays so; who makes it dearer for a good reason does, too.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.bench import cost

YARD: Final = 2549  # instructions of the work that never changes, with Python 3.11
KNOWN: Final = {
    "session": 5080,
    "send": 7290,
    "intake": 4620,
    "queue": 5965,
    "deliver": 3350,
    "attempt": 6000,
    "render": 2977,
}
MORE: Final = 1.25


@pytest.mark.parametrize("part", sorted(KNOWN))
async def test_a_message_costs_no_more_instructions(part: str) -> None:
    """Compared with the yard, as other versions of Python have other instructions."""
    found, yard = await cost.counted(part), await cost.counted("yard")

    assert found / yard <= MORE * KNOWN[part] / YARD, f"{found} instructions, were {KNOWN[part]}"
