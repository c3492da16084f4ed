"""The words that start a daemon, known without typer.

What a process has imported stays with it. The other commands, and what reads their options, are
2.4 MiB that a daemon would hold for as long as it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

CONFIG: Final = Path("/etc/gatewayd/gatewayd.toml")


def daemon_file(words: list[str]) -> Path | None:
    """The configuration to serve; None: the words are others, or unusual, and typer reads them."""
    match words:
        case ["serve"]:
            return CONFIG
        case ["serve", "-c" | "--config", file] if not file.startswith("-"):
            return Path(file)
    return None
