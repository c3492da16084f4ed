"""The HTTP listener starts and stops as a service of the daemon."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest
from starlette.types import Receive, Scope, Send

from gatewayd.config.listeners import HttpSection
from gatewayd.config.types import Bind
from gatewayd.web.app import create_api_app
from gatewayd.web.server import HttpServer
from tests.fakes.http_api import FakeApi
from tests.fakes.http_host import LOOPBACK, WAIT_S, connected, request, serving


class Held:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.cancelled = False

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.asked.set()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


def server_of(app: object) -> HttpServer:
    """A server that was never run."""
    return HttpServer(
        name="http",
        app=app,  # type: ignore[arg-type]  # an ASGI application
        at=LOOPBACK,
        section=HttpSection(),
    )


async def test_signals_are_left_to_the_daemon() -> None:
    """Uvicorn would take SIGTERM for itself."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async with serving(create_api_app(FakeApi().parts)):
        during = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    assert during == before


async def test_a_request_in_progress_is_finished() -> None:
    """Drain stops accepting, and waits."""
    app = Held()
    server = server_of(app)
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run(ready))
        await ready.wait()
        address = server.addresses[0]
        async with connected(server) as raw:
            await raw.send(request("GET /"))
            await app.asked.wait()
            draining = group.create_task(server.drain(loop.time() + WAIT_S))
            await _refuses_connections(address)
            app.may_answer.set()
            answer = await raw.answer()
            await draining

    assert (answer.status, answer.headers["connection"]) == (200, "close")


async def _refuses_connections(address: Bind) -> None:
    """Return when nobody listens there any more."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection(address.host, address.port)
            except ConnectionError:
                return
            writer.transport.abort()
            await asyncio.sleep(0.01)


async def test_a_request_past_the_deadline_is_cut_off() -> None:
    """A stop takes no longer than it may."""
    app = Held()
    server = server_of(app)
    ready = asyncio.Event()
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        running = group.create_task(server.run(ready))
        await ready.wait()
        async with connected(server) as raw:
            await raw.send(request("GET /"))
            await app.asked.wait()
            await server.drain(asyncio.get_running_loop().time() + 0.05)
            await raw.rest()
        await running

    assert app.cancelled


async def test_drain_before_run_and_twice_is_legal() -> None:
    """The order of stopping need not know what has started."""
    server = server_of(create_api_app(FakeApi().parts))
    ready = asyncio.Event()

    await server.drain(0.0)
    await server.drain(0.0)
    await server.run(ready)

    assert ready.is_set()
    assert server.addresses == ()


async def test_an_address_in_use_is_an_error_not_an_exit() -> None:
    """Uvicorn would end the process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HttpServer(
            name="http",
            app=create_api_app(FakeApi().parts),
            at=Bind("127.0.0.1", taken.getsockname()[1]),
            section=HttpSection(),
        )
        with pytest.raises(OSError, match="in use"):
            await server.run(asyncio.Event())

    await server.drain(0.0)


async def test_given_sockets_are_used() -> None:
    """As systemd hands them over, bound already."""
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    port = given.getsockname()[1]
    server = HttpServer(
        name="http",
        app=create_api_app(FakeApi().parts),
        at=Bind("192.0.2.1", 1),
        section=HttpSection(),
        sockets=[given],
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run(ready))
        await ready.wait()
        async with connected(server) as raw:
            await raw.send(request("GET /healthz"))
            answer = await raw.answer()
        addresses = server.addresses
        await server.drain(asyncio.get_running_loop().time() + WAIT_S)

    assert (answer.status, addresses) == (200, (Bind("127.0.0.1", port),))
