"""The plot of README: how many times Postfix, a bar for each row, with its target as a line.

An SVG of its own making. Colours follow the reader's scheme, light or dark; what they say stands
beside them as text, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from tests.bench.rows import POSTFIX, SIGNING, Figures, Ratio, Row

WIDTH: Final = 760
LEFT, RIGHT = 300, 90  # room for the names, and for the figures after the longest bar
TOP, STEP, BAR = 44, 34, 20
FLOOR: Final = 12
TITLE: Final = "gatewayd, with AUTH, quota and two signatures, as a multiple of Postfix"

STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.faint { fill: #59636e }
.met { fill: #1a7f5a }
.missed { fill: #b35900 }
.target { stroke: #1f2328; stroke-width: 2 }
.one { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .faint { fill: #9198a1 }
  .met { fill: #3fb98a }
  .missed { fill: #e3883b }
  .target { stroke: #f0f6fc }
  .one { stroke: #9198a1 }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of the plot."""

    name: str
    ratio: float
    target: float

    @property
    def is_met(self) -> bool:
        return self.ratio >= self.target


def bars(rows: Sequence[Row], figures: Figures) -> list[Bar]:
    """The measured rows that are to be so many times Postfix."""
    return [
        Bar(
            name=f"{row.ident} {row.what}" + (" + opendkim" if row.peer == SIGNING else ""),
            ratio=statistics.median(figures[row.key].ratios),
            target=row.target.least,
        )
        for row in rows
        if isinstance(row.target, Ratio) and row.peer in {POSTFIX, SIGNING} and row.key in figures
    ]


def svg(shown: Sequence[Bar]) -> str:
    """The whole file."""
    longest = max((max(bar.ratio, bar.target) for bar in shown), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / max(longest, 1.0)
    bottom = TOP + STEP * len(shown)
    height = bottom + FLOOR + 16
    one = LEFT + scale
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" role="img" aria-label="{TITLE}">'
        ),
        f"<style>{STYLE}</style>",
        f'<text class="title" x="12" y="22">{escape(TITLE)}</text>',
        *(line for place, bar in enumerate(shown) for line in _bar(place, bar, scale)),
        f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="{TOP - 6}" y2="{bottom}"/>',
        _note(one, bottom + FLOOR, "middle", "Postfix"),
        _note(WIDTH - 12, bottom + FLOOR, "end", "| is the target"),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _note(x: float, y: int, anchor: str, text: str) -> str:
    return f'<text class="faint" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _bar(place: int, bar: Bar, scale: float) -> tuple[str, ...]:
    top = TOP + STEP * place
    target = LEFT + bar.target * scale
    end = LEFT + max(bar.ratio, bar.target) * scale
    kind = "met" if bar.is_met else "missed"
    base = top + BAR - 5
    return (
        f'<text x="{LEFT - 10}" y="{base}" text-anchor="end">{escape(bar.name)}</text>',
        (
            f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{bar.ratio * scale:.1f}" '
            f'height="{BAR}" rx="2"/>'
        ),
        (
            f'<line class="target" x1="{target:.1f}" x2="{target:.1f}" y1="{top - 4}" '
            f'y2="{top + BAR + 4}"/>'
        ),
        f'<text x="{end + 8:.1f}" y="{base}">{bar.ratio:.2f} x</text>',
    )
