"""Real programs that the peer tests talk to: found, run with a deadline, or named as missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

RUN_S = 60.0


def require(*names: str) -> None:
    """Skip the test where a program is missing; in CI that is a failure."""
    absent = [name for name in names if shutil.which(name) is None]
    if absent:
        missing(f"needs {', '.join(absent)}")


def require_root() -> None:
    """Postfix starts as root only."""
    if os.geteuid() != 0:
        missing("needs root")


def let_users_read() -> None:
    """What is written from now on, a server's own users can read.

    The umask is one per process, and a test may have left that of a daemon behind.
    """
    os.umask(0o022)


def missing(reason: str) -> None:
    """Skip the test for this reason; in CI, fail."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}; .ci/run installs what the peer tests need")
    pytest.skip(reason)


def run(
    *command: str | Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    expected: Sequence[int] | None = (0,),
    within_s: float = RUN_S,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end; assert its exit code, with all it said where that is another."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=within_s,
        env={**os.environ, **(environment or {})},
    )
    assert expected is None or done.returncode in expected, (
        f"{command[0]} exited {done.returncode}\n"
        f"{done.stdout.decode(errors='replace')[-4000:]}\n"
        f"{done.stderr.decode(errors='replace')[-4000:]}"
    )
    return done
