"""Runs the services in one TaskGroup: ready when all are, and the failure of one stops all.

Services start in the order of the list, doors last. On a stop all are drained at the same moment,
so that no door accepts while another waits for its last message; only the first of the list, which
keeps house, goes on until the others are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gatewayd import log

_log = log.get_logger(__name__)


class Service(Protocol):
    """A part of the daemon that runs until it is drained.

    `drain` may be called before `run`, twice, or after a failure.
    """

    @property
    def name(self) -> str: ...

    async def run(self, ready: asyncio.Event) -> None:
        """Work until drained; set `ready` when it can."""
        ...

    async def drain(self, deadline: float) -> None:
        """Take nothing new, finish what was begun, give back the rest by `deadline` (loop time)."""
        ...


class Supervisor:
    """Owns the services of one daemon."""

    def __init__(self, services: Sequence[Service], *, shutdown_s: float) -> None:
        self._services = tuple(services)
        self._shutdown_s = shutdown_s
        self._running: set[str] = set()
        self.stopping = asyncio.Event()

    @property
    def running(self) -> frozenset[str]:
        """The names of the services that are ready."""
        return frozenset(self._running)

    @property
    def is_whole(self) -> bool:
        """Whether every service is ready."""
        return len(self._running) == len(self._services)

    def stop_within(self, seconds: float) -> None:
        """Stop, and give the services no more than this."""
        self._shutdown_s = min(self._shutdown_s, seconds)
        self.stopping.set()

    async def run(
        self, on_ready: Callable[[], Awaitable[None]], on_stopping: Callable[[], None]
    ) -> None:
        """Run until `stopping` is set.

        Raises:
            BaseExceptionGroup: a service failed; the others were cancelled.
        """
        async with asyncio.TaskGroup() as group:
            for service in self._services:
                ready = asyncio.Event()
                group.create_task(self._run(service, ready), name=service.name)
                await ready.wait()
                self._running.add(service.name)
            await on_ready()
            await self.stopping.wait()
            on_stopping()
            deadline = asyncio.get_running_loop().time() + self._shutdown_s
            keeper, *others = self._services
            async with asyncio.TaskGroup() as draining:
                for service in reversed(others):
                    self._running.discard(service.name)
                    draining.create_task(service.drain(deadline))
            await keeper.drain(deadline)

    async def _run(self, service: Service, ready: asyncio.Event) -> None:
        await service.run(ready)
        if not self.stopping.is_set():
            raise RuntimeError(f"{service.name} ended by itself")
