r"""SmtpPeer: a next hop on a real socket that behaves, except where a test says otherwise.

```
answers = {"RCPT": [b"250 ok\r\n", b"550 5.1.1 no\r\n"], "DOT": [SILENT]}
async with SmtpPeer(answers=answers) as peer:
    ...
    peer.mails[0].octets, peer.commands, peer.wire
```

Steps are CONNECT EHLO HELO STARTTLS AUTH MAIL RCPT DATA BODY DOT RSET QUIT. The answers of a step
are used up in order, over all connections; after them it behaves. BODY answers as soon as the
first octets of a message come. An answer is the octets to send, or CLOSE, RESET, SILENT, or a
function that gives octets. Every wait of it is ended by leaving the `async with`.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import ssl
import struct
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gatewayd.config.delivery import NextHop, TlsMode


class Action(enum.Enum):
    """What a peer does instead of answering."""

    CLOSE = "close"
    RESET = "reset"
    SILENT = "silent"


CLOSE, RESET, SILENT = Action.CLOSE, Action.RESET, Action.SILENT
Answer = bytes | Action | Callable[[], bytes]

GOOD = {
    "CONNECT": b"220 peer.test ESMTP\r\n",
    "HELO": b"250 peer.test\r\n",
    "STARTTLS": b"220 2.0.0 go\r\n",
    "AUTH": b"235 2.7.0 welcome\r\n",
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go ahead\r\n",
    "DOT": b"250 2.0.0 taken\r\n",
    "RSET": b"250 2.0.0 ok\r\n",
    "QUIT": b"221 2.0.0 bye\r\n",
}
EXTENSIONS = ("PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8", "DSN")


@dataclass(slots=True)
class Mail:
    """One transaction as the peer saw it. `octets` are content as on the wire, dots and all."""

    reverse_path: bytes
    forward_paths: list[bytes] = field(default_factory=list)
    octets: bytes = b""


class _Gone(Exception):
    """The connection is over."""


class SmtpPeer:
    """One listening socket on loopback."""

    def __init__(
        self,
        *,
        answers: Mapping[str, Sequence[Answer]] | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        tls: TlsMode = TlsMode.NONE_ON_LOOPBACK,
        context: ssl.SSLContext | None = None,
        reads_content: bool = True,
        journal: list[str] | None = None,
    ) -> None:
        self._answers = defaultdict(list, {k: list(v) for k, v in (answers or {}).items()})
        self.extensions = list(extensions)
        self._tls = tls
        self._context = context
        self._reads_content = reads_content
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.journal = journal if journal is not None else []
        self.commands: list[bytes] = []
        self.mails: list[Mail] = []
        self.wire = b""  # everything that was read, before TLS and inside it
        self.plain = b""  # what was read outside of TLS
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.none_open = asyncio.Event()  # every connection has ended
        self.none_open.set()
        self.closed = asyncio.Event()  # some connection has ended
        self.ending = asyncio.Event()
        self.silent = asyncio.Event()  # somebody waits for an answer that will not come
        self.stalled = asyncio.Event()  # it has said 354 and does not read any more

    async def __aenter__(self) -> Self:
        # Named, because asyncio turns Nagle off only where it reads TCP.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not self._reads_content:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        implicit = self._context if self._tls is TlsMode.IMPLICIT else None
        self._server = await asyncio.start_server(
            self._serve, sock=listener, ssl=implicit, limit=4096
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self.ending.set()
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()
        await self.none_open.wait()

    @property
    def port(self) -> int:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    def next_hop(self, **changes: object) -> NextHop:
        given: dict[str, object] = {"host": "127.0.0.1", "port": self.port, "tls_mode": self._tls}
        return NextHop(**(given | changes))  # type: ignore[arg-type]  # a test knows its fields

    def drop_idle(self) -> None:
        """Close every connection, as for idleness."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.none_open.clear()
        self.most_open = max(self.most_open, self.open)
        self._writers.add(writer)
        session = _Session(self, reader, writer)
        try:
            await session.run()
        except (_Gone, ConnectionError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            self.open -= 1
            self.closed.set()
            if not self.open:
                self.none_open.set()

    def next_answer(self, step: str) -> Answer | None:
        answers = self._answers[step]
        return answers.pop(0) if answers else None


class _Session:
    """One connection to the peer."""

    def __init__(
        self, peer: SmtpPeer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._buffer = b""
        self._is_tls = peer._tls is TlsMode.IMPLICIT
        self._mail: Mail | None = None

    async def run(self) -> None:
        await self._answer("CONNECT")
        while True:
            line = await self._line()
            self._peer.commands.append(line)
            verb = line.split(b" ", 1)[0].split(b":")[0].upper().decode("ascii", "replace")
            await self._command(verb, line)
            if verb == "QUIT":
                raise _Gone

    async def _command(self, verb: str, line: bytes) -> None:
        match verb:
            case "EHLO":
                await self._answer("EHLO", self._offer())
            case "STARTTLS":
                if (await self._answer("STARTTLS")).startswith(b"220"):
                    await self._start_tls()
            case "DATA":
                is_ready = self._mail is not None and self._mail.forward_paths
                good = GOOD["DATA"] if is_ready else b"503 5.5.1 no valid recipients\r\n"
                if (await self._answer("DATA", good)).startswith(b"354"):
                    await self._content()
            case "AUTH":
                if b"LOGIN" in line:
                    await self._send(b"334 UGFzc3dvcmQ6\r\n")
                    self._peer.commands.append(await self._line())
                await self._answer("AUTH")
            case "MAIL" | "RCPT":
                await self._envelope(verb, line)
            case _:
                self._mail = None
                await self._answer(verb)

    async def _envelope(self, verb: str, line: bytes) -> None:
        is_in_order = verb == "MAIL" or self._mail is not None
        good = GOOD[verb] if is_in_order else b"503 5.5.1 MAIL first\r\n"
        if not (await self._answer(verb, good)).startswith(b"2"):
            return
        if verb == "MAIL":
            self._mail = Mail(line)
        elif self._mail is not None:
            self._mail.forward_paths.append(line)

    def _offer(self) -> bytes:
        *lines, last = "peer.test", *self._extensions()
        return b"".join([b"250-%b\r\n" % x.encode() for x in lines]) + b"250 %b\r\n" % last.encode()

    def _extensions(self) -> list[str]:
        offers = list(self._peer.extensions)
        if self._peer._tls is TlsMode.STARTTLS_REQUIRED and not self._is_tls:
            offers.append("STARTTLS")
        return offers

    async def _content(self) -> None:
        if not self._peer._reads_content:
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a transport
            self._peer.stalled.set()
            await self._peer.ending.wait()
            raise _Gone
        octets = b"\r\n" + self._buffer
        self._buffer = b""
        is_first = True
        while b"\r\n.\r\n" not in octets:
            octets += await self._read()
            if is_first:
                is_first = False
                answer = self._peer.next_answer("BODY")
                if answer is not None:
                    await self._act(answer)
                    raise _Gone
        self._peer.journal.append("dot")
        content, _, self._buffer = octets.partition(b"\r\n.\r\n")
        if self._mail is not None:
            self._mail.octets = content[2:] + b"\r\n" if len(content) > 2 else b""
        answer = await self._answer("DOT")
        if self._mail is not None and answer.startswith(b"2"):
            self._peer.mails.append(self._mail)
        self._mail = None

    async def _start_tls(self) -> None:
        assert self._peer._context is not None
        plain = self._writer.transport
        try:
            await self._writer.start_tls(self._peer._context)
        except AttributeError as fault:  # the client broke off: how streams of 3.11 say so
            self._writer._transport = plain  # type: ignore[attr-defined]  # for their __del__
            raise _Gone from fault
        self._is_tls = True
        self._buffer = b""

    async def _answer(self, step: str, good: bytes = b"") -> bytes:
        answer = self._peer.next_answer(step)
        return await self._act(
            good or GOOD.get(step, b"502 5.5.1 what?\r\n") if answer is None else answer
        )

    async def _act(self, answer: Answer) -> bytes:
        match answer:
            case bytes():
                await self._send(answer)
                if answer.startswith(b"421"):
                    raise _Gone
                return answer
            case Action.CLOSE:
                raise _Gone
            case Action.RESET:
                sock = self._writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._writer.transport.abort()
                raise _Gone
            case Action.SILENT:
                self._peer.silent.set()
                while True:
                    await self._read()
            case _:
                octets = answer()
                await self._send(octets)
                return octets

    async def _send(self, octets: bytes) -> None:
        self._writer.write(octets)
        await self._writer.drain()

    async def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._buffer += await self._read()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    async def _read(self) -> bytes:
        octets = await self._reader.read(65536)
        if not octets:
            raise _Gone
        self._peer.wire += octets
        if not self._is_tls:
            self._peer.plain += octets
        return octets
