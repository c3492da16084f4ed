"""conf/ and docs/config.md: they hold every key, with its default, and they load."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from gatewayd.config.load import load
from gatewayd.config.reference import keys
from gatewayd.config.render import literal
from gatewayd.config.tree import Config

ROOT = Path(__file__).parents[2]
KEY_LINE = re.compile(r"#?([a-z_]+) = (.+)")


def keys_of(text: str) -> dict[str, str]:
    """Every key of a file with its TOML, the commented ones too; the first of a list counts."""
    table = ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if header := re.fullmatch(r"#?\[+([a-z.]+)\]+", line):
            table = header[1]
        elif key := KEY_LINE.fullmatch(line):
            found.setdefault(f"{table}.{key[1]}", key[2])
    return found


def documented() -> dict[str, tuple[str, str]]:
    """Every key of docs/config.md with the cells of its default and meaning."""
    table = ""
    found: dict[str, tuple[str, str]] = {}
    for line in (ROOT / "docs/config.md").read_text().splitlines():
        if header := re.fullmatch(r"## \[+([a-z.]+)\]+", line):
            table = header[1]
        elif row := re.fullmatch(r"\| `([a-z_]+)` \| (.+?) \| .*?\| (.+) \|", line):
            found[f"{table}.{row[1]}"] = (row[2].strip("`"), row[3])
    return found


def test_gatewayd_toml_holds_every_key_and_no_other() -> None:
    """What can be set can be read in one file, in the order of its tables."""
    text = (ROOT / "conf/gatewayd.toml").read_text()

    assert set(keys()) == set(keys_of(text))


@pytest.mark.parametrize("name", [name for name, key in keys().items() if key.default is not None])
def test_gatewayd_toml_shows_the_default(name: str) -> None:
    """The value beside a key is what holds without it."""
    shown = keys_of((ROOT / "conf/gatewayd.toml").read_text())[name]

    assert keys()[name].default == literal(tomllib.loads(f"x = {shown}")["x"])


def test_gatewayd_toml_is_the_default_config() -> None:
    """The file as it stands changes nothing but what has no default."""
    config = load(ROOT / "conf/gatewayd.toml", {})

    assert Config(daemon=config.daemon, tls=config.tls) == config
    assert config.daemon == type(config.daemon)(hostname=config.daemon.hostname)


@pytest.mark.parametrize("name", ["gatewayd.toml", "minimal.toml", "postgres.toml"])
def test_example_loads_when_its_files_are_absent(name: str) -> None:
    """An example is right as it stands: loading looks at no file it names."""
    assert load(ROOT / "conf" / name, {}).daemon.hostname == "mail.example.com"


def test_docs_list_every_key_and_no_other() -> None:
    """docs/config.md is the whole reference."""
    assert set(keys()) == set(documented())


@pytest.mark.parametrize("name", keys())
def test_docs_show_default_and_meaning(name: str) -> None:
    """What the docs say of a key is what the code says of it."""
    key = keys()[name]
    default = "required" if key.is_required else key.default or "none"

    assert (default, key.description) == documented()[name]


def test_every_key_has_a_meaning() -> None:
    """No key without a sentence that says what it is for."""
    assert not [name for name, key in keys().items() if not key.description]
