"""`python -m tests.bench [--rounds 3] [--write] [W1 W2 ...]`: the table of docs/performance.md.

Ours and the peer take turns in each round; the figure is the median of the rounds, and of the ratio
of each. Without names all rows are measured. What is missing on this machine (a peer, a compiler's
header) is said, and its row left out. With `--write` the figures are kept in docs/plots, where
those of rows that were not measured now stay as they were, and the table and the plot are made
again from all of them.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.bench import mail, plot, queued, redirects, rows, sending, table
from tests.bench.client import ceiling, compiled
from tests.bench.rows import Figures, Finding

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = DOCS / "performance.md"
FIGURES: Final = DOCS / "plots" / "versus.json"
PLOT: Final = DOCS / "plots" / "versus.svg"
PROGRAMS: Final = {"gcc": "gcc", "smtp-sink": "postfix"}


def findings(
    directory: Path, wanted: Sequence[str], rounds: int, *, longest: int
) -> Iterator[Finding]:
    """Each row as soon as it is measured."""
    client = compiled(directory)
    _say(f"the SMTP client alone, against smtp-sink: {ceiling(client):,.0f}/s")
    yield from mail.measure(client, wanted, rounds)
    yield from sending.measure(directory, wanted, rounds)
    if "W7" in wanted:
        yield from redirects.measure(rounds)
    if "W10" in wanted:
        yield from queued.measure(client, rounds, queued=longest)


def write(figures: Figures) -> None:
    """Make the table and the plot again, from these figures and the older ones of other rows."""
    FIGURES.parent.mkdir(exist_ok=True)
    merged = {**rows.read(FIGURES), **figures}
    rows.write(FIGURES, merged)
    PAGE.write_text(table.replace_in(PAGE.read_text(), table.table(rows.ROWS, merged)))
    PLOT.write_text(plot.svg(plot.bars(rows.ROWS, merged)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queued", type=int, default=100_000, help="the longest queue of W10")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("rows", nargs="*", metavar="W1", help="all, if none is named")
    options = parser.parse_args()
    wanted = options.rows or rows.IDENTS
    for unknown in set(wanted) - set(rows.IDENTS):
        parser.error(f"{unknown} is none of {', '.join(rows.IDENTS)}")
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            parser.error(f"{program} is not installed: apt-get install {package}")
    if "W9" in wanted and "W3" not in wanted:
        wanted = [*wanted, "W3"]
    figures = {}
    with tempfile.TemporaryDirectory() as directory:
        found = findings(Path(directory), wanted, options.rounds, longest=options.queued)
        for key, measured in found:
            figures[key] = measured
            (row,) = (row for row in rows.ROWS if row.key == key)
            _say(table.table([row], figures).rpartition("\n")[2])
            if options.write:
                write({key: measured})
    _say("\n" + table.table([row for row in rows.ROWS if row.key in figures], figures))


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
