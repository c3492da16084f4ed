"""daemon.supervisor: services live and die together."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatewayd.daemon.run import _first
from gatewayd.daemon.supervisor import Supervisor
from gatewayd.errors import StoreBroken


class Recorded:
    """A service that writes down what happens to it."""

    def __init__(
        self, name: str, log: list[str], *, fails: Exception | None = None, slow: bool = False
    ) -> None:
        self.name = name
        self._log = log
        self._fails = fails
        self._stopped = asyncio.Event()
        self._released = asyncio.Event()
        self.ended = asyncio.Event()
        self.deadline = 0.0
        if not slow:
            self._released.set()

    async def run(self, ready: asyncio.Event) -> None:
        self._log.append(f"{self.name} runs")
        ready.set()
        if self._fails is not None:
            raise self._fails
        try:
            await self._stopped.wait()
        except asyncio.CancelledError:
            self._log.append(f"{self.name} cancelled")
            raise
        self._log.append(f"{self.name} ended")
        self.ended.set()

    async def drain(self, deadline: float) -> None:
        self._log.append(f"{self.name} drains")
        self.deadline = deadline
        await self._released.wait()
        self._stopped.set()

    def release(self) -> None:
        self._released.set()


async def start(supervisor: Supervisor, log: list[str]) -> asyncio.Task[None]:
    """Run it until it is ready or has failed."""
    ready = asyncio.Event()

    async def on_ready() -> None:
        log.append("ready")
        ready.set()

    running = asyncio.ensure_future(
        supervisor.run(on_ready=on_ready, on_stopping=lambda: log.append("stopping"))
    )
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return running


async def test_services_start_in_order_and_the_keeper_drains_last() -> None:
    """Ready only when all are; the first of the list outlives the others."""
    log: list[str] = []
    services = [Recorded(name, log) for name in ("keeper", "delivery", "door")]
    supervisor = Supervisor(services, shutdown_s=5)
    running = await start(supervisor, log)

    assert log == ["keeper runs", "delivery runs", "door runs", "ready"]
    assert supervisor.is_whole
    supervisor.stopping.set()
    await running

    assert log.index("stopping") < log.index("door drains") < log.index("keeper drains")
    assert log.index("delivery ended") < log.index("keeper drains")
    assert supervisor.running == {"keeper"}


async def test_doors_close_while_another_service_still_drains() -> None:
    """Nobody is let in because somebody else is slow."""
    log: list[str] = []
    slow, door = Recorded("delivery", log, slow=True), Recorded("door", log)
    supervisor = Supervisor([Recorded("keeper", log), slow, door], shutdown_s=5)
    running = await start(supervisor, log)
    supervisor.stopping.set()
    await door.ended.wait()

    assert "delivery ended" not in log
    assert "keeper drains" not in log
    slow.release()
    await running


async def test_stop_in_a_hurry_gives_every_service_that_long() -> None:
    """Where nothing can be kept any more, waiting for replies is of no use."""
    log: list[str] = []
    services = [Recorded(name, log) for name in ("keeper", "delivery")]
    supervisor = Supervisor(services, shutdown_s=5000)
    running = await start(supervisor, log)
    supervisor.stop_within(3)
    await running

    latest = asyncio.get_running_loop().time() + 3
    assert all(0 < service.deadline <= latest for service in services)


@pytest.mark.parametrize("failure", [OSError("taken"), StoreBroken("damaged", exit_code=65)])
async def test_failure_of_one_service_stops_all(failure: Exception) -> None:
    """What ran is cancelled, what was to come is not started, and the failure is known."""
    log: list[str] = []
    services: list[Any] = [
        Recorded("keeper", log),
        Recorded("http", log, fails=failure),
    ]
    running = await start(Supervisor(services, shutdown_s=5), log)

    with pytest.raises(BaseExceptionGroup) as caught:
        await running
    assert _first(caught.value) is failure
    assert "keeper cancelled" in log
    assert "ready" not in log or log.index("ready") < log.index("keeper cancelled")


async def test_service_that_ends_by_itself_is_a_failure() -> None:
    """A door that is gone is not a daemon that runs."""
    log: list[str] = []
    door = Recorded("door", log)
    running = await start(Supervisor([Recorded("keeper", log), door], shutdown_s=5), log)
    await door.drain(0)

    with pytest.raises(BaseExceptionGroup) as caught:
        await running
    assert "door ended by itself" in str(_first(caught.value))


def test_first_of_several_failures_is_one_of_ours() -> None:
    """The exit code comes from the error that has one, however deep it lies."""
    ours = StoreBroken("full", exit_code=74)
    group = BaseExceptionGroup("", [ValueError(), BaseExceptionGroup("", [OSError(), ours])])

    assert _first(group) is ours
