"""tracking.rewrite takes time in proportion to the octets, whatever they are.

Each input is what a careless expression or a tree would take quadratic time for.
"""

from __future__ import annotations

import pytest

from gatewayd.mail.header import HeaderSection
from gatewayd.tracking.rewrite import compile_body
from tests.unit.mail.stopwatch import assert_linear

HTML = b"Content-Type: text/html; charset=utf-8\r\n"
QUOTED = HTML + b"Content-Transfer-Encoding: quoted-printable\r\n"
MIXED = b"Content-Type: multipart/mixed; boundary=b\r\n"
SIZE = 65536

REPEATED = [
    b"<",
    b"</",
    b"<!",
    b"<?",
    b"<!--",
    b"-",
    b"<a",
    b"<a href",
    b"<a href=",
    b'<a href="',
    b"<a href=x>",
    b'<a href="http://x/">y</a>\r\n',
    b"<a b=c ",
    b"<p>",
    b"</p>",
    b"<b><p>",
    b"<b x=1>",
    b"<table>",
    b"<svg>",
    b"<svg><style>",
    b"<svg><![CDATA[",
    b"<script>",
    b"<script><!--<script>",
    b"</script",
    b"<title></title",
    b"<select>",
    b"<template>",
    b"</body>",
    b"<img srcset=",
    b"&amp;",
    b"<a href='http://x/&amp;",
    b"<a href='http://x/%",
    b" ",
    b"\r\n",
    b"=",
    b'"',
    b"'",
    b"\x80",
]


def work(header: bytes, piece: bytes, size: int) -> None:
    found = compile_body(
        HeaderSection(header), piece * (size // len(piece)), opens=True, clicks=True
    )
    found.render(lambda url: url, "https://t.example/open")


@pytest.mark.slow
@pytest.mark.parametrize("piece", REPEATED)
def test_markup_is_scanned_in_linear_time(piece: bytes) -> None:
    """Unclosed tags, comments and quotes are each looked at once."""
    assert_linear(lambda size: work(HTML, piece, size), SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"=", b"=3D", b"=\r\n", b"= ", b'<a href=3D"http://x/">=\r\n'])
def test_quoted_printable_is_read_in_linear_time(piece: bytes) -> None:
    """Escapes and soft breaks, whole and broken."""
    assert_linear(lambda size: work(QUOTED, piece, size), SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [b"--", b"--\r\n", b"--b\r\n", b"--b--\r\n", b"--b\r\nContent-Type: text/html\r\n\r\nx\r\n",
     b"--b\r\nX: y\r\n", b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"],
)  # fmt: skip
def test_parts_are_found_in_linear_time(piece: bytes) -> None:
    """However many delimiters, and headers that do not end."""
    assert_linear(lambda size: work(MIXED, piece, size), SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("charset", "piece"),
    [("utf-7", b"+"), ("utf-7", b"+AOk-"), ("iso-2022-jp", b"\x1b$B"), ("iso-2022-jp", b"\x1b(B<")],
)
def test_charsets_are_read_in_linear_time(charset: str, piece: bytes) -> None:
    """Shifts that never end."""
    header = f"Content-Type: text/html; charset={charset}\r\n".encode()

    assert_linear(lambda size: work(header, piece, size), SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [b"x=1 ", b"&amp;", b"%7b", b"\t", b"[", b"%a_"])
def test_one_long_tag_is_read_in_linear_time(piece: bytes) -> None:
    """A tag, or a value in it, may be as long as the message."""

    def read(size: int) -> None:
        value = piece * (size // len(piece))
        for tag in (b"<a %s href=http://x/>", b'<a href="http://x/%s">', b"<a href%s=x>"):
            body = tag % value
            compile_body(HeaderSection(HTML), body, opens=True, clicks=True)

    assert_linear(read, SIZE)


@pytest.mark.slow
def test_fifty_thousand_links_are_rewritten() -> None:
    """Each to an address of its own."""
    body = b"".join(b'<a href="http://x.example/%d">x</a>\r\n' % each for each in range(50_000))

    found = compile_body(HeaderSection(HTML), body, opens=False, clicks=True)

    assert len(found.urls) == 50_000
    assert body.replace(b"//x", b"//y") == found.render(lambda url: url.replace("//x", "//y"), "")
