"""Config to a graph of objects: the composition root.

```
Config ─> dialect ─> Database ─┬─> Tokens, Suppressions, Mailboxes, Domains, Keys
          key rings ───────────┤
          Spool, Space ────────┼─> Intake   <─ doors      (daemon/doors.py)
                               │   Handover: from an acceptance to delivery, at once
          Wakeup ──────────────┴─> Queue    <─ delivery   (daemon/doors.py)
```
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from gatewayd.bounces.pipeline import Bounces
from gatewayd.clock import Clock
from gatewayd.config import load
from gatewayd.config.delivery import NextHop
from gatewayd.config.storage import DatabaseSection
from gatewayd.config.tree import Config
from gatewayd.daemon import keyrings
from gatewayd.daemon.keyrings import KeyUsers
from gatewayd.domains.service import Domains
from gatewayd.errors import StoreBroken
from gatewayd.events.wakeup import Wakeup
from gatewayd.intake.pipeline import Intake, Settings
from gatewayd.intake.space import Space
from gatewayd.keys import files
from gatewayd.keys.ring import KeyRing, Purpose
from gatewayd.keys.sealed import Sealer
from gatewayd.keys.service import Keys
from gatewayd.keys.verp import ReversePaths
from gatewayd.mailboxes.accounts import Mailboxes
from gatewayd.metrics import Metrics
from gatewayd.queue.handover import Handover
from gatewayd.queue.inspect import Inspector
from gatewayd.queue.service import Queue
from gatewayd.retention.sweep import Retention
from gatewayd.spool.directory import Spool
from gatewayd.spool.recent import RECENT_OCTETS
from gatewayd.store import migrate
from gatewayd.store.database import Database
from gatewayd.store.dialect import Dialect
from gatewayd.store.postgres import PostgresDialect
from gatewayd.store.sqlite import SqliteDialect
from gatewayd.suppression.lists import Suppressions
from gatewayd.tokens.service import Tokens
from gatewayd.tracking.links import Links

_SINCE_0002 = (Purpose.VERP, Purpose.TRACKING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Everything between the doors and the disk."""

    config: Config
    clock: Clock
    metrics: Metrics
    dialect: Dialect
    database: Database
    spool: Spool
    space: Space
    wakeup: Wakeup
    tokens: Tokens
    suppressions: Suppressions
    mailboxes: Mailboxes
    domains: Domains
    keys: Keys
    key_users: KeyUsers
    intake: Intake
    handover: Handover
    queue: Queue
    inspector: Inspector
    retention: Retention
    reverse_paths: ReversePaths | None
    links: Links | None
    bounces: Bounces

    def close(self) -> None:
        self.database.close()
        self.spool.close()


def dialect_of(config: Config, clock: Clock) -> Dialect:
    """The kind of database that the configuration names."""
    section = config.database
    if section.is_sqlite:
        return SqliteDialect(
            config.database_file,
            clock=clock,
            busy=dt.timedelta(seconds=section.busy_s),
            reader=dt.timedelta(seconds=section.reader_s),
        )
    password = load.secret(section.password_file) if section.password_file else None
    return PostgresDialect(
        section.url,
        password=password,
        readers=_readers(section),
        busy=dt.timedelta(seconds=section.busy_s),
        reader=dt.timedelta(seconds=section.reader_s),
    )


def _readers(section: DatabaseSection) -> int:
    """Connections that read; on PostgreSQL all but the one that writes."""
    return section.readers if section.is_sqlite else max(1, section.connections - 1)


def initialise(config: Config, clock: Clock) -> list[str]:
    """Make the tables and, where the database is new, the keys; the revisions that were run.

    Keys are made only with a new database, or by the revision that first needs them: one that is
    lost must never be replaced in silence.

    Raises:
        SchemaMismatch, StoreError, KeyFileError.
    """
    dialect = dialect_of(config, clock)
    credentials = load.credentials_directory()
    found = migrate.current(dialect)
    if found in (None, "0001"):
        for purpose in tuple(Purpose) if found is None else _SINCE_0002:
            if not files.is_present(config.keys_directory, purpose, credentials):
                files.create(config.keys_directory, purpose, now=clock.now())
    return migrate.upgrade(dialect)


def kernel(
    config: Config,
    *,
    clock: Clock,
    metrics: Metrics,
    smarthost: NextHop | None,
    on_broken: Callable[[StoreBroken], None],
) -> Kernel:
    """Open the database and build what stands on it.

    smarthost: where mail of a mailbox without a next hop of its own goes.

    Raises:
        SchemaMismatch: the database wants `db init` or `db migrate`.
        KeyFileError: a key file is missing or open to others.
        StoreError: the database cannot be opened.
    """
    dialect = dialect_of(config, clock)
    migrate.check(dialect)
    found = keyrings.read(config)
    database = Database(dialect, readers=_readers(config.database), on_broken=on_broken)
    database.observe_groups(metrics.group_committed)
    wakeup = Wakeup()
    spool = Spool(config.spool_directory, recent_octets=RECENT_OCTETS)
    space = Space(
        config.daemon.state_dir,
        message_octets=config.limits.message_octets,
        min_free_octets=config.storage.min_free_octets,
        reserve_octets=config.storage.reserve_octets,
        clock=clock,
    )
    sealer = Sealer(found.fernet)
    tokens = Tokens(
        database,
        found.jwt,
        section=config.tokens,
        token_octets=config.limits.token_octets,
        clock=clock,
    )
    suppressions = Suppressions(database, clock=clock)
    mailboxes = Mailboxes(database, sealer, smarthost=smarthost, clock=clock)
    domains = Domains(database, sealer, clock=clock)

    reverse_paths, links = returning(config, found.verp, clock), linking(config, found.tracking)
    key_users = KeyUsers(
        tokens=tokens,
        mailboxes=mailboxes,
        domains=domains,
        reverse_paths=reverse_paths,
        links=links,
    )

    handover = Handover(lease=dt.timedelta(seconds=config.delivery.lease_s), wakeup=wakeup)
    intake = Intake(
        database,
        tokens=tokens,
        suppressions=suppressions,
        spool=spool,
        space=space,
        settings=intake_settings(config, has_smarthost=smarthost is not None),
        clock=clock,
        metrics=metrics,
        handover=handover,
        on_accepted=metrics.intake_set_size.observe,
    )
    queue = Queue(
        database,
        section=config.delivery,
        suppression=config.suppression,
        wakeup=wakeup,
        metrics=metrics,
    )
    return Kernel(
        config=config,
        clock=clock,
        metrics=metrics,
        dialect=dialect,
        database=database,
        spool=spool,
        space=space,
        wakeup=wakeup,
        tokens=tokens,
        suppressions=suppressions,
        mailboxes=mailboxes,
        domains=domains,
        keys=keyrings.rotating(config, database, key_users, clock),
        key_users=key_users,
        intake=intake,
        handover=handover,
        queue=queue,
        inspector=Inspector(database, wakeup=wakeup),
        retention=Retention(database, spool, config.retention),
        reverse_paths=reverse_paths,
        links=links,
        bounces=Bounces(
            database,
            reverse_paths=reverse_paths,
            find_tokens=links.find_leaving if links is not None else None,
            section=config.suppression,
            parse_octets=config.bounces.parse_octets,
            clock=clock,
            metrics=metrics,
            on_owed=queue.owed.notify,
            executor=None,
        ),
    )


def returning(config: Config, ring: KeyRing, clock: Clock) -> ReversePaths | None:
    """What makes and reads our reverse-paths; None without a bounce domain."""
    section = config.bounces
    if section.domain is None:
        return None
    return ReversePaths(
        ring,
        domain=section.domain,
        lifetime=dt.timedelta(days=section.verp_days),
        clock=clock,
    )


def linking(config: Config, ring: KeyRing) -> Links | None:
    """What makes and reads the links of recipients; None where they could not reach us."""
    url = config.http.public_url
    return Links(ring, url) if url else None


def intake_settings(config: Config, *, has_smarthost: bool) -> Settings:
    return Settings(
        limits=config.limits,
        hostname=config.daemon.hostname,
        idempotency=dt.timedelta(seconds=config.retention.idempotency_s),
        has_smarthost=has_smarthost,
        token_leeway=dt.timedelta(seconds=config.tokens.leeway_s),
        has_links=bool(config.http.public_url),
    )
