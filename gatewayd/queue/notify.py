"""Which outcome a submitter is told of: NOTIFY of RCPT (RFC 3461 4.1). Pure.

| outcome                             | asked   | action  | because                                |
|-------------------------------------|---------|---------|----------------------------------------|
| failed, expired                     | FAILURE | failed  | RFC 3461 5.2.6                         |
| deferred, and older than            | DELAY   | delayed | once: `delayed_at` is kept             |
| `delivery.delay_notice_s`           |         |         |                                        |
| delivered, no DSN at the next hop   | SUCCESS | relayed | nobody behind it will tell             |
|                                     |         |         | (RFC 3461 5.2.2)                       |
| delivered, DSN at the next hop      | SUCCESS | none    | its report comes to us and is passed   |
|                                     |         |         | on (`bounces/keep.py`)                 |
| any other                           | any     | none    |                                        |

Without NOTIFY nobody is told, and never in answer to a null reverse-path (RFC 5321 4.5.5).
"""

from __future__ import annotations

from collections.abc import Collection

from gatewayd.mail.envelope import Notify
from gatewayd.queue.states import State
from gatewayd.reports.report import Action


def action_of(
    state: State, asked: Collection[Notify], *, is_dsn_offered: bool, is_late: bool
) -> Action | None:
    """What the submitter is told, None for nothing.

    Args:
        state: what the outcome has made of the recipient.
        asked: NOTIFY; empty if it was not given.
        is_dsn_offered: whether the next hop offered DSN (RFC 3461 4).
        is_late: whether a delay is worth telling now.
    """
    match state:
        case State.FAILED | State.EXPIRED:
            return Action.FAILED if Notify.FAILURE in asked else None
        case State.QUEUED:
            return Action.DELAYED if Notify.DELAY in asked and is_late else None
        case State.DELIVERED:
            return Action.RELAYED if Notify.SUCCESS in asked and not is_dsn_offered else None
        case _:
            return None
