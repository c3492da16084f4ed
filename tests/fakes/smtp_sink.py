"""SmtpSink: a next hop in a thread that takes mail and remembers every copy it took.

For tests whose daemon is another process, so that nothing of the test's own loop is in the way.
A copy is on the list before its 250 is written: what a killed client never heard of is there too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

WAIT_S = 30.0
LINE_OCTETS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One transaction that got to the final dot."""

    reverse_path: str
    forward_paths: tuple[str, ...]
    octets: bytes

    def field(self, name: str) -> str:
        """A header field's value, unfolded; empty when it is absent."""
        header = self.octets.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ")
        for line in header.replace(b"\r\n\t", b" ").split(b"\r\n"):
            key, _, value = line.partition(b":")
            if key.lower() == name.lower().encode():
                return value.strip().decode()
        return ""


class SmtpSink:
    """`with` starts it; `port` is where.

    Args:
        refused: the reply to RCPT of an address; it takes mail for every other one.
        gate: a message that was read is answered when this is set; None answers at once.
    """

    def __init__(
        self, *, refused: Mapping[str, bytes] | None = None, gate: threading.Event | None = None
    ) -> None:
        self.port = 0
        self._gate = gate
        self._refused = dict(refused or {})
        self._copies: list[Copy] = []
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def copies(self) -> list[Copy]:
        with self._lock:
            return list(self._copies)

    def refuse(self, address: str, reply: bytes) -> None:
        """Answer RCPT of an address so, from now on."""
        self._refused[address] = reply

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(WAIT_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(WAIT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._session, "127.0.0.1", 0, limit=LINE_OCTETS, backlog=128
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        server.close()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"220 sink.test ESMTP\r\n")
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that was killed
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reverse_path, forward_paths = "", list[str]()
        while line := await reader.readline():
            verb = line[:4].upper().strip()
            if verb == b"EHLO":
                reply = b"250-sink.test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 PIPELINING\r\n"
            elif verb == b"MAIL":
                reverse_path, reply = _path(line), b"250 2.1.0 ok\r\n"
            elif verb == b"RCPT":
                reply = self._refused.get(_path(line), b"250 2.1.5 ok\r\n")
                forward_paths += [_path(line)] if reply.startswith(b"2") else []
            elif verb == b"DATA" and not forward_paths:
                reply = b"503 5.5.1 no valid recipients\r\n"
            elif verb == b"DATA":
                writer.write(b"354 go ahead\r\n")
                octets = await _content(reader)
                copy = Copy(
                    reverse_path=reverse_path, forward_paths=tuple(forward_paths), octets=octets
                )
                with self._lock:
                    self._copies.append(copy)
                if self._gate is not None:
                    await asyncio.to_thread(self._gate.wait, WAIT_S)
                reply = b"250 2.0.0 taken\r\n"
                forward_paths.clear()
            else:
                forward_paths.clear()
                reply = b"221 2.0.0 bye\r\n" if verb == b"QUIT" else b"250 2.0.0 ok\r\n"
            writer.write(reply)
            if verb == b"QUIT":
                break


def _path(line: bytes) -> str:
    return line.partition(b"<")[2].partition(b">")[0].decode()


async def _content(reader: asyncio.StreamReader) -> bytes:
    """The message up to the final dot, without the dots that stuffing added."""
    lines = []
    while (line := await reader.readuntil(b"\r\n")) != b".\r\n":
        lines.append(line[1:] if line.startswith(b".") else line)
    return b"".join(lines)
