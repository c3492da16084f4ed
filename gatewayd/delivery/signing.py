"""Signer: from a claimed message to the octets that go on the wire, signed by its domain's keys.

The octets are the same at each attempt: what is signed is what was accepted, or what `rendering.py`
makes of it for one recipient, and `t=` is the time of acceptance. Rendering, hashing and signing
run on threads of their own; the last two release the interpreter.

A body in the spool is read three times: to hash it, to compare it with what was accepted, to send
it; what the renderer holds for many recipients is read once. Nothing of a damaged one is ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from gatewayd.delivery.ports import Log, Metrics, SigningKeys, SpoolReader
from gatewayd.delivery.rendering import Content, Renderer, as_accepted
from gatewayd.delivery.signing_threads import SigningThreads
from gatewayd.dkim.key import SigningKey
from gatewayd.dkim.sign import sign
from gatewayd.mail.address import Address
from gatewayd.mail.message import SpooledBody
from gatewayd.queue.claim import Claim
from gatewayd.spool.port import BLOCK_OCTETS

_CRLF: Final = b"\r\n"
_TOGETHER_OCTETS: Final = 2 * BLOCK_OCTETS
_DOMAINS_TOLD: Final = 1000  # domains without a key that are remembered as told


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A message as it goes on the wire, before dot-stuffing.

    signatures: fields that go before its header section.
    size_octets: what SIZE counts (RFC 1870 3). has_8bit: octets over 127 anywhere (RFC 6152).
    """

    signatures: bytes
    content: Content
    spool: SpoolReader
    executor: Executor
    size_octets: int = field(init=False)
    has_8bit: bool = field(init=False)
    needs_smtputf8: bool = field(init=False)

    def __post_init__(self) -> None:
        # Each is asked for several times in a transaction, and some go over all octets.
        content, header = self.content, self.content.header.octets
        size = len(self.signatures) + len(header) + len(_CRLF) + content.body_octets
        object.__setattr__(self, "size_octets", size)
        object.__setattr__(self, "has_8bit", content.has_8bit)
        object.__setattr__(self, "needs_smtputf8", not header.isascii())

    def at_once(self) -> bytes | None:
        """All octets, if they are few and no file, so that they are one write."""
        body = self.content.body
        if isinstance(body, SpooledBody) or self.size_octets > _TOGETHER_OCTETS:
            return None
        pieces = (body,) if isinstance(body, bytes) else body
        return b"".join((self.signatures, self.content.header.octets, _CRLF, *pieces))

    async def blocks(self) -> AsyncGenerator[bytes]:
        """The octets, in one block if they are few.

        Raises:
            SpoolDamaged: the body is not what was accepted.
        """
        octets = self.at_once()
        if octets is not None:
            yield octets
            return
        body = self.content.body
        header = b"".join((self.signatures, self.content.header.octets, _CRLF))
        if not isinstance(body, SpooledBody):
            for block in _in_blocks((header, body) if isinstance(body, bytes) else (header, *body)):
                yield block
            return
        yield header
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
        self._threads = SigningThreads(threads)
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
        if keys:
            self._told.discard(domain)
        elif domain:  # mail of ours that is sent on for postmaster has nobody to sign for it
            self._unsigned(domain)
        if keys or claim.is_individual:
            signatures, content = await self._threads.run(lambda: self._sign(claim, keys))
        else:
            signatures, content = b"", as_accepted(claim.message)
        if isinstance(content.body, SpooledBody):
            await self._spool.check(content.body)
        return Rendered(
            signatures=signatures,
            content=content,
            spool=self._spool,
            executor=self._threads.executor,
        )

    def close(self) -> None:
        """End the threads; what they are at is finished first."""
        self._threads.close()

    def _sign(self, claim: Claim, keys: Sequence[SigningKey]) -> tuple[bytes, Content]:
        content = self._renderer.render(claim, is_signed=bool(keys))
        if not keys:
            return b"", content
        return sign(content.header, content.body_hash, keys, claim.accepted_at), content

    def _unsigned(self, domain: str) -> None:
        self._metrics.message_unsigned()
        if domain not in self._told and len(self._told) < _DOMAINS_TOLD:
            self._told.add(domain)
            self._log.warning("message_unsigned", domain=domain, fix="gatewayd domains add DOMAIN")


def _domain(mailbox: str) -> str:
    """The domain that answers for a mailbox, in A-labels; "" when the mailbox is gone."""
    _, _, domain = mailbox.rpartition("@")
    return domain.lower() if domain.isascii() else Address.parse(mailbox).ascii_domain


def _in_blocks(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), BLOCK_OCTETS):
            yield piece[start : start + BLOCK_OCTETS]


def _close(blocks: Iterator[bytes]) -> None:
    """Close the file of a body that was not read to its end."""
    if isinstance(blocks, Generator):
        with contextlib.suppress(ValueError):  # a thread is still in it: it is closed after that
            blocks.close()
