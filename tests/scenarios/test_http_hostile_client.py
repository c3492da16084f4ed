"""Clients that are slow, endless, too many or speak something else (F13: uvicorn has no limits)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from gatewayd.config.listeners import HttpSection
from gatewayd.web.app import create_api_app
from gatewayd.web.protocol import OVERHEAD_OCTETS
from tests.fakes.http_api import FakeApi
from tests.fakes.http_host import RawClient, connected, request, serving

QUICK = HttpSection(header_timeout_s=0.05, body_timeout_s=0.05, keep_alive_s=0.05)
SEND = (
    "POST /api/v1/messages/send",
    "Authorization: Bearer good",
    "Content-Type: application/json",
)
HEALTH = request("GET /healthz")


@pytest.fixture
def app() -> ASGIApp:
    """The real application on fakes."""
    return create_api_app(FakeApi().parts)


async def trickle(raw: RawClient, octets: bytes) -> None:
    """Send octet by octet for as long as the server lets us."""
    for octet in octets:
        try:
            await raw.send(bytes((octet,)))
        except ConnectionError:
            return
        await asyncio.sleep(0)


async def test_a_client_that_says_nothing_is_cut(app: ASGIApp) -> None:
    """It gets no answer: it asked nothing."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        assert await raw.rest() == b""


async def test_a_slow_header_is_cut(app: ASGIApp) -> None:
    """408, and the connection ends (RFC 9110 15.5.9)."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        await raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-")
        answer = await raw.answer()
        rest = await raw.rest()

    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert answer.problem["code"] == "request_timeout"
    assert rest == b""


@pytest.mark.parametrize("octets", [b"X-A: " + b"a" * 10_000, b"\r\n" * 10_000])
async def test_a_header_that_trickles_is_cut(app: ASGIApp, octets: bytes) -> None:
    """Octets now and then do not move the deadline, not even empty lines before a request."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        if octets.startswith(b"X"):
            await raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            sending = group.create_task(trickle(raw, octets * 1000))
            await raw.rest()
            sending.cancel()


async def test_a_slow_second_header_is_cut(app: ASGIApp) -> None:
    """The deadline holds for each request of a connection."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        await raw.send(HEALTH)
        first = await raw.answer()
        await raw.send(b"GET /hea")
        second = await raw.answer()

    assert (first.status, second.status) == (200, 408)


async def test_a_slow_body_is_cut(app: ASGIApp) -> None:
    """The application hears that the client has gone; nothing is accepted."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        await raw.send(request(*SEND, length=100) + b'{"to": ')
        answer = await raw.answer()
        rest = await raw.rest()

    assert (answer.status, rest) == (408, b"")


async def test_a_body_that_trickles_is_cut(app: ASGIApp) -> None:
    """The deadline is for the whole body."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        await raw.send(request(*SEND, length=1_000_000))
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            sending = group.create_task(trickle(raw, b" " * 1_000_000))
            answer = await raw.answer()
            await raw.rest()
            sending.cancel()

    assert answer.status == 408


async def test_a_body_after_its_answer_is_dropped_until_the_deadline(app: ASGIApp) -> None:
    """No second answer is written for it."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        await raw.send(request(*SEND, length=9_000_000) + b" ")
        answer = await raw.answer()
        rest = await raw.rest()

    assert (answer.status, rest) == (413, b"")


async def test_an_idle_connection_is_closed(app: ASGIApp) -> None:
    """After the first answer, with nothing said."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        await raw.send(HEALTH)
        answer = await raw.answer()
        rest = await raw.rest()

    assert (answer.status, rest) == (200, b"")


@pytest.mark.parametrize(
    "octets",
    [
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 400_000,
        b"GET /" + b"a" * 400_000,
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X-A: a\r\n" * 50_000,
        request(*SEND, "Transfer-Encoding: chunked") + b"1;" + b"a" * 400_000,
        request(*SEND, "Transfer-Encoding: chunked") + b"0\r\nX-A: " + b"a" * 400_000,
    ],
    ids=["one field", "path", "many fields", "chunk extension", "trailer"],
)
async def test_endless_octets_that_are_no_body_are_cut(app: ASGIApp, octets: bytes) -> None:
    """431, and nobody makes us hold more than some blocks of them (RFC 6585 5)."""
    async with serving(app) as server, connected(server) as raw:
        raw.writer.write(octets)
        answer = await raw.answer()
        rest = await raw.rest()

    assert len(octets) > OVERHEAD_OCTETS
    assert (answer.status, rest) == (431, b"")


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"EHLO client.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_400(app: ASGIApp, octets: bytes) -> None:
    """Nothing that two servers could read as two different requests (RFC 9112 11.2)."""
    async with serving(app, section=QUICK) as server, connected(server) as raw:
        await raw.send(octets)
        answer = await raw.answer()

    assert answer.status in {400, 408}
    assert answer.headers["content-type"] == "application/problem+json"


async def test_one_connection_too_many_is_told_503(app: ASGIApp) -> None:
    """And the others go on; twice as many are not even told."""
    section = HttpSection(connections=1)
    async with (
        serving(app, section=section) as server,
        connected(server) as first,
        connected(server) as second,
    ):
        await first.send(HEALTH)
        served = await first.answer()
        await second.send(HEALTH)
        refused = await second.answer()
        rest = await second.rest()

    assert (served.status, refused.status, rest) == (200, 503, b"")
    assert refused.problem["code"] == "unavailable"
    assert "retry-after" in refused.headers


async def test_far_too_many_connections_are_dropped(app: ASGIApp) -> None:
    """They cost nothing but the accept."""
    section = HttpSection(connections=1)
    async with (
        serving(app, section=section) as server,
        connected(server) as first,
        connected(server),
        connected(server) as third,
    ):
        await first.send(HEALTH)
        served = await first.answer()
        dropped = await third.rest()

    assert (served.status, dropped) == (200, b"")


async def test_pipelined_requests_are_answered_in_order(app: ASGIApp) -> None:
    """(RFC 9112 9.3.2)."""
    async with serving(app) as server, connected(server) as raw:
        await raw.send(HEALTH + request("GET /nothing") + HEALTH)
        statuses = [(await raw.answer()).status for _ in range(3)]

    assert statuses == [200, 404, 200]


async def test_a_fault_after_a_request_waits_for_its_answer() -> None:
    """The first request gets its own answer, not the 400 of what follows it."""
    may_answer = asyncio.Event()

    async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await send(
            {"type": "http.response.start", "status": 204, "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body"})

    async with serving(slow) as server, connected(server) as raw:
        await raw.send(HEALTH + b"\0\0\0 nonsense\r\n\r\n")
        asyncio.get_running_loop().call_later(0.05, may_answer.set)
        answer = await raw.answer()
        rest = await raw.rest()

    assert (answer.status, rest) == (204, b"")


Behaviour = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


async def test_a_client_that_does_not_read_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody takes does not hold the connection for ever (F5 has it for SMTP)."""
    monkeypatch.setattr("gatewayd.web.server.FLUSH_S", 0.05)
    ended = asyncio.Event()

    async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(10_000):
                await send({"type": "http.response.body", "body": b"a" * 65_536, "more_body": True})
        finally:
            ended.set()

    async with serving(large) as server:
        raw = socket.create_connection(("127.0.0.1", server.addresses[0].port))
        try:
            raw.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(raw, HEALTH)
            async with asyncio.timeout(5):
                await ended.wait()
        finally:
            raw.close()
