"""Renderer: the message that one recipient gets, before it is signed.

| the claim is for           | header section                    | body                         |
|----------------------------|-----------------------------------|------------------------------|
| everybody alike            | as accepted                       | as accepted                  |
| one recipient, to leave by | List-Unsubscribe, -Post before it | as accepted                  |
| one recipient, tracked     | the same if it may leave          | its links and pixel rendered |

What depends on the message alone (where its links are, the hash of a body that does not change) is
found once, and kept while recipients of it are due. The same octets come out at every try, as long
as the tracking keys are the same.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gatewayd.delivery.ports import SpoolReader
from gatewayd.dkim.sign import body_hash
from gatewayd.ids import QueueId
from gatewayd.mail import unsubscribe
from gatewayd.mail.message import Body, RawMessage
from gatewayd.queue.claim import Claim
from gatewayd.tracking.links import Links
from gatewayd.tracking.rewrite import CompiledBody, compile_body

KEPT_OCTETS: Final = 33_554_432  # of compiled bodies
KEPT: Final = 1000  # messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A message for one claim. body_hash: of its body, for DKIM (RFC 6376 3.7)."""

    message: RawMessage
    body_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is the same for all recipients of a message: the hash, if the body is too."""

    compiled: CompiledBody | None
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
        self._lock = threading.Lock()

    def render(self, claim: Claim) -> Content:
        """The message for the recipients of a claim.

        Raises:
            SpoolDamaged: the body is not what was accepted.
        """
        message, links = claim.message, self._links
        if not claim.is_individual or links is None:
            return Content(message=message, body_hash=body_hash(self._blocks(message.body)))
        (recipient,) = claim.recipients
        header, body = message.header, message.body
        if claim.unsubscribe:
            url = links.unsubscribe_url(recipient.recipient_id)
            for name, value in reversed(unsubscribe.fields(url)):
                header = header.prepend(name, value)
        known = self._of_message(claim, links.base_url)
        if known.compiled is None:
            return Content(message=RawMessage(header, body), body_hash=known.body_hash)
        own = known.compiled.render(
            links.clicks(recipient.recipient_id), links.open_url(recipient.recipient_id)
        )
        return Content(message=RawMessage(header, own), body_hash=body_hash((own,)))

    def _of_message(self, claim: Claim, base_url: str) -> _Known:
        """What is known of a message, found now if it is new."""
        with self._lock:
            known = self._known.get(claim.queue_id)
            if known is None:
                known = self._find(claim, base_url)
                self._keep(claim.queue_id, known)
            else:
                self._known.move_to_end(claim.queue_id)
        return known

    def _find(self, claim: Claim, base_url: str) -> _Known:
        body = claim.message.body
        if claim.tracks_opens or claim.tracks_clicks:
            octets = body if isinstance(body, bytes) else b"".join(self._spool.blocks(body))
            compiled = compile_body(
                claim.message.header,
                octets,
                opens=claim.tracks_opens,
                clicks=claim.tracks_clicks,
                base_url=base_url,
            )
            if compiled.is_changed:
                return _Known(compiled=compiled, body_hash=b"", octets=len(octets))
        return _Known(compiled=None, body_hash=body_hash(self._blocks(body)), octets=0)

    def _keep(self, queue_id: QueueId, known: _Known) -> None:
        self._known[queue_id] = known
        self._octets += known.octets
        while len(self._known) > KEPT or (self._octets > KEPT_OCTETS and len(self._known) > 1):
            _, forgotten = self._known.popitem(last=False)
            self._octets -= forgotten.octets

    def _blocks(self, body: Body) -> Iterable[bytes]:
        return (body,) if isinstance(body, bytes) else self._spool.blocks(body)
