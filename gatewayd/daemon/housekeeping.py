"""Housekeeping: what must happen again and again beside the mail.

| every  | what                                                                     |
|--------|--------------------------------------------------------------------------|
| 0.5 s  | measure how late the loop is                                             |
| 1 s    | the reserve file: given up on a full disk, made again after it           |
| 1 s    | memory: too much of it, and no new work is taken                         |
| 5 s    | queue depth and age, for the metrics; less often when the queue is long  |
| 10 s   | memory that was freed goes back to the system                            |
| hour   | forget messages, keys and windows past their time; sweep the spool       |
| asked  | WATCHDOG=1, only when both the loop turns and the writer commits         |
"""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import Awaitable, Callable
from typing import Final

from gatewayd import log
from gatewayd.daemon.build import Kernel
from gatewayd.daemon.memory import MemoryGuard, give_back
from gatewayd.daemon.systemd import WATCHDOG, Notifier
from gatewayd.errors import StoreBroken, StoreError
from gatewayd.retention.reserve import Reserve
from gatewayd.retention.sweep import ORPHANS_KEPT
from gatewayd.store.database import Tx

LAG_S: Final = 0.5
RESERVE_S: Final = 1.0
MEMORY_S: Final = 1.0
GIVE_BACK_S: Final = 10.0
GAUGES_S: Final = 5.0
COUNTED: Final = 100_000  # recipients for each second between two counts: 1% of a processor
GAUGES_MOST_S: Final = 60.0
SWEEP_S: Final = 3600.0

_log = log.get_logger(__name__)


class Housekeeping:
    """The service of the table above."""

    name = "housekeeping"

    def __init__(
        self, kernel: Kernel, notifier: Notifier, memory: MemoryGuard, *, watchdog_s: float | None
    ) -> None:
        self._kernel = kernel
        self._notifier = notifier
        self._memory = memory
        self._watchdog_s = watchdog_s
        self._reserve = Reserve(
            kernel.config.daemon.state_dir, kernel.config.storage.reserve_octets
        )
        self._stopped = asyncio.Event()
        self.is_store_answering = True

    async def run(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._measure_lag()),
                group.create_task(self._every(RESERVE_S, self._tend_reserve)),
                group.create_task(self._every(MEMORY_S, self._look_at_memory)),
                group.create_task(self._every(GIVE_BACK_S, self._give_back_memory)),
                group.create_task(self._every(GAUGES_S, self._gauges)),
                group.create_task(self._every(SWEEP_S, self._sweep)),
            ]
            if self._watchdog_s is not None:
                tasks.append(group.create_task(self._every(self._watchdog_s, self._feed)))
            ready.set()
            await self._stopped.wait()
            for task in tasks:
                task.cancel()

    async def drain(self, deadline: float) -> None:  # noqa: ARG002 - nothing here waits
        self._stopped.set()

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_S
            await asyncio.sleep(LAG_S)
            self._kernel.metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due))

    async def _every(self, period_s: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do it now and every so often; a busy store is tried again at the next turn."""
        while True:
            try:
                await work()
            except StoreBroken:
                raise
            except StoreError as error:
                self.is_store_answering = False
                _log.warning("housekeeping_deferred", work=work.__name__, reason=str(error))
            await asyncio.sleep(period_s)

    async def _gauges(self) -> None:
        kernel = self._kernel
        depth, oldest = await kernel.queue.depth()
        self.is_store_answering = True
        age = kernel.clock.now() - oldest if oldest is not None else dt.timedelta(0)
        kernel.metrics.queue_depth.set(depth)
        kernel.metrics.queue_oldest_age_seconds.set(max(0.0, age.total_seconds()))
        await asyncio.sleep(max(0.0, min(depth / COUNTED, GAUGES_MOST_S) - GAUGES_S))

    async def _tend_reserve(self) -> None:
        free_octets = shutil.disk_usage(self._kernel.config.daemon.state_dir).free
        if self._reserve.tend(free_octets):
            _log.error("reserve_given_up", free_octets=free_octets)

    async def _look_at_memory(self) -> None:
        if self._memory.look():
            limit = self._memory.soft_octets
            self._kernel.metrics.memory_short.set(self._memory.is_short)
            if self._memory.is_short:
                _log.error("memory_short", soft_octets=limit)
            else:
                _log.info("memory_recovered", soft_octets=limit)

    async def _give_back_memory(self) -> None:
        await asyncio.to_thread(give_back)  # 0.1 s for 200 MiB

    async def _sweep(self) -> None:
        kernel = self._kernel
        now = kernel.clock.now()
        forgotten = await kernel.retention.sweep(now)
        orphans = await kernel.retention.sweep_spool(now - ORPHANS_KEPT)
        if forgotten or orphans:
            _log.info("messages_forgotten", messages=forgotten, spool_orphans=orphans)

    async def _feed(self) -> None:
        await self._kernel.database.write(_nothing)
        self._notifier.notify(WATCHDOG)


def _nothing(tx: Tx) -> None:
    """Goes through the writer, to see that it lives."""
