"""mail.encoded_word: text goes through encoded words unchanged; nothing hostile comes out."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.encoded_word import decode, encode
from tests.unit.mail.stopwatch import assert_linear

_text = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=200)


@given(_text)
def test_text_encoded_and_decoded_is_the_same(text: str) -> None:
    """Whatever a client writes is what a reader shows, in our decoder and in the email package."""
    encoded = encode(text)

    assert text == decode(encoded.encode("ascii"))
    assert text == str(make_header(decode_header(encoded)))


@given(_text, st.integers(0, 100))
def test_words_fit_and_never_split_a_character(text: str, first_width: int) -> None:
    """An encoded word has at most 75 characters and stands for whole characters (RFC 2047 2, 5)."""
    words = encode(text, first_width=first_width).split(" ")

    assert all(len(word) <= 75 for word in words)
    assert text == "".join(decode(word.encode("ascii")) for word in words)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        # The examples of RFC 2047 8.
        (b"=?ISO-8859-1?Q?a?=", "a"),
        (b"=?ISO-8859-1?Q?a?= b", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a?=\r\n     =?ISO-8859-1?Q?b?=", "ab"),
        (b"=?ISO-8859-1?Q?a_b?=", "a b"),
        (b"=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
        (b"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
        (b"=?ISO-8859-1?Q?Andr=E9?= Pirard", "Andr\u00e9 Pirard"),
        # RFC 2231 5: a language.
        (b"=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"),
        # A character split between two words, as many senders do.
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "\u00e9"),
        (b"=?gb2312?b?1tDOxA==?=", "\u4e2d\u6587"),
        (b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=", "\u65e5\u672c"),
        # Raw UTF-8, and octets that are none.
        ("\u00e9 x".encode(), "\u00e9 x"),
        (b"\xff", "\ufffd"),
        # What is no encoded word stays.
        (b"=?x-none?q?a?=", "=?x-none?q?a?="),
        (b"=?idna?q?a?=", "=?idna?q?a?="),
        (b"=?unicode_escape?q?a?=", "=?unicode_escape?q?a?="),
        (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
        (b"=?utf-8?q?a", "=?utf-8?q?a"),
        (b"=?utf-8?b?a?=", "=?utf-8?b?a?="),
    ],
)
def test_value_is_shown_as_readers_do(value: bytes, shown: str) -> None:
    """Words are decoded, joined where they touch, and otherwise left alone (RFC 2047 6.2)."""
    assert shown == decode(value)


@pytest.mark.parametrize("value", [b"=?utf-8?q?a=0D=0ABcc:_b=00=1C=E2=80=A8=C2=85?=", b"a\x00\x1b"])
def test_control_characters_never_come_out(value: bytes) -> None:
    """An encoded line break cannot become a line break in a log or a page."""
    assert all(character >= " " for character in decode(value))
    assert not {"\x85", "\u2028", "\x7f"} & set(decode(value))


@given(st.binary(max_size=300))
def test_no_octets_make_decode_fail(value: bytes) -> None:
    """A header of any octets can be shown."""
    assert isinstance(decode(value), str)


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [b"=?", b"=?utf-8?q?", b"=?no?q?a?= ", b"=?utf-8?q?a?= ", b"=?utf-8?b?a?="]
)
def test_time_is_linear(unit: bytes) -> None:
    """Twice the octets take twice the time, not four times."""
    assert_linear(lambda count: decode(unit * count), 20_000)
