"""web.unsubscribe and pages: one test per row of the tables in their docstrings."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import html5lib
import httpx2
import pytest

from gatewayd.errors import StoreError, StoreFull, StoreUnavailable
from gatewayd.ids import RecipientId
from gatewayd.tracking.unsubscribe import How
from gatewayd.web.pages import Page
from gatewayd.web.unsubscribe import FORM_OCTETS
from tests.fakes.recipients import BASE, BOB, CAT, URL, FakeRecipients

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def _client(served: FakeRecipients) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=served.app, client=("192.0.2.1", 1))
    return httpx2.AsyncClient(transport=transport, base_url=BASE)


def _find(page: Element, path: str) -> Element:
    found = page.find(path)
    assert found is not None
    return found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_looking_changes_nothing(method: str) -> None:
    """Scanners follow links (RFC 8058 1)."""
    served = FakeRecipients()
    async with _client(served) as client:
        answer = await client.request(method, served.links.unsubscribe_url(BOB))

    assert (answer.status_code, served.unsubscribes.left) == (200, [])
    assert "location" not in answer.headers


async def test_one_click_unsubscribes() -> None:
    """No cookie, no login, no redirect (RFC 8058 3.2)."""
    served = FakeRecipients()
    async with _client(served) as client:
        answer = await client.post(served.links.unsubscribe_url(BOB), data=ONE_CLICK)

    assert served.unsubscribes.left == [(BOB, How.ONE_CLICK)]
    assert answer.status_code == 200
    assert not {"location", "set-cookie", "www-authenticate"} & answer.headers.keys()


async def test_one_click_may_be_a_multipart_form() -> None:
    """(RFC 8058 3.2)."""
    served = FakeRecipients()
    async with _client(served) as client:
        files = {"List-Unsubscribe": (None, "One-Click")}
        answer = await client.post(served.links.unsubscribe_url(BOB), files=files)

    assert (answer.status_code, served.unsubscribes.left) == (200, [(BOB, How.ONE_CLICK)])


async def test_the_button_of_the_page_unsubscribes() -> None:
    """What a browser would send is what the form of the page says."""
    served = FakeRecipients()
    async with _client(served) as client:
        url = served.links.unsubscribe_url(BOB)
        page = html5lib.parse((await client.get(url)).content, namespaceHTMLElements=False)
        form = _find(page, ".//form")
        sent = {one.attrib["name"]: one.attrib["value"] for one in form.findall(".//input")}
        answer = await client.post(url, data=sent)

    assert form.get("method") == "post"
    assert form.get("action") is None  # to where the page itself is, whatever proxy is before us
    assert _find(form, ".//button").text == "Unsubscribe"
    assert (answer.status_code, served.unsubscribes.left) == (200, [(BOB, How.PAGE)])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ""),
        (b"", "application/x-www-form-urlencoded"),
        (b"List-Unsubscribe=One-Click", "text/plain"),
        (b"List-Unsubscribe=One-Click", "multipart/form-data"),
        (b"List-Unsubscribe=Two-Clicks", "application/x-www-form-urlencoded"),
        (b"x=List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
        (b"a&" * 1000 + b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b'{"List-Unsubscribe": "One-Click"}', "application/json"),
    ],
)
async def test_a_post_that_says_something_else_changes_nothing(
    body: bytes, content_type: str
) -> None:
    served = FakeRecipients()
    async with _client(served) as client:
        answer = await client.post(
            served.links.unsubscribe_url(BOB), content=body, headers={"Content-Type": content_type}
        )

    assert (answer.status_code, served.unsubscribes.left) == (400, [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_token_that_we_did_not_make_is_404(method: str) -> None:
    """Of another kind, with a character changed, cut off."""
    served = FakeRecipients()
    token = urlsplit(served.links.unsubscribe_url(BOB)).path.removeprefix("/unsubscribe/")
    pixel = urlsplit(served.links.open_url(BOB)).path.removeprefix("/track/open/")[:-4]
    click = urlsplit(served.links.click_url(BOB, URL)).path.removeprefix("/track/click/")
    async with _client(served) as client:
        for one in ("", token[:-1], token + "A", token.swapcase(), pixel, click, f"{token}/"):
            answer = await client.request(
                method, f"/unsubscribe/{one}", data=ONE_CLICK if method == "POST" else None
            )
            assert answer.status_code == 404
    assert served.unsubscribes.left == []


async def test_every_character_of_a_token_counts() -> None:
    served = FakeRecipients(per_minute=10_000)
    path = urlsplit(served.links.unsubscribe_url(BOB)).path
    async with _client(served) as client:
        for at in range(len("/unsubscribe/"), len(path)):
            for other in "AZaz059-_":
                if other != path[at]:
                    forged = path[:at] + other + path[at + 1 :]
                    answer = await client.post(forged, data=ONE_CLICK)
                    assert answer.status_code == 404
    assert served.unsubscribes.left == []


async def test_a_recipient_who_is_gone_is_404() -> None:
    served = FakeRecipients()
    gone = RecipientId("01936f1e-0000-7000-8000-00000000ffff")
    async with _client(served) as client:
        answer = await client.post(served.links.unsubscribe_url(gone), data=ONE_CLICK)

    assert answer.status_code == 404


@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreFull("full")])
async def test_a_store_that_does_not_answer_is_503(error: StoreError) -> None:
    """And says when to come again, and nothing of why."""
    served = FakeRecipients()
    served.unsubscribes.fails_with = error
    async with _client(served) as client:
        answer = await client.post(served.links.unsubscribe_url(BOB), data=ONE_CLICK)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert str(error) not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_405(method: str) -> None:
    served = FakeRecipients()
    async with _client(served) as client:
        answer = await client.request(method, served.links.unsubscribe_url(BOB))

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_a_body_larger_than_any_form_is_413() -> None:
    served = FakeRecipients()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(FORM_OCTETS):
            yield b"x" * 1024

    async with _client(served) as client:
        answer = await client.post(
            served.links.unsubscribe_url(BOB),
            content=body(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    assert (answer.status_code, served.unsubscribes.left) == (413, [])


async def test_looking_too_often_is_429() -> None:
    """By recipient; others of the same network are not held up."""
    served = FakeRecipients(per_minute=2)
    async with _client(served) as client:
        url = served.links.unsubscribe_url(BOB)
        statuses = [(await client.get(url)).status_code for _ in "123"]
        other = await client.get(served.links.unsubscribe_url(CAT))

    assert statuses == [200, 200, 429]
    assert (other.status_code, served.refused("unsubscribe")) == (200, 1)


async def test_guessing_too_often_is_429() -> None:
    """By network, and together with what is guessed of opens and clicks."""
    served = FakeRecipients(per_minute=2)
    async with _client(served) as client:
        statuses = [
            (await client.get(path)).status_code for path in ("/track/click/x", "/unsubscribe/x")
        ]
        forged = await client.post("/unsubscribe/x", data=ONE_CLICK)

    assert statuses == [404, 404]
    assert (forged.status_code, forged.headers["retry-after"]) == (429, "60")


async def test_a_network_over_its_rate_of_opens_can_leave() -> None:
    """People behind one proxy open and click for each other's account; each may leave."""
    served = FakeRecipients(per_minute=1)
    async with _client(served) as client:
        opened = [(await client.get(served.links.open_url(BOB))).status_code for _ in "12"]
        url = served.links.unsubscribe_url(BOB)
        page = await client.get(url)
        left = await client.post(url, data=ONE_CLICK)

    assert opened == [200, 429]
    assert (page.status_code, left.status_code) == (200, 200)
    assert (served.refused("track"), served.refused("unsubscribe")) == (1, 0)


async def test_leaving_is_counted_by_recipient() -> None:
    """A mail provider sends the POSTs of all its users from one address: none is lost."""
    served = FakeRecipients(per_minute=1)
    many = [RecipientId(f"01936f1e-0000-7000-8000-{number:012x}") for number in range(50)]
    served.unsubscribes.known = frozenset(many)
    async with _client(served) as client:
        for one in many:
            answer = await client.post(served.links.unsubscribe_url(one), data=ONE_CLICK)
            assert answer.status_code == 200
        url = served.links.unsubscribe_url(many[0])
        again = [(await client.post(url, data=ONE_CLICK)).status_code for _ in range(6)]

    assert again == [200, 200, 200, 200, 429, 429]


async def test_a_page_holds_nothing_from_elsewhere() -> None:
    """No script, no link, no image; its one style is allowed by its hash, and nothing else is."""
    served = FakeRecipients()
    async with _client(served) as client:
        answer = await client.get(served.links.unsubscribe_url(BOB))
    page = html5lib.parse(answer.content, namespaceHTMLElements=False)
    style = _find(page, ".//style").text
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = answer.headers.get_list("content-security-policy")

    assert policies == [
        (
            f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
    ]
    assert {element.tag for element in page.iter()} == {
        "html", "head", "meta", "title", "style", "body", "main", "h1", "p", "form", "input",
        "button",
    }  # fmt: skip
    assert not re.search(r"\son\w+=|url\(|@import|src=|href=|\sstyle=", answer.text)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_a_page_can_be_read_by_everybody() -> None:
    """It says its language, has one heading, and its button has a name."""
    served = FakeRecipients()
    async with _client(served) as client:
        url = served.links.unsubscribe_url(BOB)
        shown = [await client.get(url), await client.post(url, data=ONE_CLICK)]
    for answer in shown:
        page = html5lib.parse(answer.content, namespaceHTMLElements=False)

        assert page.get("lang") == "en"
        assert len(page.findall(".//h1")) == len(page.findall(".//main")) == 1
        assert _find(page, ".//title").text == _find(page, ".//h1").text
        assert all(button.text for button in page.findall(".//button"))


async def test_a_page_shows_no_address_and_no_token() -> None:
    """Mail is forwarded: whoever follows the link may be somebody else."""
    served = FakeRecipients()
    async with _client(served) as client:
        url = served.links.unsubscribe_url(BOB)
        texts = [(await client.get(url)).text, (await client.post(url, data=ONE_CLICK)).text]

    assert not any("@" in text or url.rpartition("/")[2] in text for text in texts)


def test_only_the_page_with_a_question_has_a_button() -> None:
    assert [page for page in Page if page.button] == [Page.ASK]
