"""mail.unsubscribe: the fields of RFC 2369 and RFC 8058, and the form that answers them."""

from __future__ import annotations

import pytest

from gatewayd.mail import unsubscribe
from gatewayd.mail.header import HeaderSection, check
from tests.unit.mail.stopwatch import assert_linear

URLENCODED = b"application/x-www-form-urlencoded"
BOUNDARY = b"---FormBoundaryjWmhtjORrn"
MULTIPART = b"multipart/form-data; boundary=" + BOUNDARY
# RFC 8058 8.2
EXAMPLE = (
    b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
    b"One-Click\r\n--" + BOUNDARY + b"--\r\n"
)


def test_the_fields_of_one_click() -> None:
    """(RFC 8058 8.1)."""
    fields = unsubscribe.fields("https://example.com/unsubscribe/opaquepart", one_click=True)

    assert fields == (
        ("List-Unsubscribe", "<https://example.com/unsubscribe/opaquepart>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )


def test_without_one_click_there_is_the_link_alone() -> None:
    """For mail that nobody signs (RFC 8058 4)."""
    fields = unsubscribe.fields("https://example.com/unsubscribe/opaquepart", one_click=False)

    assert fields == (("List-Unsubscribe", "<https://example.com/unsubscribe/opaquepart>"),)


def test_the_fields_fit_into_a_header_section() -> None:
    section = HeaderSection(b"From: a@b.example\r\n")
    for name, value in unsubscribe.fields(
        "https://gw.example/unsubscribe/a" + "A" * 35, one_click=True
    ):
        section = section.prepend(name, value)

    assert check(section.octets) is None


@pytest.mark.parametrize(
    "url",
    ["", "mailto:a@b.example", "https://", "https://a.example/>", "https://a.example/\r\nX: y",
     "https://a.example/ b", "https://a.example/\u00e9", "<https://a.example/>"],
)  # fmt: skip
def test_what_cannot_stand_between_angle_brackets_is_our_mistake(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        unsubscribe.fields(url, one_click=True)


@pytest.mark.parametrize(
    ("content_type", "octets"),
    [
        (URLENCODED, b"List-Unsubscribe=One-Click"),
        (b"Application/X-WWW-Form-Urlencoded ; charset=utf-8", b"List-Unsubscribe=One-Click"),
        (URLENCODED, b"by=page&List-Unsubscribe=One-Click"),
        (URLENCODED, b"List%2DUnsubscribe=One%2DClick"),
        (MULTIPART, EXAMPLE),
        (MULTIPART.replace(b"boundary=", b'BOUNDARY="') + b'"', EXAMPLE),
        (b"multipart/form-data; charset=utf-8; boundary=" + BOUNDARY, EXAMPLE),
        (MULTIPART, b"preamble\r\n" + EXAMPLE + b"epilogue"),
    ],
)
def test_a_form_that_says_yes(content_type: bytes, octets: bytes) -> None:
    """Of either kind (RFC 8058 3.2)."""
    assert unsubscribe.is_one_click(unsubscribe.read_form(content_type, octets))


@pytest.mark.parametrize(
    ("content_type", "octets"),
    [
        (b"", b"List-Unsubscribe=One-Click"),
        (URLENCODED, b""),
        (URLENCODED, b"List-Unsubscribe=one-click-not"),
        (URLENCODED, b"List-Unsubscribe"),
        (URLENCODED, b"\x80" * 9),
        (URLENCODED, b"&".join([b"a=b"] * 9) + b"&List-Unsubscribe=One-Click"),
        (URLENCODED, EXAMPLE),
        (MULTIPART, b"List-Unsubscribe=One-Click"),
        (MULTIPART, EXAMPLE.replace(b"\r\n\r\n", b"\r\n")),
        (MULTIPART, EXAMPLE.replace(b"form-data", b"attachment")),
        (MULTIPART, EXAMPLE.replace(b"One-Click", b"\xff")),
        (b"multipart/form-data", EXAMPLE),
        (b"multipart/form-data; boundary=", EXAMPLE),
        (b"multipart/form-data; boundary=" + b"x" * 71, EXAMPLE),
        (b"multipart/mixed; boundary=" + BOUNDARY, EXAMPLE),
    ],
)
def test_anything_else_says_nothing(content_type: bytes, octets: bytes) -> None:
    assert not unsubscribe.is_one_click(unsubscribe.read_form(content_type, octets))


@pytest.mark.slow
@pytest.mark.parametrize("content_type", [URLENCODED, MULTIPART])
@pytest.mark.parametrize("piece", [b"--", b"--" + BOUNDARY, b"content-disposition:", b"a=b&"])
def test_time_grows_with_the_form_only(content_type: bytes, piece: bytes) -> None:
    assert_linear(lambda count: unsubscribe.read_form(content_type, piece * count), 5000)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"; ", b';boundary="', b" ", b"boundary="])
def test_time_grows_with_the_content_type_only(piece: bytes) -> None:
    assert_linear(
        lambda count: unsubscribe.read_form(b"multipart/form-data;" + piece * count, b""), 5000
    )
