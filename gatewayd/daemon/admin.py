"""The operator API of a daemon, and the same operations in a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import gatewayd
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.config.delivery import NextHop
from gatewayd.config.listeners import HttpSection
from gatewayd.config.tree import Config
from gatewayd.daemon import build
from gatewayd.daemon.statedir import owned
from gatewayd.delivery.smtp.connection import Connector, NoSession
from gatewayd.delivery.trouble import Phase
from gatewayd.errors import Code, ConfigError, ConfigProblem, Refused, StoreBroken
from gatewayd.mail.outcome import Delivered
from gatewayd.metrics import Metrics
from gatewayd.suppression.importing import Importer
from gatewayd.suppression.reading import SuppressionReader
from gatewayd.web.admin.app import create_admin_app
from gatewayd.web.admin.parts import AdminParts
from gatewayd.web.health import Fact
from gatewayd.web.server import HttpServer

CHECK_S: Final = 30.0  # for the whole of a trial connection


def control_server(
    kernel: build.Kernel,
    *,
    connector: Connector,
    reload: Callable[[], dict[str, Any]],
    facts: Callable[[], Sequence[Fact]],
    started_at: float,
) -> HttpServer:
    """The control socket: only who may open the file can use it.

    Raises:
        ConfigError: the directory of the socket cannot be made.
    """
    run_dir = kernel.config.daemon.run_dir
    try:
        run_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        problem = ConfigProblem(
            key="daemon.run_dir",
            value=str(run_dir),
            expected=f"a directory that this user can write ({error.strerror})",
        )
        raise ConfigError("daemon.run_dir", [problem]) from error

    async def status() -> dict[str, Any]:
        return {
            "version": gatewayd.__version__,
            "pid": os.getpid(),
            "uptime_s": int(kernel.clock.monotonic() - started_at),
            "ready": {fact.name: fact.is_ready for fact in facts()},
            **await _counted(kernel),
        }

    parts = _parts(kernel, connector=connector, reload=reload, status=status)
    return HttpServer(
        name="control",
        app=create_admin_app(parts),
        at=kernel.config.control_socket,
        section=HttpSection(),
    )


@contextlib.asynccontextmanager
async def operator_parts(config: Config) -> AsyncIterator[AdminParts]:
    """The same services without a daemon, for as long as the block lasts.

    Raises:
        StateDirLocked: a daemon runs after all.
        SchemaMismatch: the database wants `db init` or `db migrate`.
    """

    def ignore(error: StoreBroken) -> None:
        """The work that met it raises it."""

    with owned(config.daemon.state_dir):
        kernel = build.kernel(
            config,
            clock=SystemClock(),
            metrics=Metrics(),
            smarthost=load.next_hop(config.delivery.smarthost),
            on_broken=ignore,
        )
        connector = Connector(hostname=config.daemon.hostname, section=config.delivery)

        async def status() -> dict[str, Any]:
            return {
                "version": gatewayd.__version__,
                "pid": None,
                "uptime_s": None,
                "ready": {},
                **await _counted(kernel),
            }

        try:
            yield _parts(kernel, connector=connector, reload=None, status=status)
        finally:
            connector.close()
            await asyncio.to_thread(kernel.close)


def _parts(
    kernel: build.Kernel,
    *,
    connector: Connector,
    reload: Callable[[], dict[str, Any]] | None,
    status: Callable[[], Awaitable[dict[str, Any]]],
) -> AdminParts:
    async def check_next_hop(next_hop: NextHop) -> str:
        until = asyncio.get_running_loop().time() + CHECK_S
        try:
            connection = await connector.open(next_hop, until=until)
        except NoSession as error:
            raise Refused(Code.CONFLICT, _trouble(next_hop, error)) from error
        connection.channel.quit()
        return connection.tls

    return AdminParts(
        mailboxes=kernel.mailboxes,
        tokens=kernel.tokens,
        suppressions=kernel.suppressions,
        suppression_reader=SuppressionReader(kernel.database),
        importer=Importer(kernel.database),
        domains=kernel.domains,
        keys=kernel.keys,
        inspector=kernel.inspector,
        bounces=kernel.bounces,
        report_octets=kernel.config.bounces.parse_octets,
        check_next_hop=check_next_hop,
        reload=reload,
        status=status,
    )


_STEPS: Final = {  # of a session: what it tried, and what an operator can look at
    Phase.CONNECT: ("to connect", "is host and port right, and does a firewall let us out?"),
    Phase.TLS: ("to start TLS", "is the TLS mode the one of this port, and the CA file right?"),
    Phase.EHLO: ("to say EHLO", "is this an SMTP server, and does it take mail from here?"),
    Phase.AUTH: ("to log in", "are user and password right?"),
}


def _trouble(next_hop: NextHop, error: NoSession) -> str:
    """Where a trial connection ended, why, and what to look at."""
    outcome = error.outcome
    why = outcome.reply.text if isinstance(outcome, Delivered) else outcome.reason
    why = why.removeprefix(f"{next_hop}: ").removesuffix(f" ({error.phase.value})")
    tried, look_at = _STEPS.get(error.phase, ("to begin", "see the log of the daemon"))
    return f"{next_hop} failed when we tried {tried}: {why}; {look_at}"


async def _counted(kernel: build.Kernel) -> dict[str, Any]:
    counted = await kernel.inspector.count_by_state()
    return {"recipients": {state.value: count for state, count in counted.items()}}
