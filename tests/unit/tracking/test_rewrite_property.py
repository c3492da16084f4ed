"""tracking.rewrite on tag soup that hypothesis makes, in every encoding and many charsets."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatewayd.mail.header import HeaderSection
from gatewayd.mail.transfer_encoding import encode_base64, encode_quoted_printable
from gatewayd.tracking import splice
from gatewayd.tracking.parts import Encoding
from gatewayd.tracking.rewrite import compile_body
from tests.unit.tracking.html_oracle import (
    OPEN,
    assert_only_spliced,
    assert_same_document,
    click,
)

_PIECES = [
    "<html>", "<head>", "<body>", "</body>", "</html>", "<p>", "</p>", "<b>", "</b>", "<i>", "</i>",
    "<font color=red>", "</font>", "<div class='x'>", "</div>", "<table>", "<tr>", "<td>", "</td>",
    "</tr>", "</table>", "<ul><li>", "</li>", '<a href="http://x.example/1">', "</a>",
    "<a href=http://x.example/2?a=1&b=2>", "<a href='https://x.example/&amp;3' href=http://no/>",
    "<a\nclass=y\nHREF = 'http://x.example/4'/>", "<area href=http://x.example/5>", "<a name=x>",
    '<a href="mailto:a@b">', '<a href="http://', "<img src=x>", "<br>", "<!--", "-->", "--!>",
    "<!--[if mso]><a href=http://m/><![endif]-->", "<![if !mso]>", "<![endif]>", "<!doctype html>",
    "<style>a{}", "</style>", "<script>if(a<b)", "<!--<script>", "</script>", "<title>", "</title>",
    "<textarea>", "</textarea>", "<svg>", "</svg>", "<svg/>", "<math><mi>", "</math>", "<desc>",
    "<![CDATA[", "]]>", "<select><option>", "</select>", "<template>", "</template>", "<noscript>",
    "</noscript>", "<plaintext>", "<xmp>", "</xmp>", "<iframe>", "</iframe>", "<nobr>", "<button>",
    "<caption>", "<col>", "<form>", "<frameset>", "<noframes>", "</ x>", "</", "<?php >", "<!x>",
    "<", ">", '"', "'", "=", "/", "&", "&amp;", " ", "\r\n", "\n", "\r", "text", "caf\u00e9",
    "\u4e2d\u6587", "\U0001f389", "{{x}}", "<o:p></o:p>", "-", "!", "x" * 300,
]  # fmt: skip
soup = st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=6)), max_size=30).map("".join)
LONG = "<td a='" + "t" * 400 + "'>"


def header(charset: str, encoding: str) -> HeaderSection:
    return HeaderSection(
        f"Content-Type: text/html; charset={charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n".encode()
    )


def rewritten(octets: bytes, charset: str = "utf-8", encoding: str = "binary") -> bytes:
    section = header(charset, encoding)
    return compile_body(section, octets, opens=True, clicks=True).render(click, OPEN)


@given(soup)
@settings(max_examples=400, deadline=None)
@example("<p><b>x</p></body>")
@example("</body><frameset></frameset>")
@example("<svg><style><a title='</style><a href=http://x/>'>")
@example("<script><!--<script></script>--><a href=http://x/></script>")
@example("<table><tr><td><b>x</table>\r\n")
@example("</")
def test_soup_is_the_same_document(text: str) -> None:
    """A browser sees no difference but hrefs and a pixel, whatever the mess."""
    octets = text.replace("\0", "").encode("utf-8", "replace")

    assert_same_document(octets, rewritten(octets), "utf-8")


@given(st.lists(st.sampled_from(_PIECES[:-1]), max_size=7).map("".join))
@settings(max_examples=300, deadline=None)
def test_soup_keeps_every_other_octet(text: str) -> None:
    """What is left without hrefs and pixel is what was there, as long as it fits in a line."""
    octets = text.encode("utf-8", "replace")

    assert_only_spliced(octets, rewritten(octets))


@given(soup)
@settings(max_examples=200, deadline=None)
def test_encoded_soup_is_the_same_text(text: str) -> None:
    """The transfer encoding makes no difference to the text, and its lines stay short."""
    octets = re.sub("\r\n|\r|\n", "\r\n", text + "\n").encode("utf-8", "replace")

    in_base64 = rewritten(encode_base64(octets), encoding="base64")
    quoted = rewritten(encode_quoted_printable(octets), encoding="quoted-printable")

    result = splice.decode(in_base64, Encoding.BASE64)
    assert result == splice.decode(quoted, Encoding.QUOTED_PRINTABLE)
    assert result is not None
    assert_only_spliced(octets, result)
    assert max(map(len, (in_base64 + quoted).split(b"\r\n"))) <= 76


@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.just(LONG)), max_size=40).map("".join))
@settings(max_examples=200, deadline=None)
@example(("<td a='" + "t" * 900 + "'>") + "<a href='http://x/'>" + "y" * 60)
@example("<a href='http://x/'>" * 40)
@example("y" * 998)
def test_no_line_grows_too_long(text: str) -> None:
    """Lines of up to 998 octets stay within that, and the document stays the same."""
    octets = b"\r\n".join(
        line[at : at + 998]
        for line in re.sub("\r\n|\r|\n", "\r\n", text).encode().split(b"\r\n")
        for at in range(0, len(line) + 1, 998)
    )

    result = rewritten(octets, encoding="8bit")

    assert max(map(len, result.split(b"\r\n"))) <= 998
    assert_same_document(octets, result, "utf-8")


@given(st.binary(max_size=300), st.sampled_from(["7bit", "base64", "quoted-printable", "x-uu"]))
@settings(max_examples=200, deadline=None)
def test_any_octets_are_taken(octets: bytes, encoding: str) -> None:
    """Nothing raises, whatever the encoding says."""
    for charset in ("utf-8", "utf-16", "utf-7", "iso-2022-jp", "x-none", "idna", "undefined"):
        rewritten(octets, charset, encoding)


@given(st.lists(st.sampled_from([*_PIECES, "--b\r\n", "--b--\r\n", "Content-Type: text/html\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n", "Content-Type: message/rfc822\r\n"]),
    max_size=30))  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_any_multipart_is_taken(pieces: list[str]) -> None:
    """Nothing raises, and rendering with the same addresses again changes nothing more."""
    section = HeaderSection(b"Content-Type: multipart/mixed; boundary=b\r\n")
    body = "".join(pieces).encode()

    once = compile_body(section, body, opens=True, clicks=True).render(click, OPEN)

    again = compile_body(section, once, opens=False, clicks=True)
    assert not again.is_changed


CHARSETS = {
    "us-ascii": "x",
    "iso-8859-1": "\u00e9\u00bb",
    "windows-1252": "\u20ac\u201c",
    "iso-8859-15": "\u20ac",
    "koi8-r": "\u0416",
    "windows-1251": "\u0416",
    "shift_jis": "\u8868\u30bd",
    "euc-jp": "\u8868",
    "big5": "\u529f",
    "euc-kr": "\ud55c",
    "gb18030": "\u4e2d\U00020000",
    "iso-2022-jp": "\u8868\u30bd",
    "utf-8": "\u4e2d\U0001f389",
    "utf-16le": "\u4e2d\U0001f389",
    "utf-16be": "\u3c3c\u3e22",
    "utf-32le": "\u4e2d\U0001f389",
}


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        (charset, encoding)
        for charset in CHARSETS
        for encoding in Encoding
        # A message cannot hold NUL without an encoding.
        if not (encoding is Encoding.IDENTITY and charset.startswith(("utf-16", "utf-32")))
    ],
)
def test_charset_in_encoding(charset: str, encoding: Encoding) -> None:
    """The text is what it was, with an address in it that is written in its charset."""
    letters = CHARSETS[charset]
    text = (
        f"<p title='{letters}>'>{letters}<a href=http://x.example/{letters}>{letters}</a></p>\r\n"
    )
    octets = text.encode(charset)
    wire = {
        Encoding.IDENTITY: octets,
        Encoding.BASE64: encode_base64(octets),
        Encoding.QUOTED_PRINTABLE: b"=\r\n".join(
            re.findall(rb"(?:=..){1,25}", b"".join(b"=%02X" % octet for octet in octets))
        ),
    }[encoding]
    section = header(charset, "8bit" if encoding is Encoding.IDENTITY else encoding.value)

    found = compile_body(section, wire, opens=True, clicks=True)

    result = splice.decode(found.render(click, OPEN), encoding)
    address = click(f"http://x.example/{letters}").replace("&", "&amp;")
    expected = text.replace(f"href=http://x.example/{letters}", f'href="{address}"')
    expected += f'<img src="{OPEN}" width="1" height="1" alt="" style="border:0">'
    assert result is not None
    assert (f"http://x.example/{letters}",) == found.urls
    assert expected == result.decode(charset)
