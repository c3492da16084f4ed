"""Bounces.take(): what came back, to state, suppression, event; once, or not at all.

```
 Returned ─> reading_of  on a thread: parse, find what we have signed      reading.py
          ─> keep        one transaction: whom it means, what that does    decide.py, keep.py
          ─> Taken       durable: now the door may say 250
```

Reports are few beside what is sent, and reading one costs more than writing its rows, so each is a
work of its own; the writer commits those that wait together.

What is not recognised changes nothing. It is counted, and recorded as `return.unrecognised` at most
once an hour for one address, or for one reason where nothing says whose it is: who can send us one
such message can send a million.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final, Protocol

from gatewayd.bounces.keep import Kept, keep
from gatewayd.bounces.reading import Reading, reading_of
from gatewayd.bounces.returned import Kind, Returned, Taken, Unrecognised
from gatewayd.bounces.signed import Signed
from gatewayd.clock import Clock
from gatewayd.config.returns import SuppressionSection
from gatewayd.errors import Code, Refused
from gatewayd.ids import RecipientId
from gatewayd.keys.verp import ReversePaths
from gatewayd.store import returns
from gatewayd.store.database import Database, Tx

__all__ = ["Bounces", "Kind", "Metrics", "Returned", "Taken", "Unrecognised"]

QUIET_S: Final = 3600.0
QUIET_LIMIT: Final = 10_000  # addresses remembered; then all are forgotten
RETRY_AFTER_S: Final = 300


class Metrics(Protocol):
    """What is counted here, once it is durable."""

    def report_taken(self) -> None: ...

    def report_rejected(self) -> None: ...

    def recipient_bounced(self, klass: str) -> None: ...

    def recipients_proved(self, recipients: int) -> None: ...

    def addresses_suppressed(self, addresses: int) -> None: ...


class Bounces:
    """Takes in what comes back.

    Args:
        database: where recipients are.
        reverse_paths: None without a bounce domain: then no address in a text is ours.
        find_tokens: everybody whose token of ours stands in a text (`tracking.links.Links.find`);
            None where none is ever made.
        section: how long an address is suppressed.
        parse_octets: how much of a message is read, from its beginning.
        clock: for the hour of what is not recognised.
        metrics: what is counted.
        on_owed: called when something was put into the outbox for submitters.
        executor: where messages are read; None for the loop's own.
    """

    def __init__(  # noqa: PLR0913 - what it stands on, each a thing of its own
        self,
        database: Database,
        *,
        reverse_paths: ReversePaths | None,
        find_tokens: Callable[[bytes], set[RecipientId]] | None,
        section: SuppressionSection,
        parse_octets: int,
        clock: Clock,
        metrics: Metrics,
        on_owed: Callable[[], None],
        executor: Executor | None,
    ) -> None:
        self._database = database
        self._signed = Signed(reverse_paths, find_tokens)
        self._section = section
        self._parse_octets = parse_octets
        self._clock = clock
        self._metrics = metrics
        self._on_owed = on_owed
        self._executor = executor
        self._told: dict[str, float] = {}

    async def known(self, ident: str) -> bool:
        """Whether a recipient, or a message, has this id: what `ReversePaths.read` gave."""
        return await self._database.read(lambda tx: returns.is_known(tx, ident))

    async def take(self, returned: Returned) -> Taken:
        """Take a returned message; durable when this returns, and the same again changes nothing.

        Raises:
            Refused: report_too_early, the outcome of the attempt is not known yet: come again.
            StoreError: nothing was stored, as far as we know.
        """
        reading = await asyncio.get_running_loop().run_in_executor(
            self._executor,
            functools.partial(reading_of, returned, self._signed, parse_octets=self._parse_octets),
        )
        if reading.why is not None and self._is_told(reading):
            self._metrics.report_rejected()
            return Taken(kind=Kind.UNRECOGNISED, why=reading.why)
        kept = await self._database.write(lambda tx: self._keep(tx, reading))
        self._count(kept)
        if kept.owed:
            self._on_owed()
        if kept.is_early:
            raise Refused(
                Code.REPORT_TOO_EARLY,
                "the message that this report is about is still being handed over; try again later",
                retry_after_s=RETRY_AFTER_S,
            )
        return kept.taken

    def _keep(self, tx: Tx, reading: Reading) -> Kept:
        """On the writer's thread, one after the other: so what is told is told once."""
        kept = keep(tx, reading, section=self._section, is_quiet=self._is_told(reading))
        if kept.taken.kind is Kind.UNRECOGNISED and not self._is_told(reading):
            if len(self._told) >= QUIET_LIMIT:
                self._told.clear()
            self._told[_key(reading)] = self._clock.monotonic()
        return kept

    def _is_told(self, reading: Reading) -> bool:
        """Whether there is an event already for what this would say if it is not recognised."""
        at = self._told.get(_key(reading))
        return at is not None and self._clock.monotonic() - at < QUIET_S

    def _count(self, kept: Kept) -> None:
        if kept.taken.kind is Kind.UNRECOGNISED:
            self._metrics.report_rejected()
        elif not kept.is_early:
            self._metrics.report_taken()
        for klass in kept.bounced:
            self._metrics.recipient_bounced(klass)
        self._metrics.recipients_proved(kept.proved)
        self._metrics.addresses_suppressed(kept.taken.suppressed)


def _key(reading: Reading) -> str:
    """An address that it came to, or was found with; else why it is not recognised."""
    return min(reading.idents, default=str(reading.why))
