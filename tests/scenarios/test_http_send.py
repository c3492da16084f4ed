"""An agent sends over HTTP: real sockets, a real client, fakes behind the door."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trustme

from gatewayd.config.listeners import HttpSection
from gatewayd.web.app import create_api_app
from gatewayd.web.server import HttpServer
from tests.fakes.http_api import FakeApi
from tests.fakes.http_host import connected, request, serving

HELLO = {"to": "ann@example.com", "subject": "Hi", "text": "Hello"}
BEARER = {"Authorization": "Bearer good"}


@asynccontextmanager
async def client(server: HttpServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a good token."""
    async with httpx2.AsyncClient(
        base_url=f"http://{server.addresses[0]}", headers=BEARER, trust_env=False
    ) as opened:
        yield opened


async def test_a_message_is_sent_over_a_socket() -> None:
    """The whole way but for the kernel; one connection serves many requests."""
    api = FakeApi()
    async with serving(create_api_app(api.parts)) as server, client(server) as agent:
        answers = [await agent.post("/api/v1/messages/send", json=HELLO) for _ in range(3)]

    assert [each.status_code for each in answers] == [202] * 3
    assert [each.trace.peer for each in api.intake.submissions] == ["127.0.0.1"] * 3
    assert "date" in answers[0].headers
    assert "server" not in answers[0].headers


async def test_many_agents_send_at_once() -> None:
    """Each gets its own answer."""
    api = FakeApi()
    async with serving(create_api_app(api.parts)) as server, client(server) as agent:
        answers = await asyncio.gather(
            *(agent.post("/api/v1/messages/send", json=HELLO) for _ in range(50))
        )

    assert len({each.json()["queue_id"] for each in answers}) == 50


@pytest.mark.parametrize(
    ("trusted", "forwarded", "peer"),
    [
        ((), "192.0.2.7", "127.0.0.1"),
        (("127.0.0.1",), "192.0.2.7", "192.0.2.7"),
        (("127.0.0.0/8",), "203.0.113.1, 192.0.2.7", "192.0.2.7"),
        (("127.0.0.1",), "nonsense", ""),
        (("198.51.100.1",), "192.0.2.7", "127.0.0.1"),
    ],
)
async def test_only_a_trusted_proxy_says_who_the_peer_is(
    trusted: tuple[str, ...], forwarded: str, peer: str
) -> None:
    """Anybody can write X-Forwarded-For; the last address that no trusted proxy wrote counts."""
    api = FakeApi()
    section = HttpSection(trusted_proxies=trusted)
    async with (
        serving(create_api_app(api.parts), section=section) as server,
        client(server) as agent,
    ):
        await agent.post(
            "/api/v1/messages/send", json=HELLO, headers={"X-Forwarded-For": forwarded}
        )

    assert [each.trace.peer for each in api.intake.submissions] == [peer]


async def test_an_early_413_is_read_by_a_client_that_does_not_look() -> None:
    """The rest of the body is dropped, and the connection serves the next request."""
    body = json.dumps(HELLO | {"text": "a" * 3_000_000}).encode()
    async with serving(create_api_app(FakeApi().parts)) as server, connected(server) as raw:
        await raw.send(
            request(
                "POST /api/v1/messages/send",
                "Authorization: Bearer good",
                "Content-Type: application/json",
                body=body,
            )
        )
        refused = await raw.answer()
        await raw.send(request("GET /healthz"))
        healthy = await raw.answer()

    assert (refused.status, refused.problem["code"]) == (413, "message_too_large")
    assert healthy.status == 200


async def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    """Its mode keeps others out, there is no peer, and it is gone afterwards."""
    api = FakeApi()
    path = tmp_path / "http.sock"
    async with serving(create_api_app(api.parts), at=path):
        mode = path.stat().st_mode & 0o777
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://localhost", headers=BEARER
        ) as agent:
            answer = await agent.post("/api/v1/messages/send", json=HELLO)

    assert (answer.status_code, mode) == (202, 0o600)
    assert api.intake.submissions[0].trace.peer == ""
    assert not path.exists()


async def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    """Otherwise it would need an operator after every crash."""
    path = tmp_path / "http.sock"
    async with serving(create_api_app(FakeApi().parts), at=path):
        path.rename(tmp_path / "left.sock")
    (tmp_path / "left.sock").rename(path)

    async with serving(create_api_app(FakeApi().parts), at=path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.transport.abort()

    assert reader is not None


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """What `serve` would make of a certificate for localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("localhost").configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """A client that trusts this authority only."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def authorities() -> tuple[trustme.CA, trustme.CA]:
    """An authority, and the one after it."""
    return trustme.CA(), trustme.CA()


async def test_tls_is_in_the_trace(authorities: tuple[trustme.CA, trustme.CA]) -> None:
    """`Received` tells version and cipher."""
    api = FakeApi()
    app = create_api_app(api.parts)
    async with (
        serving(app, tls_context=server_context(authorities[0])) as server,
        connected(server, tls=client_context(authorities[0])) as raw,
    ):
        await raw.send(
            request(
                "POST /api/v1/messages/send",
                "Authorization: Bearer good",
                "Content-Type: application/json",
                body=json.dumps(HELLO).encode(),
            )
        )
        answer = await raw.answer()

    assert answer.status == 202
    assert api.intake.submissions[0].trace.tls.startswith("TLSv1.3 TLS_")


async def test_a_new_certificate_is_shown_from_the_next_handshake_on(
    authorities: tuple[trustme.CA, trustme.CA],
) -> None:
    """Open connections go on with theirs; with and without a server name."""
    old, new = authorities
    app = create_api_app(FakeApi().parts)
    nameless = client_context(new)
    nameless.check_hostname = False
    async with (
        serving(app, tls_context=server_context(old)) as server,
        connected(server, tls=client_context(old)) as before,
    ):
        server.reload_tls(server_context(new))
        async with connected(server, tls=client_context(new)) as after:
            for raw in (before, after):
                await raw.send(request("GET /healthz"))
                assert (await raw.answer()).status == 200
        address = server.addresses[0]
        _, writer = await asyncio.open_connection(
            address.host, address.port, ssl=nameless, server_hostname=""
        )
        writer.transport.abort()


async def test_tls_1_1_is_refused(authorities: tuple[trustme.CA, trustme.CA]) -> None:
    """(RFC 8996)."""
    old = client_context(authorities[0])
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    app = create_api_app(FakeApi().parts)
    async with serving(app, tls_context=server_context(authorities[0])) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(server, tls=old):
                pass
