"""cli.main: spelling, exit codes, and words instead of tracebacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli

ROOT = Path(__file__).parents[3]


def test_no_word_prints_the_help(empty: Cli) -> None:
    """EX_USAGE, and every command."""
    said = empty.bare(code=64)

    assert said.err.startswith("Usage: gatewayd")
    assert "mailboxes" in said.err


@pytest.mark.parametrize("words", [("nope",), ("tokens", "nope"), ("tokens:nope",), ("db", "-x")])
def test_unknown_word_exits_64(empty: Cli, words: tuple[str, ...]) -> None:
    """It names the word and the help."""
    said = empty.bare(*words, code=64)

    assert said.out == ""
    assert "--help`" in said.err


def test_help_hint_names_the_command(empty: Cli) -> None:
    """The help that tells what was missing, not the longest one."""
    said = empty.bare("tokens", "issue", code=64)

    assert "see `gatewayd tokens issue --help`" in said.err


def test_version_exits_0(empty: Cli) -> None:
    assert empty.bare("--version").out.startswith("gatewayd ")


@pytest.mark.parametrize(
    "words",
    [
        ("-c", "FILE", "config", "check"),
        ("--config", "FILE", "config:check"),
        ("--config=FILE", "config:check"),
        ("config", "check", "-c", "FILE"),
        ("config:check", "--config=FILE"),
        ("-c", "/nowhere.toml", "config", "check", "-c", "FILE"),
    ],
)
def test_config_may_stand_before_or_after(empty: Cli, words: tuple[str, ...]) -> None:
    """Either place, either spelling; after the command counts more."""
    said = empty.bare(*(word.replace("FILE", str(empty.config_file)) for word in words))

    assert str(empty.config_file) in said.out


def test_environment_names_no_configuration(empty: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the option does: what runs is what the line says."""
    for name in ("GATEWAYD_CONFIG", "CONFIG", "GATEWAYD_CONFIG_FILE"):
        monkeypatch.setenv(name, str(empty.config_file))
    said = empty.bare("config", "check", code=78)

    assert "/etc/gatewayd/gatewayd.toml" in said.err


def test_missing_default_file_points_to_an_example(empty: Cli) -> None:
    """A first start: which file, that it is the default one, and what to copy."""
    said = empty.bare("config", "check", code=78)

    assert "the default file" in said.err
    assert "conf/minimal.toml" in said.err


def test_missing_named_file_is_not_called_the_default(empty: Cli) -> None:
    said = empty.bare("status", "-c", "/nowhere/g.toml", code=78)

    assert "/nowhere/g.toml" in said.err
    assert "the default" not in said.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"[daemon", "line 1"),
        (b"\xff\xfe", "UTF-8"),
        (b'[daemon]\nhostname = "a.test"\nhots = 1\n', "daemon.hots"),
        (b"[limits]\nrecipients = -4\n", "limits.recipients"),
        (b"", "daemon.hostname"),
    ],
)
@pytest.mark.parametrize("command", [("config", "check"), ("status",), ("db", "current")])
def test_bad_config_exits_78(
    empty: Cli, command: tuple[str, ...], text: bytes, expected: str
) -> None:
    """Every command says where the mistake is."""
    empty.config_file.write_bytes(text)
    said = empty.run(*command, code=78)

    assert expected in said.err


def test_config_that_is_a_directory_exits_78(empty: Cli, tmp_path: Path) -> None:
    assert str(tmp_path) in empty.bare("status", "-c", str(tmp_path), code=78).err


def test_hostile_value_of_config_does_not_reach_the_terminal(empty: Cli) -> None:
    """A TOML escape becomes a control character, which an error would repeat."""
    empty.config_file.write_text('[daemon]\nhostname = "a\\u001b[31m\\u202eb"\n')
    said = empty.run("config", "check", code=78)

    assert not set(said.err) & {"\x1b", "\u202e"}


def test_state_dir_that_cannot_be_made_exits_78(empty: Cli) -> None:
    """A file stands in its place."""
    empty.state_dir.write_text("")
    said = empty.run("db", "init", code=78)

    assert "daemon.state_dir" in said.err


def test_command_before_db_init_exits_65(empty: Cli) -> None:
    """It says what makes the tables."""
    assert "gatewayd db init" in empty.run("mailboxes", "list", code=65).err


def test_lost_key_file_exits_78(cli: Cli) -> None:
    """It is never replaced in silence."""
    (cli.state_dir / "keys" / "jwt.keys").unlink()

    assert "jwt.keys is missing" in cli.run("tokens", "list", code=78).err
    assert not (cli.state_dir / "keys" / "jwt.keys").exists()


def test_key_file_open_to_others_exits_77(cli: Cli) -> None:
    (cli.state_dir / "keys" / "jwt.keys").chmod(0o644)

    assert "jwt.keys" in cli.run("tokens", "list", code=77).err


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("--help",), ("tokens", "issue", "--help"), ("config", "check"), ("config", "show")]
)
def test_small_commands_load_little(empty: Cli, words: tuple[str, ...]) -> None:
    """Help and a look at the configuration need no database, no web framework, no tables."""
    code = (
        "import sys\nfrom gatewayd.cli.main import main\n"
        f"code = main({[*words]!r} + ({['-c', str(empty.config_file)]!r} "
        f"if {'--help' not in words} else []))\n"
        "heavy = {'sqlalchemy', 'alembic', 'fastapi', 'starlette', 'rich', 'uvicorn', 'httpx2'}\n"
        "print(code, *sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stderr.strip() == "0"
