"""mail.xtext: what ENVID and ORCPT may hold, and what it stands for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail import xtext

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(_text)
def test_xtext_when_decoded_then_is_the_text(text: str) -> None:
    """Any text makes the round trip, in nothing but printable ASCII."""
    encoded = xtext.encode(text)

    assert xtext.is_xtext(encoded)
    assert encoded.isascii()
    assert text == xtext.decode(encoded)


@given(_text)
def test_utf8_address_when_decoded_then_is_the_text(text: str) -> None:
    """The utf-8 address type makes the same round trip (RFC 6533 3)."""
    encoded = xtext.encode_utf8_address(text)

    assert encoded.isascii()
    assert text == xtext.decode_utf8_address(encoded)


def test_encode_when_text_has_plus_and_equals_then_they_are_escaped() -> None:
    """The two characters that xtext itself uses (RFC 3461 4)."""
    assert xtext.encode("a+b=c d") == "a+2Bb+3Dc+20d"


@pytest.mark.parametrize(
    "text", ["a b", "a=b", "+", "+2", "+2b", "+GG", "a\r\n", "é", "\0", "+2B+"]
)
def test_is_xtext_when_text_is_malformed_then_false(text: str) -> None:
    """Lower-case hexadecimal, a lone plus, spaces and controls are no xtext (RFC 3461 4)."""
    assert not xtext.is_xtext(text)
    with pytest.raises(xtext.XtextSyntaxError):
        xtext.decode(text)


def test_decode_when_octets_are_no_utf8_then_refused() -> None:
    """What has no reading as text is not guessed at."""
    with pytest.raises(xtext.XtextSyntaxError):
        xtext.decode("+FF")


@pytest.mark.parametrize("text", [r"\x{D800}", r"\x{110000}", r"\x{5c}", r"\x41", "a+b", "a b"])
def test_decode_utf8_address_when_malformed_then_refused(text: str) -> None:
    """No surrogate, nothing past U+10FFFF, no other escape (RFC 6533 3)."""
    with pytest.raises(xtext.XtextSyntaxError):
        xtext.decode_utf8_address(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("QQ314159", True),
        ("a+20b", True),
        ("", False),
        ("a" * 100, True),
        ("a" * 101, False),
        ("a+0D+0Ab", False),
        ("a b", False),
    ],
)
def test_is_envid_holds_its_limits(text: str, expected: bool) -> None:
    """At most 100 characters that stand for printable ASCII (RFC 3461 4.4)."""
    assert expected == xtext.is_envid(text)


@pytest.mark.parametrize(
    ("text", "smtputf8", "expected"),
    [
        ("rfc822;ann+2Bx@example.com", False, True),
        ("RFC822;ann@example.com", False, True),
        (r"utf-8;j\x{F6}rg@example.com", False, True),
        ("utf-8;jörg@example.com", False, False),
        ("utf-8;jörg@example.com", True, True),
        ("rfc822;jörg@example.com", True, False),
        ("rfc822", False, False),
        ("rfc822;", False, False),
        (";a@b", False, False),
        ("rfc822;a b", False, False),
        ("rfc822;" + "a" * 493, False, True),
        ("rfc822;" + "a" * 494, False, False),
    ],
)
def test_is_orcpt_holds_its_grammar(text: str, smtputf8: bool, expected: bool) -> None:
    """Type, semicolon, xtext; at most 500 characters (RFC 3461 4.2, RFC 6533 3)."""
    assert expected == xtext.is_orcpt(text, smtputf8=smtputf8)
