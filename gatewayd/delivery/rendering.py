"""Renderer: the message that one recipient gets, before it is signed.

| the claim is for           | header section                    | body                         |
|----------------------------|-----------------------------------|------------------------------|
| everybody alike            | as accepted                       | as accepted                  |
| one recipient, to leave by | List-Unsubscribe; -Post after it  | as accepted                  |
|                            | if it is signed (RFC 8058 4)      |                              |
| one recipient, tracked     | the same if it may leave          | its links and pixel rendered |

What depends on the message alone (where its links are; a body that does not change, and its hash)
is found once, and kept while recipients of it are due. The same octets come out at every try, as
long as the tracking keys are the same.

Of a rendered body each recipient has its own only from the first change to the last; attachments
are held once for all. Where even that is more than 1 MiB, the body is not tracked: so much an
attempt may hold (promise X6). One that does not change is streamed from the spool if it is larger;
so is one of more than 4 MiB in all, which is not even read to find its links: two threads do that.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from gatewayd.delivery.ports import SpoolReader
from gatewayd.dkim.sign import body_hash
from gatewayd.errors import SpoolDamaged
from gatewayd.ids import QueueId, RecipientId
from gatewayd.mail import unsubscribe
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import Body, RawMessage, SpooledBody
from gatewayd.queue.claim import Claim
from gatewayd.tracking.links import Links
from gatewayd.tracking.rewrite import CompiledBody, compile_body

OWN_OCTETS: Final = 1_048_576  # of a rendered body, from the first change to the last
TRACKED_OCTETS: Final = 4_194_304  # of a body whose links are looked for: it is in memory then
READ_OCTETS: Final = 1_048_576  # of a body that does not change: it is read once
KEPT_OCTETS: Final = 33_554_432  # of compiled and of read bodies
KEPT: Final = 1000  # messages

Pieces = tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A message for one claim.

    body: as accepted, or the pieces of a rendered one.
    body_hash: for DKIM (RFC 6376 3.7); empty if nobody signs.
    """

    header: HeaderSection
    body: Body | Pieces
    body_hash: bytes

    @property
    def body_octets(self) -> int:
        match self.body:
            case bytes():
                return len(self.body)
            case SpooledBody():
                return self.body.size_octets
            case _:
                return sum(map(len, self.body))

    @property
    def has_8bit(self) -> bool:
        """Octets over 127 anywhere (RFC 6152)."""
        match self.body:
            case bytes():
                in_body = not self.body.isascii()
            case SpooledBody():
                in_body = self.body.has_8bit
            case _:
                in_body = not all(piece.isascii() for piece in self.body)
        return in_body or not self.header.octets.isascii()


def as_accepted(message: RawMessage) -> Content:
    """A message as accepted, for a domain without keys."""
    return Content(header=message.header, body=message.body, body_hash=b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """A body with places to fill in; before and after: what no recipient changes."""

    compiled: CompiledBody
    before: bytes
    after: bytes

    def render(self, links: Links, recipient_id: RecipientId) -> Pieces:
        octets = self.compiled.render(links.clicks(recipient_id), links.open_url(recipient_id))
        return (
            self.before,
            octets[len(self.before) : len(octets) - len(self.after)],
            self.after,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is the same for all recipients of a message.

    body: what they get, or the template of it. body_hash: empty for a template.
    octets: held in memory for it.
    """

    body: Body | _Template
    body_hash: bytes
    octets: int


class Renderer:
    """Renders messages. Called from any thread; each call may take some milliseconds.

    Args:
        spool: reads large bodies.
        links: makes the addresses; None where the daemon has none that recipients reach.
    """

    def __init__(self, *, spool: SpoolReader, links: Links | None) -> None:
        self._spool = spool
        self._links = links
        self._known: OrderedDict[QueueId, _Known] = OrderedDict()
        self._octets = 0
        self._being_found: dict[QueueId, Future[_Known]] = {}
        self._lock = threading.Lock()

    def render(self, claim: Claim, *, is_signed: bool) -> Content:
        """The message for the recipients of a claim.

        Args:
            claim: for whom.
            is_signed: whether what comes out is signed. One-click is not offered else: mail
                programs must not use it (RFC 8058 4).

        Raises:
            SpoolDamaged: the body is not what was accepted. What comes out as a SpooledBody is for
                the caller to compare.
        """
        message, links = claim.message, self._links
        if not claim.is_individual or links is None:
            body = message.body if _size(message.body) > READ_OCTETS else self._whole(message.body)
            hash_ = body_hash(self._blocks(body))
            return Content(header=message.header, body=body, body_hash=hash_)
        (recipient,) = claim.recipients
        header = message.header
        if claim.unsubscribe:
            url = links.unsubscribe_url(recipient.recipient_id)
            for name, value in unsubscribe.fields(url, one_click=is_signed):
                header = header.append(name, value)
        known = self._of_message(claim, links)
        if not isinstance(known.body, _Template):
            return Content(header=header, body=known.body, body_hash=known.body_hash)
        pieces = known.body.render(links, recipient.recipient_id)
        return Content(header=header, body=pieces, body_hash=body_hash(pieces))

    def _of_message(self, claim: Claim, links: Links) -> _Known:
        """What is known of a message. Who comes while it is being found waits; others do not."""
        queue_id = claim.queue_id
        with self._lock:
            known = self._known.get(queue_id)
            if known is not None:
                self._known.move_to_end(queue_id)
                return known
            earlier = self._being_found.get(queue_id)
            finding = self._being_found.setdefault(queue_id, Future[_Known]())
        if earlier is not None:
            return earlier.result()
        try:
            known = self._find(claim, links)
        except BaseException as fault:
            with self._lock:
                del self._being_found[queue_id]
            finding.set_exception(fault)
            raise
        with self._lock:
            del self._being_found[queue_id]
            self._keep(queue_id, known)
        finding.set_result(known)
        return known

    def _find(self, claim: Claim, links: Links) -> _Known:
        body = claim.message.body
        is_tracked = (claim.tracks_opens or claim.tracks_clicks) and _size(body) <= TRACKED_OCTETS
        if isinstance(body, SpooledBody) and not is_tracked and body.size_octets > READ_OCTETS:
            return _Known(body=body, body_hash=body_hash(self._blocks(body)), octets=0)
        octets = self._whole(body)
        if is_tracked:
            compiled = compile_body(
                claim.message.header,
                octets,
                opens=claim.tracks_opens,
                clicks=claim.tracks_clicks,
                base_url=links.base_url,
            )
            template = _template(compiled, links, claim.recipients[0].recipient_id)
            if template is not None:
                return _Known(body=template, body_hash=b"", octets=len(octets))
        is_held = len(octets) <= READ_OCTETS
        return _Known(
            body=octets if is_held else body,
            body_hash=body_hash((octets,)),
            octets=len(octets) if is_held else 0,
        )

    def _keep(self, queue_id: QueueId, known: _Known) -> None:
        self._known[queue_id] = known
        self._octets += known.octets
        while len(self._known) > KEPT or (self._octets > KEPT_OCTETS and len(self._known) > 1):
            _, forgotten = self._known.popitem(last=False)
            self._octets -= forgotten.octets

    def _whole(self, body: Body) -> bytes:
        """All of a body, compared with what was accepted."""
        if isinstance(body, bytes):
            return body
        octets = b"".join(self._spool.blocks(body))
        if hashlib.sha256(octets).hexdigest() != body.sha256:
            raise SpoolDamaged(f"spool file {body.key} has another SHA-256 than when accepted")
        return octets

    def _blocks(self, body: Body) -> Iterable[bytes]:
        return (body,) if isinstance(body, bytes) else self._spool.blocks(body)


def _size(body: Body) -> int:
    return len(body) if isinstance(body, bytes) else body.size_octets


def _template(compiled: CompiledBody, links: Links, anybody: RecipientId) -> _Template | None:
    """What to fill in; None if there is nothing, or it would be too much.

    Every recipient's octets are as many, since all tokens are of one length.
    """
    if not compiled.is_changed:
        return None
    first, last = compiled.pieces[0], compiled.pieces[-1]
    template = _Template(
        compiled=compiled,
        before=first if isinstance(first, bytes) else b"",
        after=last if isinstance(last, bytes) else b"",
    )
    _, own, _ = template.render(links, anybody)
    return template if len(own) <= OWN_OCTETS else None
