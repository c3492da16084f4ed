"""tracking.rewrite: what changes in a message, and that nothing else does."""

import base64
import quopri

import pytest

from gatewayd.mail.header import HeaderSection
from gatewayd.tracking.rewrite import CompiledBody, compile_body

OPEN = "https://t.example/track/open/abc.gif"
PIXEL = b'<img src="%s" width="1" height="1" alt="" style="border:0">' % OPEN.encode()
HTML = "Content-Type: text/html; charset=utf-8"


def click(url: str) -> str:
    return f"https://t.example/track/click/abc?url={url.encode().hex()}&sig=s"


def clicked(url: str) -> bytes:
    return click(url).replace("&", "&amp;").encode()


def compiled(
    body: bytes, *fields: str, opens: bool = False, clicks: bool = True, base_url: str = ""
) -> CompiledBody:
    header = HeaderSection("".join(f"{each}\r\n" for each in fields or (HTML,)).encode())
    return compile_body(header, body, opens=opens, clicks=clicks, base_url=base_url)


def rewritten(body: bytes, *fields: str, opens: bool = False, clicks: bool = True) -> bytes:
    return compiled(body, *fields, opens=opens, clicks=clicks).render(click, OPEN)


def test_href_of_a_and_area_is_replaced_and_nothing_else() -> None:
    """Only the value changes; its quotes, its neighbours and the rest of the tag stay."""
    body = b'<A\tid=x HREF=\'http://one/\' >1</A><map><area alt="" href="http://two/"/></map>\r\n'

    result = rewritten(body)

    expected = b'<A\tid=x HREF=\'%s\' >1</A><map><area alt="" href="%s"/></map>\r\n'
    assert expected % (clicked("http://one/"), clicked("http://two/")) == result


def test_pixel_stands_before_the_end_of_body() -> None:
    """A mail client loads it last."""
    assert (
        rewritten(b"<body>x\r\n</body></html>\r\n", opens=True, clicks=False)
        == b"<body>x\r\n" + PIXEL + b"</body></html>\r\n"
    )


def test_pixel_stands_at_the_end_without_a_body() -> None:
    """A fragment is a document too."""
    assert rewritten(b"<p>x</p>\r\n", opens=True) == b"<p>x</p>\r\n" + PIXEL


@pytest.mark.parametrize(("opens", "clicks"), [(True, False), (False, True), (False, False)])
def test_only_what_is_asked_for_changes(opens: bool, clicks: bool) -> None:
    """Opens and clicks are two wishes."""
    result = rewritten(b'<a href="http://one/">1</a>', opens=opens, clicks=clicks)

    assert (opens, clicks) == (PIXEL in result, clicked("http://one/") in result)


def test_plain_text_is_not_changed() -> None:
    """There is nothing to fill in, and the caller can tell."""
    found = compiled(b"http://one/\r\n", "Content-Type: text/plain", opens=True)

    assert (found.is_changed, found.render(click, OPEN)) == (False, b"http://one/\r\n")


def test_quoted_printable_keeps_its_other_lines() -> None:
    """An address stands on lines of its own between soft breaks (RFC 2045 6.7)."""
    body = b'<p>caf=C3=A9 =\r\n<a href=3D"http://o=\r\nne/">1</a> x=20\r\n'

    result = rewritten(body, HTML, "Content-Transfer-Encoding: quoted-printable")

    assert result.startswith(b"<p>caf=C3=A9 =\r\n<a href=3D=\r\n")
    assert result.endswith(b"=\r\n>1</a> x=20\r\n")
    assert max(map(len, result.split(b"\r\n"))) <= 76
    assert b'<a href="%s">1</a> x' % clicked("http://one/") in quopri.decodestring(result)


def test_base64_keeps_the_length_of_its_lines() -> None:
    """The text is encoded again as it was (RFC 2045 6.8)."""
    text = b'<p>1</p><a href="http://one/">1</a>' * 4
    encoded = base64.b64encode(text)
    body = b"\r\n".join(encoded[at : at + 60] for at in range(0, len(encoded), 60)) + b"\r\n"

    result = rewritten(body, HTML, "Content-Transfer-Encoding: base64")

    lines = result.split(b"\r\n")
    assert {60} == set(map(len, lines[:-2]))
    assert text.replace(b"http://one/", clicked("http://one/")) == base64.b64decode(result)


def test_address_is_escaped_for_an_attribute() -> None:
    """Whatever it is made of, the tag ends where it ended (HTML 13.1.2.3)."""
    found = compiled(b"<a href='http://one/'>1</a>")

    result = found.render(lambda _: "http://t/?a=1&b=\"'<>caf\u00e9", OPEN)

    escaped = b"http://t/?a=1&amp;b=&#34;&#39;&#60;&#62;caf&#233;"
    assert b"<a href='%s'>1</a>" % escaped == result


@pytest.mark.parametrize("address", ["http://t/\r\nX: y", "http://t/\0", "http://t/\x7f"])
def test_address_with_a_control_character_is_refused(address: str) -> None:
    """It would break a line, or a reader; whoever made it has a fault."""
    found = compiled(b'<a href="http://one/">1</a>')

    with pytest.raises(ValueError, match="control character"):
        found.render(lambda _: address, OPEN)


def test_address_of_a_pixel_has_to_fit_in_a_line() -> None:
    """There is no other place for it (RFC 5322 2.1.1)."""
    found = compiled(b"<p>", opens=True)

    with pytest.raises(ValueError, match="900"):
        found.render(click, "https://t.example/" + "x" * 900)


def test_click_is_asked_once_for_each_address() -> None:
    """However often it stands in the message."""
    asked: list[str] = []
    found = compiled(b'<a href="http://one/">1</a><a href=http://one/>2</a><a href=http://two/>')

    def ask(url: str) -> str:
        asked.append(url)
        return url

    found.render(ask, OPEN)

    assert asked == ["http://one/", "http://two/"]


def test_rendering_one_recipient_does_not_touch_another() -> None:
    """A compiled body is shared by all of them."""
    found = compiled(b'<a href="http://one/">1</a>', opens=True)

    def rendered(name: str) -> bytes:
        return found.render(lambda _: f"https://t.example/{name}", f"https://t.example/{name}.gif")

    results = [rendered(name) for name in ("a", "b", "a")]

    assert results[0] == results[2]
    assert b"t.example/b" not in results[0]
    assert b"t.example/a" not in results[1]


def test_long_line_is_broken_inside_the_tag() -> None:
    """Before the attribute, and behind it if the rest does not fit (RFC 5322 2.1.1)."""
    body = b"x" * 960 + b'<a id=y href="http://one/">' + b"z" * 5 + b"\r\n"

    result = rewritten(body)

    address = clicked("http://one/")
    assert b"x" * 960 + b'<a id=y \r\nhref="%s">zzzzz\r\n' % address == result
    rest = b"<b>" * 320
    assert rewritten(b'<a href="http://one/">' + rest) == b'<a href="%s"\r\n>' % address + rest


def test_link_whose_address_fills_a_line_stays() -> None:
    """It cannot be put in anywhere; the other links are."""
    body = b"<a href=http://one/>1</a>\r\n<a href=http://%s/>2</a>\r\n" % (b"y" * 500)

    result = rewritten(body)

    assert body.replace(b"http://one/", b'"%s"' % clicked("http://one/")) == result
