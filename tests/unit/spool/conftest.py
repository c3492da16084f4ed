"""A spool of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.spool.directory import Spool


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the spool of the test lies."""
    return tmp_path / "state" / "spool"


@pytest.fixture
def spool(directory: Path) -> Spool:
    """An empty spool."""
    return Spool(directory)
