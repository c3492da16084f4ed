"""web.protocol: how many timers a request costs. What they do is in tests/scenarios."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from gatewayd.web.protocol import ConnectionTerms, LimitedProtocol

HEADER = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\n"
TERMS = ConnectionTerms(
    header_s=10, body_s=20, keep_alive_s=5, flush_s=30, connections=9, is_overloaded=bool
)


class Loop:
    """The running loop; notes which delays were asked for."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.delays: list[float] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - anything of a loop
        return getattr(self._loop, name)

    def call_later(self, delay: float, *given: Any) -> asyncio.TimerHandle:  # noqa: ANN401 - as asyncio
        self.delays.append(delay)
        return self._loop.call_later(delay, *given)


class Wire(asyncio.Transport):
    """A connection that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, _: Any) -> None:  # noqa: ANN401 - bytes of any kind
        self.written.set()

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...


async def delays_of(*pieces: bytes) -> list[float]:
    """What is timed while these pieces of one request come, after the connection was made."""
    loop, wire = Loop(), Wire()
    config = uvicorn.Config(PlainTextResponse("ok"), lifespan="off", log_config=None)
    protocol = LimitedProtocol(config, ServerState(), TERMS, loop)  # type: ignore[arg-type]  # it is one
    protocol.connection_made(wire)
    assert loop.delays == [TERMS.header_s]
    for piece in pieces:
        protocol.data_received(piece)
    before = loop.delays[1:]
    await wire.written.wait()
    protocol.connection_lost(None)
    return before


async def test_a_request_that_comes_whole_needs_no_timer() -> None:
    """Its phases are over before the loop turns."""
    assert await delays_of(HEADER + b"hello") == []


@pytest.mark.parametrize("body", [(b"hello",), (b"h", b"e", b"llo")])
async def test_a_body_that_comes_later_is_timed_once(body: tuple[bytes, ...]) -> None:
    """From the end of the header, however many pieces follow."""
    assert await delays_of(HEADER, *body) == [TERMS.body_s]


async def test_a_header_in_pieces_has_the_time_that_it_had() -> None:
    """An octet now and then gains nothing: no piece sets a timer."""
    whole = HEADER + b"hello"

    assert await delays_of(*(whole[at : at + 1] for at in range(len(HEADER) - 1)), whole[-6:]) == []
