"""smtpd.transfer: a large message does not keep the loop to itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.smtpd import transfer
from gatewayd.smtpd.connection import READ_OCTETS, Connection
from gatewayd.smtpd.session import Session

BLOCKS = 16


class OpenTransport(asyncio.Transport):
    """Stays open, and takes every wish."""

    def pause_reading(self) -> None:
        """There is nothing to pause."""

    def resume_reading(self) -> None:
        """As above."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is written."""


async def test_others_go_on_between_the_blocks_of_a_message() -> None:
    """All of it has come, so nothing waits for the client; still each is a turn of the loop."""
    loop = asyncio.get_running_loop()
    wire = Connection(loop)
    wire.connection_made(OpenTransport())
    wire.data_received(b"x" * (BLOCKS * READ_OCTETS))
    terms = SimpleNamespace(limits=LimitsSection(), timeouts=TimeoutsSection())
    session: Any = SimpleNamespace(
        wire=wire, terms=terms, transaction=None, ends_at=loop.time() + 60, say_wrong=lambda _: None
    )
    turns = 0

    async def go_on() -> None:
        nonlocal turns
        while wire.has_input:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(go_on())
    await transfer.bdat(cast("Session", session), f"{BLOCKS * READ_OCTETS}")
    await other

    assert turns >= BLOCKS - 1
