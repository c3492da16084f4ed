"""dkim.canonicalize: RFC examples, dkimpy as the oracle, and time that grows with size only."""

from __future__ import annotations

import hashlib
import itertools
import time

import dkim.canonicalization
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.dkim.canonicalize import BodyHash, Canonicalization, relaxed_field

RELAXED = Canonicalization.RELAXED
SIMPLE = Canonicalization.SIMPLE

# What bodies are made of, as far as canonicalisation sees them.
pieces = st.lists(
    st.sampled_from(
        [b" ", b"\t", b"  \t ", b"\r\n", b"\r\n\r\n", b"x", b"word", b"\xc3\xa9", b".."]
    )
)
bodies = pieces.map(b"".join)
hostile_bodies = st.lists(st.sampled_from([b" ", b"\t", b"\r", b"\n", b"\r\n", b"x"])).map(b"".join)


def digest(form: Canonicalization, *blocks: bytes) -> bytes:
    """What we hash."""
    body = BodyHash(form)
    for block in blocks:
        body.update(block)
    return body.digest()


def sha256(octets: bytes) -> bytes:
    """Of a canonical form that is written out."""
    return hashlib.sha256(octets).digest()


def oracle(form: Canonicalization, body: bytes) -> bytes:
    """What dkimpy hashes for the body as it goes over the wire, where it ends with CRLF."""
    wire = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    rules = dkim.canonicalization.Relaxed if form is RELAXED else dkim.canonicalization.Simple
    return sha256(rules.canonicalize_body(wire))


def split(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body in blocks that end at these places."""
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


def test_relaxed_body_of_the_rfc() -> None:
    """The example of RFC 6376 3.4.5."""
    assert sha256(b" C\r\nD E\r\n") == digest(RELAXED, b" C \r\nD \t E\r\n\r\n\r\n")


def test_simple_body_of_the_rfc() -> None:
    """The example of RFC 6376 3.4.5."""
    assert sha256(b" C \r\nD \t E\r\n") == digest(SIMPLE, b" C \r\nD \t E\r\n\r\n\r\n")


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [(b"A: X\r\n", b"a:X\r\n"), (b"B : Y\t\r\n\tZ  \r\n", b"b:Y Z\r\n")],
)
def test_relaxed_field_of_the_rfc(raw: bytes, canonical: bytes) -> None:
    """The examples of RFC 6376 3.4.5."""
    assert canonical == relaxed_field(raw)


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"X:\r\n", b"x:\r\n"),
        (b"X: \r\n", b"x:\r\n"),
        (b"X: a:b\r\n", b"x:a:b\r\n"),
        (b"X:\r\n a\r\n", b"x:a\r\n"),
        (b"X: \x0ba\x0b\r\n", b"x:\x0ba\x0b\r\n"),
        ("X: \u00e9 \r\n".encode(), "x:\u00e9\r\n".encode()),
    ],
)
def test_relaxed_field_at_the_edges(raw: bytes, canonical: bytes) -> None:
    """Only SP and HTAB are white space (RFC 6376 2.8)."""
    assert canonical == relaxed_field(raw)


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \r\n", b" ", b"\t\r\n \r\n\r\n"])
def test_relaxed_body_of_empty_lines_hashes_as_nothing(body: bytes) -> None:
    """The hash of nothing is named in RFC 6376 3.4.4."""
    assert sha256(b"") == digest(RELAXED, body)


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_simple_body_of_empty_lines_hashes_as_one_crlf(body: bytes) -> None:
    """RFC 6376 3.4.3."""
    assert sha256(b"\r\n") == digest(SIMPLE, body)


@pytest.mark.parametrize(
    ("body", "canonical"),
    [
        (b"a", b"a\r\n"),
        (b"a ", b"a\r\n"),
        (b"a\r\n ", b"a\r\n"),
        (b"a\r", b"a\r\r\n"),
        (b"a\r ", b"a\r\r\n"),
        (b"a \r", b"a \r\r\n"),
        (b"\r\n\r\na", b"\r\n\r\na\r\n"),
        (b"a\n\r\n\r\n", b"a\n\r\n"),
        (b"\n", b"\n\r\n"),
        (b"a\r\r\n\r\n", b"a\r\r\n"),
        (b"a \n b", b"a \n b\r\n"),
    ],
)
def test_relaxed_body_without_clean_line_ends(body: bytes, canonical: bytes) -> None:
    """A CR or LF alone is no line end, and a missing last CRLF is added."""
    assert sha256(canonical) == digest(RELAXED, body)


@given(bodies, st.lists(st.integers(min_value=0)), st.sampled_from(Canonicalization))
@example(b"a \t \r\n\r\n", [2, 3, 5, 6], RELAXED)
@example(b"a\r\n\r\n \r\nb", [2, 4, 5, 6], RELAXED)
def test_any_split_hashes_as_dkimpy_does(
    body: bytes, cuts: list[int], form: Canonicalization
) -> None:
    """Blocks may end anywhere, within a run of spaces and between CR and LF too."""
    assert oracle(form, body) == digest(form, *split(body, cuts))


@given(hostile_bodies, st.lists(st.integers(min_value=0)), st.sampled_from(Canonicalization))
@example(b"x\r ", [2], RELAXED)
@example(b"\r\n\n\r\n\r\n", [], SIMPLE)
def test_any_split_of_a_hostile_body_hashes_as_dkimpy_does(
    body: bytes, cuts: list[int], form: Canonicalization
) -> None:
    """CR and LF alone never reach this code, and would not confuse it."""
    assert oracle(form, body) == digest(form, *split(body, cuts))


@given(st.binary(), st.lists(st.integers(min_value=0)))
def test_any_split_of_any_octets_hashes_as_the_whole(body: bytes, cuts: list[int]) -> None:
    """The split is no part of the hash."""
    assert digest(RELAXED, body) == digest(RELAXED, *split(body, cuts))


def test_large_body_hashes_as_dkimpy_does() -> None:
    """Slices of a block larger than 64 KiB join where they were cut."""
    body = (b"some words  and \t more of them \r\n" * 7 + b"\r\n") * 900

    assert oracle(RELAXED, body) == digest(RELAXED, body)
    assert oracle(RELAXED, body) == digest(RELAXED, *split(body, [1, 65_535, 65_536, 131_073]))


def test_digest_may_be_asked_before_the_end() -> None:
    """Asking changes nothing."""
    body = BodyHash()
    body.update(b"a \r\n\r\n \r")

    assert digest(RELAXED, b"a \r\n\r\n \r") == body.digest()
    body.update(b"\nb")
    assert digest(RELAXED, b"a\r\n\r\n\r\nb") == body.digest()


def test_unbounded_white_space_keeps_no_memory() -> None:
    """Neither spaces nor empty lines are collected while it is unknown whether they count."""
    body = BodyHash()
    for _ in range(100):
        body.update(b" " * 65_536)
    body.update(b"\r\n" * 65_536)

    assert body._undecided == b""
    assert sha256(b"") == body.digest()


MIB = 1 << 20
HOSTILE = {
    "spaces": b" ",
    "tabs": b"\t",
    "space lines of 998": b" " * 996 + b"\r\n",
    "words": b"  a",
    "crlf": b"\r\n",
    "lf": b"\n",
    "cr": b"\r",
    "space crlf": b" \r\n",
    "cr space": b"\r ",
}


def seconds(octets: bytes, block: int) -> float:
    """Processor time of this thread: the least of three."""
    times: list[float] = []
    for _ in range(3):
        start = time.thread_time()
        digest(RELAXED, *(octets[at : at + block] for at in range(0, len(octets), block)))
        times.append(time.thread_time() - start)
    return min(times)


@pytest.mark.slow
@pytest.mark.parametrize("block", [4096, 4 * MIB], ids=["blocks", "whole"])
@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_time_grows_with_size_only(unit: bytes, block: int) -> None:
    """Twice the octets take at most two and a half times as long, whatever they are."""
    octets = unit * (2 * MIB // len(unit))

    once, twice = seconds(octets[:MIB], block), seconds(octets, block)

    assert twice <= max(2.5 * once, 0.02)


@pytest.mark.parametrize("fill", [b" ", b"\t \t", b" a", b"\r\n "])
def test_long_field_takes_little_time(fill: bytes) -> None:
    """A header section of 1 MiB is canonicalised in a fraction of a second."""
    start = time.thread_time()

    relaxed_field(b"X: " + fill * (MIB // len(fill)) + b"x\r\n")

    assert time.thread_time() - start < 0.25
