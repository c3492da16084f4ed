"""Pool: sessions that wait for the next message, by next hop.

| a session goes back  | and is                                                     |
|----------------------|------------------------------------------------------------|
| usable               | kept for idle_s, the last one in is the first one out      |
| inside a transaction | kept; RSET goes out with the next MAIL                     |
| used up              | told QUIT: messages_per_connection, or MAILMAX of its EHLO |
| broken, or said 421  | gone                                                       |

One that dies while it waits is found when it is taken out; one whose death only its next command
shows is `Transaction.is_stale`: then the caller asks for a fresh one.

How many there may be is not for the pool to say: `concurrency.py` says how many attempts run, and
an attempt holds one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

from gatewayd.clock import Clock
from gatewayd.config.delivery import DeliverySection, NextHop
from gatewayd.delivery.smtp.connection import Connection, Connector

_CLOSE_S: Final = 2.0  # for next hops to close after QUIT, when the daemon stops


class Pool:
    """Hands out sessions and takes them back."""

    def __init__(self, connector: Connector, *, section: DeliverySection, clock: Clock) -> None:
        self._connector = connector
        self._idle_s = section.idle_s
        self._mails = section.messages_per_connection
        self._clock = clock
        self._idle: defaultdict[NextHop, list[Connection]] = defaultdict(list)
        self._is_closed = False

    async def take(self, next_hop: NextHop, *, until: float, is_fresh: bool = False) -> Connection:
        """A session, an idle one if there is any.

        Args:
            next_hop: with whom.
            until: when a new session must be ready, on the clock of the loop.
            is_fresh: a new one, and forget those that have waited: they may be as dead.

        Raises:
            NoSession: a new one could not be made.
        """
        idle = self._idle.get(next_hop)
        while idle:
            connection = idle.pop()
            if not connection.channel.is_usable:
                connection.channel.abort()
            elif is_fresh or self._is_too_old(connection):
                connection.channel.quit()
            else:
                return connection
        return await self._connector.open(next_hop, until=until)

    def put_back(self, connection: Connection) -> None:
        """Take a session back; call it once, whatever happened."""
        if not connection.channel.is_usable:
            connection.channel.abort()
        elif self._is_closed or connection.mails >= self._mails_of(connection):
            connection.channel.quit()
        else:
            connection.idle_since = self._clock.monotonic()
            self._idle[connection.next_hop].append(connection)

    def sweep(self) -> None:
        """Say goodbye to sessions that have waited too long."""
        for next_hop, idle in list(self._idle.items()):
            kept: list[Connection] = []
            for connection in idle:
                if self._is_too_old(connection) or not connection.channel.is_usable:
                    connection.channel.quit()
                else:
                    kept.append(connection)
            if kept:
                self._idle[next_hop] = kept
            else:
                del self._idle[next_hop]

    async def close(self) -> None:
        """Say goodbye to all that wait, and to others when they come back."""
        self._is_closed = True
        waiting = [connection.channel for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        for channel in waiting:
            channel.quit()
        if waiting:
            await asyncio.wait([channel.closed for channel in waiting], timeout=_CLOSE_S)
        for channel in waiting:
            channel.abort()
        self._connector.close()

    def _is_too_old(self, connection: Connection) -> bool:
        return self._clock.monotonic() - connection.idle_since > self._idle_s

    def _mails_of(self, connection: Connection) -> int:
        limit = connection.capabilities.mails_max
        return self._mails if limit is None else min(limit, self._mails)
