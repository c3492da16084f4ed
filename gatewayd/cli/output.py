"""What a command prints: a table for people, or JSON for programs.

Text that came from a network may hold escape sequences for a terminal, so control characters are
taken out of everything that is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

CONFIG: Final = Path("/etc/gatewayd/gatewayd.toml")

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_CONTROL_BUT_LF = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Text without anything that a terminal obeys."""
    return (_CONTROL_BUT_LF if keep_lines else _CONTROL).sub("\ufffd", text)


def show_json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=True, default=str))


def show_facts(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """One object: a line for each member."""
    if as_json:
        show_json(dict(facts))
        return
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {clean(_text(value))}")


def show_table(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    as_json: bool,
    more: str | None = None,
) -> None:
    """Several objects: a line for each. `more` is the cursor of the next page."""
    items = list(rows)
    if as_json:
        show_json({"items": items, "next_cursor": more})
        return
    from rich.console import Console  # noqa: PLC0415 - costs a command that prints no table
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for item in items:
        table.add_row(*(Text(clean(_text(item.get(column)))) for column in columns))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    if more:
        console.print(f"there is more: --cursor {more}")


def note(text: str) -> None:
    """Something for the person, not for the program that reads standard output."""
    typer.echo(clean(text, keep_lines=True), err=True)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(part)}" for key, part in value.items())
    return str(value)
