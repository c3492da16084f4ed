"""Every parser for three seconds, guided by coverage; `make fuzz` does it for minutes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from tests.fuzz.run import NAMES, SEEDS, fuzz
from tests.peers.programs import missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SECONDS = int(os.environ.get("GATEWAYD_FUZZ_S", "3"))


@pytest.mark.parametrize("name", NAMES)
def test_no_input_breaks(name: str, tmp_path: Path) -> None:
    """No exception but those that say no, no input that takes seconds, no memory without bound."""
    if importlib.util.find_spec("atheris") is None:
        missing("needs atheris")
    done = fuzz(name, seconds=SECONDS, corpus=tmp_path)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_every_target_has_a_corpus() -> None:
    """Something to begin with, of each kind."""
    assert sorted(path.name for path in SEEDS.iterdir()) == sorted(NAMES)
    assert all(any((SEEDS / name).iterdir()) for name in NAMES)
