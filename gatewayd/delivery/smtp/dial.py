"""Dialer: a name to a connected socket: resolve, check, and connect to what was checked."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

from gatewayd.config.delivery import NextHop, TlsMode

ADDRESSES: Final = 8  # of one next hop that are tried
RESOLVERS: Final = 16  # names that are resolved at the same time


class NotLoopback(OSError):
    """Plaintext would leave the machine."""


class Dialer:
    """Opens TCP connections.

    Args:
        connect_s: for the name and all its addresses together.
    """

    def __init__(self, *, connect_s: float) -> None:
        self._connect_s = connect_s
        # Threads of our own: a resolver that hangs must not hold up what others do in theirs.
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolving")

    def close(self) -> None:
        """End the threads, without waiting for names that do not resolve."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def dial(self, next_hop: NextHop) -> socket.socket:
        """A connected socket.

        Raises:
            NotLoopback: the next hop is spoken to in plaintext, and is not on this machine.
            OSError: no address answers (TimeoutError: not in time).
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_s) as total:
            found = await self._resolve(next_hop)
            if next_hop.tls_mode is TlsMode.NONE_ON_LOOPBACK:
                _check_loopback(str(address[0]) for *_, address in found)
            for left, one in zip(range(len(found), 0, -1), found, strict=True):
                # Each address gets its part of what is left, so that a dead one cannot take all.
                part_s = (cast("float", total.when()) - loop.time()) / left
                try:
                    return await _connect(one, part_s)
                except OSError:
                    if left == 1:
                        raise
        raise OSError("the name has no address")

    async def _resolve(self, next_hop: NextHop) -> list[Any]:
        """Tuples of getaddrinfo, in the order to try them (RFC 6724)."""
        ask = functools.partial(
            socket.getaddrinfo, next_hop.host, next_hop.port, type=socket.SOCK_STREAM
        )
        found = await asyncio.get_running_loop().run_in_executor(self._resolvers, ask)
        return list(found)[:ADDRESSES]


async def _connect(one: Any, timeout_s: float) -> socket.socket:  # noqa: ANN401 - of getaddrinfo
    family, kind, protocol, _, address = one
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_loopback(hosts: Iterable[str]) -> None:
    """Refuse a name of which any address is on another machine."""
    for host in hosts:
        if not ipaddress.ip_address(host).is_loopback:
            raise NotLoopback(f"plaintext is for loopback, and the next hop resolves to {host}")
