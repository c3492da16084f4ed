"""The commands as a person types them, in this process, on a state directory of their own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gatewayd.cli.main import main
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.daemon.tools import DatabaseTools
from tests.peers.command import Said, config_text


@dataclass(frozen=True, slots=True)
class Cli:
    """`gatewayd WORDS -c FILE`."""

    config_file: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def state_dir(self) -> Path:
        return self.config_file.parent / "state"

    def run(self, *words: str, code: int = 0) -> Said:
        """Run a command and check its exit code; what it said."""
        return self.bare(*words, "-c", str(self.config_file), code=code)

    def bare(self, *words: str, code: int = 0) -> Said:
        """The same, without naming the configuration."""
        self.capsys.readouterr()
        found = main(list(words))
        out, err = self.capsys.readouterr()
        assert code == found, err
        assert "Traceback" not in err
        return Said(out=out, err=err)

    def json(self, *words: str) -> Any:  # noqa: ANN401 - it is JSON
        """What a command prints for a program."""
        return json.loads(self.run(*words, "--json").out)

    def write_config(self, more: str = "") -> None:
        self.config_file.write_text(config_text(self.config_file.parent) + more)


@pytest.fixture(scope="session")
def made_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory after `db init`, to copy: faster than to make another."""
    directory = tmp_path_factory.mktemp("made")
    file = directory / "gatewayd.toml"
    file.write_text(config_text(directory))
    DatabaseTools(load.load(file), SystemClock()).init()
    return directory / "state"


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Nothing is made yet but the configuration."""
    cli = Cli(tmp_path / "gatewayd.toml", capsys)
    cli.write_config()
    return cli


@pytest.fixture
def cli(empty: Cli, made_state: Path) -> Cli:
    """After `db init`."""
    shutil.copytree(made_state, empty.state_dir)
    return empty
