"""The state machine of one recipient.

| from      | event               | to        | because                                           |
|-----------|---------------------|-----------|---------------------------------------------------|
| queued    | claimed             | claimed   | a worker leased it                                |
| queued    | held                | held      | an operator stopped it                            |
| queued    | cancelled           | cancelled | an operator gave it up                            |
| claimed   | delivered           | delivered | the next hop took responsibility                  |
| claimed   | deferred            | queued    | 4yz or a network fault: again by the schedule     |
| claimed   | released            | queued    | nothing was tried: again at once, not counted     |
| claimed   | failed              | failed    | 5yz                                               |
| claimed   | expired             | expired   | deferred once too often, or too old               |
| claimed   | in_doubt            | in_doubt  | the final dot was sent and no reply came          |
| in_doubt  | retried             | queued    | the mailbox says so, or an operator               |
| in_doubt  | expired             | expired   | in doubt, and no try is left                      |
| in_doubt  | cancelled           | cancelled | an operator gave it up                            |
| held      | released, retried   | queued    | an operator lets it go                            |
| held      | cancelled           | cancelled | an operator gave it up                            |
| failed    | retried             | queued    | an operator knows better                          |
| expired   | retried             | queued    | an operator knows better                          |
| queued    | retried             | queued    | an operator does not want to wait                 |
| queued    | suppressed          | failed    | its address was suppressed while it waited        |
| delivered | bounced             | bounced   | a report came back                                |
| in_doubt  | bounced             | bounced   | a report proves the hand-over                     |
| in_doubt  | delivered           | delivered | the same: the next hop still has it, or passed it |
| queued    | bounced             | bounced   | a report came before the outcome, or instead of   |
| claimed   | bounced             | bounced   | one, of an attempt that had come to the dot       |

Whatever stands in no row is not legal. An operator's verb on a claimed recipient is refused (409):
a worker owns it. The delivered stay delivered but for a report. What may be believed of a report is
the table of `bounces/decide.py`.
"""

from __future__ import annotations

import enum
from typing import Final


class State(enum.StrEnum):
    """Where a recipient is."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DELIVERED = "delivered"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    EXPIRED = "expired"
    HELD = "held"
    CANCELLED = "cancelled"
    BOUNCED = "bounced"


class Event(enum.StrEnum):
    """What may happen to a recipient."""

    CLAIMED = "claimed"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    RELEASED = "released"
    FAILED = "failed"
    EXPIRED = "expired"
    IN_DOUBT = "in_doubt"
    RETRIED = "retried"
    HELD = "held"
    CANCELLED = "cancelled"
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.QUEUED, Event.CLAIMED): State.CLAIMED,
    (State.QUEUED, Event.HELD): State.HELD,
    (State.QUEUED, Event.CANCELLED): State.CANCELLED,
    (State.QUEUED, Event.RETRIED): State.QUEUED,
    (State.QUEUED, Event.BOUNCED): State.BOUNCED,
    (State.QUEUED, Event.SUPPRESSED): State.FAILED,
    (State.CLAIMED, Event.DELIVERED): State.DELIVERED,
    (State.CLAIMED, Event.DEFERRED): State.QUEUED,
    (State.CLAIMED, Event.RELEASED): State.QUEUED,
    (State.CLAIMED, Event.FAILED): State.FAILED,
    (State.CLAIMED, Event.EXPIRED): State.EXPIRED,
    (State.CLAIMED, Event.IN_DOUBT): State.IN_DOUBT,
    (State.CLAIMED, Event.BOUNCED): State.BOUNCED,
    (State.IN_DOUBT, Event.DELIVERED): State.DELIVERED,
    (State.IN_DOUBT, Event.RETRIED): State.QUEUED,
    (State.IN_DOUBT, Event.EXPIRED): State.EXPIRED,
    (State.IN_DOUBT, Event.CANCELLED): State.CANCELLED,
    (State.IN_DOUBT, Event.BOUNCED): State.BOUNCED,
    (State.HELD, Event.RELEASED): State.QUEUED,
    (State.HELD, Event.RETRIED): State.QUEUED,
    (State.HELD, Event.CANCELLED): State.CANCELLED,
    (State.FAILED, Event.RETRIED): State.QUEUED,
    (State.EXPIRED, Event.RETRIED): State.QUEUED,
    (State.DELIVERED, Event.BOUNCED): State.BOUNCED,
}

AT_REST: Final = frozenset(
    {State.DELIVERED, State.FAILED, State.EXPIRED, State.CANCELLED, State.BOUNCED}
)


class IllegalTransition(AssertionError):
    """A rule of ours is broken: no row of the table allows this."""


def after(state: State, event: Event) -> State:
    """The state that follows.

    Raises:
        IllegalTransition: the table has no such row.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event} cannot follow {state}") from None


def sources(event: Event) -> frozenset[State]:
    """The states from which `event` is legal."""
    return frozenset(state for state, happened in TRANSITIONS if happened is event)
