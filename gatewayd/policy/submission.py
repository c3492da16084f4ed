"""Submission: what every door hands over; Accepted: what it gets back."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field

from gatewayd.ids import QueueId, RecipientId
from gatewayd.mail.compose import Fields
from gatewayd.mail.envelope import Envelope
from gatewayd.mail.message import RawMessage
from gatewayd.tokens.claims import Principal


class Door(enum.StrEnum):
    """By which door a submission came."""

    SMTP = "smtp"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Where a submission came from: for Received and the log.

    peer: IP address, empty when it came by a unix socket.
    protocol: the `with` word of Received: ESMTPSA, ESMTPA, UTF8SMTPSA ... or HTTP (RFC 3848).
    tls: such as `TLSv1.3 TLS_AES_256_GCM_SHA384`, empty without.
    """

    door: Door
    peer: str
    helo: str
    protocol: str
    tls: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the client asked for beside the message.

    fingerprint: digest by which a repeated idempotency key is told from a reused one. HTTP gives
        method, path and body; over SMTP intake makes it from envelope and octets.
    track: what to track of this message, some of `opens` and `clicks`; None leaves it to the
        mailbox.
    """

    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    tags: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    track: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One message that a client asks us to take responsibility for."""

    principal: Principal
    envelope: Envelope
    content: RawMessage | Fields
    options: Options = field(default_factory=Options)
    trace: Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRecipient:
    """One forward-path that we are now responsible for; `status` is its state's word."""

    recipient_id: RecipientId
    address: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState:
    """What is left of a token's quota after this acceptance; `window` is `hour` or `day`."""

    window: str
    limit: int
    remaining: int
    reset_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The message is on stable storage.

    replayed: the same idempotency key was accepted before, and this is the answer it got.
    """

    queue_id: QueueId
    recipients: tuple[AcceptedRecipient, ...]
    accepted_at: dt.datetime
    replayed: bool = False
    quota: tuple[QuotaState, ...] = ()
