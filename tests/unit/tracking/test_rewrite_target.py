"""tracking.target: one test per row of the table in its docstring."""

from __future__ import annotations

import pytest

from gatewayd.tracking.target import MAX_URL, ours, read


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("http://x.example", "http://x.example"),
        ("HTTPS://X.example/A?b#c", "HTTPS://X.example/A?b#c"),
        (" \n\thttp://x.example/ \x0c", "http://x.example/"),
        ("http://x.exa\r\n\tmple/a\nb", "http://x.example/ab"),
        ("http://x.example/a b", "http://x.example/a b"),
        ("http://[2001:db8::1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://u:p@x.example/", "http://u:p@x.example/"),
        ("http://x.example/?a[]=1&b[c]=2", "http://x.example/?a[]=1&b[c]=2"),
        ("http://x.example/100%25?x=%20y%20", "http://x.example/100%25?x=%20y%20"),
        ("http://x.example/" + "y" * (MAX_URL - 17), "http://x.example/" + "y" * (MAX_URL - 17)),
        ("http://x.example/caf\u00e9", "http://x.example/caf\u00e9"),
    ],
)
def test_web_address_is_tracked(href: str, url: str) -> None:
    """As a browser reads it (URL 4.4)."""
    assert url == read(href, "utf-8")


@pytest.mark.parametrize(
    "href",
    [
        "", "#a", "/a", "?a", "a.html", "//x.example/", "mailto:a@b", "tel:1",
        "javascript:alert(1)", "data:text/html,x", "cid:a",
        "ftp://x.example/", "http:", "http://", "http:///x", "http:x",
        "http://?x", "http://#", "http://@x/", "http://:80/", "http://\\x/", "http://a\\b/",
        "httpx://a/", "xhttp://a/", "http ://x/", "&#x6a;avascript:x",
    ],
)  # fmt: skip
def test_other_address_stays(href: str) -> None:
    """There is nowhere that a redirect could lead."""
    assert read(href, "utf-8") is None


@pytest.mark.parametrize(
    "mark",
    [
        "{{x}}", "{x}", "${x}", "#{x}", "{% x %}", "<%= x %>", "&lt;%= x %&gt;", "*|X|*", "%%x%%",
        "%recipient.id%", "%EMAIL_ADDRESS%", "[[x]]", "[unsubscribe]", "%7B%7Bx%7D%7D", "&#123;x}",
    ],
)  # fmt: skip
def test_address_with_a_placeholder_stays(mark: str) -> None:
    """Somebody further on fills it in, or the template engine forgot to."""
    assert read(f"http://x.example/{mark}", "utf-8") is None
    assert read(f"http://x.example/?x={mark}&y=1", "utf-8") is None


@pytest.mark.parametrize(
    "href",
    [
        "http://x.example/" + "y" * (MAX_URL - 16),
        "http://x.example/" + "&amp;" * MAX_URL,
        "http://x.example/\x01/",
        "http://x.example/&#1;/",
        "http://x.example/\x80/",
        "http://x.example/\x7f",
        "http://x.example/\u2028",
        "http://x.example/&#xD800;",
    ],
)
def test_address_that_would_not_travel_stays(href: str) -> None:
    """Too long, or not text."""
    assert read(href, "utf-8") is None


@pytest.mark.parametrize(
    ("reference", "character"),
    [
        ("&amp;", "&"), ("&amp", "&"), ("&#38;", "&"), ("&#38", "&"), ("&#x26;", "&"),
        ("&#X26", "&"), ("&sol;", "/"),
        ("&Tab;", ""), ("&NewLine;", ""), ("&eacute;", "\u00e9"),
        ("&copy=", "&copy="), ("&copyx", "&copyx"), ("&notit;", "&notit;"), ("&copy", "\u00a9"),
        ("&reg;=", "\u00ae="), ("&nosuch;", "&nosuch;"), ("&", "&"), ("&;", "&;"), ("&#;", "&#;"),
    ],
)  # fmt: skip
def test_character_reference_is_read_as_in_an_attribute(reference: str, character: str) -> None:
    """A name without `;` before `=` or a letter is none (HTML 13.2.5.73)."""
    assert f"http://x.example/?{character}" == read(f"http://x.example/?{reference}", "utf-8")


@pytest.mark.parametrize(
    ("codec", "url"),
    [
        ("utf-8", "http://x.example/\u00e9?\u00e9#\u00e9"),
        ("utf-16-le", "http://x.example/\u00e9?\u00e9#\u00e9"),
        ("cp1252", "http://x.example/\u00e9?%E9#\u00e9"),
        ("koi8-r", None),
        (None, None),
    ],
)
def test_query_goes_in_the_charset_of_the_document(codec: str | None, url: str | None) -> None:
    """A browser would ask for these octets, and UTF-8 everywhere else (URL 4.4)."""
    assert url == read("http://x.example/\u00e9?\u00e9#\u00e9", codec)


@pytest.mark.parametrize("codec", ["cp1252", None])
def test_query_that_is_ascii_needs_no_charset(codec: str | None) -> None:
    """Paths and fragments are UTF-8 in every document."""
    url = "http://x.example/\u00e9?x=1#\u00e9"

    assert url == read(url, codec)


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("/track/click/abc?url=x&sig=y", True),
        ("/track/open/abc.gif", True),
        ("/unsubscribe/abc", True),
        ("/", False),
        ("/tracks/", False),
        ("/x/track/click/abc?url=x", False),
    ],
)
def test_our_own_addresses_are_known_by_their_base(path: str, is_ours: bool) -> None:
    """Nobody else's are taken for ours."""
    test = ours("https://t.example/gw/")

    assert is_ours == test(f"https://t.example/gw{path}")
    assert not test(f"https://other.example/gw{path}")


def test_without_a_base_our_addresses_are_known_by_their_shape() -> None:
    """A message that was rewritten elsewhere is not rewritten again."""
    test = ours("")

    assert test("https://any.example/gw/track/click/abc-_?url=x&sig=y")
    assert test("https://any.example/track/open/abc.gif")
    assert not test("https://any.example/?x=/track/click/abc?url=")
    assert not test("https://any.example/track/")
