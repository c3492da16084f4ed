"""web.api.events: the log of a mailbox, and the story of one message, against fakes."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from gatewayd import ids
from gatewayd.events.read import EventFilter
from gatewayd.events.types import EventType
from gatewayd.ids import EventId, QueueId
from gatewayd.store.events import EventRow
from gatewayd.tokens.claims import Scope
from gatewayd.web import paging
from gatewayd.web.app import create_api_app
from tests.fakes.http_api import (
    MAILBOX_ID,
    NOW,
    FakeApi,
    StoredAttempt,
    StoredMessage,
    StoredRecipient,
    principal,
)

API = "/api/v1"
QUEUE_ID = QueueId("01936f1e-0000-7000-8000-00000000000a")


@pytest.fixture
def api() -> FakeApi:
    """One message with two events."""
    fakes = FakeApi()
    fakes.tokens.known["listener"] = principal(Scope.EVENTS_READ)
    fakes.events.stored = [
        EventRow(
            seq=number, event_id=EventId(f"e{number}"), type="recipient.clicked", at=NOW,
            mailbox_id=MAILBOX_ID, queue_id=QueueId(QUEUE_ID), recipient_id=None,
            data={"url": "https://example.org/"},
        )
        for number in (1, 2)
    ]  # fmt: skip
    ann = StoredRecipient(recipient_id="r1", address="ann@example.com", clicked_at=NOW)
    fakes.inspector.stored = [
        StoredMessage(queue_id=QUEUE_ID, recipients=(ann,), attempts=(StoredAttempt(),))
    ]
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


async def test_log_goes_on_where_it_ended(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """There is a cursor on every page, also on an empty one."""
    first = (await client.get(f"{API}/events", params={"limit": 1})).json()
    second = (await client.get(f"{API}/events?cursor={first['next_cursor']}")).json()
    last = (await client.get(f"{API}/events?cursor={second['next_cursor']}")).json()
    api.events.stored.append(api.events.stored[0])
    later = (await client.get(f"{API}/events?cursor={last['next_cursor']}")).json()

    pages: list[dict[str, Any]] = [first, second, last, later]
    assert [[item["event_id"] for item in page["items"]] for page in pages] == [
        ["e1"], ["e2"], [], ["e1"],
    ]  # fmt: skip
    assert [page["has_more"] for page in pages] == [True, False, False, False]
    assert first["items"][0] == {
        "event_id": "e1", "type": "recipient.clicked", "at": "2026-11-21T08:00:00Z",
        "queue_id": QUEUE_ID, "recipient_id": None, "data": {"url": "https://example.org/"},
    }  # fmt: skip


async def test_log_is_asked_for_what_the_query_names(
    api: FakeApi, client: httpx2.AsyncClient
) -> None:
    await client.get(
        f"{API}/events?type=recipient.clicked&type=recipient.opened&queue_id={QUEUE_ID}"
        "&since=2026-11-21T09:00:00%2B01:00"
    )
    await client.get(f"{API}/events")

    assert api.events.asked == [
        EventFilter(
            types=frozenset({EventType.RECIPIENT_CLICKED, EventType.RECIPIENT_OPENED}),
            queue_id=QueueId(QUEUE_ID),
            since=NOW,
        ),
        EventFilter(),
    ]
    assert api.events.asked[0].since == dt.datetime(2026, 11, 21, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "query",
    [
        "type=recipient.exploded",
        "queue_id=17",
        "since=yesterday",
        "limit=0",
        "limit=201",
        "cursor=!",
        f"cursor={paging.encode('x')}",
        f"cursor={paging.encode('01')}",
        f"cursor={paging.encode('-1')}",
        f"cursor={paging.encode('9' * 19)}",
        "mailbox=another",
    ],
)
async def test_query_that_is_none_is_refused(client: httpx2.AsyncClient, query: str) -> None:
    answer = await client.get(f"{API}/events?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert answer.json()["errors"][0]["pointer"].startswith(f"/query/{query.partition('=')[0]}")


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        ("listener", "/events", 200),
        ("reader", "/events", 403),
        ("sender", "/events", 403),
        *(
            (token, f"/messages/{QUEUE_ID}/{name}", status)
            for name in ("events", "attempts", "explain")
            for token, status in (("reader", 200), ("listener", 403), ("sender", 403))
        ),
    ],
)
async def test_scopes(client: httpx2.AsyncClient, token: str, path: str, status: int) -> None:
    """Who may read a message may read its story; the log is a scope of its own."""
    answer = await client.get(f"{API}{path}", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == status


@pytest.mark.parametrize("name", ["events", "attempts", "explain"])
async def test_story_of_an_unknown_message_is_not_found(
    client: httpx2.AsyncClient, name: str
) -> None:
    answer = await client.get(f"{API}/messages/{ids.queue_id(NOW)}/{name}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_attempts_show_what_was_said(client: httpx2.AsyncClient) -> None:
    (found,) = (await client.get(f"{API}/messages/{QUEUE_ID}/attempts")).json()["items"]

    expected = {
        "next_hop": "smarthost.example:587", "tls_version": "TLSv1.3",
        "tls_cipher": "TLS_AES_256_GCM_SHA384", "duration_ms": 17, "marked": False,
        "transcript": "C: MAIL FROM:<***>", "recipients": [],
    }  # fmt: skip
    assert expected.items() <= found.items()


async def test_explain_gives_words_and_facts(client: httpx2.AsyncClient) -> None:
    found = (await client.get(f"{API}/messages/{QUEUE_ID}/explain")).json()

    assert (found["queue_id"], found["summary"]) == (QUEUE_ID, "accepted: 1 delivered")
    (recipient,) = found["recipients"]
    assert recipient["decided_by"] == "smarthost.example:587 said 250 ok"
    assert [fact["what"] for fact in recipient["facts"]] == ["clicked"]
    assert found["message"]["recipients"][0]["clicked_at"] == "2026-11-21T08:00:00Z"


async def test_message_shows_what_came_back(client: httpx2.AsyncClient) -> None:
    found = (await client.get(f"{API}/messages/{QUEUE_ID}")).json()

    (recipient,) = found["recipients"]
    assert found["is_dsn"] is False
    assert (recipient["clicked_at"], recipient["bounced_at"]) == ("2026-11-21T08:00:00Z", None)
