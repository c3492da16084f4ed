"""The delivery section: next hop, retry, deadlines, concurrency; NextHop and TlsMode as values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

from annotated_types import Ge, Le
from pydantic import Field, Strict

from gatewayd.config.types import (
    Count,
    File,
    Host,
    Port,
    Ratio,
    Seconds,
    Section,
    Text,
    is_loopback,
)

DOT_MARGIN_S: Final = 10  # between the last octet of a reply and its outcome on disk

Factor = Annotated[float, Strict(), Ge(1), Le(100)]


class TlsMode(enum.StrEnum):
    """How we speak TLS to a next hop. There is no mode that falls back to plaintext."""

    IMPLICIT = "implicit"
    STARTTLS_REQUIRED = "starttls_required"
    NONE_ON_LOOPBACK = "none-on-loopback"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextHop:
    """Where mail is handed over, and as whom. Equal values share connections.

    Raises:
        ValueError: plaintext to another machine, or a password without user or the reverse.
    """

    host: str
    port: int
    tls_mode: TlsMode
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        if self.tls_mode is TlsMode.NONE_ON_LOOPBACK and not is_loopback(self.host):
            raise ValueError("plaintext is for loopback: implicit or starttls_required elsewhere")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SmarthostSection(Section):
    """`[delivery.smarthost]`: the next hop of every mailbox that names none of its own."""

    host: Host = Field(description="Name or address of the relay.")
    port: Port = Field(default=587, description="Its port.")
    tls_mode: TlsMode = Field(
        default=TlsMode.STARTTLS_REQUIRED,
        description="implicit, starttls_required, or none-on-loopback.",
    )
    user: Text | None = Field(default=None, description="User for AUTH; none for no AUTH.")
    password_file: File | None = Field(
        default=None, description="File of mode 0600 with the password; or credential:NAME."
    )
    ca_file: File | None = Field(
        default=None, description="PEM file of the authorities to trust instead of the system's."
    )


class RetrySection(Section):
    """`[delivery.retry]`: when a deferred recipient is tried again (RFC 5321 4.5.4.1)."""

    first_s: Seconds = Field(default=300, description="Wait before the second attempt.")
    factor: Factor = Field(default=2.3, description="Each wait is this many times the last.")
    jitter: Ratio = Field(default=0.1, description="Part of a wait that is left to chance.")
    attempts: Count = Field(default=10, description="Attempts before a recipient expires.")
    max_age_s: Seconds = Field(
        default=432_000, description="Age at which a recipient expires in any case."
    )


class DeliverySection(Section):
    """`[delivery]`: how mail is handed to the next hop."""

    smarthost: SmarthostSection | None = Field(
        default=None, description="Without it, a mailbox needs a next hop of its own."
    )
    retry: RetrySection = Field(default=RetrySection(), description="The schedule.")
    concurrency_start: Count = Field(
        default=5, description="Connections to a next hop that has not proved itself."
    )
    concurrency_max: Count = Field(default=20, description="Connections to one next hop.")
    ready_recipients: Count = Field(
        default=2000, description="Recipients held in memory, claimed and not settled."
    )
    claim_messages: Count = Field(default=50, description="Messages claimed at once.")
    lease_s: Seconds = Field(
        default=1200, description="How long a claim lasts if it is not renewed."
    )
    renew_s: Seconds = Field(default=60, description="How often a claim is renewed.")
    attempt_s: Seconds = Field(default=900, description="Whole attempt, up to the final dot.")
    dot_timeout_s: Seconds = Field(
        default=600, description="Reply to the final dot (RFC 5321 4.5.3.2.6)."
    )
    connect_s: Seconds = Field(default=30, description="TCP connection and TLS handshake.")
    greeting_s: Seconds = Field(default=300, description="Greeting (RFC 5321 4.5.3.2.1).")
    command_s: Seconds = Field(
        default=300, description="Reply to EHLO, AUTH, MAIL, RCPT (RFC 5321 4.5.3.2.2)."
    )
    data_s: Seconds = Field(default=120, description="Reply to DATA (RFC 5321 4.5.3.2.4).")
    block_s: Seconds = Field(
        default=180, description="For a block of the message to be taken (RFC 5321 4.5.3.2.5)."
    )
    idle_s: Seconds = Field(default=25, description="How long an unused connection is kept.")
    messages_per_connection: Count = Field(
        default=1000, description="Messages before a connection is closed."
    )
    delay_notice_s: Seconds = Field(
        default=14_400,
        description="Age at which a submitter is told of a delay, if it asked to be.",
    )
    signing_threads: Count = Field(default=2, description="Threads that render and sign.")

    @property
    def dot_margin_s(self) -> float:
        """With less than this left of its lease, an attempt must not write the final dot."""
        return self.dot_timeout_s + DOT_MARGIN_S
