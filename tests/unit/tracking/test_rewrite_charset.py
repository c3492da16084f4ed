"""tracking.charset: one test per row of the table in its docstring."""

from __future__ import annotations

import pytest

from gatewayd.tracking import charset
from gatewayd.tracking.charset import read

TEXT = "<p title='>'>x</p>"


@pytest.mark.parametrize(
    "label",
    ["", "utf-8", "us-ascii", "iso-8859-1", "windows-1252", "koi8-r", "shift_jis", "big5", "gb2312",
     "gb18030", "euc-jp", "euc-kr", "ks_c_5601-1987", "tis-620", "macintosh", "x-unknown", "binary",
     "idna", "rot13", "utf-8\0", "cp65001", "\ufffd"],
)  # fmt: skip
def test_octets_are_their_own_view(label: str) -> None:
    """Markup is ASCII there, or so everybody reads it."""
    octets = TEXT.encode() + b"\xe9\x83\x5c"

    found = read(octets, label)

    assert found is not None
    assert octets == found.view
    assert found.encode("<img") == b"<img"


@pytest.mark.parametrize("label", ["utf-16le", "utf-16be", "utf-32le", "utf-32be"])
def test_wide_text_has_a_view_of_its_units(label: str) -> None:
    """One octet for each unit; a character of two units is two fillers."""
    text = "<\u3c3e\U0001f389a>"

    found = read(text.encode(label), label)

    assert found is not None
    units = 2 if found.unit == 2 else 1
    assert b"<\xbf" + b"\xbf" * units + b"a>" == found.view
    assert found.decode(1, 3 + units) == "\u3c3e\U0001f389a"
    assert "<img".encode(label) == found.encode("<img")


@pytest.mark.parametrize(
    ("mark", "codec"), [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")]
)
def test_byte_order_mark_decides(mark: bytes, codec: str) -> None:
    """And without one it is big-endian (RFC 2781 4.3)."""
    with_mark = read(mark + TEXT.encode(codec), "utf-16")
    without = read(TEXT.encode("utf-16-be"), "utf-16")

    assert with_mark is not None
    assert without is not None
    assert (codec, " " + TEXT) == (with_mark.codec, with_mark.view.decode())
    assert (without.codec, without.view.decode()) == ("utf-16-be", TEXT)


def test_shifted_japanese_is_not_markup() -> None:
    """Octets between escapes may look like `<` and quotes (RFC 1468)."""
    text = "<a title=\u3001\u8868>"
    octets = text.encode("iso2022_jp")

    found = read(octets, "iso-2022-jp")

    assert found is not None
    assert found.view == b"<a title=" + b"\xbf" * 10 + b">"
    assert found.decode(9, 19) == "\u3001\u8868"
    assert found.encode("~") == b"&#126;"


@pytest.mark.parametrize("octets", [b"\x1b$B!!\r\n\x1b(B", b"\x1b$B!!", b"a\x1b$B\r\n"])
def test_japanese_line_that_ends_shifted_is_left_alone(octets: bytes) -> None:
    """Readers differ about what follows."""
    assert read(octets, "iso-2022-jp") is None


def test_utf_7_is_read_around_its_shifts() -> None:
    """What a `+` begins is not touched, and no `+` is put in."""
    found = read(b"<a title='caf+AOk-' x=1+1>+-", "utf-7")

    assert found is not None
    assert found.view == b"<a title='caf\xbf\xbf\xbf\xbf\xbf' x=1\xbf\xbf>\xbf\xbf"
    assert found.decode(10, 15) is None
    assert found.encode("+") == b"&#43;"


@pytest.mark.parametrize("octets", [b"+ADw-script+AD4-", b"+ACI-", b"a+ACY", b"+AAoAPA-"])
def test_utf_7_that_hides_markup_is_left_alone(octets: bytes) -> None:
    """Two readers see two documents."""
    assert read(octets, "utf-7") is None


@pytest.mark.parametrize(
    ("octets", "label"),
    [
        (TEXT.encode("utf-16-le"), "utf-8"),
        (b"\x00<p>", "iso-8859-1"),
        (TEXT.encode("cp037"), "cp037"),
        (TEXT.encode("cp500"), "ibm500"),
        (TEXT.encode("iso2022_kr"), "iso-2022-kr"),
        (TEXT.encode("hz"), "hz-gb-2312"),
        (b"x", "utf-16le"),
        (b"\x00\xd8", "utf-16le"),
        (b"\xff\xff\xff\xff", "utf-32le"),
    ],
)
def test_text_without_a_view_is_left_alone(octets: bytes, label: str) -> None:
    """Octets that look like markup are none, or the text is not what it says."""
    assert read(octets, label) is None


@pytest.mark.parametrize(
    ("octets", "label", "characters"),
    [
        (b"caf\xc3\xa9", "", "caf\u00e9"),
        (b"caf\xe9", "us-ascii", "caf\u00e9"),
        (b"\x80", "iso-8859-1", "\u20ac"),
        (b"\xe9", "x-unknown", None),
        (b"e", "x-unknown", "e"),
        (b"\xff", "utf-8", None),
    ],
)
def test_characters_are_those_that_readers_see(
    octets: bytes, label: str, characters: str | None
) -> None:
    """Latin-1 is windows-1252 (Encoding 4.2), and what says nothing is UTF-8 if it can be."""
    found = read(octets, label)

    assert found is not None
    assert characters == found.decode(0, len(octets))


def test_codecs_that_are_no_charsets_are_not_used() -> None:
    """Python knows codecs that take quadratic time, or are no text at all."""
    assert [
        charset._known(each) for each in ("punycode", "base64", "unicode_escape", "undefined")
    ] == [None] * 4
