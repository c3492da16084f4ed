"""Proxy: a TCP connection that is slow, or cut where a test says.

```
client --> Proxy --> server      a Fault or none for each connection, in their order
```

| how  | what both see                                                                       |
|------|-------------------------------------------------------------------------------------|
| FIN  | the end of the stream                                                               |
| RST  | `Connection reset`, by SO_LINGER 0                                                  |
| HALF | whoever was read from goes on and hears answers; the other one sees the end of it  |

What came before the cut is passed on, and nothing of that direction after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

WAIT_S = 30.0
BLOCK_OCTETS = 65_536
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close is a reset


class How(enum.Enum):
    """How a connection ends: the table of this module."""

    FIN = "fin"
    RST = "rst"
    HALF = "half"


class Side(enum.Enum):
    """Whose octets are watched."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One cut.

    after: so many octets of that side, or the first time that it sent these.
    """

    how: How
    side: Side
    after: int | bytes


class Proxy:
    """`with` starts it; `port` is where.

    Args:
        to: the loopback port of the server.
        chunk_octets: of one write.
        delay_s: before each write.

    Attributes:
        cuts: faults that have happened.
    """

    def __init__(self, to: int, *, chunk_octets: int = BLOCK_OCTETS, delay_s: float = 0.0) -> None:
        self.port = 0
        self.cuts = 0
        self._to = to
        self._chunk_octets = chunk_octets
        self._delay_s = delay_s
        self._faults = deque[Fault | None]()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def arm(self, *faults: Fault | None) -> None:
        """Do this to the next connections; None is nothing."""
        self._faults.extend(faults)

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
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopping.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._faults.popleft() if self._faults else None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        link = _Link((writer, back), fault)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, Side.CLIENT, reader, back))
                group.create_task(self._pump(link, Side.SERVER, there, writer))
        except* OSError:
            pass  # one of them has gone
        finally:
            link.close()

    async def _pump(
        self,
        link: _Link,
        side: Side,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        fault = link.fault if link.fault is not None and link.fault.side is side else None
        place = _Place(fault.after) if fault is not None else None
        while block := await reader.read(BLOCK_OCTETS):
            cut_at = place.find(block) if place is not None else None
            if link.is_silent:
                return
            # From here on no answer to the last octets may pass.
            link.is_silent = fault is not None and cut_at is not None and fault.how is not How.HALF
            for chunk in _chunks(block[:cut_at], self._chunk_octets):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                writer.write(chunk)
                await writer.drain()
            if fault is not None and cut_at is not None:
                self.cuts += 1
                link.cut(fault.how, writer)
                return
        with contextlib.suppress(OSError):
            writer.write_eof()


class _Link:
    """Both ends of one connection, and what is to happen to it."""

    def __init__(
        self, both: tuple[asyncio.StreamWriter, asyncio.StreamWriter], fault: Fault | None
    ) -> None:
        self.fault = fault
        self.is_silent = False
        self._both = both
        for each in both:
            each.transport.set_write_buffer_limits(0)  # drained is sent

    def cut(self, how: How, writer: asyncio.StreamWriter) -> None:
        if how is How.HALF:
            writer.write_eof()
            return
        for each in self._both:
            if how is How.RST:
                raw: socket.socket = each.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                each.transport.abort()
            else:
                each.close()

    def close(self) -> None:
        for each in self._both:
            each.close()


class _Place:
    """Where in a stream the cut is."""

    def __init__(self, after: int | bytes) -> None:
        self._after = after
        self._passed = 0
        self._tail = b""

    def find(self, block: bytes) -> int | None:
        """How many octets of this block still pass; None for all, and no cut yet."""
        if isinstance(self._after, int):
            left = self._after - self._passed
            self._passed += len(block)
            return left if left <= len(block) else None
        seen = self._tail + block
        at = seen.find(self._after)
        if at >= 0:
            return at + len(self._after) - len(self._tail)
        self._tail = seen[-len(self._after) + 1 :] if len(self._after) > 1 else b""
        return None


def _chunks(block: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(block), size):
        yield block[start : start + size]
