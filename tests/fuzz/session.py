"""A whole SMTP session over a socket, with a client that says anything."""

from __future__ import annotations

import asyncio
import functools
import re
import socket
import threading
from collections.abc import Callable
from typing import Final

from gatewayd.config.limits import LimitsSection, TimeoutsSection
from tests.fakes.submission_host import Host, submission_host

WAIT_S: Final = 20
_REPLY: Final = re.compile(rb"[245][0-9]{2}[ -][^\r\n\x00-\x08]*")
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)")


@functools.cache
def _host() -> tuple[Host, Callable[[], None]]:
    """A listener on a thread of its own, until the process ends."""
    started: list[Host] = []
    ready = threading.Event()

    async def serve() -> None:
        limits = LimitsSection(connections_per_ip=10_000, auth_failures_per_minute=1_000_000_000)
        async with submission_host(
            limits=limits.model_copy(update={"auth_failures_per_day": 1_000_000_000}),
            timeouts=TimeoutsSection(command_s=5.0, data_block_s=5.0),
        ) as host:
            started.append(host)
            ready.set()
            await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    assert ready.wait(WAIT_S)
    (host,) = started
    return host, host.intake.accepted.clear


def converse(octets: bytes) -> None:
    """Each line of the answer is a reply; what is accepted came from somebody who logged in."""
    host, forget = _host()
    forget()
    at = host.address
    with socket.create_connection((at.host, at.port), timeout=WAIT_S) as client:
        # All at once: the port takes no AUTH before a greeting was read, unless it is pipelined.
        client.recv(4096)
        answer = b""
        try:
            client.sendall(octets)
            client.shutdown(socket.SHUT_WR)
            while block := client.recv(65536):
                answer += block
        except ConnectionError:
            pass  # it has closed on us, as it may
    for line in answer.split(b"\r\n")[:-1]:
        assert _REPLY.fullmatch(line), line
    assert not host.fatal
    for content in host.intake.contents:
        assert b"AUTH" in octets.upper(), "a message of nobody"
        assert _BARE.search(content) is None
