"""Returned: a message that came back, as a door hands it over, and what became of it.

| why it is not recognised | means                                                               |
|--------------------------|---------------------------------------------------------------------|
| reverse_path_not_null    | a report has the null reverse-path (RFC 3464 2); other mail has not |
| auto_reply               | vacation notice, challenge, receipt                                 |
| not_a_report             | ordinary mail, or nothing in it says whom it is about               |
| not_a_complaint          | at complaints@, and no report of feedback                           |
| not_signed               | nothing in it carries a MAC of ours that is still believed          |
| forgotten                | it does, but the message is not kept any more                       |
| other_recipient          | recipients share the address, and the report names none of them     |
| not_handed_over          | of a recipient whose message never left this machine                |

None of these changes any state.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gatewayd.mail.address import ReversePath


class Unrecognised(enum.StrEnum):
    """The table above."""

    REVERSE_PATH_NOT_NULL = "reverse_path_not_null"
    AUTO_REPLY = "auto_reply"
    NOT_A_REPORT = "not_a_report"
    NOT_A_COMPLAINT = "not_a_complaint"
    NOT_SIGNED = "not_signed"
    FORGOTTEN = "forgotten"
    OTHER_RECIPIENT = "other_recipient"
    NOT_HANDED_OVER = "not_handed_over"


class Kind(enum.StrEnum):
    """What a returned message was."""

    REPORT = "report"  # of a delivery
    COMPLAINT = "complaint"  # or other feedback
    UNRECOGNISED = "unrecognised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A message that came back.

    idents: what `ReversePaths.read` gave for the VERP addresses that it came to; empty where the
        envelope is not known, then they are looked for in the text.
    is_complaint: it came to complaints@.
    reverse_path: None where the envelope is not known: then Return-Path tells, and none is null.
    peer: who brought it: an IP address, or a name of the file or folder.
    """

    idents: tuple[str, ...] = ()
    is_complaint: bool = False
    reverse_path: ReversePath | None
    octets: bytes
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of it, durably.

    changes: recipients of whom something new is known; 0 for the same report again.
    suppressed: addresses that are newly on the list.
    why: for what is not recognised.
    """

    kind: Kind
    changes: int = 0
    suppressed: int = 0
    why: Unrecognised | None = None
