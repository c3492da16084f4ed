"""daemon.housekeeping: the watchdog, the store that does not answer, and the end."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from gatewayd.clock import SystemClock
from gatewayd.config.load import parse
from gatewayd.daemon import build, housekeeping
from gatewayd.daemon.housekeeping import Housekeeping
from gatewayd.daemon.memory import MemoryGuard
from gatewayd.daemon.systemd import Notifier
from gatewayd.errors import StoreBroken, StoreUnavailable
from gatewayd.metrics import Metrics
from gatewayd.queue.service import Queue
from tests.peers.command import config_text

WITHIN_S = 10


class FakeQueue:
    """Says how deep it is, or fails as it is told; remembers that it was asked."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked = asyncio.Event()

    async def depth(self) -> tuple[int, dt.datetime | None]:
        self.asked.set()
        if self.error is not None:
            raise self.error
        return 7, None

    async def next_answer(self) -> None:
        """Wait until it was asked twice more: the first answer has been dealt with."""
        for _ in range(2):
            self.asked.clear()
            async with asyncio.timeout(WITHIN_S):
                await self.asked.wait()


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[build.Kernel]:
    """A real one, whose gauges are read a hundred times a second."""
    monkeypatch.setattr(housekeeping, "GAUGES_S", 0.01)
    config = parse(config_text(tmp_path), environment={})
    config.daemon.state_dir.mkdir()
    build.initialise(config, SystemClock())
    made = build.kernel(
        config, clock=SystemClock(), metrics=Metrics(), smarthost=None, on_broken=lambda _: None
    )
    yield made
    made.close()


def roomy() -> MemoryGuard:
    return MemoryGuard(1, resident=lambda: 0)


def with_queue(kernel: build.Kernel, queue: FakeQueue) -> build.Kernel:
    return dataclasses.replace(kernel, queue=cast("Queue", queue))


@asynccontextmanager
async def running(service: Housekeeping) -> AsyncIterator[None]:
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(service.run(ready))
        await ready.wait()
        yield
        await service.drain(0)


async def test_watchdog_is_fed_through_the_writer(kernel: build.Kernel, tmp_path: Path) -> None:
    """WATCHDOG=1 comes again and again, and not after the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        systemd.setblocking(False)
        service = Housekeeping(kernel, Notifier(str(tmp_path / "n")), roomy(), watchdog_s=0.01)
        loop = asyncio.get_running_loop()
        async with running(service), asyncio.timeout(WITHIN_S):
            said = [await loop.sock_recv(systemd, 100) for _ in range(3)]

    assert said == [b"WATCHDOG=1"] * 3


async def test_store_that_does_not_answer_is_told_and_asked_again(kernel: build.Kernel) -> None:
    """Readiness follows it down and up; housekeeping goes on."""
    queue = FakeQueue()
    service = Housekeeping(with_queue(kernel, queue), Notifier(""), roomy(), watchdog_s=None)
    async with running(service):
        queue.error = StoreUnavailable("busy")
        await queue.next_answer()
        assert not service.is_store_answering

        queue.error = None
        await queue.next_answer()
        assert service.is_store_answering


async def test_broken_store_ends_it(kernel: build.Kernel) -> None:
    """Nothing is tried again on a store that cannot be trusted: the failure stops the daemon."""
    queue = FakeQueue()
    queue.error = StoreBroken("an fsync failed")
    service = Housekeeping(with_queue(kernel, queue), Notifier(""), roomy(), watchdog_s=None)

    with pytest.raises(BaseExceptionGroup) as caught:
        await service.run(asyncio.Event())
    assert caught.value.subgroup(StoreBroken) is not None


async def test_memory_is_given_back_again_and_again(
    kernel: build.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread: the loop does not wait for it."""
    loop, own, threads = asyncio.get_running_loop(), threading.get_ident(), list[int]()
    enough = asyncio.Event()

    def give_back() -> None:
        threads.append(threading.get_ident())
        if len(threads) == 3:
            loop.call_soon_threadsafe(enough.set)

    monkeypatch.setattr(housekeeping, "GIVE_BACK_S", 0.01)
    monkeypatch.setattr(housekeeping, "give_back", give_back)
    service = Housekeeping(kernel, Notifier(""), roomy(), watchdog_s=None)
    async with running(service), asyncio.timeout(WITHIN_S):
        await enough.wait()

    assert own not in threads


async def test_reserve_file_is_made(kernel: build.Kernel) -> None:
    """Its size is the configured one, and it may be drained before it runs."""
    queue = FakeQueue()
    service = Housekeeping(with_queue(kernel, queue), Notifier(""), roomy(), watchdog_s=None)
    async with running(service):
        await queue.next_answer()
    file: Any = kernel.config.daemon.state_dir / "reserve.bin"

    assert file.stat().st_size == kernel.config.storage.reserve_octets
