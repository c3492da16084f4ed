"""Domains: make, list, publish and use signing keys. Private keys are sealed at rest."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from gatewayd.clock import Clock
from gatewayd.dkim.key import Algorithm, SigningKey, generate_ed25519, generate_rsa
from gatewayd.errors import Code, Refused
from gatewayd.keys.sealed import Sealer
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.store import dkim_keys
from gatewayd.store.database import Database, Tx
from gatewayd.store.dkim_keys import DkimKeyRow

FRESH_S = 30.0  # how long keys are used before the database is asked again


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsRecord:
    """A record to publish. `name` is absolute, without the final dot."""

    name: str
    type: str
    value: str
    why: str


class Domains:
    """Signing keys from the outside."""

    def __init__(self, database: Database, sealer: Sealer, *, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[SigningKey, ...]]] = {}
        self._opened: dict[str, SigningKey] = {}

    def use(self, sealer: Sealer) -> None:
        """Take other sealing keys, after a rotation."""
        self._sealer = sealer
        self._known.clear()

    async def add(self, domain: str) -> tuple[DnsRecord, ...]:
        """Make an RSA-2048 and an Ed25519 key for a domain.

        Raises:
            Refused: validation_failed for no domain, conflict when it has keys.
        """
        name = _parse(domain)
        now = self._clock.now()
        stem = f"gw{now:%Y%m%d}"
        keys = [
            await asyncio.to_thread(generate_rsa, name, f"{stem}r"),
            await asyncio.to_thread(generate_ed25519, name, f"{stem}e"),
        ]
        rows = [self._row(key, now) for key in keys]

        def work(tx: Tx) -> None:
            if dkim_keys.of_domain(tx, name):
                raise Refused(
                    Code.CONFLICT,
                    f"{name} has keys; see `gatewayd domains dns {name}`, or remove them first",
                )
            dkim_keys.add(tx, rows)

        await self._database.write(work)
        self._known.pop(name, None)
        return _records(name, keys)

    async def list(self) -> list[DkimKeyRow]:
        return await self._database.read(dkim_keys.in_order)

    async def dns(self, domain: str) -> tuple[DnsRecord, ...]:
        """The records that publish the keys of a domain.

        Raises:
            Refused: not_found when it has none.
        """
        name = _parse(domain)
        keys = await self._load(name)
        if not keys:
            raise Refused(
                Code.NOT_FOUND, f"{name} has no keys; make them with `gatewayd domains add {name}`"
            )
        return _records(name, keys)

    async def remove(self, domain: str) -> None:
        """Sign no more for a domain.

        Raises:
            Refused: not_found when it has no keys.
        """
        name = _parse(domain)
        if not await self._database.write(lambda tx: dkim_keys.remove(tx, name)):
            raise Refused(Code.NOT_FOUND, f"{name} has no keys")
        self._known.pop(name, None)

    async def signing_keys(self, domain: str) -> tuple[SigningKey, ...]:
        """The keys that sign mail of a domain in A-labels, RSA first; none when it has none."""
        known = self._known.get(domain)
        now = self._clock.monotonic()
        if known is not None and now - known[0] < FRESH_S:
            return known[1]
        keys = await self._load(domain)
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[domain] = (now, keys)
        return keys

    async def _load(self, domain: str) -> tuple[SigningKey, ...]:
        rows = await self._database.read(lambda tx: dkim_keys.of_domain(tx, domain))
        keys = [await self._open(row) for row in rows]
        return tuple(sorted(keys, key=lambda key: key.algorithm is not Algorithm.RSA_SHA256))

    async def _open(self, row: DkimKeyRow) -> SigningKey:
        """Opening a key costs tens of milliseconds, so it is done once, and on a thread."""
        found = self._opened.get(row.private_key)
        if found is None:
            pem = self._sealer.open(row.private_key).encode()
            found = await asyncio.to_thread(
                SigningKey.from_pem, pem, domain=row.domain, selector=row.selector
            )
            self._opened[row.private_key] = found
        return found

    def _row(self, key: SigningKey, now: dt.datetime) -> DkimKeyRow:
        return DkimKeyRow(
            domain=key.domain,
            selector=key.selector,
            algorithm=key.algorithm.value,
            private_key=self._sealer.seal(key.to_pem().decode()),
            created_at=now,
        )


def _parse(domain: str) -> str:
    try:
        name = Address.parse(f"x@{domain}").ascii_domain
    except AddressSyntaxError as error:
        raise Refused(Code.VALIDATION_FAILED, f"{domain!r} is no domain: {error}") from error
    if name.startswith("["):
        raise Refused(Code.VALIDATION_FAILED, f"{domain} is an address: no DNS record can name it")
    return name


def _records(domain: str, keys: Sequence[SigningKey]) -> tuple[DnsRecord, ...]:
    records = [
        DnsRecord(name=name, type="TXT", value=value, why=f"DKIM, {key.algorithm.value}")
        for key in keys
        for name, value in [key.txt_record()]
    ]
    records.append(
        DnsRecord(
            name=f"_dmarc.{domain}",
            type="TXT",
            value="v=DMARC1; p=none",
            why="DMARC: start with none, then quarantine",
        )
    )
    return tuple(records)
