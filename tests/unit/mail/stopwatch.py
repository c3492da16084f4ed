"""A stopwatch that holds a function to linear time, for hostile inputs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable


def assert_linear(work: Callable[[int], object], count: int) -> None:
    """Twice as much takes at most two and a half times as long; quadratic takes four times.

    What `work(n)` does is in proportion to `n`. Five milliseconds are noise. A machine that was
    busy in between gets a second and a third try.
    """
    ratios: list[float] = []
    for _ in range(3):
        once, twice = _seconds(work, count), _seconds(work, 2 * count)
        if twice <= 2.5 * once + 0.005:
            return
        ratios.append(twice / once)
    raise AssertionError(f"twice the input took {ratios} times as long")


def _seconds(work: Callable[[int], object], count: int) -> float:
    times: list[float] = []
    gc.disable()  # a collection in one of the two runs would be measured with it
    try:
        for _ in range(4):
            start = time.process_time()
            work(count)
            times.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(times)
