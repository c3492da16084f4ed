"""Delivering, Dispatching, Leaving: delivery over fakes or a World, against real sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from gatewayd.clock import Clock, SystemClock
from gatewayd.config.delivery import DeliverySection, NextHop
from gatewayd.delivery.attempt import Attempts, Running
from gatewayd.delivery.dispatcher import Dispatcher
from gatewayd.delivery.rendering import Renderer
from gatewayd.delivery.signing import Signer
from gatewayd.delivery.smarthost import Smarthost
from gatewayd.delivery.smtp.connection import Connector
from gatewayd.delivery.smtp.pool import Pool
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail.outcome import Outcome
from gatewayd.queue.claim import Claim
from gatewayd.queue.handover import Handover
from gatewayd.queue.outcome import AttemptRecord
from gatewayd.tracking.links import Links
from tests.fakes.delivery import FakeKeys, FakeLog, FakeMetrics, FakeNextHops, FakeQueue, FakeSpool
from tests.fakes.world import World


def redact(address: str) -> str:
    """An address as tests know it again."""
    return f"***{len(address)}"


@dataclass(slots=True)
class Delivering:
    """Use as `async with`; `deliver` makes one attempt."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    queue: FakeQueue = field(default_factory=FakeQueue)
    keys: FakeKeys = field(default_factory=FakeKeys)
    spool: FakeSpool = field(default_factory=FakeSpool)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    log: FakeLog = field(default_factory=FakeLog)
    links: Links | None = None
    reverse_paths: ReversePaths | None = None
    section: DeliverySection = field(init=False)
    signer: Signer = field(init=False)
    pool: Pool = field(init=False)
    attempts: Attempts = field(init=False)

    async def __aenter__(self) -> Self:
        clock = SystemClock()
        self.section = DeliverySection(**self.settings)
        self.signer = Signer(
            keys=self.keys,
            spool=self.spool,
            renderer=Renderer(spool=self.spool, links=self.links),
            threads=2,
            metrics=self.metrics,
            log=self.log,
        )
        connector = Connector(hostname="gateway.test", section=self.section)
        self.pool = Pool(connector, section=self.section, clock=clock)
        self.attempts = Attempts(
            queue=self.queue,
            pool=self.pool,
            signer=self.signer,
            section=self.section,
            clock=clock,
            metrics=self.metrics,
            log=self.log,
            redact=redact,
            reverse_paths=self.reverse_paths,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.pool.close()
        self.signer.close()

    async def deliver(self, claim: Claim, next_hop: NextHop | None) -> list[Outcome]:
        """Outcomes of one attempt, in the order of the claim's recipients."""
        await self.attempts.run(Running(claim), next_hop)
        return self.queue.settled[-1].in_order

    @property
    def record(self) -> AttemptRecord:
        return self.queue.settled[-1].attempt


@dataclass(slots=True)
class Dispatching:
    """A dispatcher that runs, over the same fakes. Leaving the `async with` drains it."""

    world: Delivering
    next_hops: FakeNextHops
    simulator: NextHop | None = None
    clock: Clock = field(default_factory=SystemClock)
    handover: Handover = field(init=False)
    poll_s: float = 60.0
    drain_s: float = 0.0
    dispatcher: Dispatcher = field(init=False)
    _group: asyncio.TaskGroup = field(init=False)

    async def __aenter__(self) -> Self:
        world = self.world
        self.handover = Handover(lease=dt.timedelta(minutes=20), wakeup=world.queue.wakeup)
        self.dispatcher = Dispatcher(
            queue=world.queue,
            handover=self.handover,
            route=Smarthost(
                next_hops=self.next_hops, simulator=self.simulator, attempts=world.attempts
            ),
            pool=world.pool,
            section=world.section,
            wakeup=world.queue.wakeup,
            clock=self.clock,
            log=world.log,
            poll_s=self.poll_s,
        )
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        ready = asyncio.Event()
        self._group.create_task(self.dispatcher.run(ready))
        await ready.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.dispatcher.drain(self.clock.monotonic() + self.drain_s)
        await self._group.__aexit__(kind, error, trace)


@dataclass(kw_only=True)
class Leaving:
    """The way out of a World: its queue, keys and spool, the real client, one next hop.

    Use as `async with`. A second one is a daemon that was started again and has forgotten all.
    """

    world: World
    next_hop: NextHop
    links: Links | None = None
    reverse_paths: ReversePaths | None = None

    async def __aenter__(self) -> Self:
        world, section, log = self.world, DeliverySection(), FakeLog()
        self.signer = Signer(
            keys=world.domains,
            spool=world.spool,
            renderer=Renderer(spool=world.spool, links=self.links),
            threads=2,
            metrics=FakeMetrics(),
            log=log,
        )
        clock = SystemClock()
        connector = Connector(hostname="gateway.test", section=section)
        self.pool = Pool(connector, section=section, clock=clock)
        self.attempts = Attempts(
            queue=world.queue,
            pool=self.pool,
            signer=self.signer,
            section=section,
            clock=clock,
            metrics=FakeMetrics(),
            log=log,
            redact=redact,
            reverse_paths=self.reverse_paths,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.pool.close()
        self.signer.close()

    async def deliver(self) -> list[Claim]:
        """One attempt for everything that is due, one after the other; what it was."""
        lanes = await self.world.queue.lanes()
        claims = await self.world.queue.claim(dict.fromkeys(lanes, 100))
        for claim in claims:
            await self.attempts.run(Running(claim), self.next_hop)
        return claims
