"""The state directory: one process owns it at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from gatewayd.errors import ConfigError, ConfigProblem, StateDirLocked

LOCK = "lock"


@contextlib.contextmanager
def owned(state_dir: Path) -> Iterator[None]:
    """Own the state directory until the block ends; the kernel gives it back if we die.

    Raises:
        StateDirLocked: another process owns it.
        ConfigError: it cannot be made or written.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        problem = ConfigProblem(
            key="daemon.state_dir",
            value=str(state_dir),
            expected=f"a directory that this user can write ({error.strerror})",
        )
        raise ConfigError("daemon.state_dir", [problem]) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateDirLocked(
                f"{state_dir} is in use by another gatewayd; stop it first, or give this one "
                "another daemon.state_dir"
            ) from error
        yield
    finally:
        os.close(descriptor)
