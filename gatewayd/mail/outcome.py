"""Delivered | Deferred | Failed | InDoubt | Released: what an attempt did for one recipient.

| outcome   | means                                                    | what follows            |
|-----------|----------------------------------------------------------|-------------------------|
| Delivered | the next hop took responsibility for it                  | done                    |
| Deferred  | not handed over, may work later                          | counted, on schedule    |
| Failed    | not handed over, will never work                         | done                    |
| InDoubt   | the final dot was sent and no reply came (RFC 1047)      | what the mailbox chose  |
| Released  | not tried at all: shutdown, lost connection of another   | at once, not counted    |

`delivery/trouble.py` makes them, `queue/outcome.py` keeps them. `reason` is for people: one line
of plain text, no secrets.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewayd.mail.reply import Reply


@dataclass(frozen=True, slots=True)
class Delivered:
    """The next hop answered the final dot with 2yz: the message is its now (RFC 5321 6.1)."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Deferred:
    """Nothing was handed over, and a later attempt may succeed.

    reply: what the peer said, if it said anything.
    """

    reason: str
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing was handed over, and no later attempt will succeed.

    reply: what the peer said, if it was the peer.
    status: enhanced status of our own finding, where no peer gave one (5.6.7, 5.4.7, ...).
    """

    reason: str
    reply: Reply | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class InDoubt:
    """The final dot was sent and no reply came: the next hop may have it (RFC 1047)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """This recipient was not tried; it goes back to the queue at once and nothing is counted."""

    reason: str


Outcome = Delivered | Deferred | Failed | InDoubt | Released
