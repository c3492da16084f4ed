r"""Suppressions as a file, out and in: CSV for spreadsheets, JSON lines for programs. Pure.

| column        | out                                           | in, when it is absent or empty   |
|---------------|-----------------------------------------------|----------------------------------|
| address       | as it was written                             | the line is bad                  |
| mailbox       | an address, or `*` for every mailbox          | named on the command line        |
| reason        | a word or an operator's text                  | `imported`                       |
| source        | how it is known                               | `import`                         |
| first_seen_at | an instant, UTC                               | now                              |
| last_seen_at  | an instant, UTC                               | now                              |
| expires_at    | an instant, UTC; empty for never              | never                            |

A CSV may come from elsewhere: `email`, `email_address` and `recipient` are other words for
`address`; semicolons and tabs part cells, too; other columns are ignored; without a header the
first column is the address. An instant without offset is UTC.

A cell that a spreadsheet would take for a formula gets a `'` before it, and so does one that begins
with `'` already, so that reading takes off exactly what writing put on. Control characters in words
are written as `\x1b`, and a backslash as two.
"""

from __future__ import annotations

import csv
import datetime as dt
import enum
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.mail.address import Address, AddressSyntaxError

EVERY_MAILBOX: Final = "*"
COLUMNS: Final = (
    "address",
    "mailbox",
    "reason",
    "source",
    "first_seen_at",
    "last_seen_at",
    "expires_at",
)
REASON: Final = "imported"
SOURCE: Final = "import"

_ADDRESS_WORDS: Final = ("address", "email", "email_address", "e-mail", "recipient")
_MOST_WORDS: Final = 200
_FORMULA: Final = tuple("=+-@'\t\r")
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
_ESCAPED: Final = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Form(enum.StrEnum):
    """How the file is written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line. mailbox: "" when the file does not say whose it is."""

    line: int
    address: str
    mailbox: str
    reason: str
    source: str
    first_seen_at: dt.datetime | None
    last_seen_at: dt.datetime | None
    expires_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadLine:
    """A line that is none, and why."""

    line: int
    why: str


def read(lines: Iterable[str], form: Form) -> Iterator[Entry | BadLine]:
    """The entries of a file, as they come; octets that are no UTF-8 are lone surrogates."""
    return _read_csv(lines) if form is Form.CSV else _read_json(lines)


def header(form: Form) -> str:
    """What stands before the first entry."""
    return _csv_line(COLUMNS) if form is Form.CSV else ""


def write(item: Mapping[str, Any], form: Form) -> str:
    """One line: an item of the operator API, which has every column."""
    values = {name: item[name] for name in COLUMNS}
    if form is Form.JSON_LINES:
        text = json.dumps(values, ensure_ascii=True)
        return text.replace("\x7f", "\\u007f") + "\n"  # the one that ASCII has and JSON allows
    words = {"reason", "source"}
    return _csv_line(
        [
            _neutral(_escaped(value) if name in words else value)
            for name, value in ((name, str(values[name] or "")) for name in COLUMNS)
        ]
    )


# CSV.


def _csv_line(cells: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def _read_csv(lines: Iterable[str]) -> Iterator[Entry | BadLine]:
    numbered = iter(lines)
    first = next(numbered, None)
    if first is None:
        return
    first = first.removeprefix("\ufeff")
    rows = csv.reader(_with(first, numbered), delimiter=_delimiter(first), strict=True)
    columns: Sequence[str] | None = None
    while True:
        try:
            cells = [cell.strip() for cell in next(rows)]
        except StopIteration:
            return
        except csv.Error as error:
            yield BadLine(line=rows.line_num, why=f"is no CSV: {error}")
            return  # where the next line begins is not known any more
        if not any(cells):
            continue
        if columns is None:
            columns = _columns(cells)
            if columns is None:
                columns = ("address",)
            else:
                continue
        yield _csv_entry(columns, cells, rows.line_num)


def _with(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(first: str) -> str:
    """Commas, or what the spreadsheets of other countries write."""
    return max(",;\t", key=first.count)


def _columns(cells: Sequence[str]) -> Sequence[str] | None:
    """The names of a header, None when this is no header."""
    names = [cell.lower().replace(" ", "_") for cell in cells]
    for word in _ADDRESS_WORDS:
        if word in names:
            names[names.index(word)] = "address"
            return names
    return None


def _csv_entry(columns: Sequence[str], cells: Sequence[str], line: int) -> Entry | BadLine:
    if len(cells) > len(columns) > 1:
        return BadLine(line=line, why=f"has {len(cells)} cells, and the header {len(columns)}")
    given = {name: _plain(cell) for name, cell in zip(columns, cells, strict=False)}
    for name in ("reason", "source"):
        if name in given:
            given[name] = _unescaped(given[name])
    return _entry(given, line)


def _neutral(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def _escaped(text: str) -> str:
    def escape(match: re.Match[str]) -> str:
        point = ord(match[0])
        return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"

    return _CONTROL.sub(escape, text.replace("\\", "\\\\"))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(
        lambda match: chr(int(match[1] or match[2], 16)) if match[1] or match[2] else "\\", text
    )


# JSON lines.


def _read_json(lines: Iterable[str]) -> Iterator[Entry | BadLine]:
    for number, line in enumerate(lines, start=1):
        text = line.removeprefix("\ufeff") if number == 1 else line
        if not text.strip():
            continue
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            yield BadLine(line=number, why="is no JSON")
            continue
        if isinstance(given, str):
            given = {"address": given}
        if not isinstance(given, dict):
            yield BadLine(line=number, why="is no JSON object")
            continue
        yield _entry(given, number)


# Both.


def _entry(given: Mapping[str, Any], line: int) -> Entry | BadLine:
    try:
        texts = {name: _text(name, given.get(name)) for name in COLUMNS}
        return Entry(
            line=line,
            address=_parsed(texts, "address", _address),
            mailbox=_parsed(texts, "mailbox", _mailbox),
            reason=_words(texts["reason"], REASON),
            source=_words(texts["source"], SOURCE),
            first_seen_at=_parsed(texts, "first_seen_at", _instant),
            last_seen_at=_parsed(texts, "last_seen_at", _instant),
            expires_at=_parsed(texts, "expires_at", _instant),
        )
    except ValueError as error:
        return BadLine(line=line, why=str(error))


def _text(name: str, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")  # noqa: TRY004 - a mistake in a file, not in a call
    if _SURROGATE.search(value):
        raise ValueError(f"{name} is not UTF-8")
    return value.strip()


def _parsed(texts: Mapping[str, str], name: str, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401 - of that parser
    try:
        return parse(texts[name])
    except AddressSyntaxError as error:
        raise ValueError(f"{name} {texts[name][:80]!r} is no mail address: {error}") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} {texts[name][:80]!r} is no instant") from error


def _address(text: str) -> str:
    return str(Address.parse(text))


def _mailbox(text: str) -> str:
    return text if text in ("", EVERY_MAILBOX) else str(Address.parse(text))


def _instant(text: str) -> dt.datetime | None:
    if not text:
        return None
    found = dt.datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)


def _words(text: str, default: str) -> str:
    return _CONTROL.sub(" ", text)[:_MOST_WORDS] or default
