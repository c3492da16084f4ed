"""What delivery needs from the rooms around it, and from the daemon that builds it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

from gatewayd.config.delivery import NextHop
from gatewayd.dkim.key import SigningKey
from gatewayd.ids import AttemptId, MailboxId, RecipientId
from gatewayd.mail.message import Body
from gatewayd.mail.outcome import Outcome
from gatewayd.queue.claim import Claim
from gatewayd.queue.outcome import AttemptRecord


class QueuePort(Protocol):
    """What is owed; `queue.service.Queue`."""

    async def lanes(self) -> dict[MailboxId, dt.datetime]:
        """Whose mail is queued, and when the first of it is due."""
        ...

    async def claim(self, wants: Mapping[MailboxId, int]) -> list[Claim]:
        """Lease up to so many due messages of each lane; durable on return."""
        ...

    async def mark(self, one: Claim) -> None:
        """Note durably that the final dot may be written; raises LeaseLost."""
        ...

    async def settle(
        self, one: Claim, outcomes: Mapping[RecipientId, Outcome], attempt: AttemptRecord
    ) -> None:
        """Keep what became of each recipient; durable on return; raises LeaseLost."""
        ...

    async def renew(self, held: Collection[Claim]) -> set[AttemptId]:
        """Hold claims longer; returns those that are not ours any more."""
        ...

    async def release(self, held: Collection[Claim]) -> None:
        """Give claims back untried; those with a marker become in doubt."""
        ...

    async def recover(self, *, all_leases: bool, held: Collection[Claim] = ()) -> tuple[int, int]:
        """Take back expired leases, but for what is held here; how many queued, and in doubt."""
        ...

    async def flush(self) -> None:
        """Return when every commit that was on its way has been told."""
        ...

    async def requeue_in_doubt(self) -> int:
        """Let recipients in doubt go back to the queue when their time has come."""
        ...


class NextHops(Protocol):
    """Where a mailbox's mail goes; `mailboxes.accounts.Mailboxes`."""

    async def next_hop(self, mailbox_id: MailboxId) -> NextHop | None:
        """Its own next hop, or the configured smarthost, or none. Asked often: keep it."""
        ...


class SigningKeys(Protocol):
    """DKIM keys by domain; `domains`."""

    async def signing_keys(self, domain: str) -> tuple[SigningKey, ...]:
        """Keys of a domain in A-labels; empty when it has none. Asked often: keep them."""
        ...


class SpoolReader(Protocol):
    """Large bodies; `spool.Spool`."""

    async def check(self, body: Body) -> None:
        """Compare with what was accepted; raises SpoolDamaged."""
        ...

    def blocks(self, body: Body) -> Iterator[bytes]:
        """The body in blocks; raises SpoolDamaged."""
        ...


class Metrics(Protocol):
    """What is counted and timed here."""

    def attempt_ended(self, *, seconds: float, outcomes: Collection[Outcome]) -> None:
        """One attempt took so long and gave its recipients these outcomes, durably."""
        ...

    def message_unsigned(self) -> None:
        """A message went out without DKIM-Signature, for want of a key."""
        ...


class Log(Protocol):
    """Structured log; `event` is snake_case, past tense."""

    def info(self, event: str, **fields: object) -> object: ...

    def warning(self, event: str, **fields: object) -> object: ...

    def error(self, event: str, **fields: object) -> object: ...
