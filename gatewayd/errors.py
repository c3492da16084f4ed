"""Every error this daemon raises on purpose, drawn as a tree.

```
GatewayError
├── Refused                we said no: the client must act (its `code` says how)
├── ConfigError            a file of the operator's is wrong            exit 78
├── KeyFileError           a key file is missing, open to others, bad   exit 77 or 78
├── StateDirLocked         another daemon owns the state directory      exit 73
├── LeaseLost              our claim on recipients has ended: the work is not ours any more
├── SpoolDamaged           a spool file is missing or changed: that message fails, others go on
└── StoreError
    ├── StoreUnavailable   busy or unreachable: try again               451 4.3.0, HTTP 503
    ├── StoreConflict      another node wrote the same key first: look again
    ├── StoreFull          no space left                                452 4.3.1, HTTP 507
    ├── SchemaMismatch     the database is newer or older than the code exit 65
    └── StoreBroken        an fsync failed or the file is corrupt: the daemon stops, exit 74 or 65
```

A failed delivery is no error: it is a value of `mail/outcome.py`. Whatever is not in this tree is a
fault of ours: it ends the task, and a client is told 451 4.3.0 or 503.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class GatewayError(Exception):
    """Root of the tree."""


class Code(enum.Enum):
    """Why a submission or request was refused: the word a client sees, and its enhanced status.

    The words are public and the same through every door. `smtpd/replies.py` gives each its SMTP
    reply code, `web/problems.py` its HTTP status. Enhanced status: RFC 3463, RFC 5248.
    """

    # Who is asking
    TOKEN_MISSING = ("token_missing", "5.7.0")
    TOKEN_INVALID = ("token_invalid", "5.7.8")
    TOKEN_EXPIRED = ("token_expired", "5.7.8")
    TOKEN_REVOKED = ("token_revoked", "5.7.0")
    SCOPE_MISSING = ("scope_missing", "5.7.1")
    # The same request again
    IDEMPOTENCY_KEY_INVALID = ("idempotency_key_invalid", "5.5.4")
    IDEMPOTENCY_KEY_REUSED = ("idempotency_key_reused", "5.5.4")
    IDEMPOTENCY_IN_FLIGHT = ("idempotency_in_flight", "4.5.0")
    # Sender binding
    SENDER_NOT_ALLOWED = ("sender_not_allowed", "5.7.1")
    # The message
    MESSAGE_TOO_LARGE = ("message_too_large", "5.3.4")
    SUBJECT_TOO_LONG = ("subject_too_long", "5.6.0")
    HEADER_TOO_LARGE = ("header_too_large", "5.6.0")
    HEADER_INVALID = ("header_invalid", "5.6.0")
    LINE_ENDINGS_INVALID = ("line_endings_invalid", "5.5.2")
    LINE_TOO_LONG = ("line_too_long", "5.6.0")
    MIME_TOO_COMPLEX = ("mime_too_complex", "5.6.0")
    TOO_MANY_HOPS = ("too_many_hops", "5.4.6")
    SMTPUTF8_REQUIRED = ("smtputf8_required", "5.6.7")
    OPTION_INVALID = ("option_invalid", "5.5.4")
    # Recipients
    RECIPIENT_MISSING = ("recipient_missing", "5.5.1")
    TOO_MANY_RECIPIENTS = ("too_many_recipients", "4.5.3")
    RECIPIENT_INVALID = ("recipient_invalid", "5.1.3")
    RECIPIENT_DOMAIN_NOT_ALLOWED = ("recipient_domain_not_allowed", "5.7.1")
    RECIPIENT_SUPPRESSED = ("recipient_suppressed", "5.7.1")
    # Room
    QUOTA_EXCEEDED = ("quota_exceeded", "4.7.1")
    STORAGE_FULL = ("storage_full", "4.3.1")
    NO_ROUTE = ("no_route", "4.3.5")
    UNAVAILABLE = ("unavailable", "4.3.0")
    # What comes back
    RECIPIENT_UNKNOWN = ("recipient_unknown", "5.1.1")
    RELAYING_DENIED = ("relaying_denied", "5.7.1")
    REPORT_TOO_EARLY = ("report_too_early", "4.5.0")
    # Operators and readers of resources
    NOT_FOUND = ("not_found", "5.1.0")
    CONFLICT = ("conflict", "5.5.1")
    SUPPRESSION_PROTECTED = ("suppression_protected", "5.7.1")
    VALIDATION_FAILED = ("validation_failed", "5.5.4")

    def __init__(self, word: str, status: str) -> None:
        self.word = word
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a request.

    pointer: JSON pointer to the field (RFC 6901), such as `/to/2`; empty for the whole.
    """

    pointer: str
    detail: str
    code: Code


class Refused(GatewayError):
    """We said no to a submission or request, and nothing was stored.

    Args:
        code: which rule refused.
        public: one sentence for the client: what is wrong and what to do. No secret, path, class
            name or detail of policy.
        reason: for the log.
        faults: each single fault, where there may be several (HTTP names every bad recipient).
        retry_after_s: when the same request may be accepted.
    """

    def __init__(
        self,
        code: Code,
        public: str,
        *,
        reason: str = "",
        faults: Sequence[Fault] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(f"{code.word}: {reason or public}")
        self.kind = code
        self.public = public
        self.reason = reason
        self.faults = tuple(faults)
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> str:
        return self.kind.word

    @property
    def status(self) -> str:
        return self.kind.status


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem:
    """One mistake in a configuration file."""

    key: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r}: expected {self.expected}"


class ConfigError(GatewayError):
    """The configuration is wrong; `problems` holds every mistake found, not only the first."""

    exit_code = 78  # EX_CONFIG

    def __init__(self, file: Path | str, problems: Sequence[ConfigProblem]) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{file}: {len(problems)} to correct\n{lines}")
        self.file = str(file)
        self.problems = tuple(problems)


class KeyFileError(GatewayError):
    """A key file is missing, unreadable, open to others or malformed; the text says what to do."""

    def __init__(self, message: str, *, exit_code: int = 78) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StateDirLocked(GatewayError):
    """Another process owns the state directory."""

    exit_code = 73  # EX_CANTCREAT


class LeaseLost(GatewayError):
    """The recipients of a claim are not ours any more: stop, and do not write the dot."""


class SpoolDamaged(GatewayError):
    """The spool does not hold the octets that were accepted: none of them may be sent."""


class StoreError(GatewayError):
    """Something about the database."""


class StoreUnavailable(StoreError):
    """The database is busy or cannot be reached; the same work may succeed later."""

    exit_code = 75  # EX_TEMPFAIL


class StoreConflict(StoreUnavailable):
    """Another node wrote a row with the same key at the same time."""


class StoreFull(StoreError):
    """No space is left for the database or the spool."""

    exit_code = 74  # EX_IOERR


class SchemaMismatch(StoreError):
    """The database has another schema than this code can open."""

    exit_code = 65  # EX_DATAERR


class StoreBroken(StoreError):
    """What was committed can no longer be trusted: nothing may be acknowledged from now on."""

    def __init__(self, message: str, *, exit_code: int = 74) -> None:
        super().__init__(message)
        self.exit_code = exit_code
