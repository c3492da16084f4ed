"""Sections about what comes back: bounces, suppression, tracking."""

from __future__ import annotations

from pydantic import Field

from gatewayd.config.types import (
    AddressText,
    Bind,
    BindText,
    Count,
    Days,
    HostName,
    Octets,
    Seconds,
    Section,
)


class BouncesSection(Section):
    """`[bounces]`: the listener that takes reports back, and the addresses it answers for."""

    domain: HostName | None = Field(
        default=None,
        description="Domain of the reverse-paths; its MX is this machine. Without it mail leaves "
        "with the mailbox as reverse-path, and nothing comes back here.",
    )
    bind: BindText = Field(
        default=Bind("0.0.0.0", 25),  # noqa: S104 - every mail server of the world connects to it
        description="host:port of the listener.",
    )
    postmaster: AddressText | None = Field(
        default=None, description="Where mail for postmaster@ of that domain is sent on to."
    )
    verp_days: Count = Field(
        default=14, description="How long after hand-over a report is still believed."
    )
    message_octets: Octets = Field(
        default=10_485_760, description="One report, and the SIZE that is offered."
    )
    parse_octets: Octets = Field(
        default=2_097_152, description="Of a report, read from its beginning; the rest is skipped."
    )
    bad_recipients_per_minute: Count = Field(
        default=20,
        description="Forged or unknown recipients from one IPv4 address or IPv6 /64 in a minute, "
        "before 421; three times as many from its /26 or /48. Loopback is not counted.",
    )


class SuppressionSection(Section):
    """`[suppression]`: how long an address stays on the list."""

    bounce_days: Days = Field(
        default=None, description='After a hard bounce; a number of days, or "forever".'
    )
    complaint_days: Days = Field(
        default=None, description='After a complaint; a number of days, or "forever".'
    )


class TrackingSection(Section):
    """`[tracking]`: opens, clicks, unsubscribe links. They need http.public_url."""

    requests_per_minute: Count = Field(
        default=120, description="Requests to its URLs from one IPv4 address or IPv6 /64."
    )
    pending_events: Count = Field(
        default=10_000, description="Opens and clicks in memory, not yet stored; more are dropped."
    )
    flush_s: Seconds = Field(default=1, description="How often they are stored.")
    machine_s: Seconds = Field(
        default=3,
        description="An open or click so soon after delivery is taken for that of a machine.",
    )
