"""The plot of the bench: bars and targets as long as their figures."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from tests.bench import plot, rows
from tests.bench.plot import LEFT, Bar
from tests.bench.rows import Measured, Ratio, Row

SVG = "{http://www.w3.org/2000/svg}"
MET = Bar(name="W1 accept", ratio=4.0, target=3.0)
MISSED = Bar(name="W3 deliver", ratio=1.0, target=2.0)


def drawn(text: str, element: str, kind: str) -> list[dict[str, str]]:
    root = ET.fromstring(text)  # noqa: S314 - of our own making
    return [one.attrib for one in root.iter(f"{SVG}{element}") if one.get("class") == kind]


def test_bars_when_figures_are_given_then_only_multiples_of_postfix_have_one() -> None:
    """Another peer, another kind of target and a row without figures are not drawn."""
    shown = [
        Row(ident="W1", what="accept", peer=rows.POSTFIX, target=Ratio(3.0)),
        Row(ident="W3", what="deliver", peer=rows.SIGNING, target=Ratio(5.0)),
    ]
    others = [
        Row(ident="W1", what="accept", peer=rows.EXIM),
        Row(ident="W8", what="wait", peer=rows.POSTFIX, target=rows.Most(25)),
    ]
    absent = Row(ident="W2", what="one", peer=rows.POSTFIX, target=Ratio(1.5))
    measured = Measured(ours=(8.0, 6.0, 9.0), theirs=(2.0, 2.0, 2.0))

    made = plot.bars([*shown, *others, absent], {row.key: measured for row in shown + others})

    assert [
        Bar(name="W1 accept", ratio=4.0, target=3.0),
        Bar(name="W3 deliver + opendkim", ratio=4.0, target=5.0),
    ] == made


def test_svg_when_drawn_then_bars_and_targets_have_one_scale() -> None:
    """A bar of four is four times as long as one of one, and the target of two lies between."""
    text = plot.svg([MET, MISSED])

    (met,), (missed,) = drawn(text, "rect", "met"), drawn(text, "rect", "missed")
    targets = [float(one["x1"]) - LEFT for one in drawn(text, "line", "target")]
    (one,) = drawn(text, "line", "one")
    unit = float(missed["width"])
    assert 4 * unit == pytest.approx(float(met["width"]), abs=0.3)
    assert pytest.approx([3 * unit, 2 * unit], abs=0.3) == targets
    assert pytest.approx(LEFT + unit, abs=0.1) == float(one["x1"])


def test_svg_when_drawn_then_everything_is_inside() -> None:
    """The longest bar or target decides the scale."""
    text = plot.svg([Bar(name="W2", ratio=0.5, target=9.0), MET])

    root = ET.fromstring(text)  # noqa: S314 - of our own making
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for one in (*root.iter(f"{SVG}rect"), *root.iter(f"{SVG}text")):
        assert 0 <= float(one.attrib["x"]) + float(one.get("width", "0")) <= width
        assert 0 <= float(one.attrib["y"]) + float(one.get("height", "0")) <= height


def test_svg_when_names_have_markup_then_it_is_text() -> None:
    """A name cannot break the file."""
    text = plot.svg([Bar(name="<a> & b", ratio=1.0, target=1.0)])

    assert "<a> & b" in [one.text for one in ET.fromstring(text).iter(f"{SVG}text")]  # noqa: S314 - as above


def test_svg_when_the_reader_has_a_dark_page_then_every_colour_has_another() -> None:
    """Each class that has a colour in the light has one in the dark."""
    light, _, dark = plot.STYLE.partition("@media (prefers-color-scheme: dark)")

    def coloured(style: str) -> set[str]:
        lines = [line.split("{") for line in style.splitlines() if "#" in line]
        return {line[0].strip() for line in lines}

    assert coloured(light)
    assert coloured(light) == coloured(dark)


def test_svg_when_nothing_was_measured_then_it_is_still_a_file() -> None:
    """The first run of a fresh clone has nothing to show yet."""
    assert drawn(plot.svg([]), "rect", "met") == []
