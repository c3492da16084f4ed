"""events.wakeup: a nudge is seen once, and may come before the wait."""

from __future__ import annotations

import asyncio

from gatewayd.events.types import EventType
from gatewayd.events.wakeup import Wakeup


async def test_nudge_before_the_wait_is_seen() -> None:
    wakeup = Wakeup()
    wakeup.notify()
    wakeup.notify()

    assert await wakeup.wait(None) is True
    assert await wakeup.wait(0) is False


async def test_nudge_during_the_wait_ends_it() -> None:
    wakeup = Wakeup()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(wakeup.wait(30))
        await asyncio.sleep(0)
        wakeup.notify()

    assert waiting.result() is True


def test_every_event_stands_in_the_table_of_its_module() -> None:
    """The words are public; the docstring is where a reader looks for them."""
    from gatewayd.events import types  # noqa: PLC0415 - for its docstring only

    assert types.__doc__ is not None
    for kind in EventType:
        assert f"| {kind.value} " in types.__doc__
