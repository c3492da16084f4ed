"""cli.output: tables stay readable, JSON stays the same, nothing is shown that a terminal obeys."""

from __future__ import annotations

import json
import sys

import pytest

from gatewayd.cli import output
from gatewayd.cli.output import clean, show_facts, show_json, show_table

ID = "0193f0a2-7b1c-7e00-8000-0123456789ab"
ROW = {"queue_id": ID, "accepted_at": "2026-11-21T08:00:00.123456Z", "subject": "Hello " * 10}


def at_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize(
    "code", [0x1B, 0x07, 0x08, 0x0D, 0x7F, 0x9B, 0x202E, 0x2066, 0x200F, 0x61C]
)
def test_clean_takes_out_what_a_terminal_obeys(code: int) -> None:
    """C0, DEL, C1 and what turns the direction of text."""
    assert clean(f"a{chr(code)}b") == "a\ufffdb"


def test_clean_takes_out_a_lone_surrogate() -> None:
    """It could not be printed at all."""
    assert clean("a\udcffb") == "a\ufffdb"


def test_clean_leaves_words_of_every_script() -> None:
    """Wide letters, accents and right-to-left words are no control characters."""
    assert clean("Zoë 日本 שלום") == "Zoë 日本 שלום"


def test_table_in_a_file_has_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """However wide: grep and cut see whole rows."""
    show_table([ROW, ROW], tuple(ROW), as_json=False)

    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["queue", "id", "accepted", "at", "subject"]
    assert len(rows) == 2
    assert all(ID in row and "2026-11-21T08:00:00Z" in row for row in rows)


def test_wide_row_breaks_between_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On 80 columns an id is never folded: the row takes more lines."""
    at_terminal(monkeypatch, 80)
    show_table([ROW], tuple(ROW), as_json=False)

    assert capsys.readouterr().out.splitlines() == [
        f"{ID}  accepted at: 2026-11-21T08:00:00Z",
        f"  subject: {'Hello ' * 10}"[:80].rstrip() + " ",
    ]


def test_narrow_table_stays_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Columns stand under their names, wide letters counted as two."""
    at_terminal(monkeypatch, 80)
    show_table([{"a": "日本", "b": 1}, {"a": "x", "b": None}], ("a", "b"), as_json=False)

    assert capsys.readouterr().out.splitlines() == ["a     b", "日本  1", "x     -"]


def test_empty_table_says_so_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that counts lines counts none."""
    show_table([], ("a",), as_json=False)

    assert capsys.readouterr() == ("", "nothing found\n")


def test_empty_table_is_empty_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The shape does not change."""
    show_table([], ("a",), as_json=True)

    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"items": [], "next_cursor": None}, "")


def test_json_is_ascii_and_holds_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    """What came from a network is escaped, and reads back as it was."""
    value = {"subject": "\x1b[31m\x7f\x9b\u202e日本"}
    show_json(value)

    out = capsys.readouterr().out
    assert out.isascii()
    assert not set(out) & {"\x1b", "\x7f"}
    assert value == json.loads(out)


def test_facts_show_absent_values_as_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing, an empty text and an empty list look alike; yes and no are words."""
    show_facts({"a": None, "b": "", "c": [], "d": True, "e": {"x": 1}}, as_json=False)

    assert capsys.readouterr().out.splitlines() == ["a  -", "b  -", "c  -", "d  yes", "e  x=1"]


def test_cursor_of_the_next_page_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    """It is for the person; JSON has it as a member."""
    output.show_table([{"a": 1}], ("a",), as_json=False, more="abc")

    out, err = capsys.readouterr()
    assert (out, err) == ("a\n1\n", "there is more: --cursor abc\n")
