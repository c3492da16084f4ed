"""Config to a graph of objects: the composition root.

```
Config ─> dialect ─> Database ─┬─> Tokens, Suppressions, Mailboxes, Domains, Keys
          key rings ───────────┤
          Spool, Space ────────┼─> Intake   <─ doors      (daemon/doors.py)
          Wakeup ──────────────┴─> Queue    <─ delivery   (daemon/doors.py)
```
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gatewayd.clock import Clock
from gatewayd.config import load
from gatewayd.config.delivery import NextHop
from gatewayd.config.storage import DatabaseSection
from gatewayd.config.tree import Config
from gatewayd.domains.service import Domains
from gatewayd.errors import KeyFileError, StoreBroken
from gatewayd.events.wakeup import Wakeup
from gatewayd.intake.pipeline import Intake, Settings
from gatewayd.intake.space import Space
from gatewayd.keys import files
from gatewayd.keys.ring import KeyRing, Purpose
from gatewayd.keys.sealed import Sealer
from gatewayd.keys.service import Keys, Uses
from gatewayd.mailboxes.accounts import Mailboxes
from gatewayd.metrics import Metrics
from gatewayd.queue.inspect import Inspector
from gatewayd.queue.service import Queue
from gatewayd.retention.sweep import Retention
from gatewayd.spool.directory import Spool
from gatewayd.store import migrate, sealed
from gatewayd.store import tokens as token_table
from gatewayd.store.database import Database
from gatewayd.store.dialect import Dialect
from gatewayd.store.postgres import PostgresDialect
from gatewayd.store.sqlite import SqliteDialect
from gatewayd.suppression.lists import Suppressions
from gatewayd.tokens.service import Tokens

RINGS = (Purpose.FERNET, Purpose.JWT, Purpose.VERP, Purpose.TRACKING)
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
    intake: Intake
    queue: Queue
    inspector: Inspector
    retention: Retention

    def close(self) -> None:
        self.database.close()


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
        for purpose in RINGS if found is None else _SINCE_0002:
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
    fernet, tokens_ring = rings(config)
    database = Database(dialect, readers=_readers(config.database), on_broken=on_broken)
    database.observe_groups(metrics.group_committed)
    wakeup = Wakeup()
    spool = Spool(config.spool_directory)
    space = Space(
        config.daemon.state_dir,
        message_octets=config.limits.message_octets,
        min_free_octets=config.storage.min_free_octets,
        reserve_octets=config.storage.reserve_octets,
        clock=clock,
    )
    sealer = Sealer(fernet)
    tokens = Tokens(
        database,
        tokens_ring,
        section=config.tokens,
        token_octets=config.limits.token_octets,
        clock=clock,
    )
    suppressions = Suppressions(database, clock=clock)
    mailboxes = Mailboxes(database, sealer, smarthost=smarthost, clock=clock)
    domains = Domains(database, sealer, clock=clock)

    def accepted(members: int) -> None:
        metrics.intake_set_size.observe(members)
        wakeup.notify()

    intake = Intake(
        database,
        tokens=tokens,
        suppressions=suppressions,
        spool=spool,
        space=space,
        settings=intake_settings(config, has_smarthost=smarthost is not None),
        clock=clock,
        metrics=metrics,
        on_accepted=accepted,
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
        keys=_keys(config, database, tokens, mailboxes, domains, clock),
        intake=intake,
        queue=Queue(
            database,
            section=config.delivery,
            suppression=config.suppression,
            wakeup=wakeup,
            metrics=metrics,
        ),
        inspector=Inspector(database, wakeup=wakeup),
        retention=Retention(database, spool, config.retention),
    )


def intake_settings(config: Config, *, has_smarthost: bool) -> Settings:
    return Settings(
        limits=config.limits,
        hostname=config.daemon.hostname,
        idempotency=dt.timedelta(seconds=config.retention.idempotency_s),
        has_smarthost=has_smarthost,
        token_leeway=dt.timedelta(seconds=config.tokens.leeway_s),
    )


def rings(config: Config) -> tuple[KeyRing, KeyRing]:
    """The Fernet and the JWT keys, read from their files."""
    return _ring(config, Purpose.FERNET), _ring(config, Purpose.JWT)


def _ring(config: Config, purpose: Purpose) -> KeyRing:
    directory, credentials = config.keys_directory, load.credentials_directory()
    if not files.is_present(directory, purpose, credentials):
        raise KeyFileError(
            f"{directory}/{purpose.value}.keys is missing: `gatewayd db init` makes it with a new "
            "database; for one in use, restore the file from its backup"
        )
    return files.load(directory, purpose, credentials)


def _keys(
    config: Config,
    database: Database,
    tokens: Tokens,
    mailboxes: Mailboxes,
    domains: Domains,
    clock: Clock,
) -> Keys:
    current = {Purpose.FERNET: Sealer(_ring(config, Purpose.FERNET))}

    def use_fernet(ring: KeyRing) -> None:
        sealer = current[Purpose.FERNET] = Sealer(ring)
        mailboxes.use(sealer)
        domains.use(sealer)

    async def reseal() -> int:
        return await sealed.reseal_all(database, current[Purpose.FERNET].reseal)

    async def sealed_otherwise(ring: KeyRing) -> int:
        prefix = Sealer(ring).prefix
        return await database.read(lambda tx: sealed.count_without(tx, prefix))

    async def nothing() -> int:
        return 0

    async def live_tokens_of_old(ring: KeyRing) -> int:
        kid = ring.active.kid
        return await database.read(lambda tx: token_table.count_live_of_other_keys(tx, kid))

    credentials: Path | None = load.credentials_directory()
    return Keys(
        config.keys_directory,
        credentials,
        uses={
            Purpose.FERNET: Uses(reseal=reseal, needed=sealed_otherwise, use=use_fernet),
            Purpose.JWT: Uses(reseal=nothing, needed=live_tokens_of_old, use=tokens.use),
        },
        clock=clock,
    )
