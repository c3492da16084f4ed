"""Doors, delivery and the simulator over a kernel: the services that a daemon runs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import sslproto
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from gatewayd import log
from gatewayd.bounces.postmaster import Postmaster
from gatewayd.clock import Clock
from gatewayd.config import load
from gatewayd.config.delivery import NextHop, TlsMode
from gatewayd.config.limits import LimitsSection
from gatewayd.config.listeners import SubmissionListener
from gatewayd.config.secret import locate
from gatewayd.config.tree import Config
from gatewayd.config.types import Bind
from gatewayd.daemon.build import Kernel
from gatewayd.daemon.supervisor import Service
from gatewayd.delivery.attempt import Attempts
from gatewayd.delivery.dispatcher import Dispatcher
from gatewayd.delivery.notify import Notifier
from gatewayd.delivery.rendering import Renderer
from gatewayd.delivery.signing import Signer
from gatewayd.delivery.smarthost import Smarthost
from gatewayd.delivery.smtp.connection import Connector
from gatewayd.delivery.smtp.pool import Pool
from gatewayd.errors import StoreBroken
from gatewayd.events.read import Events
from gatewayd.keys.verp import ReversePaths
from gatewayd.metrics import Metrics
from gatewayd.queue.notices import Notices
from gatewayd.smtpd import bounces, submission
from gatewayd.smtpd.auth import LoginThrottle
from gatewayd.smtpd.bounces import BounceHandler, BounceParts
from gatewayd.smtpd.data import MemoryBudget
from gatewayd.smtpd.server import Caps, Listener, bounce_terms, server_tls, submission_terms
from gatewayd.smtpd.simulated_returns import Returns
from gatewayd.smtpd.simulator import MailCatcher, Simulator
from gatewayd.smtpd.submission import SubmissionHandler
from gatewayd.smtpd.terms import Terms
from gatewayd.suppression.reading import SuppressionReader
from gatewayd.tracking.recorder import Recorder
from gatewayd.tracking.unsubscribe import Unsubscribes
from gatewayd.web.app import ApiParts, RecipientParts, create_api_app, create_metrics_app
from gatewayd.web.health import Readiness
from gatewayd.web.server import HttpServer

# asyncio keeps 256 KiB for each direction of an idle TLS connection; 16 KiB is one record.
TLS_BUFFER_OCTETS = 16_384

POLL_ALONE_S = 60.0  # nobody else writes this database: a wake-up is sure
POLL_SHARED_S = 1.0

NOTICES_SHARED_S = 5.0  # so long a DSN waits that another node owed when it died
BOUNCES = "bounces"
MINUTES_OF_A_DAY = 1440

LOOPBACK = Bind("127.0.0.1", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What a reload and a printed address need to get hold of.

    listeners: of submission, then the bounce listener if there is one.
    last_words: to be called when every door is closed; it keeps what they have taken last, or says
        what is lost of it.
    """

    services: tuple[Service, ...]
    listeners: tuple[Listener, ...]
    http: HttpServer
    https: tuple[HttpServer, ...]
    connector: Connector
    terms: Callable[[Config], Mapping[str, Terms]]
    use_limits: Callable[[LimitsSection], None]
    last_words: Callable[[], Awaitable[None]]
    close: Callable[[], None]


def shrink_tls_buffers() -> None:
    """Let an idle TLS connection cost a fifth of what it costs by default."""
    sslproto.SSLProtocol.max_size = TLS_BUFFER_OCTETS


def tls_context(config: Config) -> ssl.SSLContext | None:
    """The TLS side of our listeners; None where no certificate is configured.

    Raises:
        KeyFileError: a file cannot be used.
    """
    section = config.tls
    if section.certificate is None or section.private_key is None:
        return None
    credentials = load.credentials_directory()
    return server_tls(
        locate(section.certificate, credentials), locate(section.private_key, credentials)
    )


def doors(  # noqa: PLR0913 - a daemon is where all of these meet
    kernel: Kernel,
    *,
    sockets: Mapping[str, Sequence[socket.socket]],
    readiness: Readiness,
    is_overloaded: Callable[[], bool],
    on_fatal: Callable[[StoreBroken], None],
    catcher: MailCatcher,
    simulator: Simulator,
    show_caught: bool,
) -> Doors:
    """Build every service. The simulator must be running: its address is where sandbox mail goes.

    Raises:
        KeyFileError: the certificate cannot be used.
    """
    config, clock, metrics = kernel.config, kernel.clock, kernel.metrics
    tls = tls_context(config)
    shared = _Shared(kernel, on_fatal)
    listeners: tuple[Listener, ...] = tuple(
        Listener(
            name=section.name,
            bind=section.bind,
            sockets=sockets.get(section.name, ()),
            terms=shared.terms_of(config, section),
            verbs=submission.VERBS,
            make_handler=lambda _: SubmissionHandler(
                tokens=kernel.tokens, intake=kernel.intake, bodies=kernel.spool, clock=clock
            ),
            caps=shared.caps,
            tls_context=tls,
            is_overloaded=is_overloaded,
        )
        for section in config.submission
    )
    recorder = Recorder(kernel.database, section=config.tracking, clock=clock, metrics=metrics)
    recipients = None
    if kernel.links is not None:
        recipients = RecipientParts(
            links=kernel.links,
            recorder=recorder,
            unsubscribes=Unsubscribes(kernel.database),
            requests_per_minute=config.tracking.requests_per_minute,
            clock=clock,
            metrics=metrics,
        )
    if kernel.reverse_paths is not None:
        listeners += (
            _bounce_listener(
                kernel,
                kernel.reverse_paths,
                shared,
                sockets=sockets.get(BOUNCES, ()),
                tls=tls,
                is_overloaded=is_overloaded,
            ),
        )
    parts = ApiParts(
        intake=kernel.intake,
        tokens=kernel.tokens,
        inspector=kernel.inspector,
        events=Events(kernel.database),
        suppressions=kernel.suppressions,
        suppression_reader=SuppressionReader(kernel.database),
        readiness=readiness,
        limits=config.limits,
    )
    http = HttpServer(
        name="http",
        app=create_api_app(
            parts, recipients=recipients, caught_mail=catcher if show_caught else None
        ),
        at=config.http.bind,
        section=config.http,
        sockets=sockets.get("http", ()),
        tls_context=tls if config.http.tls else None,
        is_overloaded=is_overloaded,
    )
    services: list[Service] = []
    connector, delivery, close = _delivery(kernel, simulator)
    services += [delivery, _notifier(kernel), recorder]
    if config.metrics.bind is not None:
        services.append(
            HttpServer(
                name="metrics",
                app=create_metrics_app(metrics, readiness),
                at=config.metrics.bind,
                section=config.http,
                sockets=sockets.get("metrics", ()),
            )
        )
    services += [http, *listeners]
    return Doors(
        services=tuple(services),
        listeners=listeners,
        http=http,
        https=(http,) if config.http.tls else (),
        connector=connector,
        terms=shared.terms,
        use_limits=shared.use_limits,
        last_words=recorder.last_words,
        close=close,
    )


def make_simulator(
    config: Config, catcher: MailCatcher, *, clock: Clock, metrics: Metrics
) -> Simulator:
    """The receiving server for sandbox mail, on a loopback port that the system picks.

    Its sessions are not those of the daemon, so they are counted apart. It takes a message of any
    size that memory has room for, so that a reload may raise what the doors take.
    """
    limits = config.limits
    message_octets = max(limits.message_octets, limits.memory_octets)
    return Simulator(
        bind=LOOPBACK,
        catcher=catcher,
        returns=Returns(
            config.bounces.bind if config.bounces.domain is not None else None, clock=clock
        ),
        limits=limits.model_copy(update={"message_octets": message_octets}),
        timeouts=config.timeouts,
        clock=clock,
        metrics=metrics,
    )


def simulated_hop(simulator: Simulator) -> NextHop:
    bind = simulator.address
    return NextHop(host=bind.host, port=bind.port, tls_mode=TlsMode.NONE_ON_LOOPBACK)


class _Shared:
    """What all listeners share: caps, memory, failed logins.

    The bounce listener has memory of its own: whoever fills it keeps no client from submitting.
    """

    def __init__(self, kernel: Kernel, on_fatal: Callable[[StoreBroken], None]) -> None:
        limits = kernel.config.limits
        self._kernel = kernel
        self._on_fatal = on_fatal
        self._budget = MemoryBudget(limits.memory_octets)
        self._bounce_budget = MemoryBudget(_for_strangers(limits))
        self._throttle = LoginThrottle(
            clock=kernel.clock,
            per_minute=limits.auth_failures_per_minute,
            per_day=limits.auth_failures_per_day,
        )
        self.caps = Caps(limits)

    def use_limits(self, limits: LimitsSection) -> None:
        """Take other limits, after a reload."""
        self._budget.use(limits.memory_octets)
        self._bounce_budget.use(_for_strangers(limits))
        self._throttle.use(
            per_minute=limits.auth_failures_per_minute, per_day=limits.auth_failures_per_day
        )
        self.caps.use(limits)

    def terms(self, config: Config) -> Mapping[str, Terms]:
        """The terms of each listener under a configuration, by its name."""
        return {
            **{section.name: self.terms_of(config, section) for section in config.submission},
            BOUNCES: self.bounce_terms(config),
        }

    def bounce_terms(self, config: Config) -> Terms:
        section = config.bounces
        octets = {"message_octets": section.message_octets}
        return bounce_terms(
            hostname=config.daemon.hostname,
            has_tls=config.tls.certificate is not None,
            limits=config.limits.model_copy(update=octets),
            timeouts=config.timeouts,
            budget=self._bounce_budget,
            throttle=self._throttle,
            clock=self._kernel.clock,
            metrics=self._kernel.metrics,
            on_fatal=self._on_fatal,
        )

    def terms_of(self, config: Config, section: SubmissionListener) -> Terms:
        return submission_terms(
            section=section,
            hostname=config.daemon.hostname,
            limits=config.limits,
            timeouts=config.timeouts,
            budget=self._budget,
            throttle=self._throttle,
            clock=self._kernel.clock,
            metrics=self._kernel.metrics,
            on_fatal=self._on_fatal,
        )


def _for_strangers(limits: LimitsSection) -> int:
    """Octets of memory for what comes without a login."""
    return limits.memory_octets // 4


def _bounce_listener(
    kernel: Kernel,
    reverse_paths: ReversePaths,
    shared: _Shared,
    *,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None,
    is_overloaded: Callable[[], bool],
) -> Listener:
    config, section = kernel.config, kernel.config.bounces
    parts = BounceParts(
        bounces=kernel.bounces,
        reverse_paths=reverse_paths,
        postmaster=Postmaster(
            kernel.database,
            address=section.postmaster or "",
            hostname=config.daemon.hostname,
            on_queued=kernel.wakeup.notify,
        ),
        bodies=kernel.spool,
        has_room=kernel.space.has_room,
        reading=asyncio.Semaphore(bounces.READINGS),
        blame=LoginThrottle(
            clock=kernel.clock,
            per_minute=section.bad_recipients_per_minute,
            per_day=section.bad_recipients_per_minute * MINUTES_OF_A_DAY,
        ),
        rejected=kernel.metrics.bounce_rejected,
        parse_octets=section.parse_octets,
        received_hops=config.limits.received_hops,
    )
    return Listener(
        name=BOUNCES,
        bind=section.bind,
        sockets=sockets,
        terms=shared.bounce_terms(config),
        verbs=bounces.verbs_for(reverse_paths.domain),
        make_handler=lambda peer: BounceHandler(parts, peer),
        caps=shared.caps,
        tls_context=tls,
        is_overloaded=is_overloaded,
    )


def _notifier(kernel: Kernel) -> Notifier:
    return Notifier(
        notices=Notices(kernel.database, wakeup=kernel.wakeup),
        spool=kernel.spool,
        hostname=kernel.config.daemon.hostname,
        section=kernel.config.delivery,
        wakeup=kernel.queue.owed,
        clock=kernel.clock,
        metrics=kernel.metrics,
        log=log.get_logger("gatewayd.delivery"),
        poll_s=POLL_ALONE_S if kernel.dialect.has_single_node else NOTICES_SHARED_S,
    )


def _delivery(
    kernel: Kernel, simulator: Simulator
) -> tuple[Connector, Dispatcher, Callable[[], None]]:
    config, clock = kernel.config, kernel.clock
    section = config.delivery
    logger = log.get_logger("gatewayd.delivery")
    connector = Connector(hostname=config.daemon.hostname, section=section)
    pool = Pool(connector, section=section, clock=clock)
    signer = Signer(
        keys=kernel.domains,
        spool=kernel.spool,
        renderer=Renderer(spool=kernel.spool, links=kernel.links),
        threads=section.signing_threads,
        metrics=kernel.metrics,
        log=logger,
    )
    attempts = Attempts(
        queue=kernel.queue,
        pool=pool,
        signer=signer,
        section=section,
        clock=clock,
        metrics=kernel.metrics,
        log=logger,
        redact=log.address,
        reverse_paths=kernel.reverse_paths,
    )
    dispatcher = Dispatcher(
        queue=kernel.queue,
        handover=kernel.handover,
        route=Smarthost(
            next_hops=kernel.mailboxes, simulator=simulated_hop(simulator), attempts=attempts
        ),
        pool=pool,
        section=section,
        wakeup=kernel.wakeup,
        clock=clock,
        log=logger,
        poll_s=POLL_ALONE_S if kernel.dialect.has_single_node else POLL_SHARED_S,
    )

    def close() -> None:
        signer.close()
        connector.close()

    return connector, dispatcher, close
