"""mail.structure: limits on nesting and parts, in linear time, for any split into blocks."""

from __future__ import annotations

import email
import email.message
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage
from gatewayd.mail.structure import MimeFaultKind, StructureCheck, limits
from tests.unit.mail.stopwatch import assert_linear

MIXED = HeaderSection(b"Content-Type: multipart/mixed; boundary=b\r\n")
PLAIN = HeaderSection(b"Content-Type: text/plain\r\n")
ATTACHED = HeaderSection(b"Content-Type: message/rfc822\r\n")
NO_LIMIT = 10**9


def _kind(
    header: HeaderSection, body: bytes, *, nesting: int = 100, parts: int = 1000
) -> MimeFaultKind | None:
    fault = limits(header, body, nesting=nesting, parts=parts)
    return None if fault is None else fault.kind


def _nested(levels: int) -> bytes:
    """The body of the outermost of so many multiparts; boundaries b, b1, b2 and so on."""
    opened = b"--b\r\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(1, levels)
    )
    return opened + b"\r\nhello\r\n"


def test_message_without_parts_has_no_fault() -> None:
    """Plain text may hold anything that looks like a delimiter."""
    assert _kind(PLAIN, b"--b\r\n" * 5000) is None
    assert _kind(HeaderSection(b""), b"--b\r\n" * 5000) is None


def test_nesting_at_the_limit_is_taken_and_one_more_is_not() -> None:
    """A hundred levels, the outermost multipart counted."""
    assert _kind(MIXED, _nested(100)) is None
    assert _kind(MIXED, _nested(101)) is MimeFaultKind.NESTING
    assert _kind(MIXED, _nested(900)) is MimeFaultKind.NESTING


def test_attached_messages_nest_too() -> None:
    """Readers go into message/rfc822 as they go into a multipart (RFC 2046 5.2.1)."""
    inner = b"Content-Type: message/rfc822\r\n\r\n"

    assert _kind(ATTACHED, inner * 99 + b"A: b\r\n\r\nhello") is None
    assert _kind(ATTACHED, inner * 100 + b"A: b\r\n\r\nhello") is MimeFaultKind.NESTING


def test_parts_at_the_limit_are_taken_and_one_more_is_not() -> None:
    """A thousand parts, over the whole tree."""
    part = b"--b\r\n\r\nx\r\n"

    assert _kind(MIXED, part * 1000 + b"--b--\r\n") is None
    assert _kind(MIXED, part * 1001) is MimeFaultKind.PARTS
    assert _kind(MIXED, b"--b\r\n" * 100_000) is MimeFaultKind.PARTS


def test_both_limits_are_parameters() -> None:
    """A gateway with other readers behind it sets others."""
    assert _kind(MIXED, _nested(3), nesting=2) is MimeFaultKind.NESTING
    assert _kind(MIXED, b"--b\r\n\r\n--b\r\n\r\n", parts=1) is MimeFaultKind.PARTS


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/mixed; boundary=" + b"b" * 71,
        b"multipart/mixed; boundary=" + b"b" * 70_000,
        b'multipart/mixed; boundary="' + b"b" * 71 + b'"',
        b"multipart/mixed; boundary*0=a; boundary*1=b",
        b"multipart/mixed; boundary*=us-ascii''b",
    ],
)
def test_boundary_that_readers_read_differently_is_refused(content_type: bytes) -> None:
    """At most 70 characters, in one parameter (RFC 2046 5.1.1)."""
    header = HeaderSection(b"Content-Type: " + content_type + b"\r\n")

    assert _kind(header, b"") is MimeFaultKind.BOUNDARY


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/mixed; boundary=b",
        b'MULTIPART/Mixed; charset="a;boundary=x"; Boundary="b"',
        b"multipart/mixed;\r\n\tboundary=b ; x=y",
        b'multipart / mixed; boundary = "\\b"',
        b'multipart/digest; boundary="b "',
        b"text/plain\r\nContent-Type: multipart/mixed; boundary=b",
    ],
)
def test_boundary_is_found_in_every_spelling(content_type: bytes) -> None:
    """Case, quotes, folding, other parameters, and a second field that some reader follows."""
    header = HeaderSection(b"Content-Type: " + content_type + b"\r\n")

    assert _kind(header, b"--b\r\nA: b\r\n\r\n" * 2, parts=1) is MimeFaultKind.PARTS


def test_multipart_without_boundary_is_one_part() -> None:
    """There is nothing to split it by."""
    assert _kind(HeaderSection(b"Content-Type: multipart/mixed\r\n"), b"--\r\n" * 5000) is None


@pytest.mark.parametrize(
    "line", [b"--bb", b"--b-", b" --b", b"x--b", b"--b x", b"--b--x", b"--", b"-", b"--b\n", b"--B"]
)
def test_what_only_resembles_a_delimiter_opens_nothing(line: bytes) -> None:
    """A delimiter is a whole line (RFC 2046 5.1.1)."""
    assert _kind(MIXED, (line + b"\r\n") * 5, parts=0) is None


def test_delimiters_after_the_close_are_epilogue() -> None:
    """What follows the end is for nobody (RFC 2046 5.1.1)."""
    assert _kind(MIXED, b"--b\r\n\r\n--b--\r\n" + b"--b\r\n" * 5000) is None


def test_outer_delimiter_ends_the_parts_inside() -> None:
    """Then they do not count as nested (RFC 2046 5.1.2)."""
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n"

    assert _kind(MIXED, inner * 200, nesting=2) is None


def test_same_boundary_inside_and_outside_belongs_to_the_inner() -> None:
    """And is the outer one's again once the inner has ended."""
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--b--\r\n"

    assert _kind(MIXED, inner * 3, nesting=2, parts=6) is None
    assert _kind(MIXED, inner * 3, nesting=2, parts=5) is MimeFaultKind.PARTS
    assert _kind(MIXED, inner, nesting=1) is MimeFaultKind.NESTING


@pytest.mark.parametrize("lines", [b"A: b\r\n" * 20_000, b"A: " + b"b" * 2000, b"a" * 70_000])
def test_endless_part_header_is_refused(lines: bytes) -> None:
    """At most 64 KiB of it, in lines of at most 998 octets."""
    assert _kind(MIXED, b"--b\r\n" + lines) is MimeFaultKind.PART_HEADER


_WORDS = st.lists(
    st.sampled_from(
        [
            *(b"--b\r\n", b"--b--\r\n", b"--c\r\n", b"--c--\r\n", b"--b \t\r\n", b"--", b"-"),
            *(b"\r\n", b"x\r\n", b"\r", b"A: b\r\n", b"a" * 1100),
            b"Content-Type: multipart/mixed; boundary=c\r\n\r\n",
            b"Content-Type: multipart/digest;\r\n boundary=b\r\n\r\n",
            b"Content-Type: message/rfc822\r\n\r\n",
        ]
    ),
    max_size=25,
).map(b"".join)


@given(_WORDS, st.lists(st.integers(0, 400), max_size=12))
def test_blocks_give_what_the_whole_gives(body: bytes, cuts: list[int]) -> None:
    """A delimiter cut anywhere is still found, and nothing else is."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    for parts in range(4):
        whole = limits(MIXED, body, nesting=3, parts=parts)
        check = StructureCheck(MIXED, nesting=3, parts=parts)
        for start, end in itertools.pairwise(edges):
            check.feed(body[start:end])

        assert whole == check.finish()


@st.composite
def _messages(draw: st.DrawFn, depth: int = 0) -> bytes:
    """A random well-formed tree."""
    kinds = ["leaf"] if depth > 3 else ["leaf", "message", "multipart"]
    kind = draw(st.sampled_from(kinds))
    if kind == "leaf":
        body = draw(st.sampled_from([b"", b"hi\r\n", b"--x\r\n", b"-", b"--\r\n--b0\r"]))
        return b"Content-Type: text/plain\r\n\r\n" + body
    if kind == "message":
        return b"Content-Type: message/rfc822\r\n\r\n" + draw(_messages(depth + 1))
    # One level's are never another's: the email package gives such lines to the outer multipart.
    boundary = b"b%d.%d" % (depth, draw(st.integers(0, 9)))
    parts = draw(st.lists(_messages(depth + 1), min_size=1, max_size=3))
    subtype = draw(st.sampled_from([b"mixed", b"digest"]))
    header = b"Content-Type: multipart/" + subtype + b";\r\n boundary=" + boundary + b"\r\n\r\n"
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    end = draw(st.sampled_from([b"", b"--" + boundary + b"--\r\nend"]))
    return header + draw(st.sampled_from([b"", b"preamble\r\n"])) + body + end


def _tree(message: email.message.Message, depth: int = 0) -> tuple[int, int]:
    """Parts and nesting as the email package sees them."""
    if not message.is_multipart():
        return 0, depth
    children = message.get_payload()
    assert isinstance(children, list)
    below = [_tree(child, depth + 1) for child in children if not isinstance(child, str)]
    return len(below) + sum(n for n, _ in below), max([depth + 1, *(d for _, d in below)])


@given(_messages())
def test_counts_are_those_of_the_email_package(octets: bytes) -> None:
    """The oracle's tree is just within the limits that equal it, and not within smaller ones."""
    message = RawMessage.parse(octets)
    assert isinstance(message.body, bytes)
    parts, nesting = _tree(email.message_from_bytes(octets))

    assert _kind(message.header, message.body, nesting=nesting, parts=parts) is None
    if parts:
        assert _kind(message.header, message.body, nesting=nesting, parts=parts - 1)
        assert _kind(message.header, message.body, nesting=nesting - 1, parts=parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (b"", b"--b\r\n\r\n"),
        (b"", b"--b\r\n"),
        (b"", b"--b\r\n\r\nx\r\n"),
        (b"", b"--\r\n"),
        (b"", b"text\r\n"),
        (b"", b"a"),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n", b"--\r\n"),
        (b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n", b"--c\r\n\r\n"),
        (b"", b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"),
        (b"", b"--b\r\nContent-Type: message/rfc822\r\n\r\n"),
        (b"", b"--b\r\nContent-Type: multipart/a" + b';a="\\\r\n ' * 100 + b"\r\n\r\n"),
        (b"", b"--b\r\nContent-Type:\r\n" + b" \r\n" * 10_000 + b"\r\n"),
        (b"", b"--b\r\n" + b"A:\r\n" * 10_000 + b"\r\n"),
        (b"--b\r\nContent-Type: message/rfc822\r\n\r\n", b"Content-Type: message/rfc822\r\n\r\n"),
    ],
)
def test_time_is_linear(head: bytes, unit: bytes) -> None:
    """Twice the octets take twice the time, even with no limit that would stop early."""

    def judge(count: int) -> None:
        limits(MIXED, head + unit * count, nesting=NO_LIMIT, parts=NO_LIMIT)

    assert_linear(judge, 200_000 // len(unit))


@pytest.mark.slow
def test_deep_nesting_is_linear_and_needs_no_stack() -> None:
    """Ten thousand levels, each with its own boundary."""
    assert_linear(lambda n: limits(MIXED, _nested(n), nesting=NO_LIMIT, parts=NO_LIMIT), 10_000)


def test_little_is_held_between_blocks() -> None:
    """However long the body, between blocks no more than a line is kept."""
    check = StructureCheck(MIXED)
    for _ in range(100):
        check.feed(b"--b\r\nA: b\r\n\r\n" + b"x" * 10_000)

        assert len(check._tail) <= 1000
