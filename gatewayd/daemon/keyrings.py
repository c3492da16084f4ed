"""The key rings of a daemon: read from their files, given to the rooms that use them, rotated.

| purpose  | used by            | an old key is needed                                    |
|----------|--------------------|---------------------------------------------------------|
| fernet   | mailboxes, domains | while a row is sealed under it                          |
| jwt      | tokens             | while a token that it signed lives                      |
| verp     | delivery, bounces  | `bounces.verp_days` long: reports may come              |
| tracking | delivery, web      | as long as links in delivered mail should lead anywhere |
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from gatewayd.clock import Clock
from gatewayd.config import load
from gatewayd.config.tree import Config
from gatewayd.domains.service import Domains
from gatewayd.errors import KeyFileError
from gatewayd.keys import files
from gatewayd.keys.ring import KeyRing, Purpose
from gatewayd.keys.sealed import Sealer
from gatewayd.keys.service import Keys, Uses
from gatewayd.keys.verp import ReversePaths
from gatewayd.mailboxes.accounts import Mailboxes
from gatewayd.store import sealed
from gatewayd.store import tokens as token_table
from gatewayd.store.database import Database
from gatewayd.tokens.service import Tokens
from gatewayd.tracking.links import Links


@dataclass(frozen=True, slots=True, kw_only=True)
class Rings:
    """The keys of every purpose."""

    fernet: KeyRing
    jwt: KeyRing
    verp: KeyRing
    tracking: KeyRing


def read(config: Config) -> Rings:
    """Every ring, from its file.

    Raises:
        KeyFileError: a file is missing, damaged, or open to others.
    """
    return Rings(**{purpose.value: _ring(config, purpose) for purpose in Purpose})


def _ring(config: Config, purpose: Purpose) -> KeyRing:
    directory, credentials = config.keys_directory, load.credentials_directory()
    if not files.is_present(directory, purpose, credentials):
        raise KeyFileError(
            f"{directory}/{purpose.value}.keys is missing: `gatewayd db init` makes it with a new "
            "database; for one in use, restore the file from its backup"
        )
    return files.load(directory, purpose, credentials)


def _written_at(config: Config, purpose: Purpose) -> dt.datetime:
    """When the file was last written: a rotation is the only thing that writes it."""
    try:
        status = (config.keys_directory / f"{purpose.value}.keys").stat()
    except OSError:
        return dt.datetime.min.replace(tzinfo=dt.UTC)  # it is among the credentials
    return dt.datetime.fromtimestamp(status.st_mtime, dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsers:
    """Who works with keys; two of them only with a bounce domain, or a public address."""

    tokens: Tokens
    mailboxes: Mailboxes
    domains: Domains
    reverse_paths: ReversePaths | None
    links: Links | None

    def use(self, rings: Rings) -> None:
        """Give everybody other rings, after a reload."""
        self.use_fernet(rings.fernet)
        self.tokens.use(rings.jwt)
        self.use_verp(rings.verp)
        self.use_tracking(rings.tracking)

    def use_fernet(self, ring: KeyRing) -> None:
        sealer = Sealer(ring)
        self.mailboxes.use(sealer)
        self.domains.use(sealer)

    def use_verp(self, ring: KeyRing) -> None:
        if self.reverse_paths is not None:
            self.reverse_paths.use(ring)

    def use_tracking(self, ring: KeyRing) -> None:
        if self.links is not None:
            self.links.use(ring)


def rotating(config: Config, database: Database, users: KeyUsers, clock: Clock) -> Keys:
    """Keys that can be rotated while they are used."""
    current = {Purpose.FERNET: Sealer(_ring(config, Purpose.FERNET))}
    verp_lifetime = dt.timedelta(days=config.bounces.verp_days)

    def use_fernet(ring: KeyRing) -> None:
        current[Purpose.FERNET] = Sealer(ring)
        users.use_fernet(ring)

    async def reseal() -> int:
        return await sealed.reseal_all(database, current[Purpose.FERNET].reseal)

    async def sealed_otherwise(ring: KeyRing) -> int:
        prefix = Sealer(ring).prefix
        return await database.read(lambda tx: sealed.count_without(tx, prefix))

    async def live_tokens_of_old(ring: KeyRing) -> int:
        kid = ring.active.kid
        return await database.read(lambda tx: token_table.count_live_of_other_keys(tx, kid))

    async def reports_may_come(ring: KeyRing) -> int:
        """How many old keys may stand in a reverse-path that has not expired.

        They came out of use when the file was last written, at the earliest when the active key
        was made: a copied file makes the wait longer, never shorter.
        """
        since = max(ring.active.created_at, _written_at(config, ring.purpose))
        is_early = clock.now() < since + verp_lifetime
        return len(ring.old) if is_early and users.reverse_paths is not None else 0

    return Keys(
        config.keys_directory,
        load.credentials_directory(),
        uses={
            Purpose.FERNET: Uses(reseal=reseal, needed=sealed_otherwise, use=use_fernet),
            Purpose.JWT: Uses(reseal=_none, needed=live_tokens_of_old, use=users.tokens.use),
            Purpose.VERP: Uses(reseal=_none, needed=reports_may_come, use=users.use_verp),
            Purpose.TRACKING: Uses(reseal=_none, needed=_nobody, use=users.use_tracking),
        },
        clock=clock,
    )


async def _none() -> int:
    """Nothing is stored under these keys."""
    return 0


async def _nobody(ring: KeyRing) -> int:  # noqa: ARG001 - links in mail never end: it is the operator's choice
    return 0
