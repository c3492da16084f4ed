"""gatewayd serve: start, run until a signal, stop; and what a reload does.

| signal         | effect                                                                       |
|----------------|------------------------------------------------------------------------------|
| SIGTERM SIGINT | doors close, mail on its way ends or is given back, exit 0                    |
| SIGHUP         | configuration, certificates and keys are read again: all of it or nothing     |
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any, Final

import gatewayd
from gatewayd import failpoints, log
from gatewayd.clock import Clock, SystemClock
from gatewayd.config import load
from gatewayd.config.advice import advise
from gatewayd.config.delivery import NextHop
from gatewayd.config.reload import Reload, difference, in_force
from gatewayd.config.tree import Config
from gatewayd.daemon import admin, build, doors, keyrings, systemd
from gatewayd.daemon.doors import Doors
from gatewayd.daemon.housekeeping import Housekeeping
from gatewayd.daemon.memory import MemoryGuard, resident_octets, soft_limit
from gatewayd.daemon.statedir import owned
from gatewayd.daemon.supervisor import Service, Supervisor
from gatewayd.errors import GatewayError, StoreBroken
from gatewayd.metrics import Metrics
from gatewayd.smtpd.simulator import MailCatcher, Simulator
from gatewayd.store import prepared
from gatewayd.web.health import Fact

BROKEN_S: Final = 5.0  # to stop in, when the store cannot be written any more

_log = log.get_logger(__name__)


@dataclass(slots=True)
class Daemon:
    """One running daemon: built from a configuration, held by its signals."""

    config: Config
    config_file: Path | None
    sockets: Mapping[str, Sequence[socket]] = field(default_factory=dict)
    notifier: systemd.Notifier = field(default_factory=lambda: systemd.Notifier(""))
    watchdog_s: float | None = None
    is_local: bool = False  # mail without a next hop goes to the simulator, and can be read there
    on_ready: Callable[[Doors, build.Kernel], Awaitable[None]] | None = None
    metrics: Metrics = field(default_factory=Metrics)
    smarthost: NextHop | None = None
    broken: StoreBroken | None = None
    supervisor: Supervisor | None = None
    housekeeping: Housekeeping | None = None
    memory: MemoryGuard | None = None
    started_at: float = 0.0

    async def run(self) -> int:
        """Run until stopped; the exit code."""
        clock = SystemClock()
        self.started_at = clock.monotonic()
        catcher = MailCatcher(clock)
        simulator = doors.make_simulator(self.config, catcher, clock=clock, metrics=Metrics())
        async with asyncio.TaskGroup() as group:
            ready = asyncio.Event()
            simulating = group.create_task(simulator.run(ready))
            await ready.wait()
            try:
                return await self._run(clock, catcher, simulator)
            finally:
                await simulator.drain(asyncio.get_running_loop().time() + 1)
                await simulating

    async def _run(self, clock: Clock, catcher: MailCatcher, simulator: Simulator) -> int:
        loop = asyncio.get_running_loop()

        def on_broken(error: StoreBroken) -> None:
            loop.call_soon_threadsafe(self._break, error)

        if self.is_local:
            self.smarthost = doors.simulated_hop(simulator)
        kernel = build.kernel(
            self.config,
            clock=clock,
            metrics=self.metrics,
            smarthost=self._smarthost_of(self.config),
            on_broken=on_broken,
        )
        try:
            await kernel.database.read(prepared.warm)
            await self._recover(kernel)
            return await self._serve(kernel, catcher, simulator)
        finally:
            await asyncio.to_thread(kernel.close)

    def _smarthost_of(self, config: Config) -> NextHop | None:
        return self.smarthost or load.next_hop(config.delivery.smarthost)

    def facts(self) -> Sequence[Fact]:
        """Readiness: what `/readyz` and `status` say."""
        running = self.supervisor.running if self.supervisor else frozenset()
        keeper = self.housekeeping
        answering = keeper is not None and keeper.is_store_answering and self.broken is None
        short = self.memory is not None and self.memory.is_short
        stopping = self.supervisor is not None and self.supervisor.stopping.is_set()
        return (
            Fact(name="store", is_ready=answering, detail="" if answering else "does not answer"),
            Fact(name="delivery", is_ready="delivery" in running),
            Fact(name="memory", is_ready=not short, detail="no new work" if short else ""),
            Fact(
                name="services", is_ready=self.supervisor is not None and self.supervisor.is_whole
            ),
            Fact(
                name="stopping", is_ready=not stopping, detail="shutting down" if stopping else ""
            ),
        )

    async def _recover(self, kernel: build.Kernel) -> None:
        """Take back what a crash left: at once when nobody else can hold it."""
        alone = kernel.dialect.has_single_node
        released, in_doubt = await kernel.queue.recover(all_leases=alone)
        orphans = await kernel.retention.sweep_spool(None) if alone else 0
        if released or in_doubt or orphans:
            _log.info(
                "queue_recovered", released=released, in_doubt=in_doubt, spool_orphans=orphans
            )

    async def _serve(self, kernel: build.Kernel, catcher: MailCatcher, simulator: Simulator) -> int:
        soft_octets = self.config.limits.resident_octets or soft_limit()
        memory = self.memory = MemoryGuard(soft_octets, resident=resident_octets)
        built = doors.doors(
            kernel,
            sockets=self.sockets,
            readiness=self,
            is_overloaded=lambda: self.broken is not None or memory.is_short,
            on_fatal=self._break,
            catcher=catcher,
            simulator=simulator,
            show_caught=self.is_local,
        )
        self.housekeeping = Housekeeping(kernel, self.notifier, memory, watchdog_s=self.watchdog_s)
        control = admin.control_server(
            kernel,
            connector=built.connector,
            reload=functools.partial(self.reload, kernel, built),
            facts=self.facts,
            started_at=self.started_at,
        )
        services: tuple[Service, ...] = (self.housekeeping, control, *built.services)
        self.supervisor = Supervisor(services, shutdown_s=self.config.daemon.shutdown_s)
        self._listen_to_signals(kernel, built)
        try:
            await self.supervisor.run(
                on_ready=functools.partial(self._say_ready, kernel, built),
                on_stopping=self._say_stopping,
            )
        finally:
            try:
                await built.last_words()
            finally:
                built.close()
        return self.broken.exit_code if self.broken else 0

    async def _say_ready(self, kernel: build.Kernel, built: Doors) -> None:
        # All that was built lives as long as we do: the collector need not look at it again, which
        # is most of its pauses.
        gc.collect()
        gc.freeze()
        self.notifier.notify(systemd.READY, systemd.status("taking mail"))
        _log.info("daemon_started", version=gatewayd.__version__, pid=os.getpid())
        if self.on_ready is not None:
            await self.on_ready(built, kernel)

    def _say_stopping(self) -> None:
        self.notifier.notify(systemd.STOPPING)
        _log.info("daemon_stopping", reason="store broken" if self.broken else "signal")

    def stop(self) -> None:
        if self.supervisor is not None:
            self.supervisor.stopping.set()

    def _break(self, error: StoreBroken) -> None:
        """Nothing may be acknowledged from now on: stop, and let systemd decide.

        No reply of a next hop is waited for: there is no place for its outcome.
        """
        if self.broken is None:
            self.broken = error
            _log.critical("store_broke", reason=str(error), exit_code=error.exit_code)
            if self.supervisor is not None:
                self.supervisor.stop_within(BROKEN_S)

    def _listen_to_signals(self, kernel: build.Kernel, built: Doors) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_or_say_why, kernel, built)

    def _reload_or_say_why(self, kernel: build.Kernel, built: Doors) -> None:
        with contextlib.suppress(GatewayError):  # it is in the log
            self.reload(kernel, built)

    def reload(self, kernel: build.Kernel, built: Doors) -> dict[str, Any]:
        """Read configuration, certificates and keys again; all of it takes effect or nothing.

        Raises:
            GatewayError: something is wrong; nothing was changed.
        """
        self.notifier.notify(systemd.reloading(time.monotonic()))
        try:
            what = self._reload(kernel, built)
        except GatewayError as error:
            kernel.metrics.config_reloads.labels(result="refused").inc()
            _log.error("reload_refused", reason=str(error))
            raise
        finally:
            self.notifier.notify(systemd.READY)
        kernel.metrics.config_reloads.labels(result="applied").inc()
        _log.info("config_reloaded", changed=what.changed, needs_restart=what.needs_restart)
        return {"changed": list(what.changed), "needs_restart": list(what.needs_restart)}

    def _reload(self, kernel: build.Kernel, built: Doors) -> Reload:
        """First all that can fail, then all that cannot."""
        wanted = self.config if self.config_file is None else load.load(self.config_file)
        load.check_files(wanted)
        what = difference(self.config, wanted)
        new = in_force(self.config, wanted)
        context = doors.tls_context(new)
        rings = keyrings.read(new)
        smarthost = self._smarthost_of(new)
        terms = built.terms(new)
        log.setup(new.log, on_drop=self.metrics.log_events_dropped.inc)
        kernel.key_users.use(rings)
        kernel.mailboxes.use_smarthost(smarthost)
        kernel.intake.use(build.intake_settings(new, has_smarthost=smarthost is not None))
        built.use_limits(new.limits)
        for listener in built.listeners:
            listener.use(terms[listener.name])
        if context is not None:
            for listener in built.listeners:
                listener.reload_tls(context)
            for server in built.https:
                server.reload_tls(context)
        self.config = new
        _warn_of(new)
        return what


def serve(config_file: Path) -> int:
    """Run the daemon of a configuration file; the exit code.

    Raises:
        GatewayError: it could not start; `exit_code` of the error says what to exit with.
    """
    config = load.load(config_file)
    load.check_files(config)
    environment = os.environ
    failpoints.arm(environment.get("GATEWAYD_FAILPOINTS", ""))
    os.umask(0o077)
    with owned(config.daemon.state_dir):
        metrics = Metrics()
        logging = log.setup(config.log, on_drop=metrics.log_events_dropped.inc)
        _warn_of(config)
        daemon = Daemon(
            config=config,
            metrics=metrics,
            config_file=config_file,
            sockets=systemd.listen_fds(environment),
            notifier=systemd.Notifier.of(environment),
            watchdog_s=systemd.watchdog_s(environment),
        )
        try:
            return run(daemon)
        finally:
            logging.close()


def _warn_of(config: Config) -> None:
    for doubt in advise(config):
        _log.warning("config_doubtful", key=doubt.key, value=str(doubt.value), want=doubt.expected)


def run(daemon: Daemon) -> int:
    """Run a daemon on a new event loop: uvloop where it is installed."""
    doors.shrink_tls_buffers()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(daemon.run())
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - it is optional
    except ImportError:
        return None
    return uvloop.new_event_loop


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that stopped the others: one of ours before any other."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            leaves.append(error)
    return next((error for error in leaves if isinstance(error, GatewayError)), leaves[0])
