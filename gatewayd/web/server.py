"""uvicorn inside the daemon's loop: no signals, no exit, its own sockets, limits of `protocol.py`.

An HttpServer is a service: `run` until `drain`. It listens on sockets that it is given (by
systemd), else on a host and port, else on a unix socket of mode 0600.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from gatewayd import log
from gatewayd.config.listeners import HttpSection
from gatewayd.config.types import Bind
from gatewayd.web.protocol import ConnectionTerms, LimitedProtocol

FLUSH_S: Final = 30.0
_BACKLOG: Final = 1024
_HANDSHAKE_S: Final = 10.0
_TLS_SHUTDOWN_S: Final = 5.0

_log = log.get_logger(__name__)


class HttpServer:
    """A listener of one application; a service of the daemon.

    Args:
        name: in the log.
        app: what answers.
        at: where to listen: host and port, or the path of a unix socket.
        sockets: listening already, by systemd; then `at` is not used.
        section: deadlines, count of connections, proxies that are believed.
        tls_context: None for plain HTTP.
        is_overloaded: whether new connections are turned away; never, if it is not given.
    """

    def __init__(  # noqa: PLR0913 - a listener is where all of these meet
        self,
        *,
        name: str,
        app: ASGIApp,
        at: Bind | Path,
        section: HttpSection,
        sockets: Sequence[socket.socket] = (),
        tls_context: ssl.SSLContext | None = None,
        is_overloaded: Callable[[], bool] = bool,
    ) -> None:
        self.name = name
        self._at = at
        self._sockets = list(sockets)
        self._tls_context = tls_context
        self._stopping = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._server = _Server(
            uvicorn.Config(
                app,
                http=LimitedProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=bool(section.trusted_proxies),
                forwarded_allow_ips=list(section.trusted_proxies),
                server_header=False,
            ),
            ConnectionTerms(
                header_s=section.header_timeout_s,
                body_s=section.body_timeout_s,
                keep_alive_s=section.keep_alive_s,
                flush_s=FLUSH_S,
                connections=section.connections,
                is_overloaded=is_overloaded,
            ),
        )

    @property
    def addresses(self) -> tuple[Bind, ...]:
        """Where it listens, once `run` has set `ready`; nothing for a unix socket."""
        return tuple(
            Bind(*each.getsockname()[:2])
            for each in self._sockets
            if each.family in {socket.AF_INET, socket.AF_INET6} and each.fileno() >= 0
        )

    async def run(self, ready: asyncio.Event) -> None:
        """Listen until `drain`; ready: set when clients can connect.

        Raises:
            OSError: the address cannot be bound.
        """
        if self._stopping:
            ready.set()
            return
        self._ended.clear()
        is_our_path = False
        try:
            if not self._sockets:
                self._sockets = await _bind(self._at)
                is_our_path = isinstance(self._at, Path)
            self._server.ready = ready
            self._server.tls_context = self._front(self._tls_context)
            _log.info("listener_started", listener=self.name, at=self._places())
            await self._server.serve(sockets=self._sockets)
        finally:
            self._close(remove_path=is_our_path)
            self._ended.set()
            _log.info("listener_stopped", listener=self.name)

    async def drain(self, deadline: float) -> None:
        """Accept nobody more and let requests in progress end.

        deadline: on the loop's clock; what is not done by then is cut off. A submission that
        intake has is accepted or refused even so.
        """
        self._stopping = True
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        self._server.config.timeout_graceful_shutdown = left  # type: ignore[assignment]  # for wait_for
        self._server.should_exit = True
        await self._ended.wait()

    def reload_tls(self, context: ssl.SSLContext) -> None:
        """Use another certificate from the next handshake on; open connections keep theirs."""
        self._tls_context = context

    def _close(self, *, remove_path: bool) -> None:
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
        for each in self._sockets:
            each.close()
        if remove_path and isinstance(self._at, Path):
            self._at.unlink(missing_ok=True)

    def _front(self, context: ssl.SSLContext | None) -> ssl.SSLContext | None:
        """The context that listens: it hands each handshake to the newest one.

        asyncio holds the context it was given for as long as it listens. OpenSSL calls back at
        every handshake, with or without a server name.
        """
        if context is None:
            return None

        def newest(
            connection: ssl.SSLSocket | ssl.SSLObject,
            _name: str | None,
            _context: ssl.SSLContext,
        ) -> None:
            if self._tls_context is not None:
                connection.context = self._tls_context

        context.sni_callback = newest
        return context

    def _places(self) -> list[str]:
        paths = [str(self._at)] if isinstance(self._at, Path) else []
        return [*map(str, self.addresses), *paths]


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals and the process to the daemon."""

    def __init__(self, config: uvicorn.Config, terms: ConnectionTerms) -> None:
        super().__init__(config)
        self._terms = terms
        self.ready = asyncio.Event()
        self.tls_context: ssl.SSLContext | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def connection(self, loop: asyncio.AbstractEventLoop) -> LimitedProtocol:
        """The protocol of one connection."""
        return LimitedProtocol(self.config, self.server_state, self._terms, loop)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen with our protocol, where uvicorn's own would call sys.exit when it cannot."""
        loop = asyncio.get_running_loop()
        connection = functools.partial(self.connection, loop)
        handshake_s = _HANDSHAKE_S if self.tls_context else None
        shutdown_s = _TLS_SHUTDOWN_S if self.tls_context else None
        self.servers = []
        for each in sockets or ():
            if each.family is socket.AF_UNIX:
                listening = await loop.create_unix_server(connection, sock=each, backlog=_BACKLOG)
            else:
                listening = await loop.create_server(
                    connection,
                    sock=each,
                    backlog=_BACKLOG,
                    ssl=self.tls_context,
                    ssl_handshake_timeout=handshake_s,
                    ssl_shutdown_timeout=shutdown_s,
                )
            self.servers.append(listening)
        self.started = True
        self.ready.set()


async def _bind(at: Bind | Path) -> list[socket.socket]:
    """Sockets bound to a host and port, or to the path of a unix socket.

    Raises:
        OSError: none can be bound.
    """
    if isinstance(at, Path):
        return [_bind_unix(at)]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            each.bind(address)
            each.setblocking(False)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _bind_unix(path: Path) -> socket.socket:
    """A unix socket that nobody but its owner may connect to, from its first moment on."""
    if path.is_socket():
        path.unlink()  # of a daemon that was killed: this one holds the lock of the state directory
    each = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        each.bind(str(path))
        # Nobody can connect before listen(), and by then the mode is right.
        path.chmod(0o600)
        each.setblocking(False)
    except OSError:
        each.close()
        raise
    return each
