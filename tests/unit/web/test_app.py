"""web.app, edge, limits, health, metrics: what every answer has, and who answers where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs

from gatewayd.web.app import create_api_app, create_metrics_app
from gatewayd.web.edge import Edge
from tests.fakes.http_api import FakeApi, FakeReadiness


class FakeMetrics:
    """One metric."""

    def render(self) -> bytes:
        return b"queue_depth 7\n"


def client(app: ASGIApp) -> httpx2.AsyncClient:
    """A client in this process."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1")


async def run(
    app: ASGIApp, *, headers: Sequence[tuple[bytes, bytes]] = ((b"host", b"a"),)
) -> list[Message]:
    """What an application sends for a GET of `/`."""
    sent: list[Message] = []
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "http_version": "1.1",
        "headers": list(headers),
    }

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/nothing", 404), ("/api/v1/nothing", 404), ("/api/v1/messages", 401)],
)
async def test_every_answer_has_safe_headers_and_an_id(path: str, status: int) -> None:
    """Whoever answers, and whatever."""
    async with client(create_api_app(FakeApi().parts)) as opened:
        answer = await opened.get(path)

    assert status == answer.status_code
    assert (
        answer.headers["x-content-type-options"],
        answer.headers["cache-control"],
        answer.headers["referrer-policy"],
    ) == ("nosniff", "no-store", "no-referrer")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("given", ["r-1", "a" * 64])
async def test_the_clients_id_is_kept(given: str) -> None:
    """So one id goes through its log and ours."""
    async with client(create_api_app(FakeApi().parts)) as opened:
        answer = await opened.get("/nothing", headers={"X-Request-Id": given})

    assert given == answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize("given", ["a b", "a" * 65, "ä", ""])
async def test_an_id_that_could_do_harm_is_replaced(given: str) -> None:
    """It goes into the log and into Received."""
    async with client(create_api_app(FakeApi().parts)) as opened:
        answer = await opened.get("/healthz", headers={b"X-Request-Id": given.encode()})

    assert given != answer.headers["x-request-id"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "GET"])
async def test_another_method_is_405_with_allow(method: str) -> None:
    """(RFC 9110 15.5.6)."""
    async with client(create_api_app(FakeApi().parts)) as opened:
        answer = await opened.request(method, "/api/v1/messages/send")

    assert (
        answer.status_code,
        answer.headers["allow"],
        answer.json()["code"],
    ) == (405, "POST", "method_not_allowed")


@pytest.mark.parametrize("path", ["/api/v1/messages/", "/api/v1/docs", "/docs", "/openapi.json"])
async def test_nothing_is_redirected_or_served_beside_the_routes(path: str) -> None:
    """The framework adds no page of its own."""
    async with client(create_api_app(FakeApi().parts)) as opened:
        answer = await opened.get(path)

    assert answer.status_code == 404


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
async def test_readiness_is_what_the_facts_say(is_ready: bool, status: int) -> None:
    """Only the metrics listener tells why: strangers do not reach it."""
    readiness = FakeReadiness(is_ready=is_ready)
    public = create_api_app(FakeApi(readiness=readiness).parts)
    private = create_metrics_app(FakeMetrics(), readiness)

    async with client(public) as one, client(private) as other:
        shown, explained = await one.get("/readyz"), await other.get("/readyz")

    assert status == shown.status_code == explained.status_code
    assert "facts" not in shown.json()
    assert [{"name": "store", "ready": is_ready, "detail": "it said so"}] == explained.json()[
        "facts"
    ]


async def test_metrics_are_prometheus_text() -> None:
    """The exposition format 0.0.4."""
    async with client(create_metrics_app(FakeMetrics(), FakeReadiness())) as opened:
        answer = await opened.get("/metrics")

    assert answer.text == "queue_depth 7\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_an_application_that_breaks_is_a_503() -> None:
    """No traceback, no class name."""

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError("inside")

    with capture_logs() as logged:
        start, body = await run(Edge(broken))

    assert [entry["event"] for entry in logged] == ["http_request_failed"]

    assert start["status"] == 503
    assert b"inside" not in body["body"]
    assert b"ZeroDivision" not in body["body"]


async def test_an_application_that_breaks_late_says_no_more() -> None:
    """A second start would be no HTTP."""

    async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError("inside")

    with capture_logs():
        sent = await run(Edge(broken))

    assert [message["status"] for message in sent] == [200]


async def test_a_client_that_went_is_not_answered() -> None:
    """Nobody reads it, and it is no fault of ours."""

    async def left(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ClientDisconnect

    assert await run(Edge(left)) == []


@pytest.mark.parametrize("headers", [[], [(b"host", b"a"), (b"host", b"b")]])
async def test_a_request_has_one_host(headers: list[tuple[bytes, bytes]]) -> None:
    """(RFC 9112 3.2)."""

    async def never(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError

    start, _ = await run(Edge(never), headers=headers)

    assert start["status"] == 400
