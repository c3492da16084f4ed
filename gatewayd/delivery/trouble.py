"""What each failure of an attempt means. The whole error policy is this file.

| phase           | reply or event                  | outcome   | because                          |
|-----------------|---------------------------------|-----------|----------------------------------|
| MAIL to DOT     | 4yz                             | Deferred  | RFC 5321 4.2.1                   |
| MAIL to DOT     | 5yz                             | Failed    | RFC 5321 4.2.1                   |
| CONNECT to AUTH | 4yz, 5yz                        | Deferred  | 1                                |
| MAIL            | 530, 534, 538                   | Deferred  | 1: the session, not the message  |
| RCPT            | 452, bare 552, X.5.3,           | Released  | too many: the rest goes in a new |
|                 | after others were accepted      |           | one (RFC 5321 4.5.3.1.10)        |
| RCPT            | the same, and none accepted     | Deferred  | 552 means 452 (the same section) |
| DOT             | 2yz                             | Delivered | RFC 5321 4.2.5                   |
| any             | another 2yz or 3yz than due     | Deferred  | confused: it took nothing        |
| CONNECT to BODY | connection lost, silence        | Deferred  | nothing was handed over          |
| MAIL, reused    | lost, silence, 421, before any  | Released  | it died while idle: again on a   |
| connection      | other reply                     |           | new one, not counted             |
| CONNECT to BODY | what is no reply                | Deferred  | nothing was handed over          |
| DOT             | lost, silence, what is no reply | InDoubt   | RFC 1047: it may have been taken |
| TLS             | not offered, no handshake, bad  | Deferred  | 4.7.5: never plaintext instead,  |
|                 | certificate                     |           | and it can be repaired           |
| AUTH            | no AUTH, no usable mechanism    | Deferred  | 1                                |
| MAIL            | content is 8bit, no 8BITMIME    | Failed    | 5.6.3: recoding breaks DKIM      |
| MAIL            | UTF-8 needed, no SMTPUTF8       | Failed    | 5.6.7 (RFC 6531 3.2)             |
| MAIL            | message larger than SIZE        | Failed    | 5.3.4 (RFC 1870 6.1)             |
| MAIL            | more recipients than RCPTMAX    | Released  | in a new transaction (RFC 9422)  |
| none            | mailbox has no next hop         | Deferred  | 1                                |
| none            | stored octets are damaged       | Failed    | they will not heal               |

1: before MAIL the peer has seen nothing of the message. What it refuses is us: our address, our
certificate store, the mailbox's password. Every recipient would get the same answer, and an
operator can put it right while the mail waits, so a 5yz there must not cost anyone's mail.

A reply after the dot is never doubt, 421 too: the peer has said that it did not take the message.
"""

from __future__ import annotations

import enum
from typing import Final

from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply


class Phase(enum.StrEnum):
    """How far an attempt had come; the last step we began."""

    NONE = "none"  # nothing was sent to anybody
    CONNECT = "connect"
    TLS = "tls"
    EHLO = "ehlo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"  # octets of the message are on the wire
    DOT = "dot"  # the final dot is on the wire; responsibility may have moved


BEFORE_MAIL: Final = frozenset({Phase.CONNECT, Phase.TLS, Phase.EHLO, Phase.AUTH})
_SESSION_CODES: Final = frozenset({530, 534, 538})  # RFC 4954 6, RFC 3207 4
_ABOUT_RECIPIENT: Final = frozenset({1, 2})  # subjects of a status: addressing, mailbox


def from_reply(phase: Phase, reply: Reply, *, others_accepted: bool = False) -> Outcome:
    """What a reply that ended a step means for a recipient.

    Args:
        phase: the step that was answered.
        reply: the answer; a positive one is trouble unless it answers the dot.
        others_accepted: whether this transaction has a recipient already.
    """
    if reply.is_positive:
        if phase is Phase.DOT and reply.code < 300:
            return Delivered(reply)
        return Deferred(f"unexpected reply {reply.code} to {phase}: {reply.text}", reply)
    if phase in BEFORE_MAIL or (phase is Phase.MAIL and reply.code in _SESSION_CODES):
        return Deferred(_about_us(phase, reply), reply)
    is_too_many = phase is Phase.RCPT and _means_too_many(reply)
    if is_too_many and others_accepted:
        return Released(f"the next hop takes no more recipients: {_text(reply)}")
    if reply.is_permanent and not is_too_many:
        return Failed(_text(reply), reply)
    return Deferred(_text(reply), reply)


def from_loss(phase: Phase, reason: str, *, is_stale: bool = False) -> Outcome:
    """What a connection means that ended, fell silent, or speaks no SMTP.

    Args:
        phase: the step that got no answer.
        reason: what happened.
        is_stale: a reused connection of which nothing was heard in this transaction.
    """
    if phase is Phase.DOT:
        return InDoubt(reason)
    if is_stale:
        return Released(reason)
    return Deferred(f"{reason} ({phase})")


def is_stale(phase: Phase, reply: Reply, *, is_reused: bool) -> bool:
    """Whether a reply only tells that an idle connection has ended meanwhile."""
    return is_reused and phase is Phase.MAIL and reply.code == 421


def no_tls(reason: str) -> Outcome:
    """TLS is required and there is none: X.7.5 is the status for that (RFC 3463 3.8)."""
    return Deferred(f"4.7.5 {reason}")


def no_auth(reason: str) -> Outcome:
    """A user and password are set, and there is no way to use them."""
    return Deferred(f"4.7.0 {reason}")


def no_eight_bit() -> Outcome:
    """The content cannot be sent as it is, and is never changed (RFC 6152 3)."""
    reason = "the message has 8bit content and the next hop does not offer 8BITMIME"
    return Failed(reason, status="5.6.3")


def no_utf8() -> Outcome:
    """An address or the header section cannot be sent as it is (RFC 6531 3.6)."""
    reason = "an address or header field is UTF-8 and the next hop does not offer SMTPUTF8"
    return Failed(reason, status="5.6.7")


def too_large(size_octets: int, limit_octets: int) -> Outcome:
    """The peer has told its SIZE, so nothing needs to be sent to know (RFC 1870 6.1)."""
    reason = f"{size_octets} octets, and the next hop takes {limit_octets}"
    return Failed(reason, status="5.3.4")


def too_many(limit: int) -> Outcome:
    """More recipients than one transaction takes (RFC 9422 RCPTMAX)."""
    return Released(f"the next hop takes {limit} recipients at a time")


def no_route() -> Outcome:
    """The mailbox has no next hop, nor is there one for all."""
    return Deferred(
        "no route: set a smarthost in [delivery.smarthost], or give this mailbox a next hop"
    )


def damaged() -> Outcome:
    """The stored body is not what was accepted: nobody may get it."""
    return Failed("stored octets damaged", status="5.3.0")


def own_fault(phase: Phase) -> Outcome:
    """Something of ours broke in the middle."""
    return from_loss(phase, "internal fault")


def _means_too_many(reply: Reply) -> bool:
    """Whether a refusal of RCPT is about how many there are, not about this one.

    452 has two meanings: 452 4.2.2 is a full mailbox. A bare 552 is what servers say that follow
    RFC 821; with a status, 5.2.2 and the like mean what they say.
    """
    if reply.status is None:
        return reply.code in (452, 552)
    if (reply.status.subject, reply.status.detail) == (5, 3):
        return True
    return reply.code == 452 and reply.status.subject not in _ABOUT_RECIPIENT


def _about_us(phase: Phase, reply: Reply) -> str:
    if phase is Phase.TLS:
        return f"4.7.5 the next hop refused STARTTLS: {_text(reply)}"
    if phase is Phase.AUTH:
        return f"the mailbox's next hop refused its user and password: {_text(reply)}"
    return f"the next hop refused us at {phase}: {_text(reply)}"


def _text(reply: Reply) -> str:
    return reply.text or f"reply {reply.code} without text"
