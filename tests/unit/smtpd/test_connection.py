"""smtpd.connection: octets come out as they came in, whatever pieces they came in."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.smtpd.connection import READ_OCTETS, Connection

_pieces = st.lists(st.sampled_from([b"\n", b"a\r\n", b"bc", b"d\ne", b"\r", b"fgh\n" * 5]))


class Reading(asyncio.Transport):
    """A transport that is told when to read."""

    is_paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401, ARG002
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


def connected() -> tuple[Connection, Reading]:
    """A connection to nobody."""
    loop = asyncio.new_event_loop()
    loop.close()  # nothing waits
    wire, stream = Connection(loop), Reading()
    wire.connection_made(stream)
    return wire, stream


@given(st.data())
def test_octets_are_taken_in_order_and_once(data: st.DataObject) -> None:
    """Lines, blocks and what was put back, in any mixture, are the stream that came."""
    wire, _ = connected()
    waiting = b""
    for _ in range(data.draw(st.integers(1, 12))):
        for piece in data.draw(_pieces):
            wire.data_received(piece)
            waiting += piece
        match data.draw(st.sampled_from(["line", "take", "put back"])):
            case "line":
                line, found, _ = waiting.partition(b"\n")
                assert wire.next_line() == (line + found if found else None)
                waiting = waiting[len(line) + 1 :] if found else waiting
            case "take":
                limit = data.draw(st.integers(0, 12))
                assert wire.take(limit) == waiting[:limit]
                waiting = waiting[limit:]
            case _:
                wire.put_back(b"x\ny")
                waiting = b"x\ny" + waiting
        assert wire.pending_octets == len(waiting)
        assert wire.has_input == bool(waiting)
        assert wire.begins_with(waiting[:3].upper())

    assert wire.take(len(waiting) + 1) == waiting
    assert not wire.has_input


def test_block_that_came_in_one_piece_is_not_copied() -> None:
    """The octets of a message are held once while they come."""
    wire, _ = connected()
    block = b"x" * 1000
    wire.data_received(block)

    assert wire.take(1000) is block


def test_client_waits_while_too_much_is_not_taken() -> None:
    """The buffer has a limit, and what was taken makes room in it."""
    wire, stream = connected()
    wire.data_received(b"x" * READ_OCTETS)
    assert not stream.is_paused
    wire.data_received(b"xx")
    assert stream.is_paused

    wire.take(1)
    assert stream.is_paused
    wire.take(2)
    assert not stream.is_paused
