"""What tests of commands share: a small configuration, and what a command said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Standard output and standard error."""

    out: str
    err: str


def config_text(directory: Path, *, submission: str = "submission = []\n") -> str:
    """A configuration that needs no certificate and no port of its own."""
    return f"""\
{submission}
[daemon]
hostname = "gateway.test"
state_dir = "{directory}/state"
run_dir = "{directory}/run"
shutdown_s = 5

[http]
bind = "127.0.0.1:0"

[metrics]
bind = ""

[storage]
min_free_octets = 1
reserve_octets = 4096
"""
