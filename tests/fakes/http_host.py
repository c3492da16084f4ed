"""A running HttpServer for scenario tests, and a client that sends octets in its own pieces."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from gatewayd.config.listeners import HttpSection
from gatewayd.config.types import Bind
from gatewayd.web.server import HttpServer

WAIT_S = 10.0  # no test waits as long, unless it fails
LOOPBACK = Bind("127.0.0.1", 0)


@asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    at: Bind | Path = LOOPBACK,
    section: HttpSection | None = None,
    tls_context: ssl.SSLContext | None = None,
) -> AsyncIterator[HttpServer]:
    """A server that runs as the daemon runs it, until the block ends."""
    server = HttpServer(
        name="http", app=app, at=at, section=section or HttpSection(), tls_context=tls_context
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.run(ready))
        waiting = group.create_task(ready.wait())
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            yield server
        finally:
            await server.drain(asyncio.get_running_loop().time() + WAIT_S)


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.body)
        return shown


class RawClient:
    """One connection. Every read has a deadline, so a silent server fails a test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(self) -> Answer:
        """The next response, which has a Content-Length."""
        async with asyncio.timeout(WAIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii")
            lines = head.split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines[1:] if line)
            }
            body = await self.reader.readexactly(int(headers["content-length"]))
        return Answer(int(lines[0].split(" ")[1]), headers, body)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def connected(
    server: HttpServer, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawClient]:
    """A client of the server's first address."""
    address = server.addresses[0]
    reader, writer = await asyncio.open_connection(
        address.host,
        address.port,
        ssl=tls,
        server_hostname="localhost" if tls else None,
    )
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


def request(line: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    """A request of HTTP/1.1 with Host and, when there is a body, Content-Length."""
    lines: Sequence[str] = [f"{line} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if body or length is not None:
        lines = [*lines, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
