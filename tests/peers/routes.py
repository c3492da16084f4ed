"""What hosts that bounce have in common: whom they hand mail on to, and how a test holds them.

```
gatewayd --> host --> REMOTE: refuses a mailbox at RCPT, so the host itself must bounce
                  --> BOUNCES: where its report goes, by the reverse-path it was given
```
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

HOST = "bouncer.test"
REMOTE = "remote.test"
BOUNCES = "bounces.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Loopback ports, by the domain of the recipient."""

    remote: int
    bounces: int

    def table(self, line: str) -> str:
        """One line for each domain, with `{domain}` and `{port}` filled in."""
        ports = {REMOTE: self.remote, BOUNCES: self.bounces}
        return "".join(line.format(domain=name, port=port) + "\n" for name, port in ports.items())


class BouncingHost(Protocol):
    """A mail server that takes all mail for both domains from loopback. `with` runs it."""

    port: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def tail(self) -> str:
        """The end of its logs, for a failed test."""
