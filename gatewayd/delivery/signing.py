"""Signer: from a claimed message to the octets that go on the wire, signed by its domain's keys.

The octets are the same at each attempt: what is signed is what was accepted, or what `rendering.py`
makes of it for one recipient, and `t=` is the time of acceptance. Rendering, hashing and signing
run on threads of their own; the last two release the interpreter.

A body in the spool is read three times: to compare it with what was accepted, to hash it, to send
it. Nothing of a damaged one is ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from gatewayd.delivery.ports import Log, Metrics, SigningKeys, SpoolReader
from gatewayd.delivery.rendering import Renderer
from gatewayd.dkim.key import SigningKey
from gatewayd.dkim.sign import sign
from gatewayd.mail.address import Address
from gatewayd.mail.message import RawMessage
from gatewayd.queue.claim import Claim

_DOMAINS_TOLD: Final = 1000  # domains without a key that are remembered as told


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A message as it goes on the wire, before dot-stuffing.

    header: header section with its signatures, ending with CRLF, without the blank line.
    """

    header: bytes
    message: RawMessage  # header section without signatures, and the body
    spool: SpoolReader
    executor: Executor

    @property
    def size_octets(self) -> int:
        """What SIZE counts (RFC 1870 3)."""
        added = len(self.header) - len(self.message.header.octets)
        return self.message.size_octets + added

    @property
    def has_8bit(self) -> bool:
        return self.message.has_8bit

    @property
    def needs_smtputf8(self) -> bool:
        return self.message.needs_smtputf8

    async def blocks(self) -> AsyncGenerator[bytes]:
        """The octets, in one block where they are in memory.

        Raises:
            SpoolDamaged: the body is not what was accepted.
        """
        body = self.message.body
        if isinstance(body, bytes):
            yield b"".join((self.header, b"\r\n", body))
            return
        yield self.header + b"\r\n"
        loop = asyncio.get_running_loop()
        blocks = self.spool.blocks(body)
        try:
            while block := await loop.run_in_executor(self.executor, next, blocks, b""):
                yield block
        finally:
            _close(blocks)


class Signer:
    """Renders messages.

    Args:
        keys: finds the keys of a domain.
        spool: reads large bodies.
        renderer: makes what each recipient gets.
        threads: how many sign and read at the same time.
    """

    def __init__(
        self,
        *,
        keys: SigningKeys,
        spool: SpoolReader,
        renderer: Renderer,
        threads: int,
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._keys = keys
        self._spool = spool
        self._renderer = renderer
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="signing")
        self._metrics = metrics
        self._log = log
        self._told: set[str] = set()

    async def render(self, claim: Claim) -> Rendered:
        """Check, hash and sign.

        Raises:
            SpoolDamaged: the body is not what was accepted.
            StoreError: keys or body cannot be read now.
        """
        domain = _domain(claim.mailbox)
        keys = await self._keys.signing_keys(domain) if domain else ()
        await self._spool.check(claim.message.body)
        if keys:
            self._told.discard(domain)
        else:
            self._unsigned(domain)
            if not claim.is_individual:
                return self._rendered(claim.message.header.octets, claim.message)
        header, message = await asyncio.get_running_loop().run_in_executor(
            self._executor, self._sign, claim, keys
        )
        return self._rendered(header, message)

    def _rendered(self, header: bytes, message: RawMessage) -> Rendered:
        return Rendered(header=header, message=message, spool=self._spool, executor=self._executor)

    def close(self) -> None:
        """End the threads; what they are at is finished first."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _sign(self, claim: Claim, keys: Sequence[SigningKey]) -> tuple[bytes, RawMessage]:
        content = self._renderer.render(claim)
        header = content.message.header
        fields = sign(header, content.body_hash, keys, claim.accepted_at) if keys else b""
        return fields + header.octets, content.message

    def _unsigned(self, domain: str) -> None:
        self._metrics.message_unsigned()
        if domain not in self._told and len(self._told) < _DOMAINS_TOLD:
            self._told.add(domain)
            self._log.warning("message_unsigned", domain=domain, fix="gatewayd domains add DOMAIN")


def _domain(mailbox: str) -> str:
    """The domain that answers for a mailbox, in A-labels; "" when the mailbox is gone."""
    _, _, domain = mailbox.rpartition("@")
    return domain.lower() if domain.isascii() else Address.parse(mailbox).ascii_domain


def _close(blocks: Iterator[bytes]) -> None:
    """Close the file of a body that was not read to its end."""
    if isinstance(blocks, Generator):
        with contextlib.suppress(ValueError):  # a thread is still in it: it is closed after that
            blocks.close()
