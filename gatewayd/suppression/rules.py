"""Who stops receiving: which outcome suppresses an address, for how long, and who may end it.

The same for a reply that a next hop gave us and for a report that came later: both are a Verdict
of `reports/bounce_class.py`, made of status, reply code and words.

| class     | reason                              | suppresses | because                           |
|-----------|-------------------------------------|------------|-----------------------------------|
| permanent | user_unknown, host_unknown, moved   | yes        | nobody is there                   |
| permanent | inactive                            | yes        | nobody reads it                   |
| permanent | blocked, spam, policy, auth_failure | no         | we or the message are refused     |
| permanent | too_large, content, protocol, loop, | no         | another message may arrive        |
|           | relaying_denied                     |            |                                   |
| permanent | system, undefined                   | no         | nothing is known of the address   |
| transient | any: full, rate_limited, network... | no         | it passes                         |
| unknown   | any                                 | no         | guessing costs mail               |

| what           | word in the row | how long                     |
|----------------|-----------------|------------------------------|
| such a failure | hard_bounce     | `suppression.bounce_days`    |
| a complaint    | complaint       | `suppression.complaint_days` |
| unsubscribed   | unsubscribed    | for ever                     |

What is on the list, by who said it. The word decides, whoever wrote it; other words are somebody's
own, and the source says whose.

| strength | said by             | word         | source | may be taken back by    |
|----------|---------------------|--------------|--------|-------------------------|
| ASKED    | the mailbox's agent | any other    | api    | the agent, an operator  |
| KNOWN    | an operator         | any other    | others | an operator             |
| KNOWN    | a next hop          | hard_bounce  | any    | an operator             |
| REPORTED | a mail provider     | complaint    | any    | an operator             |
| LEFT     | the recipient       | unsubscribed | any    | an operator             |

An agent that could take back what a next hop has said could write to the dead again and again, at
the price of everybody's mail: so it may only take back what it has said itself.

When an address is on the list and there is cause for it again:

| the new cause is                                | word, source             | ends          |
|-------------------------------------------------|--------------------------|---------------|
| stronger                                        | the new                  | the later end |
| somebody's own words, and those there the same  | the new                  | the new end   |
| somebody's who are equal otherwise              | of the one that ends     | the later end |
|                                                 | later; if equal, there's |               |
| weaker                                          | those that are there     | the later end |

What is over counts for nothing. So no cause is ever shortened by a weaker one, nor hidden by it.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import replace
from typing import Final, assert_never

from gatewayd.config.returns import SuppressionSection
from gatewayd.reports.report import BounceClass, Reason, Verdict
from gatewayd.store.suppressions import SuppressionRow

AGENT: Final = "api"  # the source of what came over the HTTP API


class Why(enum.StrEnum):
    """The word in the row of a suppression; an operator's own words stand there too."""

    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"


class Strength(enum.IntEnum):
    """Of the second last table: what is more stands before what is less."""

    ASKED = 1
    KNOWN = 2
    REPORTED = 3
    LEFT = 4


_STRENGTHS: Final = {
    Why.HARD_BOUNCE.value: Strength.KNOWN,
    Why.COMPLAINT.value: Strength.REPORTED,
    Why.UNSUBSCRIBED.value: Strength.LEFT,
}
_NEVER: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
DEAD: Final = frozenset({
    Reason.USER_UNKNOWN, Reason.HOST_UNKNOWN, Reason.MOVED, Reason.INACTIVE,
})  # fmt: skip


def suppresses(verdict: Verdict) -> bool:
    """Whether a failure with this verdict ends all mail to the address.

    Ask it of failures only: a report with `action: delayed` is none (RFC 3464 2.3.3).
    """
    return verdict.klass is BounceClass.PERMANENT and verdict.reason in DEAD


def expiry(why: Why, section: SuppressionSection, now: dt.datetime) -> dt.datetime | None:
    """When a suppression that begins now ends; None for never."""
    days: int | None = None
    match why:
        case Why.HARD_BOUNCE:
            days = section.bounce_days
        case Why.COMPLAINT:
            days = section.complaint_days
        case Why.UNSUBSCRIBED:
            pass
        case _:
            assert_never(why)
    return None if days is None else now + dt.timedelta(days=days)


def strength(row: SuppressionRow) -> Strength:
    """How much weight what stands in this row has."""
    own = Strength.ASKED if row.source == AGENT else Strength.KNOWN
    return _STRENGTHS.get(row.reason, own)


def is_over(row: SuppressionRow, now: dt.datetime) -> bool:
    """Whether it has no effect any more."""
    return row.expires_at is not None and row.expires_at <= now


def merged(there: SuppressionRow, new: SuppressionRow, now: dt.datetime) -> SuppressionRow:
    """The row of an address that is on the list, when there is cause for it again: the last table.

    It keeps when it was first seen, and is seen again.
    """
    seen = max(there.last_seen_at, new.last_seen_at)
    if is_over(there, now):
        return replace(new, first_seen_at=there.first_seen_at)
    before, after = strength(there), strength(new)
    is_own = not _STRENGTHS.keys() & {there.reason, new.reason}
    if before is after and is_own:
        return replace(new, first_seen_at=there.first_seen_at, last_seen_at=seen)
    is_word = not is_over(new, now) and (after, _end(new)) > (before, _end(there))
    words = new if is_word else there
    return replace(
        there,
        reason=words.reason,
        source=words.source,
        last_seen_at=seen,
        expires_at=max((there, new), key=_end).expires_at,
    )


def _end(row: SuppressionRow) -> dt.datetime:
    return row.expires_at or _NEVER
