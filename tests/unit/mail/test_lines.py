"""mail.lines: one exact end of data, dots, and what a line may not hold, for any split."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.mail.lines import (
    DotReader,
    DotStuffer,
    LineCheck,
    LineFault,
    dot_stuff,
    find_dot_line,
)

# Words over the octets that matter, so that every near miss of an end of data is made often.
_octets = st.lists(
    st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\r\n.", b"\r\n.\r\n", b"..", b"\xe9"]),
    max_size=30,
).map(b"".join)
_crlf_only = st.lists(st.sampled_from([b"\r\n", b".", b"a", b"..", b"\xe9"]), max_size=30).map(
    b"".join
)


@st.composite
def _split(draw: st.DrawFn, octets: st.SearchStrategy[bytes]) -> list[bytes]:
    whole = draw(octets)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges)]


def _read_simply(octets: bytes) -> tuple[bytes, bool, bytes]:
    """Content, whether the end came, what follows: line by line, as RFC 5321 4.5.2 says it."""
    lines = octets.split(b"\r\n")
    content: list[bytes] = []
    for number, line in enumerate(lines[:-1]):
        if line == b".":
            rest = b"\r\n".join(lines[number + 1 :])
            return b"".join(content), True, rest
        content.append(line.removeprefix(b".") + b"\r\n")
    return b"".join(content) + lines[-1].removeprefix(b"."), False, b""


def _check_simply(octets: bytes) -> LineFault | None:
    """The first fault of a whole content, by its place."""
    found = [
        (
            match.start(),
            {0: LineFault.NUL, 13: LineFault.BARE_CR, 10: LineFault.BARE_LF}[match[0][0]],
        )
        for match in re.finditer(rb"\0|\r(?!\n)|(?<!\r)\n", octets)
    ]
    start = 0
    for line in re.findall(rb"[^\n]*\n|[^\n]+", octets):  # with its CRLF, or the LF alone
        if len(line) > (1000 if line.endswith(b"\n") else 998):
            found.append((start + 999, LineFault.TOO_LONG))
        start += len(line)
    if not found:
        return None
    return min(found, key=lambda each: (each[0], each[1] is not LineFault.TOO_LONG))[1]


def _feed_all(reader: DotReader, blocks: list[bytes]) -> bytes:
    return b"".join([reader.feed(block) for block in blocks])


@given(_split(_octets))
@example([b".", b"\r", b"\n"])
@example([b"a\r", b"\n", b".", b"\r", b"\nQUIT\r\n"])
def test_dot_reader_when_cut_anywhere_then_reads_as_line_by_line(blocks: list[bytes]) -> None:
    """However the octets arrive, content, end and rest are what RFC 5321 4.5.2 says."""
    whole = b"".join(blocks)
    content, ended, rest = _read_simply(whole)
    reader = DotReader()

    got = _feed_all(reader, blocks)

    assert (ended, rest) == (reader.ended, reader.rest)
    if ended:
        assert content == got
    else:
        # What may yet become the end of data is held back: at most four octets.
        after = got + reader.feed(b"x\r\n.\r\n")
        assert reader.ended
        assert _read_simply(whole + b"x\r\n.\r\n")[0] == after


@given(_split(_octets))
def test_dot_reader_when_data_never_ends_then_holds_at_most_four_octets(
    blocks: list[bytes],
) -> None:
    """Memory does not grow with what has passed."""
    reader = DotReader()

    for block in blocks:
        if not reader.ended:
            reader.feed(block)

    assert len(reader._held) <= 4


@pytest.mark.parametrize(
    "fake_end",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\n\n.\n\n",
        b"\r\n\x00.\r\n",
        b"\r\n.\x00\r\n",
        b"\r\n. \r\n",
    ],
)
def test_dot_reader_when_end_is_not_crlf_dot_crlf_then_it_is_content(fake_end: bytes) -> None:
    """No server's private idea of an end ends data here (RFC 5321 4.1.1.4)."""
    reader = DotReader()

    content = reader.feed(b"one" + fake_end + b"MAIL FROM:<evil@example.com>\r\n.\r\nQUIT\r\n")

    assert reader.ended
    assert b"MAIL FROM" in content
    assert reader.rest == b"QUIT\r\n"
    check = LineCheck()
    check.feed(content)
    check.finish()
    assert check.fault is not None or fake_end == b"\r\n. \r\n"


def test_dot_reader_when_message_is_empty_then_dot_ends_it_at_once() -> None:
    """A dot as the very first line is the end of empty content."""
    reader = DotReader()

    assert reader.feed(b".\r\nRSET\r\n") == b""
    assert reader.ended
    assert reader.rest == b"RSET\r\n"


def test_dot_reader_when_fed_after_the_end_then_keeps_octets_as_rest() -> None:
    """Pipelined commands after the end are not lost (RFC 2920 3.1)."""
    reader = DotReader()
    reader.feed(b"a\r\n.\r\nRS")

    assert reader.feed(b"ET\r\n") == b""
    assert reader.rest == b"RSET\r\n"


@given(_octets, _split(_octets))
def test_dot_stuffing_when_read_again_then_content_is_the_same(
    first: bytes, blocks: list[bytes]
) -> None:
    """What we send is what a right reader gets, with one end and nothing after it."""
    content = first + b"".join(blocks)
    stuffer = DotStuffer()
    wire = stuffer.feed(first) + b"".join([stuffer.feed(block) for block in blocks])
    wire += stuffer.end()
    reader = DotReader()

    got = reader.feed(wire)

    assert reader.ended
    assert reader.rest == b""
    terminated = content == b"" or content.endswith(b"\r\n")
    assert content + (b"" if terminated else b"\r\n") == got


@pytest.mark.parametrize("before", [b"", b".", b"x." * 62, b"x." * 63, b"x." * 64, b"x." * 1000])
@pytest.mark.parametrize("after", [b"\r\n.", b"..\r\n.", b"x\r\n..\r\n.", b"\r\r\n."])
def test_find_dot_line_when_other_dots_come_first_then_finds_it(
    before: bytes, after: bytes
) -> None:
    """Dots are looked at one by one while they are few: where that ends, none is passed over."""
    octets = before + after

    found = find_dot_line(octets)

    assert found == octets.find(b"\r\n.")
    assert find_dot_line(octets[: found + 2]) == -1


@given(_split(_octets))
def test_dot_stuffer_when_cut_anywhere_then_stuffs_as_the_whole(blocks: list[bytes]) -> None:
    """A stream is stuffed like one piece."""
    stuffer = DotStuffer()

    assert dot_stuff(b"".join(blocks)) == b"".join([stuffer.feed(block) for block in blocks])


@given(_split(_crlf_only))
def test_dot_stuffer_never_makes_a_line_of_one_dot(blocks: list[bytes]) -> None:
    """No content can end the data early: smuggling out is impossible."""
    stuffer = DotStuffer()
    wire = b"".join([stuffer.feed(block) for block in blocks])

    assert b"." not in wire.split(b"\r\n")


_long = st.sampled_from([b"\r\n", b"\r", b"\n", b"\0", b"a" * 499, b"a" * 998, b"a", b"b\r\n"])


@given(_split(st.lists(_long, max_size=12).map(b"".join)))
@example([b"a" * 999, b"\r\n"])
@example([b"a" * 998 + b"\r", b"\n"])
@example([b"a" * 998 + b"\r", b"b"])
@example([b"a" * 999])
@example([b"a" * 999 + b"\n"])
def test_line_check_when_cut_anywhere_then_finds_the_first_fault(blocks: list[bytes]) -> None:
    """The fault that is told does not depend on how TCP cut the stream."""
    whole = b"".join(blocks)
    check = LineCheck()

    for block in blocks:
        check.feed(block)
    check.finish()

    assert _check_simply(whole) == check.fault
    assert len(whole) == check.size_octets


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", None),
        (b"\r\n", None),
        (b"a" * 998 + b"\r\n", None),
        (b"a" * 999 + b"\r\n", LineFault.TOO_LONG),
        (b"a\nb\r\n", LineFault.BARE_LF),
        (b"a\rb\r\n", LineFault.BARE_CR),
        (b"a\r", LineFault.BARE_CR),
        (b"\n", LineFault.BARE_LF),
        (b"\r\r\n", LineFault.BARE_CR),
        (b"\r\n\n", LineFault.BARE_LF),
        (b"a\0b\r\n", LineFault.NUL),
    ],
)
def test_line_check_when_line_is_at_a_limit_then_tells_its_fault(
    content: bytes, fault: LineFault | None
) -> None:
    """998 octets and CRLF are a line; a CR or LF alone never is (RFC 5321 2.3.8)."""
    check = LineCheck()
    check.feed(content)
    check.finish()

    assert fault is check.fault


@given(_split(_octets))
def test_line_check_when_octets_are_over_127_then_says_8bit(blocks: list[bytes]) -> None:
    """8bit is what asks for 8BITMIME."""
    check = LineCheck()
    for block in blocks:
        check.feed(block)

    assert (b"\xe9" in b"".join(blocks)) == check.has_8bit


@given(_split(_crlf_only))
def test_line_check_when_content_ends_inside_a_line_then_says_so(blocks: list[bytes]) -> None:
    """Who writes the end of data has to know whether a CRLF is missing."""
    whole = b"".join(blocks)
    check = LineCheck()
    for block in blocks:
        check.feed(block)

    assert (whole == b"" or whole.endswith(b"\r\n")) == check.ends_line


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "pattern", [b"\r\n.\r", b"\r\n.", b"\r\n", b"\r", b"\n", b".", b"..\r\n", b"x", b"\r\n.\r\n."]
)
def test_all_when_octets_are_hostile_then_time_is_linear(pattern: bytes) -> None:
    """Half a MiB of near misses passes like any other; a quadratic reader would take minutes."""
    octets = pattern * (2**19 // len(pattern))
    reader, check, stuffer = DotReader(), LineCheck(), DotStuffer()

    for start in range(0, len(octets), 4096):
        block = octets[start : start + 4096]
        check.feed(block)
        stuffer.feed(block)
        if not reader.ended:
            reader.feed(block)

    assert len(octets) == check.size_octets
