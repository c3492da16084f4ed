"""What a command prints: a table for people, or JSON for programs.

| where to               | a table that is wider than 80 columns                                   |
|------------------------|-------------------------------------------------------------------------|
| a terminal             | rows take several lines, each value with its name; no value is broken   |
| a file, a program      | one line a row, however long: for grep and cut                          |

Text that came from a network may hold escape sequences for a terminal, so control characters are
taken out of everything that is shown.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

ABSENT: Final = "-"


def _chosen(context: typer.Context, file: Path) -> Path:
    """The file named after the command, else the one named before it, else the usual one."""
    source = context.get_parameter_source("config")
    before: Path | None = context.find_root().params.get("config")
    is_named_here = source is not None and source.name == "COMMANDLINE"
    return file if is_named_here or before is None else before


ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", callback=_chosen)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# C0, DEL, C1, line and paragraph separators, what turns the direction of text, lone surrogates.
_HOSTILE: Final = (
    "\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
)
_CONTROL: Final = re.compile(f"[\x00-\x1f{_HOSTILE}]")
_CONTROL_BUT_LF: Final = re.compile(f"[\x00-\x09\x0b-\x1f{_HOSTILE}]")
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(?:Z|\+00:00)")
_GAP: Final = "  "


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Text without anything that a terminal obeys."""
    return (_CONTROL_BUT_LF if keep_lines else _CONTROL).sub("\ufffd", text)


def instant(value: str | None) -> str:
    """An instant of the daemon's JSON, to the second."""
    return clean(_text(value))


def show_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=True, default=str)
    typer.echo(text.replace("\x7f", "\\u007f"))  # the one that ASCII has, and JSON allows


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
    """Several objects: the first column names each. `more` is the cursor of the next page."""
    items = list(rows)
    if as_json:
        show_json({"items": items, "next_cursor": more})
        return
    if not items:
        note("nothing found")
        return
    cells = [[clean(_text(item.get(column))) for column in columns] for item in items]
    names = [column.replace("_", " ") for column in columns]
    for line in _lines(names, cells, width=_terminal_width()):
        typer.echo(line)
    if more:
        note(f"there is more: --cursor {more}")


def _lines(
    names: Sequence[str], cells: Sequence[Sequence[str]], *, width: int | None
) -> Iterator[str]:
    """A table, or where it is too wide for a terminal, rows of several lines."""
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    if width is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
        for row in (names, *cells):
            padded = (
                text + " " * (most - _width(text)) for text, most in zip(row, widths, strict=True)
            )
            yield _GAP.join(padded).rstrip()
        return
    for first, *others in cells:
        line = first
        for name, text in zip(names[1:], others, strict=True):
            if text == ABSENT:
                continue
            part = f"{name}: {text}"
            if _width(line) + len(_GAP) + _width(part) > width:
                yield line
                line = _GAP + part
            else:
                line += _GAP + part
        yield line


def _terminal_width() -> int | None:
    """Columns of the terminal; None where standard output is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _width(text: str) -> int:
    """Columns that a text takes: two for a wide character, none for a mark over another."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")
        for one in text
    )


def note(text: str) -> None:
    """Something for the person, not for the program that reads standard output."""
    typer.echo(clean(text, keep_lines=True), err=True)


def _text(value: object) -> str:
    if value is None or value == "":
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and (instant := _INSTANT.fullmatch(value)):
        return f"{instant[1]}Z"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or ABSENT
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(part)}" for key, part in value.items()) or ABSENT
    return str(value)
