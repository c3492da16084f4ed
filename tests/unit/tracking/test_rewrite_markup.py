"""tracking.markup: one test per row of the table in its docstring, and every place of the pixel."""

from __future__ import annotations

import pytest

from gatewayd.tracking.markup import scan

LINK = "<a href=http://x/>"


def hrefs(text: str) -> list[str]:
    """The values that were found."""
    octets = text.encode()
    return [octets[link.start : link.end].decode() for link in scan(octets).links]


def with_pixel(text: str) -> str | None:
    """The document with a mark where the pixel goes."""
    at = scan(text.encode()).pixel_at
    return None if at is None else f"{text[:at]}@{text[at:]}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('<a href="http://x/">', "http://x/"),
        ("<a href='a\"b'>", 'a"b'),
        ("<a href=http://x/>", "http://x/"),
        ("<a href=http://x/ >", "http://x/"),
        ("<a href=a/b/c x>", "a/b/c"),
        ("<AREA\tHREF\n=\r\n'x'/>", "x"),
        ("<a/href=x>", "x"),
        ('<a x="y"href=x>', "x"),
        ("<a x='>' href=x>", "x"),
        ("<a x=y' href=x>", "x"),
        ("<a x href=x>", "x"),
        ("<a x= href=x href=y>", "y"),
        ("<a href=x href=y>", "x"),
        ("<a xhref=1 href-x=2 href=x>", "x"),
        ('<a href="x>y">', "x>y"),
        ("<a href=x<b>", "x<b"),
        ("<a href=`x`>", "`x`"),
        ('<a " href=x>', "x"),
    ],
)
def test_first_href_of_a_tag_is_found(text: str, value: str) -> None:
    """As a browser reads attributes (HTML 13.2.5.32 to 39)."""
    assert hrefs(text) == [value]


@pytest.mark.parametrize(
    "text",
    [
        "<a>",
        "<a href>",
        "<a href=>",
        '<a href="">',
        "<a href href=x>",
        "<a =href=x>",
        "<abbr href=x>",
        "<a:b href=x>",
        "<link href=x>",
        "</a href=x>",
        "< a href=x>",
        "<1a href=x>",
        "&lt;a href=x>",
        "<a x='href=y'>",
        "<a href=x",
        '<a href="x>',
        "<a href='x\">",
        "<a href=x y='>",
    ],
)
def test_what_is_no_link_is_not_found(text: str) -> None:
    """Another element, another attribute, no value, or no end of the tag."""
    assert [value for value in hrefs(text) if value] == []


@pytest.mark.parametrize(
    "text",
    [
        "<!--%s-->",
        "<!--%s--!>",
        "<!-- -- > %s -->",
        "<!--[if mso]>%s<![endif]-->",
        "<!--%s",
        "<!doctype %s",
        "<!%s",
        "<?%s",
        "</ %s",
        "<![CDATA[%s",
        "<style>%s</style>",
        "<STYLE>%s</style >",
        "<style>%s</styl></style>",
        "<title>%s</title>",
        "<textarea>%s</textarea>",
        "<xmp>%s</xmp>",
        "<iframe>%s</iframe>",
        "<noembed>%s</noembed>",
        "<noframes>%s</noframes>",
        "<plaintext>%s</plaintext>",
        "<script>%s</script>",
        "<script><!--%s</script>",
        "<script><!--<script>%s</script>%s</script>",
        "<script><!--<script>%s--></script>",
        "<script><!--<script></script>%s</script>",
        "<template>%s</template>",
        "<template><template></template>%s</template>",
        "<svg>%s</svg>",
        "<math>%s</math>",
        "<svg><svg></svg>%s</svg>",
    ],
)
def test_link_that_is_not_shown_is_not_found(text: str) -> None:
    """Comments, raw text, templates and drawings; what follows them is found again."""
    has_end = text.endswith(">") and "<plaintext" not in text

    assert hrefs(text.replace("%s", LINK)) == []
    if has_end:
        assert hrefs(text.replace("%s", LINK) + "<a href=y>") == ["y"]


@pytest.mark.parametrize(
    "text",
    [
        "<!-->%s",
        "<!--->%s",
        "<!---->%s",
        "<!----!>%s",
        "<!>%s",
        "</>%s",
        "<![if !mso]>%s<![endif]>",
        "<!--[if !mso]><!-->%s<!--<![endif]-->",
        "<noscript>%s</noscript>",
        "<select>%s</select>",
        "<svg/>%s",
        "<svg />%s",
        "<svg a='b'/>%s",
        "</svg>%s",
        "</template>%s",
        "</script>%s",
        "<script><!--></script>%s",
        "<script><!--<script></script></script>%s",
        "<script><!--<scripty></script>%s",
        "<style></style>%s",
        "a < b %s",
        "<<%s",
        "<%s",
    ],
)
def test_link_that_is_shown_is_found(text: str) -> None:
    """What looks as if it hid a link does not."""
    assert hrefs(text % LINK) == ["http://x/"]


@pytest.mark.parametrize(
    "text",
    [
        "<svg><style><b></style></svg>",
        "<select><title><b></title></select>",
        "<frameset><style><b></style></frameset>",
        "<math><![CDATA[ > ]]></math>",
        "<svg><script>a<b</script></svg>",
    ],
)
def test_scan_stops_where_readers_differ(text: str) -> None:
    """Whether this is raw text depends on a tree; nothing behind it is touched."""
    assert hrefs(LINK + text + LINK) == ["http://x/"]


@pytest.mark.parametrize(
    "text",
    [
        "<svg><style>.a{}</style><title>x</title></svg>",
        "<select><option>x</select>",
        "<math><![CDATA[ x ]]></math>",
    ],
)
def test_scan_goes_on_where_readers_agree(text: str) -> None:
    """Raw text or not, it ends at the same place."""
    assert hrefs(LINK + text + LINK) == ["http://x/", "http://x/"]


@pytest.mark.parametrize(
    "text",
    [
        "<body>x@</body></html>\n",
        "<BODY>x</body>y@</BODY >z",
        "x@",
        "<p>x</p>@",
        "@",
        "<p><b>x</b></p>@</body>",
        "<p><b>x</p>\n@</body>",
        "<p><b>x@</p></body>",
        "<p><b>x</p>\n@",
        "<table><tr><td><b>x@</td></tr>\n</body>",
        "<a>x@</p></body>",
        "x@<!-- never closed </body>",
        "x@<style> never closed </body>",
        "x@<p never closed",
        "x@<plaintext></body>",
        "x@<svg><style><b></style></svg></body>",
        "x@<template>y</body>",
        "x@<select><option>y</body>",
        "<p>x@</",
        "x@</body><!-- </body> -->",
    ],
)
def test_pixel_is_put_where_nothing_else_moves(text: str) -> None:
    """Before the end of body, else at the end; or behind text, if an `img` would reopen tags."""
    assert text == with_pixel(text.replace("@", ""))


@pytest.mark.parametrize(
    "text",
    [
        "<!-- x",
        "<style>",
        "<",
        "</",
        "<p",
        "<frameset>x",
        "x</body><frameset>",
        "<template>x",
        "<?",
    ],
)
def test_there_may_be_no_place_for_a_pixel(text: str) -> None:
    """Rather none than another document."""
    assert with_pixel(text) in {None, "<@"}


def test_sources_of_images_are_told() -> None:
    """So that a pixel that is there is known again."""
    assert scan(b"<img src='a'><IMG x SRC=b><img>").sources == [b"a", b"b"]
