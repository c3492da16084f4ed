"""web.api.suppressions: a mailbox's own list, against fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from gatewayd.tokens.claims import Scope
from gatewayd.web.app import create_api_app
from tests.fakes.http_api import MAILBOX_ID, FakeApi, principal

API = "/api/v1/suppressions"
BOB = "bob@example.net"


@pytest.fixture
def api() -> FakeApi:
    fakes = FakeApi()
    fakes.tokens.known["looks"] = principal(Scope.SUPPRESSIONS_READ)
    fakes.tokens.known["writes"] = principal(Scope.SUPPRESSIONS_WRITE)
    return fakes


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a good token."""
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=create_api_app(api.parts)),
        base_url="http://127.0.0.1",
        headers={"Authorization": "Bearer good"},
    ) as opened:
        yield opened


async def test_added_entry_is_shown_tested_and_removed(
    api: FakeApi, client: httpx2.AsyncClient
) -> None:
    """It is the mailbox's own, whatever the client says."""
    new = {"address": BOB, "reason": "asked", "expires_at": "2026-12-01T00:00:00+01:00"}
    added = await client.post(API, json=new)
    shown = await client.get(f"{API}/bob%40example.net")
    tested = (await client.get(f"{API}/test", params={"address": BOB})).json()
    removed = await client.delete(f"{API}/{BOB}")
    gone = await client.get(f"{API}/{BOB}")

    assert (added.status_code, removed.status_code, gone.status_code) == (201, 204, 404)
    assert added.json() == shown.json() == {
        "address": BOB, "reason": "asked", "source": "api", "expires_at": "2026-11-30T23:00:00Z",
        "first_seen_at": "2026-11-21T08:00:00Z", "last_seen_at": "2026-11-21T08:00:00Z",
    }  # fmt: skip
    assert tested == {
        "address": BOB, "suppressed": True, "scope": "mailbox", "reason": "asked",
        "since": "2026-11-21T08:00:00Z", "until": "2026-11-30T23:00:00Z",
    }  # fmt: skip
    assert removed.content == b""
    assert api.suppressions.rows == {}


async def test_operators_entry_is_told_of_and_not_shown(
    api: FakeApi, client: httpx2.AsyncClient
) -> None:
    """What holds for every mailbox cannot be listed, read or removed by one of them."""
    await api.suppressions.add(BOB, scope="*", reason="a court said so", source="operator")
    tested = (await client.get(f"{API}/test?address={BOB}")).json()

    assert (tested["suppressed"], tested["scope"], tested["reason"]) == (True, "all", None)
    assert (await client.get(API)).json()["items"] == []
    assert (await client.get(f"{API}/{BOB}")).status_code == 404
    assert (await client.delete(f"{API}/{BOB}")).status_code == 404
    assert len(api.suppressions.rows) == 1


@pytest.mark.parametrize(
    ("reason", "source"),
    [("unsubscribed", "page"), ("complaint", "arf"), ("hard_bounce", "dsn"), ("x", "operator")],
)
async def test_what_others_said_is_shown_and_stays(
    api: FakeApi, client: httpx2.AsyncClient, reason: str, source: str
) -> None:
    """The problem says who can remove it, and how."""
    await api.suppressions.add(BOB, scope=MAILBOX_ID, reason=reason, source=source)
    shown = (await client.get(f"{API}/{BOB}")).json()
    refused = await client.delete(f"{API}/{BOB}")

    assert (shown["reason"], shown["source"]) == (reason, source)
    assert (refused.status_code, refused.json()["code"]) == (403, "suppression_protected")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert len(api.suppressions.rows) == 1


async def test_list_in_pages_and_by_reason(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """By address, each once; UTF-8 ones too."""
    addresses = sorted(["a@example.net", "b@example.net", "jos\u00e9@example.net", "z@example.net"])
    for address in addresses:
        reason = "odd" if address[0] == "b" else "usual"
        await api.suppressions.add(address, scope=MAILBOX_ID, reason=reason, source="api")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(API, params=query)).json()
        seen += [item["address"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    odd = (await client.get(f"{API}?reason=odd")).json()

    assert seen == addresses
    assert [item["address"] for item in odd["items"]] == ["b@example.net"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/address"),
        ({"address": 17}, "/address"),
        ({"address": "x" * 255}, "/address"),
        ({"address": BOB, "reason": ""}, "/reason"),
        ({"address": BOB, "reason": "a\nb"}, "/reason"),
        ({"address": BOB, "reason": "x" * 201}, "/reason"),
        ({"address": BOB, "expires_at": "tomorrow"}, "/expires_at"),
        ({"address": BOB, "expires_at": 17}, "/expires_at"),
        ({"address": BOB, "expires_at": "2026-02-30T00:00:00Z"}, "/expires_at"),
        ({"address": BOB, "expires_at": "0001-01-01T00:00:00+14:00"}, "/expires_at"),
        ({"address": BOB, "scope": "*"}, "/scope"),
        ({"address": BOB, "mailbox": "other@example.com"}, "/mailbox"),
        ([BOB], ""),
    ],
)
async def test_body_that_is_none_is_refused(
    api: FakeApi, client: httpx2.AsyncClient, body: object, pointer: str
) -> None:
    answer = await client.post(API, json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert api.suppressions.rows == {}


@pytest.mark.parametrize("address", ["bob", "b\u00f6b@", "a@b@c", "a\x00@example.net"])
async def test_address_that_is_none_is_refused(client: httpx2.AsyncClient, address: str) -> None:
    for answer in (
        await client.get(f"{API}/{quote(address)}"),
        await client.delete(f"{API}/{quote(address)}"),
        await client.get(f"{API}/test", params={"address": address}),
        await client.post(API, json={"address": address}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


@pytest.mark.parametrize(
    ("token", "method", "path", "status"),
    [
        ("looks", "GET", "", 200),
        ("looks", "GET", f"/test?address={BOB}", 200),
        ("looks", "GET", f"/{BOB}", 404),
        ("looks", "POST", "", 403),
        ("looks", "DELETE", f"/{BOB}", 403),
        ("writes", "GET", "", 403),
        ("writes", "GET", f"/test?address={BOB}", 403),
        ("writes", "GET", f"/{BOB}", 403),
        ("writes", "POST", "", 201),
        ("writes", "DELETE", f"/{BOB}", 404),
        ("sender", "GET", "", 403),
        ("sender", "POST", "", 403),
    ],
)
async def test_scopes(
    client: httpx2.AsyncClient, token: str, method: str, path: str, status: int
) -> None:
    """Reading and writing are apart, and neither comes with sending."""
    answer = await client.request(
        method,
        API + path,
        headers={"Authorization": f"Bearer {token}"},
        json={"address": BOB} if method == "POST" else None,
    )

    assert answer.status_code == status


@pytest.mark.parametrize(("path", "allowed"), [("", "GET, POST"), (f"/{BOB}", "DELETE, GET")])
async def test_all_methods_of_a_path_are_named(
    client: httpx2.AsyncClient, path: str, allowed: str
) -> None:
    """RFC 9110 10.2.1: not only those of the first route."""
    answer = await client.patch(API + path)

    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
