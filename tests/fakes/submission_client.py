"""SubmissionClient: an SMTP client that sends whatever octets a test wants, in its own pieces."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gatewayd.config.types import Bind

WAIT_S = 10.0  # no test waits as long, unless it fails


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply of a server: code, and its lines without code."""

    code: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return self.lines[-1]

    @property
    def status(self) -> str:
        """The enhanced status, the first word."""
        return self.text.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


class SubmissionClient:
    """One connection. Every read has a deadline, so a silent server fails a test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def read(self) -> Answer:
        """The next reply; EOFError when the server closed instead."""
        lines: list[str] = []
        while True:
            async with asyncio.timeout(WAIT_S):
                line = await self.reader.readline()
            if not line:
                raise EOFError("the server closed the connection")
            assert line.endswith(b"\r\n"), line
            lines.append(line[4:-2].decode())
            if line[3:4] == b" ":
                return Answer(int(line[:3]), tuple(lines))

    async def ask(self, line: str | bytes) -> Answer:
        """Send one command, read its reply."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        return await self.read()

    async def ask_all(self, lines: Sequence[str]) -> list[Answer]:
        """Send commands in one write, read all replies."""
        self.send("".join(f"{line}\r\n" for line in lines).encode())
        return [await self.read() for _ in lines]

    async def hello(self) -> Answer:
        """Read the greeting, say EHLO."""
        greeting = await self.read()
        assert greeting.code == 220, greeting
        return await self.ask("EHLO client.example")

    async def log_in(self, user: str, token: str) -> Answer:
        """AUTH PLAIN with an initial response."""
        return await self.ask(b"AUTH PLAIN " + plain(user, token))

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """STARTTLS and the handshake."""
        answer = await self.ask("STARTTLS")
        assert answer.code == 220, answer
        await self.handshake(context)

    async def handshake(self, context: ssl.SSLContext) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.writer.start_tls(context, server_hostname="localhost")

    async def is_closed(self) -> bool:
        """Wait for the server to end the connection; False if it speaks instead."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    def leave(self) -> None:
        """Go away with a reset."""
        self.writer.transport.abort()


@asynccontextmanager
async def connect(
    address: Bind, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[SubmissionClient]:
    """A client, TLS from the first octet if `tls` is given."""
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(
            address.host,
            address.port,
            ssl=tls,
            server_hostname="localhost" if tls is not None else None,
        )
    try:
        yield SubmissionClient(reader, writer)
    finally:
        writer.transport.abort()


def encoded(text: str | bytes) -> bytes:
    """As base64."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


def plain(user: str, token: str) -> bytes:
    """The response of SASL PLAIN, in base64."""
    return encoded(f"\0{user}\0{token}")


def xoauth2(user: str, token: str) -> bytes:
    """The response of XOAUTH2, in base64."""
    return encoded(f"user={user}\x01auth=Bearer {token}\x01\x01")


def oauthbearer(user: str, token: str) -> bytes:
    """The response of OAUTHBEARER, in base64 (RFC 7628 4.1)."""
    return encoded(f"n,a={user},\x01host=localhost\x01port=587\x01auth=Bearer {token}\x01\x01")
