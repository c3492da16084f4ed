"""Sections about what a client may cost: limits, timeouts."""

from __future__ import annotations

from pydantic import Field

from gatewayd.config.types import AutoOctets, Count, Octets, Seconds, Section


class LimitsSection(Section):
    """`[limits]`: sizes and counts at the doors."""

    recipients: Count = Field(default=100, description="Recipients of one message.")
    message_octets: Octets = Field(
        default=10_485_760, description="One message over SMTP, and its SIZE in EHLO."
    )
    http_body_octets: Octets = Field(default=1_048_576, description="One HTTP request body.")
    batch_messages: Count = Field(default=100, description="Messages of one HTTP batch.")
    subject_octets: Octets = Field(default=998, description="Subject, unfolded.")
    header_octets: Octets = Field(default=65_536, description="Header section of a message.")
    header_lines: Count = Field(default=500, description="Lines of a header section.")
    mime_depth: Count = Field(default=100, description="MIME parts inside each other.")
    mime_parts: Count = Field(default=1000, description="MIME parts of a message.")
    received_hops: Count = Field(
        default=50, description="Received fields; more is taken for a loop."
    )
    connections: Count = Field(default=10_000, description="SMTP connections open at once.")
    connections_per_ip: Count = Field(
        default=50, description="SMTP connections from one IPv4 address or IPv6 /64."
    )
    connections_per_token: Count = Field(
        default=20, description="SMTP connections logged in with one token."
    )
    auth_failures_per_connection: Count = Field(
        default=3, description="Failed logins that close a connection."
    )
    auth_failures_per_minute: Count = Field(
        default=10,
        description="Failed logins from one IPv4 address or IPv6 /64 in a minute; three times as "
        "many from its /26 or /48. Loopback is not counted.",
    )
    auth_failures_per_day: Count = Field(default=50, description="The same in a day.")
    idle_commands: Count = Field(
        default=20, description="NOOP, RSET, EHLO and VRFY between two messages."
    )
    memory_octets: Octets = Field(
        default=134_217_728, description="Messages being received, in memory, over all."
    )
    resident_octets: AutoOctets = Field(
        default=None,
        description="Memory of the process from which on no new work is taken; "
        '"auto" is 75% of what it may have.',
    )
    token_octets: Octets = Field(default=8192, description="A token as sent by a client.")


class TimeoutsSection(Section):
    """`[timeouts]`: deadlines of an SMTP session; those of HTTP are in [http]."""

    command_s: Seconds = Field(default=60, description="For the next whole command.")
    data_block_s: Seconds = Field(default=60, description="For the next octets of a message.")
    data_min_octets_per_s: Octets = Field(
        default=500, description="Slowest mean rate of a message before it is cut off."
    )
    session_s: Seconds = Field(default=1800, description="For the whole connection.")
    tls_handshake_s: Seconds = Field(default=30, description="For a TLS handshake.")
