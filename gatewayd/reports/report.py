"""Report: what a returned message says, whichever form it came in.

| kind       | is                                                              | read by        |
|------------|-----------------------------------------------------------------|----------------|
| dsn        | multipart/report of delivery status (RFC 3464, RFC 6533)        | dsn.py         |
| text       | the same in free form, as many systems write it                 | bounce_text.py |
| abuse      | multipart/report of feedback (RFC 5965)                         | arf.py         |
| auto_reply | vacation notice, challenge, receipt: never a bounce (RFC 3834)  | read.py        |
| other      | anything else: ordinary mail                                    | read.py        |
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """The table above."""

    DSN = "dsn"
    TEXT = "text"
    ABUSE = "abuse"
    AUTO_REPLY = "auto_reply"
    OTHER = "other"


class Action(enum.StrEnum):
    """What was done about a recipient (RFC 3464 2.3.3). Only `failed` is a failure."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class BounceClass(enum.StrEnum):
    """Whether trying again can help."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"


class Reason(enum.StrEnum):
    """Why, as one word of a closed list."""

    USER_UNKNOWN = "user_unknown"
    HOST_UNKNOWN = "host_unknown"
    MAILBOX_FULL = "mailbox_full"
    INACTIVE = "inactive"  # the mailbox exists, and is disabled, suspended or abandoned
    MOVED = "moved"
    BLOCKED = "blocked"  # our address, name or reputation
    SPAM = "spam"  # what the message says
    POLICY = "policy"  # another rule of the receiver
    AUTH_FAILURE = "auth_failure"  # SPF, DKIM, DMARC
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    CONTENT = "content"  # its form: MIME, encoding, attachment, virus
    LOOP = "loop"
    RELAYING_DENIED = "relaying_denied"
    EXPIRED = "expired"  # tried until time was up
    NETWORK = "network"
    SYSTEM = "system"  # the receiver's machine: disk, configuration, overload
    PROTOCOL = "protocol"
    UNDEFINED = "undefined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What status, reply code and words of a refusal mean. Made by `bounce_class.classify`."""

    klass: BounceClass
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRecipient:
    """One recipient of a report.

    address: Final-Recipient, or the address in the text; "" when it is not told.
    original_address: Original-Recipient, "" when it is not told.
    status: enhanced status, "" when it is not told.
    code: reply code of the diagnostic, None when it is not told.
    diagnostic: what the remote said, one line, at most 512 characters, control characters escaped.
    remote_mta: who said it, "" when it is not told.
    """

    address: str
    action: Action
    verdict: Verdict
    original_address: str = ""
    status: str = ""
    code: int | None = None
    diagnostic: str = ""
    remote_mta: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a returned message says.

    recipients: none for `abuse` without recipients, `auto_reply` and `other`.
    reporting_mta: who reports, "" when it is not told.
    original_envelope_id: ENVID of the reported message, "" when it is not told.
    message_id: Message-ID of the reported message, with its brackets, "" when it is not there.
    original: the reported message or its header section, as octets; b"" when it is not there.
    feedback_type: of an abuse report, such as `abuse` or `not-spam`; else "".
    detector: which reader recognised it, for logs and tests.
    """

    kind: Kind
    recipients: tuple[ReportedRecipient, ...] = ()
    reporting_mta: str = ""
    original_envelope_id: str = ""
    message_id: str = ""
    original: bytes = b""
    feedback_type: str = ""
    detector: str = ""
