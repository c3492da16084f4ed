"""QueueId, RecipientId, AttemptId, EventId and others: UUIDv7 as text, so they sort by time.

RFC 9562 5.7. Standard library versions before 3.14 have no `uuid7`.
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import NewType

QueueId = NewType("QueueId", str)  # one submission: the message
RecipientId = NewType("RecipientId", str)  # one forward-path of it
AttemptId = NewType("AttemptId", str)  # one try of one batch; also the lease token of its claim
EventId = NewType("EventId", str)
MailboxId = NewType("MailboxId", str)
TokenId = NewType("TokenId", str)  # the `jti` of a token

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_RANDOM = (1 << 80) - 1 & ~(0xF << 76 | 0b11 << 62)  # the bits that are neither

_AT_ONCE = 400

_last = 0
_drawn: list[int] = []


def uuid7(now: dt.datetime) -> str:
    """A new UUIDv7 in its usual text form, larger than those this thread has made before.

    Two threads at once may make ids in either order; they are unique in any case.
    """
    global _last  # noqa: PLW0603 - ids of one millisecond must still sort by the order they were made
    random = _draw()
    value = int(now.timestamp() * 1000) << 80 | random & _RANDOM | _VERSION_AND_VARIANT
    if value <= _last:
        value = _next_after(_last, random)
    _last = value
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _draw() -> int:
    """80 bits of the system's randomness, which is asked for many at once.

    Whoever asks it gives the interpreter's lock away, and waits to get it back: under load that
    took a twelfth of the loop's time.
    """
    while True:
        try:
            return _drawn.pop()  # no two threads get the same
        except IndexError:
            octets = secrets.token_bytes(10 * _AT_ONCE)
            _drawn.extend(
                [int.from_bytes(octets[at : at + 10], "big") for at in range(0, len(octets), 10)]
            )


def _next_after(value: int, random: int) -> int:
    """Count up in the random bits, leaving version and variant as they are (RFC 9562 6.2)."""
    low = (value & ((1 << 62) - 1)) + 1 + (random & 0xFFFF_FFFF)
    carry, low = low >> 62, low & ((1 << 62) - 1)
    high = (value >> 64) & 0xFFF
    high += carry
    milliseconds = (value >> 80) + (high >> 12)
    return (milliseconds << 80) | (0x7 << 76) | ((high & 0xFFF) << 64) | (0b10 << 62) | low


def queue_id(now: dt.datetime) -> QueueId:
    return QueueId(uuid7(now))


def recipient_id(now: dt.datetime) -> RecipientId:
    return RecipientId(uuid7(now))


def attempt_id(now: dt.datetime) -> AttemptId:
    return AttemptId(uuid7(now))


def event_id(now: dt.datetime) -> EventId:
    return EventId(uuid7(now))


def mailbox_id(now: dt.datetime) -> MailboxId:
    return MailboxId(uuid7(now))


def token_id(now: dt.datetime) -> TokenId:
    return TokenId(uuid7(now))


def request_id() -> str:
    """For a request that came without one: it does not sort."""
    return f"{_draw() >> 16:016x}"
