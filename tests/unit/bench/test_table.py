"""The table of the bench: what it says of given figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import rows, table
from tests.bench.rows import Measured, Most, MostRatio, Rate, Ratio, Row

ROW = Row(ident="W1", what="accept", peer="Postfix", target=Ratio(3.0))


def line(row: Row, measured: Measured) -> str:
    return table.table([row], {row.key: measured}).splitlines()[2]


def test_row_when_measured_then_medians_spread_cost_and_target_stand_in_it() -> None:
    """The ratio is the median of each round's own ratio, not that of the medians."""
    measured = Measured(
        ours=(900.0, 1200.0, 3000.0),
        theirs=(300.0, 600.0, 500.0),
        ours_cpu_ms=(0.81, 0.9, 0.7),
        theirs_cpu_ms=(1.5, 1.6, 12.0),
    )

    assert line(ROW, measured) == (
        "| W1 | accept | 1,200/s | Postfix | 500/s | 3.00 | 2.00 to 6.00 | 0.81 against 1.60 "
        "| &ge; 3.0 x | yes |"
    )


def test_row_when_one_round_then_there_is_no_spread() -> None:
    """One round says nothing of how much the next one would differ."""
    assert line(ROW, Measured(ours=(299.0,), theirs=(100.0,))) == (
        "| W1 | accept | 299/s | Postfix | 100/s | 2.99 |  |  | &ge; 3.0 x | no |"
    )


def test_row_when_without_peer_and_target_then_their_cells_are_empty() -> None:
    """A row for information claims nothing."""
    row = Row(ident="W9", what="memory", unit=" MiB")

    assert (
        line(row, Measured(ours=(87.21,), theirs=()))
        == "| W9 | memory | 87.2 MiB |  |  |  |  |  |  |  |"
    )


def test_row_when_not_measured_then_it_says_so() -> None:
    """A row without figures stays in the table, with its target."""
    assert (
        table.table([ROW], {}).splitlines()[2]
        == "| W1 | accept | not measured | Postfix |  |  |  |  | &ge; 3.0 x |  |"
    )


def test_table_when_made_then_every_line_has_as_many_cells_as_its_head() -> None:
    """Markdown drops the cells that have no column."""
    measured = Measured(ours=(1.0, 2.0), theirs=(1.0, 1.0))
    figures = {row.key: measured for row in rows.ROWS[::2]}

    assert {len(table.COLUMNS) + 1} == {
        text.count("|") for text in table.table(rows.ROWS, figures).splitlines()
    }


@pytest.mark.parametrize(
    ("target", "ours", "theirs", "is_met"),
    [
        (Ratio(2.0), 200.0, 100.0, True),
        (Ratio(2.0), 199.0, 100.0, False),
        (MostRatio(1.2), 1.2, 1.0, True),
        (MostRatio(1.2), 1.21, 1.0, False),
        (Rate(2000), 2000.0, 9000.0, True),
        (Rate(2000), 1999.0, 1.0, False),
        (Most(25), 25.0, 1.0, True),
        (Most(25), 25.1, 99.0, False),
    ],
)
def test_target_when_just_reached_then_it_is_met(
    target: rows.Target, ours: float, theirs: float, is_met: bool
) -> None:
    """Each kind of target looks at its own figure."""
    assert is_met == Measured(ours=(ours,), theirs=(theirs,)).meets(target)


def test_target_when_a_ratio_to_nobody_then_it_is_an_error() -> None:
    """A row without a peer has no ratio to reach."""
    with pytest.raises(ValueError, match="nobody"):
        Measured(ours=(1.0,)).meets(Ratio(1.0))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8149, "0.81"), (9.5, "9.50"), (10.04, "10.0"), (99.94, "99.9"), (1234.5, "1,234")],
)
def test_number_when_shown_then_it_has_three_digits_or_all_before_the_point(
    value: float, text: str
) -> None:
    """No figure looks more exact than it is."""
    assert text == table.number(value)


def test_page_when_table_is_made_again_then_only_what_is_between_markers_changes() -> None:
    """What people wrote stays."""
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"

    changed = table.replace_in(page, "new")

    assert f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n" == changed
    assert changed == table.replace_in(changed, "new")


@pytest.mark.parametrize(
    "page",
    [
        "no markers",
        f"{table.BEGIN} without an end",
        f"{table.END}{table.BEGIN}",
        f"{table.BEGIN}{table.END}{table.BEGIN}{table.END}",
    ],
)
def test_page_when_markers_are_wrong_then_nothing_is_replaced(page: str) -> None:
    """A page is not cut at a marker that somebody moved."""
    with pytest.raises(ValueError, match="once each"):
        table.replace_in(page, "new")


def test_rows_when_named_then_each_key_is_its_own() -> None:
    """Figures are kept by key."""
    keys = [row.key for row in rows.ROWS]

    assert len(keys) == len(set(keys))


def test_figures_when_kept_then_they_read_back_and_rows_that_are_gone_do_not(
    tmp_path: Path,
) -> None:
    """What an older bench measured does not haunt the table."""
    file = tmp_path / "figures.json"
    kept = Measured(ours=(1.0, 2.0), theirs=(3.0, 4.0), ours_cpu_ms=(0.5,), theirs_cpu_ms=())

    assert rows.read(file) == {}
    rows.write(file, {rows.ROWS[0].key: kept, "W99, gone": kept})

    assert {rows.ROWS[0].key: kept} == rows.read(file)
