"""The figures as a table of Markdown, and the place in a page where it stands."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from tests.bench.rows import Figures, Measured, Most, MostRatio, Rate, Ratio, Row, Target

BEGIN: Final = "<!-- figures: made by `make bench ARGS=--write`, not by hand -->"
END: Final = "<!-- end of figures -->"
COLUMNS: Final = (
    *("id", "work", "gatewayd", "peer", "its figure", "ratio", "spread of the ratio"),
    *("ms of processor time each", "target", "reached"),
)
HEAD: Final = (f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|")


def table(rows: Sequence[Row], figures: Figures) -> str:
    """A line for each row; one that was not measured says so."""
    return "\n".join((*HEAD, *(_line(row, figures.get(row.key)) for row in rows)))


def _line(row: Row, measured: Measured | None) -> str:
    asked = "" if row.target is None else _target(row)
    if measured is None:
        cells = ["not measured", row.peer, "", "", "", "", asked, ""]
    else:
        reached = "" if row.target is None else "yes" if measured.meets(row.target) else "no"
        cells = [
            _figure(measured.ours, row.unit),
            row.peer,
            _figure(measured.theirs, row.unit),
            f"{statistics.median(measured.ratios):.2f}" if measured.ratios else "",
            _spread(measured.ratios),
            _cost(measured),
            asked,
            reached,
        ]
    return "| " + " | ".join((row.ident, row.what, *cells)) + " |"


def _figure(values: Sequence[float], unit: str) -> str:
    return f"{number(statistics.median(values))}{unit}" if values else ""


def number(value: float) -> str:
    """Three digits that say something, and no more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _spread(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else ""


def _cost(measured: Measured) -> str:
    sides = (measured.ours_cpu_ms, measured.theirs_cpu_ms)
    return " against ".join(number(statistics.median(side)) for side in sides if side)


def _target(row: Row) -> str:
    target: Target | None = row.target
    match target:
        case Ratio(least):
            return f"&ge; {least:.1f} x"
        case MostRatio(most):
            return f"&le; {most:.1f} x"
        case Rate(least):
            return f"&ge; {least:,.0f}{row.unit}"
        case Most(most):
            return f"&le; {most:,.0f}{row.unit}"
        case None:
            return ""


def replace_in(page: str, text: str) -> str:
    """The page with `text` between its two markers.

    Raises:
        ValueError: the markers are not there once, in this order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise ValueError(f"the page needs {BEGIN} and {END}, once each")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
