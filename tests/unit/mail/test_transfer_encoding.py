"""mail.transfer_encoding: text arrives as it was written, whatever stands between."""

from __future__ import annotations

import base64
import quopri
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.transfer_encoding import encode_base64, encode_text

_TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["\n", "\r\n", "\r", "From ", " ", "\t", ".", "=", "\x00", "\x0b\x0c\x1c\x85\u2028",
             "a" * 70, "b" * 1000, "\u00e9", "\u65e5\u672c", "From From "]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    ),
    max_size=30,
).map("".join)  # fmt: skip


def _canonical(text: str) -> bytes:
    lines = re.sub("\r\n?", "\n", text)
    if lines and not lines.endswith("\n"):
        lines += "\n"
    return lines.replace("\n", "\r\n").encode()


def _decode(name: str, encoded: bytes) -> bytes:
    if name == "base64":
        return base64.b64decode(encoded)
    return quopri.decodestring(encoded) if name == "quoted-printable" else encoded


@given(_TEXTS)
def test_text_goes_through(text: str) -> None:
    """Decoded by the standard library the text is the same but for the kind of line ends."""
    name, encoded = encode_text(text)

    assert _canonical(text) == _decode(name, encoded)


@given(_TEXTS)
def test_what_no_way_can_hurt_stays_as_it_is(text: str) -> None:
    """The first row of the table."""
    octets = _canonical(text)
    is_plain = re.fullmatch(rb"[\t\r\n -~]*", octets) is not None and not any(
        len(line) > 76 or line.endswith((b" ", b"\t")) or line.startswith(b"From ")
        for line in octets.split(b"\r\n")
    )

    assert is_plain == (encode_text(text)[0] == "7bit")


@given(_TEXTS)
def test_no_line_is_hurt_on_the_way(text: str) -> None:
    """Lines fit 76, end with CRLF and no space, and do not start with `From ` (RFC 2045 6.7)."""
    _, encoded = encode_text(text)
    lines = encoded.split(b"\r\n")

    assert not lines.pop()
    assert all(len(line) <= 76 for line in lines)
    assert not any(line.startswith(b"From ") for line in lines)
    assert not any(line.endswith((b" ", b"\t")) for line in lines)
    assert not any(b"\r" in line or b"\n" in line or b"\x00" in line for line in lines)
    assert encoded.isascii()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "7bit"),
        ("hello\n.\n..\n", "7bit"),
        ("a" * 76, "7bit"),
        ("a" * 77, "quoted-printable"),
        ("a \nb", "quoted-printable"),
        ("From me", "quoted-printable"),
        ("a\x00", "quoted-printable"),
        ("caf\u00e9, and so on and so on", "quoted-printable"),
        ("\u65e5\u672c\u8a9e", "base64"),
    ],
)
def test_encoding_follows_the_content(text: str, name: str) -> None:
    """One row of the table each."""
    assert name == encode_text(text)[0]


@given(st.binary(max_size=500))
def test_base64_is_in_lines_of_76(octets: bytes) -> None:
    """RFC 2045 6.8."""
    encoded = encode_base64(octets)

    assert octets == base64.b64decode(encoded)
    assert base64.encodebytes(octets).replace(b"\n", b"\r\n") == encoded
