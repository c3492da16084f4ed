"""docs/cli.md and the commands: each says what the other has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from gatewayd.cli.commands import app

_PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
_ROW = re.compile(
    r"^\| `gatewayd ([a-z -]+?)(?: [A-Z_\[\]. ]+)?` \| (.*?) \| (.*) \|$", re.MULTILINE
)
_EVERYWHERE = {"config", "json"}


def _commands(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - typer's own click
    below = getattr(found, "commands", None)
    if below is None:
        yield " ".join(path), found
        return
    for name, command in below.items():
        yield from _commands(command, (*path, name))


def _documented() -> dict[str, tuple[set[str], str]]:
    return {
        match[1]: (set(re.findall(r"`(--[a-z-]+)`", match[2])), match[3])
        for match in _ROW.finditer(_PAGE)
    }


def test_every_command_is_documented_with_its_options_and_no_other() -> None:
    """Who reads the page can trust it, both ways."""
    expected = {
        name: (
            {
                max(one.opts, key=len)
                for one in command.params
                if one.param_type_name == "option" and one.name not in _EVERYWHERE
            },
            command.help.strip().splitlines()[0],
        )
        for name, command in _commands(typer.main.get_command(app))
    }

    assert expected == _documented()
