"""Sections about the process itself: daemon, log, metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from gatewayd.config.types import Bind, Directory, HostName, OptionalBind, Seconds, Section


class DaemonSection(Section):
    """`[daemon]`: who this machine is and where its files are."""

    hostname: HostName = Field(
        description="Full name of this machine: in the greeting, in EHLO and in Received."
    )
    state_dir: Directory = Field(
        default=Path("/var/lib/gatewayd"),
        description="Database, spool and keys. Owned by one daemon, mode 0700.",
    )
    run_dir: Directory = Field(
        default=Path("/run/gatewayd"), description="Holds the operators' socket, control.sock."
    )
    shutdown_s: Seconds = Field(
        default=60, description="How long a stop waits for mail that is on its way."
    )


class LogSection(Section):
    """`[log]`: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least serious event that is written."
    )
    format: Literal["json", "console"] = Field(
        default="json", description="One JSON object a line, or aligned text for people."
    )
    addresses: Literal["redacted", "plain"] = Field(
        default="redacted",
        description="Mail addresses in full, or as first letter, domain and a short hash.",
    )


class MetricsSection(Section):
    """`[metrics]`: Prometheus, liveness and readiness."""

    bind: OptionalBind = Field(
        default=Bind("127.0.0.1", 9464),
        description='Where /metrics, /healthz and /readyz answer; "" turns them off.',
    )
