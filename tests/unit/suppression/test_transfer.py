"""suppression.transfer: what goes out comes in again, and what is bad has a number and a reason."""

from __future__ import annotations

import csv
import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.suppression import transfer
from gatewayd.suppression.transfer import BadLine, Entry, Form

AT = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
ITEM: dict[str, Any] = {
    "scope": "0193", "address": "bob@example.net", "mailbox": "ann@example.com",
    "reason": "hard_bounce", "source": "smtp", "first_seen_at": "2026-11-21T12:00:00Z",
    "last_seen_at": "2026-11-21T12:00:00Z", "expires_at": None,
}  # fmt: skip
BOB = Entry(
    line=2, address="bob@example.net", mailbox="ann@example.com", reason="hard_bounce",
    source="smtp", first_seen_at=AT, last_seen_at=AT, expires_at=None,
)  # fmt: skip
BOTH = pytest.mark.parametrize("form", Form)


def written(*items: dict[str, Any], form: Form = Form.CSV) -> list[str]:
    """The lines of a file."""
    text = transfer.header(form) + "".join(transfer.write(item, form) for item in items)
    return text.splitlines(keepends=True)


def read(*lines: str, form: Form = Form.CSV) -> list[Entry | BadLine]:
    return list(transfer.read([f"{line}\n" for line in lines], form))


def addresses(*lines: str, form: Form = Form.CSV) -> list[str]:
    return [one.address for one in read(*lines, form=form) if isinstance(one, Entry)]


@BOTH
def test_what_goes_out_comes_in_again(form: Form) -> None:
    (entry,) = transfer.read(written(ITEM, form=form), form)

    assert entry == (BOB if form is Form.CSV else Entry(**{**_fields(BOB), "line": 1}))


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def test_file_looks_as_documented() -> None:
    assert written(ITEM) == [
        "address,mailbox,reason,source,first_seen_at,last_seen_at,expires_at\n",
        (
            "bob@example.net,ann@example.com,hard_bounce,smtp,"
            "2026-11-21T12:00:00Z,2026-11-21T12:00:00Z,\n"
        ),
    ]
    (line,) = written(ITEM, form=Form.JSON_LINES)
    assert json.loads(line) == {name: ITEM[name] for name in transfer.COLUMNS}


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [
        ("address", "=cmd@example.net", "'=cmd@example.net"),
        ("address", "+1@example.net", "'+1@example.net"),
        ("address", "-a@example.net", "'-a@example.net"),
        ("address", "'a@example.net", "''a@example.net"),
        ("reason", "@SUM(A1)", "'@SUM(A1)"),
        ("reason", "\x1b[31mred", "\\x1b[31mred"),
        ("reason", "back\\slash", "back\\\\slash"),
        ("reason", "\u202egnp", "\\u202egnp"),
        ("reason", "\tx", "\\x09x"),
        ("source", "=1", "'=1"),
    ],
)
def test_cell_is_no_formula_and_obeys_no_terminal(name: str, value: str, cell: str) -> None:
    r"""A spreadsheet shows it, a terminal shows it; reading gives it back."""
    lines = written({**ITEM, name: value})
    cells = next(csv.reader(lines[1:]))
    (entry,) = transfer.read(lines, Form.CSV)

    assert cells[transfer.COLUMNS.index(name)] == cell
    assert isinstance(entry, Entry)
    if value.isprintable():
        assert getattr(entry, name) == value


PLAIN = st.text(
    st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=80
).filter(lambda text: text == text.strip())
LOCAL = st.text("abcXYZ019!#$%&'*+/=?^_`{|}~-", min_size=1, max_size=20)


@BOTH
@given(local=LOCAL, reason=PLAIN, source=PLAIN, mailbox=st.sampled_from(["*", "ann@example.com"]))
def test_whatever_goes_out_comes_in_again(
    form: Form, local: str, reason: str, source: str, mailbox: str
) -> None:
    """Addresses and words that a person can see, quotes and commas and formulas too."""
    item = {**ITEM, "address": f"{local}@example.net", "mailbox": mailbox}
    item |= {"reason": reason, "source": source}
    (entry,) = transfer.read(written(item, form=form), form)

    assert isinstance(entry, Entry)
    assert (entry.address, entry.mailbox, entry.reason, entry.source) == (
        f"{local}@example.net",
        mailbox,
        reason,
        source,
    )


@given(st.lists(st.text(max_size=60), max_size=6), st.sampled_from(Form))
def test_any_file_is_entries_and_bad_lines(lines: list[str], form: Form) -> None:
    """No file breaks the reader; numbers grow."""
    found = read(*lines, form=form)

    numbers = [one.line for one in found]
    assert numbers == sorted(numbers)


def test_files_of_others_are_read() -> None:
    """Another word for the address, other delimiters, other columns, no header, a mark of order."""
    assert addresses("Email,Created", "a@x.test,yesterday", "b@x.test,") == ["a@x.test", "b@x.test"]
    assert addresses("name;recipient", "Ann;a@x.test") == ["a@x.test"]
    assert addresses("E-Mail\tid", "a@x.test\t7") == ["a@x.test"]
    assert addresses("a@x.test", "", "b@x.test") == ["a@x.test", "b@x.test"]
    assert addresses("\ufeffaddress", "a@x.test") == ["a@x.test"]
    assert addresses('\ufeff"a@x.test"', '{"address": "b@x.test"}', form=Form.JSON_LINES) == [
        "a@x.test",
        "b@x.test",
    ]


def test_what_is_absent_has_a_default() -> None:
    (entry,) = read("address", "a@x.test")

    assert entry == Entry(
        line=2, address="a@x.test", mailbox="", reason="imported", source="import",
        first_seen_at=None, last_seen_at=None, expires_at=None,
    )  # fmt: skip


def test_instants_are_utc() -> None:
    (entry,) = read("address,expires_at", "a@x.test,2026-11-21T13:00:00+01:00")
    (day,) = read("address,expires_at", "a@x.test,2026-11-21")

    assert isinstance(entry, Entry)
    assert isinstance(day, Entry)
    assert (entry.expires_at, day.expires_at) == (AT, AT.replace(hour=0))


@pytest.mark.parametrize(
    ("lines", "form", "line", "why"),
    [
        (("address", "bob"), Form.CSV, 2, "address 'bob' is no mail address"),
        (("address", '"a@x.test', 'b@x.test"'), Form.CSV, 3, "is no mail address"),
        (("address,reason", "a@x.test,b,c"), Form.CSV, 2, "has 3 cells, and the header 2"),
        (("address,mailbox", "a@x.test,bob"), Form.CSV, 2, "mailbox 'bob' is no mail address"),
        (("address,expires_at", "a@x.test,soon"), Form.CSV, 2, "expires_at 'soon' is no instant"),
        (("address", "a@\udce9.test"), Form.CSV, 2, "address is not UTF-8"),
        (("address", '"a"b'), Form.CSV, 2, "is no CSV"),
        (("nothing", "of use"), Form.CSV, 1, "address 'nothing' is no mail address"),
        (("{",), Form.JSON_LINES, 1, "is no JSON"),
        (("[" * 100_000,), Form.JSON_LINES, 1, "is no JSON"),
        (("17",), Form.JSON_LINES, 1, "is no JSON object"),
        (('{"address": 17}',), Form.JSON_LINES, 1, "address is no text"),
        (("{}",), Form.JSON_LINES, 1, "is no mail address"),
    ],
)
def test_bad_line_has_its_number_and_a_reason(
    lines: tuple[str, ...], form: Form, line: int, why: str
) -> None:
    bad = read(*lines, form=form)[0]

    assert isinstance(bad, BadLine)
    assert bad.line == line
    assert why in bad.why
