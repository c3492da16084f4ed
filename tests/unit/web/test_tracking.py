"""web.tracking: one test per row of the table in its docstring, and what must never be led to."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import html5lib
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from gatewayd.web.tracking import PIXEL
from tests.fakes.recipients import BASE, BOB, CAT, URL, FakeRecipients

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"


def _client(served: FakeRecipients, *, peer: str = "192.0.2.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=served.app, client=(peer, 1))
    return httpx2.AsyncClient(
        transport=transport, base_url=BASE, headers={"User-Agent": BROWSER}, follow_redirects=False
    )


async def _raw(
    served: FakeRecipients, path: str, query: bytes = b"", *, method: str = "GET"
) -> tuple[int, dict[bytes, bytes], bytes]:
    """A request whose octets no client library has tidied up: status, headers, body."""
    sent: list[Message] = []
    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": path, "query_string": query,
        "http_version": "1.1", "headers": [(b"host", b"gw.example")], "client": ("192.0.2.1", 1),
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await served.app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


def _click(served: FakeRecipients) -> tuple[str, str, str]:
    """Path, `url` as it stands in the query, `sig`."""
    parts = urlsplit(served.links.click_url(BOB, URL))
    url, _, sig = parts.query.partition("&sig=")
    return parts.path, url.removeprefix("url="), sig


async def _assert_refused(served: FakeRecipients, path: str, query: bytes = b"") -> None:
    status, headers, body = await _raw(served, path, query)

    assert status == 404
    assert b"location" not in headers
    assert b"example.org" not in body
    assert served.seen == 0


async def test_click_leads_to_the_url_that_was_signed() -> None:
    """And is written down, with who it was."""
    served = FakeRecipients()
    async with _client(served) as client:
        answer = await client.get(served.links.click_url(BOB, URL))

    assert (answer.status_code, answer.headers["location"], answer.content) == (302, URL, b"")
    ((recipient_id, request, url),) = served.recorder.clicks
    assert (recipient_id, request.user_agent, url) == (BOB, BROWSER, URL)


async def test_open_is_a_pixel() -> None:
    served = FakeRecipients()
    async with _client(served) as client:
        answer = await client.get(served.links.open_url(BOB))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/gif")
    assert answer.content == PIXEL
    assert PIXEL.startswith(b"GIF89a\x01\x00\x01\x00")
    assert [recipient_id for recipient_id, _ in served.recorder.opens] == [BOB]


async def test_head_says_the_same_and_is_written_down_as_head() -> None:
    """Scanners ask by it."""
    served = FakeRecipients()
    async with _client(served) as client:
        click = await client.head(served.links.click_url(BOB, URL))
        pixel = await client.head(served.links.open_url(BOB))

    assert (click.status_code, click.headers["location"], pixel.status_code) == (302, URL, 200)
    assert served.recorder.clicks[0][1].method == served.recorder.opens[0][1].method == "HEAD"


@pytest.mark.parametrize("kind", ["click", "open", "forged"])
async def test_no_answer_is_stored_or_tells_where_it_came_from(kind: str) -> None:
    """The next host does not learn the token."""
    served = FakeRecipients()
    target = {
        "click": served.links.click_url(BOB, URL),
        "open": served.links.open_url(BOB),
        "forged": f"{BASE}/track/click/a{'A' * 35}?url=https%3A%2F%2Fa.example&sig=AAAAAAAAAAAAAA",
    }[kind]
    async with _client(served) as client:
        answer = await client.get(target)

    assert (
        answer.headers["cache-control"],
        answer.headers["referrer-policy"],
        answer.headers["x-content-type-options"],
    ) == ("no-store", "no-referrer", "nosniff")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_another_method_is_405(method: str) -> None:
    served = FakeRecipients()
    async with _client(served) as client:
        for target in (served.links.click_url(BOB, URL), served.links.open_url(BOB)):
            answer = await client.request(method, target)

            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert served.seen == 0


@pytest.mark.parametrize(
    "path",
    [
        "/track/", "/track/open/", "/track/open/.gif", "/track/click/", "/track/opens/a.gif",
        "/track/click", "/track/open/../click/", "/track/x", "/track/open/a.png",
    ],
)  # fmt: skip
async def test_nothing_else_is_there(path: str) -> None:
    await _assert_refused(FakeRecipients(), path)


async def test_every_bit_of_a_token_counts() -> None:
    served = FakeRecipients(per_minute=1 << 20)
    path, url, sig = _click(served)
    query = f"url={url}&sig={sig}".encode()
    begin = len("/track/click/")
    for at in range(begin, len(path)):
        for bit in range(7):
            changed = path[:at] + chr(ord(path[at]) ^ 1 << bit) + path[at + 1 :]
            await _assert_refused(served, changed, query)


async def test_every_bit_of_a_signature_counts() -> None:
    served = FakeRecipients(per_minute=1 << 20)
    path, url, sig = _click(served)
    for at in range(len(sig)):
        for bit in range(8):
            changed = sig.encode()[:at] + bytes([ord(sig[at]) ^ 1 << bit]) + sig.encode()[at + 1 :]
            await _assert_refused(served, path, b"url=%s&sig=%s" % (url.encode(), changed))


HOSTILE = [
    "https://evil.example/", "javascript:alert(1)", "data:text/html,<script>", "//evil.example",
    "https:evil.example", "https://www.example.org\\@evil.example/", "/relative", "",
    "https://a.example/\r\nSet-Cookie: a=b", "https://a.example/%0d%0aX: y", URL + "x", URL[:-1],
    URL.upper(), quote(URL, safe=""), f"{URL}\0", f" {URL}", "\u202e" + URL,
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_url_that_was_not_signed_is_never_led_to(url: str) -> None:
    """Not with the signature of another, of an open, or without any."""
    served = FakeRecipients()
    path, _, sig = _click(served)
    shown = quote(url, safe="").encode()
    pixel = urlsplit(served.links.open_url(BOB)).path.removeprefix("/track/open/")[:-4]
    for query in (
        b"url=" + shown,
        b"url=%s&sig=" % shown,
        b"url=%s&sig=%s" % (shown, sig.encode()),
        b"url=%s&sig=%s" % (shown, pixel[1:15].encode()),
        b"sig=%s&url=%s" % (sig.encode(), shown),
        b"url=%s;sig=%s" % (shown, sig.encode()),
        url.encode() + b"&sig=" + sig.encode(),
    ):
        await _assert_refused(served, path, query)


@pytest.mark.parametrize(
    "form",
    [
        "url={url}&url={url}&sig={sig}", "url={url}&sig={sig}&sig={sig}",
        "url={url}&sig={sig}&url=https%3A%2F%2Fevil.example", "url=&url={url}&sig={sig}",
        "sig={sig}", "url={url}", "", "&", "=", "url", "url&sig", "URL={url}&sig={sig}",
        "url={url}&amp;sig={sig}", "url=%FF{url}&sig={sig}", "url={url}&sig=%{sig}",
        "u%72l={url}&sig={sig}",
    ],
)  # fmt: skip
async def test_both_parameters_stand_once(form: str) -> None:
    """Two readers of a parameter that stands twice read two."""
    served = FakeRecipients()
    path, url, sig = _click(served)

    await _assert_refused(served, path, form.format(url=url, sig=sig).encode())


@pytest.mark.parametrize("form", ["sig={sig}&url={url}", "x=y&url={url}&sig={sig}&fbclid=1"])
async def test_what_others_add_to_a_link_does_no_harm(form: str) -> None:
    served = FakeRecipients()
    path, url, sig = _click(served)
    status, headers, _ = await _raw(served, path, form.format(url=url, sig=sig).encode())

    assert (status, headers[b"location"]) == (302, URL.encode())


async def test_tokens_of_other_kinds_and_recipients_lead_nowhere() -> None:
    served = FakeRecipients()
    path, url, sig = _click(served)
    query = f"url={url}&sig={sig}".encode()
    token = path.removeprefix("/track/click/")
    pixel = urlsplit(served.links.open_url(BOB)).path.removeprefix("/track/open/")[:-4]
    leave = urlsplit(served.links.unsubscribe_url(BOB)).path.removeprefix("/unsubscribe/")
    cat = urlsplit(served.links.click_url(CAT, URL)).path

    for target in (f"/track/click/{pixel}", f"/track/click/{leave}", cat):
        await _assert_refused(served, target, query)
    for target in (f"/track/open/{token}.gif", f"/track/open/{leave}.gif"):
        await _assert_refused(served, target)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://a.example/stra\u00dfe?q=\u20ac", b"https://a.example/stra%C3%9Fe?q=%E2%82%AC"),
        ("https://a.example/a b", b"https://a.example/a%20b"),
        ("https://a.example/%20%zz\\<>\"'#a#b", b"https://a.example/%20%zz\\<>\"'#a#b"),
    ],
)
async def test_location_is_one_field_of_visible_ascii(url: str, location: bytes) -> None:
    """What can stand there is not changed (RFC 9110 10.2.2)."""
    served = FakeRecipients()
    parts = urlsplit(served.links.click_url(BOB, url))
    _, headers, _ = await _raw(served, parts.path, parts.query.encode())

    assert location == headers[b"location"]


XSS = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"/track/click/{XSS}", b""),
        ("/track/click/x", quote(XSS).encode()),
        ("/track/click/x", b"url=javascript:alert(1)&sig=<script>"),
        (f"/track/open/{XSS}.gif", b""),
        (f"/unsubscribe/{XSS}", b""),
    ],
)
async def test_nothing_of_a_request_is_shown(path: str, query: bytes) -> None:
    status, headers, body = await _raw(FakeRecipients(), path, query)
    page = html5lib.parse(body, namespaceHTMLElements=False)

    assert (status, headers[b"content-type"]) == (404, b"text/html; charset=utf-8")
    assert b"script-src" not in headers[b"content-security-policy"]
    assert b"onerror" not in body
    assert page.find(".//script") is None
    assert page.find(".//img") is None


@given(st.text(), st.binary())
async def test_no_path_and_query_break_it(path: str, query: bytes) -> None:
    """Whatever comes, it is an answer; and never a redirect."""
    served = FakeRecipients(per_minute=1 << 20)
    click, _, _ = _click(served)
    for target in (f"/track/{path}", f"/track/open/{path}.gif", f"/track/click/{path}", click):
        await _assert_refused(served, target, query)


class TestRate:
    """`tracking.requests_per_minute`, for one network."""

    async def test_more_is_429_until_the_minute_is_over(self) -> None:
        served = FakeRecipients(per_minute=3)
        async with _client(served) as client:
            statuses = [(await client.get(served.links.open_url(BOB))).status_code for _ in "1234"]
            served.clock.advance(seconds=18.5)
            late = await client.get(served.links.click_url(BOB, URL))
            served.clock.advance(seconds=41.5)
            after = await client.get(served.links.click_url(BOB, URL))

        assert statuses == [200, 200, 200, 429]
        assert (late.status_code, late.headers["retry-after"]) == (429, "42")
        assert "location" not in late.headers
        assert after.status_code == 302
        assert served.seen == 4

    async def test_forged_ones_count_too(self) -> None:
        """Guessing is what it is against."""
        served = FakeRecipients(per_minute=2)
        statuses = [(await _raw(served, path))[0] for path in ("/track/click/x", "/track/x")]
        async with _client(served) as client:
            answer = await client.get(served.links.click_url(BOB, URL))

        assert [*statuses, answer.status_code] == [404, 404, 429]

    async def test_others_are_not_held_up(self) -> None:
        served = FakeRecipients(per_minute=1)
        found = []
        for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
            async with _client(served, peer=peer) as client:
                found.append((await client.get(served.links.open_url(BOB))).status_code)

        assert found == [200, 429, 200, 200, 429]
