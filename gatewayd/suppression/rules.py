"""Who stops receiving: which outcome suppresses an address, and for how long.

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
"""

from __future__ import annotations

import datetime as dt
import enum
from typing import Final, assert_never

from gatewayd.config.returns import SuppressionSection
from gatewayd.reports.report import BounceClass, Reason, Verdict


class Why(enum.StrEnum):
    """The word in the row of a suppression; an operator's own words stand there too."""

    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBED = "unsubscribed"


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
