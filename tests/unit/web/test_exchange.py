"""web.exchange: whole answers in one write, all others as uvicorn has them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from starlette.types import Message
from uvicorn.protocols.http.flow_control import FlowControl

from gatewayd.web.exchange import Exchange

BODY: Message = {"type": "http.response.body", "body": b"hello"}
LENGTH = (b"content-length", b"5")


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class Asked:
    """One request, and what was written for it."""

    def __init__(self, *, method: str = "POST", keep_alive: bool = True) -> None:
        self.wire = Wire()
        self.ended = 0
        log = logging.getLogger("tests")
        self.exchange = Exchange(
            scope={"type": "http", "method": method, "path": "/"},  # type: ignore[typeddict-item]  # all it reads
            transport=self.wire,
            flow=FlowControl(self.wire),
            logger=log,
            access_logger=log,
            access_log=False,
            default_headers=[(b"date", b"now")],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=keep_alive,
            on_response=self._end,
        )

    def _end(self) -> None:
        self.ended += 1

    async def answer(
        self, *bodies: Message, status: int = 202, fields: tuple[tuple[bytes, bytes], ...] = ()
    ) -> bytes:
        start = {"type": "http.response.start", "status": status, "headers": [*fields]}
        for message in (start, *bodies):
            await self.exchange.send(message)
        return b"".join(self.wire.written)


async def test_a_whole_answer_is_one_write() -> None:
    """Head, fields of the server, fields of the application, body."""
    asked = Asked()

    written = await asked.answer(BODY, fields=(LENGTH, (b"x-a", b"b")))

    expected = b"HTTP/1.1 202 Accepted\r\ndate: now\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello"
    assert expected == written
    assert (len(asked.wire.written), asked.ended, asked.exchange.response_complete) == (1, 1, True)


async def test_nothing_is_written_before_the_body_begins() -> None:
    """So what fails between them can still be answered (ASGI 3.0, Response Start)."""
    asked = Asked()

    assert await asked.answer(fields=(LENGTH,)) == b""
    assert not asked.exchange.response_started


async def test_what_fails_after_its_head_is_a_500() -> None:
    """The head that was said before is not written."""
    asked = Asked()

    async def app(_: Any, __: Any, send: Any) -> None:  # noqa: ANN401 - of ASGI
        await send({"type": "http.response.start", "status": 202, "headers": [LENGTH]})
        raise ZeroDivisionError

    await asked.exchange.run_asgi(app)

    written = b"".join(asked.wire.written)
    assert written.startswith(b"HTTP/1.1 500 ")
    assert b"202" not in written


@pytest.mark.parametrize(
    ("method", "status", "fields", "bodies", "expected"),
    [
        ("HEAD", 200, (LENGTH,), (BODY,), b"content-length: 5\r\n\r\n"),
        ("GET", 304, (), ({"type": "http.response.body"},), b"date: now\r\n\r\n"),
        ("GET", 200, (), (BODY,), b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (
            "GET", 200, (LENGTH,),
            ({"type": "http.response.body", "body": b"he", "more_body": True},
             {"type": "http.response.body", "body": b"llo"}),
            b"content-length: 5\r\n\r\nhello",
        ),
    ],
)  # fmt: skip
async def test_other_answers_are_uvicorns(
    method: str,
    status: int,
    fields: tuple[tuple[bytes, bytes], ...],
    bodies: tuple[Message, ...],
    expected: bytes,
) -> None:
    """In pieces, without a length, without a body."""
    asked = Asked(method=method)

    written = await asked.answer(*bodies, status=status, fields=fields)

    assert written.endswith(expected)
    assert (asked.ended, asked.wire.is_closed) == (1, False)


@pytest.mark.parametrize("says", ["client", "application"])
async def test_the_last_answer_of_a_connection_says_so(says: str) -> None:
    """(RFC 9112 9.6)."""
    asked = Asked(keep_alive=says == "application")
    fields = (LENGTH, (b"connection", b"close")) if says == "application" else (LENGTH,)

    written = await asked.answer(BODY, fields=fields)

    assert written.count(b"connection: close\r\n") == 1
    assert asked.wire.is_closed


@pytest.mark.parametrize("octet", [b"\r", b"\n", b"\0", b"\x7f"])
@pytest.mark.parametrize("twice", [False, True])
async def test_a_field_cannot_make_another_line(octet: bytes, *, twice: bool) -> None:
    """Not even beside a good one of the same name (RFC 9110 5.5)."""
    asked = Asked()
    bad = (b"x-a", b"b" + octet + b"c: d")
    fields = (LENGTH, bad, (b"x-a", b"b")) if twice else (LENGTH, bad)

    with pytest.raises(RuntimeError):
        await asked.answer(BODY, fields=fields)

    assert asked.wire.written == []


@pytest.mark.parametrize("length", [b"4", b"6"])
async def test_a_length_is_that_of_the_body(length: bytes) -> None:
    """The client would wait, or read the next answer from the wrong place."""
    asked = Asked()

    with pytest.raises(RuntimeError):
        await asked.answer(BODY, fields=((b"content-length", length),))


async def test_a_client_that_has_gone_is_told_nothing() -> None:
    """Nobody is there to read it."""
    asked = Asked()
    asked.exchange.disconnected = True

    assert await asked.answer(BODY, fields=(LENGTH,)) == b""


async def test_a_client_that_does_not_read_is_waited_for() -> None:
    """What it has not read is not piled up."""
    asked = Asked()
    asked.exchange.flow.pause_writing()

    async with asyncio.TaskGroup() as group:
        answering = group.create_task(asked.answer(BODY, fields=(LENGTH,)))
        await asyncio.sleep(0)
        assert asked.wire.written == []
        asked.exchange.flow.resume_writing()

    assert answering.result().endswith(b"hello")
