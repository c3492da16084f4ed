"""Listener: sockets, connection caps, TLS context, and a stop that lets messages end.

| who asks for a connection       | answer                                  |
|---------------------------------|-----------------------------------------|
| more than limits.connections    | 421 4.3.2, abort                        |
| more than connections_per_ip    | 421 4.3.2, abort                        |
| anyone, while `is_overloaded`   | 421 4.3.2, abort                        |
| more than connections_per_token | 421 4.3.2 to AUTH, close                |

On a port with TLS from the first octet the 421 is left out: a client could not read it. From 80%
of limits.connections on, clients that have not logged in get STRESS_S for a command and may make
no error.

Connections are accepted here and not by asyncio's server, so that a client counts from its first
packet on, also one that never ends its TLS handshake; that who is turned away costs one `send`; and
that a lack of file descriptors makes a pause and no noise.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gatewayd import log
from gatewayd.clock import Clock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.listeners import ListenerTls, SubmissionListener
from gatewayd.config.types import Bind
from gatewayd.errors import KeyFileError, StoreBroken
from gatewayd.smtpd import auth, replies
from gatewayd.smtpd.auth import LoginThrottle, network_of
from gatewayd.smtpd.connection import LINGER_S, Connection
from gatewayd.smtpd.data import MemoryBudget
from gatewayd.smtpd.session import Session, Verb
from gatewayd.smtpd.terms import Handler, Metrics, Terms, hello_reply

_log = log.get_logger(__name__)

STRESS: Final = 0.8  # of limits.connections
_BACKLOG = 1024
_PAUSE_S = 1.0  # of accepting, when the system has no room for more
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# asyncio's default buffer makes an idle TLS connection cost 289 KiB; a record has 16 KiB anyway.
_TLS_BUFFER_OCTETS = 16_384


class Caps:
    """Connections open now: in all, by network and by token; shared by all listeners."""

    def __init__(self, limits: LimitsSection) -> None:
        self._limits = limits
        self._by_network: Counter[str] = Counter()
        self._by_token: Counter[str] = Counter()
        self.open = 0

    def use(self, limits: LimitsSection) -> None:
        """Take other limits, after a reload; nobody is turned out."""
        self._limits = limits

    @property
    def is_stressed(self) -> bool:
        return self.open >= self._limits.connections * STRESS

    def admit(self, network: str) -> bool:
        """Count one more connection, if there may be one."""
        if self.open >= self._limits.connections:
            return False
        if self._by_network[network] >= self._limits.connections_per_ip:
            return False
        self.open += 1
        self._by_network[network] += 1
        return True

    def release(self, network: str) -> None:
        self.open -= 1
        _take_one(self._by_network, network)

    def admit_token(self, token_id: str) -> bool:
        """Count one more connection for a token, if there may be one."""
        if self._by_token[token_id] >= self._limits.connections_per_token:
            return False
        self._by_token[token_id] += 1
        return True

    def release_token(self, token_id: str) -> None:
        _take_one(self._by_token, token_id)


def _take_one(counts: Counter[str], key: str) -> None:
    if counts[key] > 1:
        counts[key] -= 1
    else:
        del counts[key]


class Listener:
    """A port, or several sockets of one kind; a service of the daemon.

    sockets: already bound, by systemd; empty to bind `bind` here.
    make_handler: called for each connection, with the IP address of the client.
    is_overloaded: whether new connections should be turned away, whatever the caps say.
    """

    def __init__(  # noqa: PLR0913 - a listener is where all of these meet
        self,
        *,
        name: str,
        bind: Bind,
        sockets: Sequence[socket.socket],
        terms: Terms,
        verbs: Mapping[bytes, Verb],
        make_handler: Callable[[str], Handler],
        caps: Caps,
        tls_context: ssl.SSLContext | None,
        is_overloaded: Callable[[], bool],
    ) -> None:
        self.name = name
        self._bind = bind
        self._sockets = list(sockets)
        self._terms = terms
        self._verbs = verbs
        self._make_handler = make_handler
        self._caps = caps
        self._tls_context = tls_context
        self._is_overloaded = is_overloaded
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None] | None] = set()
        self._connections: set[Connection] = set()
        self._stopping = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.addresses: tuple[Bind, ...] = ()

    # --- service

    async def run(self, ready: asyncio.Event) -> None:
        """Listen until `drain`; ready: set when clients can connect.

        Raises:
            OSError: the address cannot be bound.
        """
        if self._stopping.is_set():
            ready.set()
            return
        sslproto.SSLProtocol.max_size = _TLS_BUFFER_OCTETS
        try:
            async with asyncio.TaskGroup() as group:
                if not self._sockets:
                    self._sockets = await _bind(self._bind)
                for each in self._sockets:
                    each.setblocking(False)
                    each.listen(_BACKLOG)
                self.addresses = tuple(Bind(*each.getsockname()[:2]) for each in self._sockets)
                self._accepting = [
                    group.create_task(self._accept(each, group)) for each in self._sockets
                ]
                ready.set()
                _log.info("listener_started", listener=self.name, at=[*map(str, self.addresses)])
                await self._stopping.wait()
        finally:
            for each in self._sockets:
                each.close()
            self._cut_off()
        _log.info("listener_stopped", listener=self.name)

    async def drain(self, deadline: float) -> None:
        """Accept nobody more, let messages in progress end, then end every session.

        deadline: on the loop's clock; who is not done by then is cut off. A message whose end of
        data has come is accepted or refused even so.
        """
        self._stopping.set()
        accepting = self._stop_accepting()
        if accepting:
            await asyncio.wait(accepting)
        for task in self._handshakes:
            if task is not None:
                task.cancel()
        for connection in tuple(self._connections):
            connection.drain()
        try:
            async with asyncio.timeout_at(deadline):
                await self._empty.wait()
        except TimeoutError:
            _log.warning("listener_cut_off", listener=self.name, sessions=len(self._connections))
            self._cut_off()

    def use(self, terms: Terms) -> None:
        """Take other terms, after a reload; sessions keep those they began with."""
        self._terms = terms

    def reload_tls(self, context: ssl.SSLContext) -> None:
        """Use another certificate from the next handshake on; open sessions keep theirs."""
        self._tls_context = context

    # --- for sessions

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        return self._tls_context

    @property
    def is_stressed(self) -> bool:
        return self._caps.is_stressed

    def admit_token(self, token_id: str) -> bool:
        return self._caps.admit_token(token_id)

    def release_token(self, token_id: str) -> None:
        self._caps.release_token(token_id)

    # --- inside

    def _stop_accepting(self) -> list[asyncio.Task[None]]:
        for task in self._accepting:
            task.cancel()
        return self._accepting

    def _cut_off(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()

    async def _accept(self, listening: socket.socket, group: asyncio.TaskGroup) -> None:
        """Accept clients until it is cancelled, then close the socket."""
        with listening:
            while True:
                accepted = await self._next_client(listening)
                if accepted is not None:
                    client, network = accepted
                    if self._is_overloaded() or not self._caps.admit(network):
                        self._turn_away(client)
                    else:
                        group.create_task(self._serve(client, network))
                await asyncio.sleep(0)  # the sessions there are go on, however many come

    async def _next_client(self, listening: socket.socket) -> tuple[socket.socket, str] | None:
        try:
            client, address = await asyncio.get_running_loop().sock_accept(listening)
        except OSError as error:
            if error.errno in _NO_ROOM:
                _log.warning("listener_paused", listener=self.name, error=error.strerror)
                await asyncio.sleep(_PAUSE_S)
            return None  # any other error is that of a client that has gone (accept(2))
        return client, network_of(address[0]) if isinstance(address, tuple) else ""

    def _turn_away(self, client: socket.socket) -> None:
        self._terms.metrics.smtp_connections_refused.inc()
        with client, contextlib.suppress(OSError):
            if not self._terms.implicit_tls:
                client.send(replies.TOO_MANY_CONNECTIONS)

    async def _serve(self, client: socket.socket, network: str) -> None:
        sessions = self._terms.metrics.smtp_sessions
        sessions.inc()
        connection = Connection(asyncio.get_running_loop())
        self._connections.add(connection)
        self._empty.clear()
        try:
            if await self._has_connected(connection, client):
                session = Session(
                    connection,
                    terms=self._terms,
                    verbs=self._verbs,
                    handler=self._make_handler(connection.peer),
                    listener=self,
                )
                await session.run()
        finally:
            sessions.dec()
            self._caps.release(network)
            self._connections.discard(connection)
            if not self._connections:
                self._empty.set()

    async def _has_connected(self, connection: Connection, client: socket.socket) -> bool:
        """Give the client's socket to its connection; with TLS, when the handshake is done."""
        context = self._tls_context if self._terms.implicit_tls else None
        if self._stopping.is_set() or (self._terms.implicit_tls and context is None):
            client.close()
            return False
        handshake_s = self._terms.timeouts.tls_handshake_s if context is not None else None
        task = asyncio.current_task()
        self._handshakes.add(task)
        try:
            await connection.loop.connect_accepted_socket(
                lambda: connection,
                client,
                ssl=context,
                ssl_handshake_timeout=handshake_s,
                ssl_shutdown_timeout=LINGER_S if context is not None else None,
            )
        except OSError:
            client.close()
            return False
        finally:
            self._handshakes.discard(task)
        if self._stopping.is_set():
            connection.drain()
        return True


async def _bind(bind: Bind) -> list[socket.socket]:
    """A socket for each address of a host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        bind.host, bind.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            sockets.append(
                socket.create_server(address, family=family, backlog=_BACKLOG)  # v6 is v6 only
            )
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def bounce_terms(  # noqa: PLR0913 - what all listeners share, and what the bounce listener has
    *,
    hostname: str,
    has_tls: bool,
    limits: LimitsSection,
    timeouts: TimeoutsSection,
    budget: MemoryBudget,
    throttle: LoginThrottle,
    clock: Clock,
    metrics: Metrics,
    on_fatal: Callable[[StoreBroken], None],
) -> Terms:
    """The terms of the bounce listener: no AUTH, STARTTLS where there is a certificate."""
    always = (
        f"SIZE {limits.message_octets}",
        "8BITMIME",
        "SMTPUTF8",
        "PIPELINING",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        f"LIMITS RCPTMAX={limits.recipients}",
    )
    return Terms(
        hostname=hostname,
        hello_plain=hello_reply(hostname, (*always, *(("STARTTLS",) if has_tls else ()))),
        hello_tls=hello_reply(hostname, always),
        implicit_tls=False,
        starttls=has_tls,
        requires_login=False,
        trusts_clients=False,
        auth_without_tls=False,
        limits=limits,
        timeouts=timeouts,
        budget=budget,
        throttle=throttle,
        clock=clock,
        metrics=metrics,
        on_fatal=on_fatal,
    )


def submission_terms(  # noqa: PLR0913 - what all listeners share, and one listener's section
    *,
    section: SubmissionListener,
    hostname: str,
    limits: LimitsSection,
    timeouts: TimeoutsSection,
    budget: MemoryBudget,
    throttle: LoginThrottle,
    clock: Clock,
    metrics: Metrics,
    on_fatal: Callable[[StoreBroken], None],
) -> Terms:
    """The terms of a submission listener."""
    always = (
        f"SIZE {limits.message_octets}",
        "8BITMIME",
        "SMTPUTF8",
        "PIPELINING",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "DSN",
        f"LIMITS RCPTMAX={limits.recipients}",
    )
    login = f"AUTH {' '.join(auth.MECHANISMS)}"
    starttls = section.tls is ListenerTls.STARTTLS
    # Never in plaintext but on loopback, whatever the section says.
    auth_without_tls = section.auth_without_tls and section.bind.is_loopback
    before_tls = (
        *always,
        *(("STARTTLS",) if starttls else ()),
        *((login,) if auth_without_tls else ()),
    )
    return Terms(
        hostname=hostname,
        hello_plain=hello_reply(hostname, before_tls),
        hello_tls=hello_reply(hostname, (*always, login)),
        implicit_tls=section.tls is ListenerTls.IMPLICIT,
        starttls=starttls,
        requires_login=True,
        trusts_clients=False,
        auth_without_tls=auth_without_tls,
        limits=limits,
        timeouts=timeouts,
        budget=budget,
        throttle=throttle,
        clock=clock,
        metrics=metrics,
        on_fatal=on_fatal,
    )


def server_tls(certificate: Path, private_key: Path) -> ssl.SSLContext:
    """The TLS side of a server: 1.2 or newer, no compression, no renegotiation.

    Raises:
        KeyFileError: a file is missing or malformed, or the two do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, private_key, password=_no_password)
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) and error.errno else "not usable"
        raise KeyFileError(
            f"tls.certificate {certificate} with tls.private_key {private_key}: {what}; both must "
            "be PEM, belong together, and the key have no passphrase"
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the private key has a passphrase")
