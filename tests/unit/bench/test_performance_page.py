"""docs/performance.md and its plot show the figures that are kept, and no others."""

from __future__ import annotations

from tests.bench import plot, rows, table
from tests.bench.__main__ import FIGURES, PAGE, PLOT


def test_page_when_read_then_its_table_is_made_from_the_kept_figures() -> None:
    """Nobody changed a figure by hand."""
    page = PAGE.read_text()

    assert table.replace_in(page, table.table(rows.ROWS, rows.read(FIGURES))) == page


def test_plot_when_read_then_it_is_made_from_the_kept_figures() -> None:
    """The plot of README and the table agree."""
    assert plot.svg(plot.bars(rows.ROWS, rows.read(FIGURES))) == PLOT.read_text()
