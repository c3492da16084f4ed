"""What a spool promises, and what it expects of its users.

| step    | who                    | does                                                      |
|---------|------------------------|-----------------------------------------------------------|
| write   | a door, while it reads | gives the body, without header section, block by block    |
| finish  | a door, before intake  | afterwards the octets are on stable storage               |
| commit  | intake                 | writes the row that names the key; then says 250 or 202   |
| discard | a door                 | when the client is gone, or was refused before `finish`   |
| delete  | intake, retention      | when the row was refused or is gone                       |
| check   | delivery               | before it sends the first octet                           |
| blocks  | delivery               | streams the body, as often as it tries                    |
| sweep   | daemon                 | removes what a crash left between `finish` and commit     |

So a file without a row is possible and harmless, and a row without a file is damage. Names are
random and made here, never by a client. Small bodies are `bytes` and pass through every method,
so users need not ask which kind they hold.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from gatewayd.mail.message import Body

MEMORY_OCTETS: Final = 65_536  # up to here a body is a database value, above it a file
HELD_FACTOR: Final = 4  # times as much waits in memory for its end, if it comes, to be a file then
BLOCK_OCTETS: Final = 65_536


class BodyWriterPort(Protocol):
    """Takes one body. Holds at most HELD_FACTOR times `memory_octets` in memory."""

    @property
    def size_octets(self) -> int:
        """Octets written so far."""
        ...

    @property
    def held_octets(self) -> int:
        """Octets of these that are in memory now."""
        ...

    def write(self, block: bytes) -> None:
        """Take the next octets. Not yet durable.

        Raises:
            StoreFull: no space; the writer has discarded itself.
            StoreUnavailable: the file system refused; the writer has discarded itself.
            StoreBroken: the device failed.
        """
        ...

    async def finish(self) -> Body:
        """End the body. On return it is durable, or small and still to be stored by a row.

        Raises: as `write`. A cancelled call may leave a file, which `sweep` removes.
        """
        ...

    def discard(self) -> None:
        """Forget what was written. Does nothing after `finish`, or twice."""
        ...


class SpoolPort(Protocol):
    """Keeps bodies by key."""

    def incoming(self, memory_octets: int = MEMORY_OCTETS) -> BodyWriterPort:
        """A writer for one body; end it by `finish` or `discard`."""
        ...

    async def check(self, body: Body) -> None:
        """Read the whole body and compare size and SHA-256 with what was accepted.

        Raises:
            SpoolDamaged: missing, shorter, longer or changed.
        """
        ...

    def blocks(self, body: Body, size: int = BLOCK_OCTETS) -> Iterator[bytes]:
        """The body in blocks of `size` octets, the last one shorter.

        One that was taken in a moment ago may still be in memory, for who asks first, and is then
        one block: it need not be compared with what was accepted, as what comes from a disk must.

        Raises:
            SpoolDamaged: missing, or not as long as it was; the transaction must end without a dot.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove a body; one that is not there is no error."""
        ...

    def sweep(
        self, referenced: Callable[[Sequence[str]], set[str]], older_than: dt.datetime | None
    ) -> int:
        """Remove unfinished and unreferenced bodies; return how many.

        Args:
            referenced: says which of these keys have a row. It must see every row committed before
                the call, so call it with a fresh transaction.
            older_than: None removes them whatever their age, which only a process that knows
                itself alone may do, at start. A running one leaves an hour to submissions that are
                not committed yet.
        """
        ...

    def free_octets(self) -> int:
        """Space left for bodies."""
        ...
