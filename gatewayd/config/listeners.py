"""Sections about what clients connect to: submission listeners, http, tls."""

from __future__ import annotations

import enum

from pydantic import Field

from gatewayd.config.types import (
    Bind,
    BindText,
    Count,
    File,
    Flag,
    Name,
    Network,
    PublicUrl,
    Seconds,
    Section,
)


class ListenerTls(enum.StrEnum):
    """How a submission listener speaks TLS."""

    STARTTLS = "starttls"  # plaintext first, as on port 587 (RFC 3207)
    IMPLICIT = "implicit"  # from the first octet, as on port 465 (RFC 8314 3.3)
    NONE = "none"  # never: for a loopback listener


class SubmissionListener(Section):
    """One `[[submission]]`: a port where clients hand in mail by SMTP."""

    name: Name = Field(description="In logs, metrics and FileDescriptorName= of a systemd socket.")
    bind: BindText = Field(
        default=Bind("0.0.0.0", 587),  # noqa: S104 - a submission port is for everybody
        description='host:port; "[::]:587" is IPv6 only, so name both for both.',
    )
    tls: ListenerTls = Field(
        default=ListenerTls.STARTTLS, description="starttls, implicit, or none."
    )
    auth_without_tls: Flag = Field(
        default=False, description="Offer AUTH in plaintext; only on a loopback bind."
    )


DEFAULT_SUBMISSION = (
    SubmissionListener(name="submission"),
    SubmissionListener(
        name="submissions",
        bind=Bind("0.0.0.0", 465),  # noqa: S104 - as above
        tls=ListenerTls.IMPLICIT,
    ),
)


class TlsSection(Section):
    """`[tls]`: the certificate that SMTP and HTTP clients see."""

    certificate: File | None = Field(
        default=None,
        description="PEM file, own certificate first, then the chain; or credential:NAME.",
    )
    private_key: File | None = Field(
        default=None, description="PEM file of mode 0600, without passphrase; or credential:NAME."
    )


class HttpSection(Section):
    """`[http]`: the HTTP API."""

    bind: BindText = Field(default=Bind("127.0.0.1", 8080), description="host:port of the API.")
    tls: Flag = Field(default=False, description="Speak HTTPS with the certificate of [tls].")
    trusted_proxies: tuple[Network, ...] = Field(
        default=(), description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."
    )
    public_url: PublicUrl = Field(
        default="",
        description='What recipients reach this API by; "" makes no tracking or unsubscribe links.',
    )
    header_timeout_s: Seconds = Field(default=10, description="For the whole header of a request.")
    body_timeout_s: Seconds = Field(default=30, description="For the whole body of a request.")
    keep_alive_s: Seconds = Field(default=5, description="How long an idle connection is kept.")
    connections: Count = Field(default=1000, description="Open at once; more are answered 503.")
