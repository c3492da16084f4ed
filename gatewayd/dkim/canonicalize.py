"""Canonical forms of header fields and bodies, in linear time (RFC 6376 3.4).

| form           | trailing empty lines | runs of SP and HTAB | at the end of a line | empty body |
|----------------|----------------------|---------------------|----------------------|------------|
| simple body    | dropped              | kept                | kept                 | one CRLF   |
| relaxed body   | dropped              | one SP              | dropped              | nothing    |
| relaxed field  |                      | one SP              | dropped              |            |

Lines end with CRLF and with nothing else. A body whose last line has no CRLF hashes as if it had
one, because that is how it goes over the wire.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator
from typing import Final

CRLF: Final = b"\r\n"

# A run of spaces is halved until it is gone, so a slice costs its size times the logarithm of its
# longest run. Slices of a fixed size make that a constant: 120 MB/s for nothing but spaces, 700 for
# text. A regular expression was faster for spaces (1800 MB/s) and slower for HTML (70). A block
# without any space, as of base64, needs neither: it is its own canonical form (1700 MB/s).
_SLICE_OCTETS: Final = 65536


class Canonicalization(enum.Enum):
    """How a body is prepared for hashing; the values are those of the `c=` tag."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def relaxed_field(raw: bytes) -> bytes:
    """One header field, as received with its folding, in relaxed form and ended by CRLF.

    RFC 6376 3.4.2.
    """
    name, _, value = raw.partition(b":")
    value = _one_space(value.replace(CRLF, b"").replace(b"\t", b" "))
    return name.rstrip(b" \t").lower() + b":" + value.strip(b" ") + CRLF


def _one_space(octets: bytes) -> bytes:
    """Each run of spaces becomes one."""
    while b"  " in octets:
        octets = octets.replace(b"  ", b" ")
    return octets


class BodyHash:
    """SHA-256 of a body in canonical form, fed in blocks of any size.

    Whatever the split, the digest is that of the whole. Between blocks at most two octets and one
    counter are kept, so a body of nothing but spaces or empty lines costs no memory.
    """

    def __init__(self, form: Canonicalization = Canonicalization.RELAXED) -> None:
        self._is_relaxed = form is Canonicalization.RELAXED
        self._hash = hashlib.sha256()
        self._undecided = b""  # the end of what was fed: the next octet decides about it
        self._empty_lines = 0  # CRLFs that count only when something follows them
        self._has_content = False

    def update(self, block: bytes) -> None:
        """Hash the next octets of the body."""
        if not (self._is_relaxed and _has_space(block)):
            self._feed(block)
            return
        for start in range(0, len(block), _SLICE_OCTETS):
            self._feed(block[start : start + _SLICE_OCTETS])

    def digest(self) -> bytes:
        """The hash (32 octets) of a body that ends here; more may still be fed."""
        last = self._undecided
        if self._is_relaxed and last == b" ":
            last = b""
        if not last and not self._has_content:
            return hashlib.sha256(b"" if self._is_relaxed else CRLF).digest()
        whole = self._hash.copy()
        for lines in _crlfs(self._empty_lines if last else 0):
            whole.update(lines)
        whole.update(last + CRLF)
        return whole.digest()

    def _feed(self, block: bytes) -> None:
        octets = self._without_undecided(self._undecided + block)
        if self._is_relaxed and _has_space(octets):
            octets = _one_space(octets.replace(b"\t", b" ")).replace(b" \r\n", CRLF)
        end = _end_of_content(octets)
        if end:
            for lines in _crlfs(self._empty_lines):
                self._hash.update(lines)
            self._hash.update(octets[:end])
            self._empty_lines = 0
            self._has_content = True
        self._empty_lines += (len(octets) - end) // 2

    def _without_undecided(self, octets: bytes) -> bytes:
        """Keep back a final CR, which may start a CRLF, and for relaxed the white space before it.

        What is kept back is in canonical form: one space stands for the whole run.
        """
        octets, cr = (octets[:-1], b"\r") if octets.endswith(b"\r") else (octets, b"")
        decided = octets.rstrip(b" \t") if self._is_relaxed else octets
        self._undecided = (b" " if len(decided) < len(octets) else b"") + cr
        return decided


def _has_space(octets: bytes) -> bool:
    return b" " in octets or b"\t" in octets


def _end_of_content(octets: bytes) -> int:
    """Where the CRLFs at the end of `octets` begin, in one pass and without a loop over them."""
    if not octets.endswith(b"\n"):
        return len(octets)
    start = len(octets.rstrip(CRLF))
    # Only CR and LF from here on. A pair that is no CRLF ends the content, wherever it is last.
    start = max(start, octets.rfind(b"\n\n", start) + 1, octets.rfind(b"\r\r", start) + 1)
    return start + 1 if octets[start : start + 1] == b"\n" else start


def _crlfs(count: int) -> Iterator[bytes]:
    """`count` times CRLF in blocks, since there may be millions."""
    while count > 0:
        step = min(count, _SLICE_OCTETS // 2)
        yield CRLF * step
        count -= step
