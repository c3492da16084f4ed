"""Named crash points for the fault tests; a no-op unless armed.

`GATEWAYD_FAILPOINTS="before_marker=kill,after_commit=raise"` in the environment arms them:

| action     | what happens when the point is reached                      |
|------------|-------------------------------------------------------------|
| kill       | the process gets SIGKILL, as from the outside               |
| raise      | FailPointReached is raised                                  |
| kill@N     | the same as kill, the N-th time (counted from 1)            |
| raise@N    | the same as raise, the N-th time                            |

Postfix does the same by `fault_injection_code`.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from typing import Final

POINTS: Final = (
    "before_commit",  # accepted set is written, not yet committed
    "after_commit",  # committed, no client was told
    "after_claim",  # claim is durable, nothing connected
    "after_connect",  # session with the next hop is up
    "after_mail",  # MAIL and RCPT were answered
    "after_data",  # 354 came
    "during_body",  # some of the body is on the wire
    "before_marker",  # body is on the wire, marker is not durable
    "after_marker",  # marker is durable, the dot is not written
    "after_dot",  # the dot is written, no reply was read
    "before_outcome",  # reply was read, outcome is not durable
    "after_outcome",  # outcome is durable
    "rotate_row",  # between two rows of a re-encryption
    "migrate",  # inside a migration
)


class FailPointReached(Exception):
    """An armed point with the action `raise` was reached."""


_armed: dict[str, tuple[str, int]] = {}
_seen: Counter[str] = Counter()


def arm(text: str) -> None:
    """Arm the points that `text` names, in the form of the environment variable.

    Raises:
        ValueError: a point or action that does not exist.
    """
    for part in filter(None, text.split(",")):
        name, _, action = part.partition("=")
        word, _, count = action.partition("@")
        if name not in POINTS or word not in ("kill", "raise"):
            raise ValueError(f"no such fail point or action: {part}")
        _armed[name] = (word, int(count) if count else 1)


def disarm() -> None:
    """Forget every armed point and count."""
    _armed.clear()
    _seen.clear()


def reach(name: str) -> None:
    """Say that the running code is at this point."""
    if not _armed:
        return
    if name not in _armed:
        return
    _seen[name] += 1
    action, at = _armed[name]
    if _seen[name] != at:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise FailPointReached(name)
