"""mail.header: octets stay as they came, and no value can become a field."""

from __future__ import annotations

import datetime as dt
import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail import header
from gatewayd.mail.header import (
    Field,
    HeaderFaultKind,
    HeaderSection,
    HeaderSyntaxError,
    check,
    decode,
    duplicates,
    format_date,
    render_field,
)
from tests.unit.mail.stopwatch import assert_linear

OCTETS = (
    b"Received: from a\r\n\tby b\r\n"
    b"From: Me <me@example.com>\r\n"
    b"to:x@example.org\r\n"
    b"X-Odd:   spaced \t\r\n"
    b"X-Empty:\r\n"
    b"received: from c\r\n"
)
SECTION = HeaderSection(OCTETS)

_VALUES = st.text(
    st.one_of(
        st.sampled_from(" \tab"),
        st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")),
    ),
    max_size=400,
)


def test_fields_are_in_order_with_all_their_octets() -> None:
    """Folding and spelling stay: put together again the fields are the section."""
    names = [b"Received", b"From", b"to", b"X-Odd", b"X-Empty", b"received"]

    assert names == [each.name for each in SECTION.fields]
    assert b"".join(each.raw for each in SECTION.fields) == OCTETS
    assert Field(b"Received", b"Received: from a\r\n\tby b\r\n") == SECTION.fields[0]


def test_values_are_unfolded_and_found_in_any_case() -> None:
    """Only the CRLF of a fold goes (RFC 5322 2.2.3)."""
    received = [b"from a\tby b", b"from c"]

    assert received == SECTION.find("RECEIVED")
    assert SECTION.first("To") == b"x@example.org"
    assert SECTION.first("x-odd") == b"spaced"
    assert SECTION.first("x-empty") == b""
    assert SECTION.first("Subject") is None
    assert not SECTION.find("Subject")


def test_space_before_the_colon_does_not_hide_a_field() -> None:
    """`check` refuses it, but a reader that comes first still sees it (RFC 5322 4.5)."""
    assert HeaderSection(b"From : a@x\r\n").first("From") == b"a@x"


def test_empty_section_has_no_fields() -> None:
    """A message may start with its blank line."""
    assert not HeaderSection(b"").fields
    assert check(b"") is None


@pytest.mark.parametrize("octets", [b"A: b", b"A: b\n", b"\r\n", b"A: b\r\n\r\n", b"A: b\r\n\r\nB"])
def test_section_that_is_none_cannot_be_made(octets: bytes) -> None:
    """A blank line would end the header for every reader but us."""
    with pytest.raises(ValueError, match="header section"):
        HeaderSection(octets)


@pytest.mark.parametrize(
    "unwanted",
    ["Received", ("RECEIVED",), {"received", "bcc"}, lambda key: key == b"received"],
)
def test_fields_are_removed_and_others_kept(unwanted: str) -> None:
    """By name, by names, or by a function; all of that name, and no octet of the others."""
    expected = OCTETS.removeprefix(b"Received: from a\r\n\tby b\r\n").removesuffix(
        b"received: from c\r\n"
    )

    assert expected == SECTION.without(unwanted).octets


def test_removing_nothing_gives_the_same_section() -> None:
    """No copy is made on the usual path."""
    assert SECTION is SECTION.without("Bcc")


def test_prepend_and_append_stand_at_the_ends() -> None:
    """Trace fields go first (RFC 5321 4.4)."""
    assert SECTION.prepend("A", "b").octets == b"A: b\r\n" + OCTETS
    assert SECTION.append("A", "b").octets == OCTETS + b"A: b\r\n"


def test_prepend_keeps_what_is_known_of_the_other_fields() -> None:
    """Fields and names are those that are found when its octets are read."""
    for name in ("A", "from", "Received"):
        assert SECTION.by_name
        prepended = SECTION.prepend(name, "b")
        read = HeaderSection(prepended.octets)

        assert prepended.fields == read.fields
        assert list(prepended.by_name.items()) == list(read.by_name.items())


def test_replace_stays_in_place_and_leaves_one() -> None:
    """The first gives its place, the others go; a new one is put last."""
    replaced = SECTION.replace("Received", "x")
    names = [b"Received", b"From", b"to", b"X-Odd", b"X-Empty"]

    assert names == [each.name for each in replaced.fields]
    assert replaced.find("received") == [b"x"]
    assert SECTION.replace("Date", "x").octets == OCTETS + b"Date: x\r\n"


@pytest.mark.parametrize(
    ("octets", "kind", "name"),
    [
        (b"A: b", HeaderFaultKind.LINE_ENDING, ""),
        (b"A: b\n", HeaderFaultKind.LINE_ENDING, ""),
        (b"A: b\nC: d\r\n", HeaderFaultKind.LINE_ENDING, "A"),
        (b"A: b\rC: d\r\n", HeaderFaultKind.LINE_ENDING, "A"),
        (b"A: b\r\r\n", HeaderFaultKind.LINE_ENDING, "A"),
        (b"A: b\n\r\n", HeaderFaultKind.LINE_ENDING, "A"),
        (b"\nA: b\r\n", HeaderFaultKind.LINE_ENDING, "?A"),
        (b"X: y\r\nA: b\x00\r\n", HeaderFaultKind.CONTROL_CHARACTER, "A"),
        (b"A: b\r\n\x0bc\r\n", HeaderFaultKind.CONTROL_CHARACTER, "?c"),
        (b"A: b\x0b\r\n", HeaderFaultKind.CONTROL_CHARACTER, "A"),
        (b"A: b\x0c\r\n", HeaderFaultKind.CONTROL_CHARACTER, "A"),
        (b"A: b\x1cBcc: d\r\n", HeaderFaultKind.CONTROL_CHARACTER, "A"),
        (b"A: b\r\n \x1d\r\n", HeaderFaultKind.CONTROL_CHARACTER, "A"),
        (b"A: b\x7f\r\n", HeaderFaultKind.CONTROL_CHARACTER, "A"),
        (b"A\x00: b\r\n", HeaderFaultKind.CONTROL_CHARACTER, "A?"),
        (b"A: b\r\nno field\r\n", HeaderFaultKind.MISSING_COLON, "no?field"),
        (b"\r\n", HeaderFaultKind.MISSING_COLON, ""),
        (b"A: b\r\n\r\nC: d\r\n", HeaderFaultKind.MISSING_COLON, ""),
        (b": b\r\n", HeaderFaultKind.FIELD_NAME, ""),
        (b"A b: c\r\n", HeaderFaultKind.FIELD_NAME, "A?b"),
        (b"A : c\r\n", HeaderFaultKind.FIELD_NAME, "A?"),
        (b"A\t: c\r\n", HeaderFaultKind.FIELD_NAME, "A?"),
        (b"\xc3\xa9: c\r\n", HeaderFaultKind.FIELD_NAME, "??"),
        (b"A: b\r\n  \r\n", HeaderFaultKind.BLANK_CONTINUATION, "A"),
        (b"A: b\r\n\t\r\n c\r\n", HeaderFaultKind.BLANK_CONTINUATION, "A"),
        (b"A:\r\n \r\n", HeaderFaultKind.BLANK_CONTINUATION, "A"),
        (b" A: b\r\n", HeaderFaultKind.LEADING_SPACE, ""),
        (b"A: " + b"b" * 996 + b"\r\n", HeaderFaultKind.LINE_TOO_LONG, "A"),
        (b"A: b\r\n " + b"b" * 998 + b"\r\n", HeaderFaultKind.LINE_TOO_LONG, "A"),
        (b"A: \xff\r\n", HeaderFaultKind.NOT_UTF8, "A"),
        (b"A: \xc3\r\n", HeaderFaultKind.NOT_UTF8, "A"),
        (b"A: \xc0\x8d\xc0\x8a\r\n", HeaderFaultKind.NOT_UTF8, "A"),
        (b"A: \xed\xa0\x80\r\n", HeaderFaultKind.NOT_UTF8, "A"),
    ],
)
def test_fault_is_named_with_its_field(octets: bytes, kind: HeaderFaultKind, name: str) -> None:
    """One row of the table each (RFC 5322 2.1.1, 2.2, 3.2.2)."""
    fault = check(octets)

    assert fault is not None
    assert (kind, name) == (fault.kind, fault.name)
    assert fault.detail.isprintable()


@pytest.mark.parametrize(
    "octets",
    [
        OCTETS,
        b"A:\r\n",
        b"A:b\r\n c\r\n\td\r\n",
        b"A:\r\n b\r\n",
        b"!~: b\r\n",
        b"A: " + b"b" * 995 + b"\r\n",
        "A: \u00e9\r\n \u65e5\r\n".encode(),
    ],
)
def test_good_section_has_no_fault(octets: bytes) -> None:
    """Well-formed folding, tabs and UTF-8 are allowed (RFC 5322 2.2.3, RFC 6532)."""
    assert check(octets) is None


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"A:", b" ", b"b", b"\x00", b"\xff"])))
def test_fast_and_thorough_check_agree(words: list[bytes]) -> None:
    """The expression that lets sections pass and the search for the fault judge the same."""
    octets = b"".join(words)
    whole = header._WHOLE.fullmatch(octets) is not None and header._is_utf8(octets)

    assert (header._diagnose(octets) is None) == whole


@given(_VALUES)
def test_rendered_text_reads_back_and_is_one_field(value: str) -> None:
    """Folding and encoding change nothing that a reader shows."""
    rendered = render_field("Subject", value)
    section = HeaderSection(rendered)

    assert check(rendered) is None
    assert len(section.fields) == 1
    assert rendered.isascii()
    if not value.isascii():
        assert value.replace("\t", " ") == decode(rendered[9:])
    elif "=?" not in value:
        assert value == rendered[9:].replace(b"\r\n", b"").decode()


@given(_VALUES)
def test_raw_utf8_reads_back(value: str) -> None:
    """With SMTPUTF8 text stays as it is, only folded (RFC 6532)."""
    rendered = render_field("Subject", value, smtputf8=True)

    assert check(rendered) is None
    assert value == rendered[9:].replace(b"\r\n", b"").decode()


@given(st.lists(st.text("abc", min_size=1, max_size=60), min_size=1, max_size=30))
def test_lines_are_folded_at_78(words: list[str]) -> None:
    """A line is longer only if a single word is (RFC 5322 2.1.1)."""
    lines = render_field("References", " ".join(words)).split(b"\r\n")

    assert all(len(line) <= 78 for line in lines)


@given(st.lists(st.text("abc", min_size=1, max_size=120), min_size=1, max_size=30))
def test_line_is_folded_before_the_first_word_that_has_no_room(words: list[str]) -> None:
    """Each line takes as many words as go on it, whichever way they are looked for."""
    lines = [f"References: {words[0]}"]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) > 78:
            lines.append("")
        lines[-1] += f" {word}"

    assert render_field("References", " ".join(words)) == "\r\n".join([*lines, ""]).encode()
    # A tab leads to the way that looks at each word.
    lines[-1] += "\tz" if len(lines[-1]) < 77 else "\r\n\tz"
    folded = "\r\n".join([*lines, ""]).encode()
    assert render_field("References", " ".join(words) + "\tz") == folded


@pytest.mark.parametrize("character", "\r\n\x00\x0b\x0c\x1c\x1d\x1e\x7f\x85\u2028\u2029\ud800")
def test_value_cannot_begin_another_line(character: str) -> None:
    """Every character that any reader takes for a line end is refused."""
    for smtputf8 in (False, True):
        with pytest.raises(HeaderSyntaxError):
            render_field("X-A", f"a{character}Bcc: b@example.org", smtputf8=smtputf8)


@pytest.mark.parametrize(
    "name", ["", "A b", "A:", "A\r\nB", "A\n", "\u00e9", "A\x00", "A" * 77, " A", "A\u2028"]
)
def test_bad_name_is_refused(name: str) -> None:
    """A name is ftext (RFC 5322 2.2)."""
    with pytest.raises(HeaderSyntaxError):
        render_field(name, "x")


def test_structured_field_is_never_encoded() -> None:
    """An encoded word in an address would be another address (RFC 2047 5)."""
    with pytest.raises(HeaderSyntaxError, match="ASCII"):
        render_field("From", "\u00e9@example.com")


def test_word_that_no_line_holds_is_refused() -> None:
    """What cannot be folded is not sent (RFC 5322 2.1.1)."""
    with pytest.raises(HeaderSyntaxError, match="998"):
        render_field("References", "a" * 1000)


def test_duplicates_are_named_once_each() -> None:
    """Fields that may stand at most once (RFC 5322 3.6), in their usual spelling."""
    section = HeaderSection(
        b"from: a\r\nFROM: b\r\nFrom : c\r\nX: a\r\nX: b\r\nmessage-id: a\r\nMessage-ID: b\r\n"
        b"Received: a\r\nReceived: b\r\nSubject: a\r\nContent-Type: a\r\ncontent-type: b\r\n"
    )
    expected = ["From", "Message-ID", "Content-Type"]

    assert expected == duplicates(section)


def test_date_is_english_and_utc() -> None:
    """Whatever the zone of the instant and the locale (RFC 5322 3.3)."""
    at = dt.datetime(2026, 2, 3, 1, 4, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    text = format_date(at)

    assert text == "Mon, 02 Feb 2026 23:04:05 +0000"
    assert at == email.utils.parsedate_to_datetime(text)
    with pytest.raises(ValueError, match="aware"):
        format_date(at.replace(tzinfo=None))


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [b"A: b\r\n", b"A: b\r\n c\r\n", b"A:" + b" " * 900 + b"\r\n", b" ", b"\r\n ", b"A"]
)
def test_time_is_linear(unit: bytes) -> None:
    """Twice the octets take twice the time, not four times."""

    def judge(count: int) -> None:
        octets = unit * count
        check(octets)
        duplicates(HeaderSection(b"X:" + octets.strip() + b"\r\n"))

    assert_linear(judge, 200_000 // len(unit))


@pytest.mark.slow
def test_folding_many_spaces_is_linear() -> None:
    """White space at the end of a value is not scanned from each of its octets."""
    start = time.process_time()
    with pytest.raises(HeaderSyntaxError):
        render_field("X-A", "a" + " " * 1_000_000)

    assert time.process_time() - start < 1
