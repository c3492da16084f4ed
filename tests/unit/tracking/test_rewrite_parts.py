"""tracking.parts: one test per row of the table in its docstring, and delimiters that mislead."""

from __future__ import annotations

import pytest

from gatewayd.mail.header import HeaderSection
from gatewayd.tracking.parts import Encoding, find

PART = "Content-Type: text/html; charset=utf-8\r\n\r\n<p>\r\n"


def header(*fields: str) -> HeaderSection:
    return HeaderSection("".join(f"{each}\r\n" for each in fields).encode())


def texts(body: str, *fields: str) -> list[str]:
    """What the found parts hold."""
    octets = body.encode()
    return [octets[each.start : each.end].decode() for each in find(header(*fields), octets)]


def mixed(*parts: str) -> str:
    return "".join(f"--b\r\n{part}" for part in parts) + "--b--\r\n"


MIXED = "Content-Type: multipart/mixed; boundary=b"


@pytest.mark.parametrize(
    ("field", "encoding"),
    [
        ("X: no encoding", Encoding.IDENTITY),
        ("Content-Transfer-Encoding: 7bit", Encoding.IDENTITY),
        ("Content-Transfer-Encoding: 8BIT ", Encoding.IDENTITY),
        ("Content-Transfer-Encoding: binary", Encoding.IDENTITY),
        ("Content-Transfer-Encoding: Quoted-Printable", Encoding.QUOTED_PRINTABLE),
        ("Content-Transfer-Encoding: base64;", Encoding.BASE64),
    ],
)
def test_message_that_is_html_is_one_part(field: str, encoding: Encoding) -> None:
    """Its octets are the whole body, in the encoding of its header (RFC 2045 6.1)."""
    (part,) = find(header('Content-Type: Text/HTML;\r\n charset="UTF-8"', field), b"<p>\r\n")

    assert (0, 5, "utf-8", encoding) == (part.start, part.end, part.charset, part.encoding)


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Type: text/plain",),
        ("Subject: no type",),
        ("Content-Type: text/x-amp-html",),
        ("Content-Type: application/pkcs7-mime",),
        ("Content-Type: text/html", "Content-Transfer-Encoding: x-uuencode"),
        ("Content-Type: text/html", "Content-Type: text/plain"),
        ("Content-Type: text/html", "Content-Transfer-Encoding: 7bit",
         "Content-Transfer-Encoding: base64"),
        ("Content-Type: text/html", "Content-Disposition: attachment; filename=x.html"),
        ("Content-Type: text/html", "Content-Disposition: x-unknown"),
        ("Content-Type: message/rfc822",),
    ],
)  # fmt: skip
def test_other_messages_are_left_alone(fields: tuple[str, ...]) -> None:
    """No HTML, or readers would not agree on it, or it is not there to be read."""
    assert texts(PART, *fields) == []


@pytest.mark.parametrize("subtype", ["mixed", "alternative", "related", "x-whatever"])
def test_parts_of_a_multipart_are_found(subtype: str) -> None:
    """The line end before a delimiter is the delimiter's (RFC 2046 5.1.1)."""
    body = mixed("\r\ntext\r\n", PART, PART + "\r\n")

    assert texts(body, f"Content-Type: multipart/{subtype}; boundary=b") == ["<p>", "<p>\r\n"]


@pytest.mark.parametrize("subtype", ["signed", "encrypted", "report", "digest"])
def test_closed_multiparts_are_left_alone(subtype: str) -> None:
    """Signed or sealed octets stay, and what a report quotes (RFC 1847)."""
    inner = f'Content-Type: multipart/{subtype}; boundary="i"\r\n\r\n--i\r\n{PART}--i--\r\n'

    assert texts(mixed(inner, PART), MIXED) == ["<p>"]
    assert texts(inner.partition("\r\n\r\n")[2], inner.partition("\r\n")[0]) == []


def test_attached_messages_and_pages_are_left_alone() -> None:
    """They are documents of their own."""
    attached = "Content-Disposition: attachment\r\n" + PART
    message = "Content-Type: message/rfc822\r\n\r\n" + PART
    multipart = (
        "Content-Disposition: attachment\r\n"
        f"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n{PART}--i--\r\n"
    )
    inline = "Content-Disposition: inline; filename=x.html\r\n" + PART

    assert texts(mixed(attached, message, multipart, inline), MIXED) == ["<p>"]


def test_nested_multiparts_are_walked() -> None:
    """Each level has its boundary; what follows a closed one belongs to the outer."""
    inner = f'Content-Type: multipart/alternative; boundary="i i"\r\n\r\n--i i\r\n{PART}--i i--\r\n'
    body = mixed(inner + PART + "\r\n", PART)

    assert texts(body, MIXED) == ["<p>", "<p>"]


def test_outer_delimiter_ends_an_inner_multipart() -> None:
    """Even if the inner one was not closed (RFC 2046 5.1.2)."""
    inner = f"Content-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n{PART}"

    body = mixed(inner, PART + "--i\r\n\r\n")

    assert texts(body, MIXED) == ["<p>", "<p>\r\n--i\r\n"]


def test_part_without_a_last_delimiter_ends_with_the_body() -> None:
    """A message that was cut off is read as far as it goes."""
    assert texts(f"preamble\r\n--b\r\n{PART}", MIXED) == ["<p>\r\n"]


@pytest.mark.parametrize(
    "part",
    [
        "Content-Type: text/html\r\n--x\r\n\r\n<p>\r\n",
        "Content-Type: text/html\r\nX: " + "y" * 65536 + "\r\n\r\n<p>\r\n",
        "Content-Type: text/html\r\n",
        "Content-Type: text/html\r\n\r\n",
        "\r\nContent-Type: text/html\r\n\r\n<p>\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n<p>\r\n",
        f"Content-Type: multipart/mixed; boundary={'i' * 71}\r\n\r\n--{'i' * 71}\r\n{PART}",
        f'Content-Type: multipart/mixed; boundary=""\r\n\r\n--\r\n{PART}',
    ],
)
def test_part_that_misleads_is_left_alone(part: str) -> None:
    """Readers differ about it; the next part is found all the same."""
    assert texts(mixed(part, PART), MIXED) == ["<p>"]


def test_delimiter_is_a_whole_line() -> None:
    """White space may follow it, nothing else (RFC 2046 5.1.1)."""
    body = f"--bb\r\n{PART}--b \t\r\n{PART}x--b\r\n--b--x\r\n--b--\r\n--b\r\n{PART}"

    assert texts(body, MIXED) == ["<p>\r\nx--b\r\n--b--x"]
