"""Which refusals of a next hop are about the address: only those may suppress it. Pure.

| the reply was given to | to how many     | about the address | because                           |
|------------------------|-----------------|-------------------|-----------------------------------|
| MAIL                   | any             | no                | it had not heard of the recipient |
| RCPT                   | one: each has   | yes               | RFC 5321 3.3                      |
|                        | its own         |                   |                                   |
| DATA, message, dot     | one recipient   | yes               | some look an address up so late   |
| DATA, message, dot     | several         | no                | it does not say which it means    |
| nothing: our finding   | any             | no                | nobody refused it                 |

What the reply then means is for `reports/bounce_class.py` and `suppression/rules.py` to say, as for
a report. The address is always the recipient's own: whatever address the text names, a next hop can
speak for no other. Sandbox mail suppresses nobody: the simulator plays dead addresses, and real
mail to them must not be refused for that. Nor does mail of ours, from the null reverse-path: no
submitter wrote to those addresses, they are the mailbox's own and the operator's.
"""

from __future__ import annotations

from typing import Final

from gatewayd.mail.outcome import Failed
from gatewayd.reports.bounce_class import classify
from gatewayd.suppression import rules

MAIL: Final = "mail"  # of delivery/trouble.py: the attempt ended with MAIL


def suppresses(failed: Failed, *, phase: str, shared_by: int) -> bool:
    """Whether nobody should write to this recipient again.

    Args:
        failed: what became of it.
        phase: how far the attempt had come when it ended.
        shared_by: recipients of the attempt with this very outcome.
    """
    reply = failed.reply
    if reply is None or phase == MAIL or shared_by > 1:
        return False
    return rules.suppresses(classify(str(reply.status or ""), reply.code, reply.text))
