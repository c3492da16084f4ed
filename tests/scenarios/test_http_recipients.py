"""Recipients follow their URLs over real connections: what HTTP adds, and proxies before us."""

from __future__ import annotations

import pytest

from gatewayd.config.listeners import HttpSection
from gatewayd.tracking.unsubscribe import How
from gatewayd.web.tracking import PIXEL
from tests.fakes.http_host import RawClient, connected, request, serving
from tests.fakes.recipients import BASE, BOB, URL, FakeRecipients

ONE_CLICK = b"List-Unsubscribe=One-Click"
PROXIED = HttpSection(trusted_proxies=("127.0.0.0/8",))


async def _get(client: RawClient, url: str, *headers: str, method: str = "GET") -> int:
    await client.send(request(f"{method} {url.removeprefix(BASE)}", *headers))
    return (await client.answer()).status


async def test_many_requests_on_one_connection() -> None:
    """A click, a pixel, the page, the POST, and what is not there."""
    served = FakeRecipients()
    leave = served.links.unsubscribe_url(BOB).removeprefix(BASE)
    kind = "Content-Type: application/x-www-form-urlencoded"
    async with serving(served.app) as server, connected(server) as client:
        await client.send(
            request(f"GET {served.links.click_url(BOB, URL).removeprefix(BASE)}"),
            request(f"GET {served.links.open_url(BOB).removeprefix(BASE)}"),
            request(f"GET {leave}"),
            request(f"POST {leave}", kind, body=ONE_CLICK),
            request("GET /track/open/x.gif"),
        )
        click, pixel, page, left, forged = [await client.answer() for _ in range(5)]

    assert (click.status, click.headers["location"], click.body) == (302, URL, b"")
    assert (pixel.status, pixel.body) == (200, PIXEL)
    assert [page.status, left.status, forged.status] == [200, 200, 404]
    assert served.unsubscribes.left == [(BOB, How.ONE_CLICK)]
    assert served.seen == 2


@pytest.mark.parametrize("kind", ["click", "open", "unsubscribe", "forged"])
async def test_head_has_no_body(kind: str) -> None:
    """The next answer begins where the header ended (RFC 9110 9.3.2)."""
    served = FakeRecipients()
    url = {
        "click": served.links.click_url(BOB, URL),
        "open": served.links.open_url(BOB),
        "unsubscribe": served.links.unsubscribe_url(BOB),
        "forged": "/track/click/x",
    }[kind]
    async with serving(served.app) as server, connected(server) as client:
        await client.send(request(f"HEAD {url.removeprefix(BASE)}", "Connection: close"))
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 ")
    assert body == b""


async def test_a_body_that_is_too_large_does_not_arrive() -> None:
    """And does not keep the connection from what comes next."""
    served = FakeRecipients()
    leave = served.links.unsubscribe_url(BOB).removeprefix(BASE)
    async with serving(served.app) as server, connected(server) as client:
        await client.send(request(f"POST {leave}", body=b"x" * 1_000_000))
        answer = await client.answer()
        assert answer.status == 413
        assert await _get(client, leave) == 200
    assert served.unsubscribes.left == []


async def test_the_limit_is_for_who_is_before_a_trusted_proxy() -> None:
    """The last address that is no proxy of ours: the ones before it are the client's to invent."""
    served = FakeRecipients(per_minute=1)
    url = served.links.open_url(BOB)
    async with serving(served.app, section=PROXIED) as server, connected(server) as client:
        statuses = [
            await _get(client, url, f"X-Forwarded-For: {forwarded}")
            for forwarded in (
                "192.0.2.1", "192.0.2.1", "192.0.2.2", "203.0.113.9, 192.0.2.2",
                "203.0.113.9, 192.0.2.3, 127.0.0.5", "192.0.2.3", "2001:db8::1", "2001:db8::2",
            )
        ]  # fmt: skip

    assert statuses == [200, 429, 200, 429, 200, 429, 200, 429]


async def test_nobody_else_is_believed() -> None:
    """Without proxies that are trusted the field says nothing."""
    served = FakeRecipients(per_minute=2)
    url = served.links.open_url(BOB)
    async with serving(served.app) as server, connected(server) as client:
        statuses = [
            await _get(client, url, f"X-Forwarded-For: 192.0.2.{number}") for number in range(3)
        ]

    assert statuses == [200, 200, 429]
