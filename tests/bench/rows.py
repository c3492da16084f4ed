"""The rows of the table: what is compared, in which unit, and what it has to reach.

A row is measured in rounds; both sides take turns in each. A `Ratio` target is on the median of
ours divided by the peer's in the same round, a `Rate` one on the median of ours, a `Most` on the
median of ours, which may not be more. A row without a target is there for information.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Ratio:
    """At least so many times the peer."""

    least: float


@dataclass(frozen=True, slots=True)
class Rate:
    """At least so much, whatever the peer does."""

    least: float


@dataclass(frozen=True, slots=True)
class Most:
    """At most so much."""

    most: float


@dataclass(frozen=True, slots=True)
class MostRatio:
    """At most so many times the peer."""

    most: float


Target = Ratio | Rate | Most | MostRatio


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison; `key` names it among the figures."""

    ident: str
    what: str
    unit: str = "/s"
    peer: str = ""
    target: Target | None = None

    @property
    def key(self) -> str:
        return ", ".join(part for part in (self.ident, self.what, self.peer) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the rounds of one row gave: figures, and milliseconds of processor time for each unit.

    The peer's are as many as ours, or none; processor times are none where they say nothing.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...] = ()
    ours_cpu_ms: tuple[float, ...] = ()
    theirs_cpu_ms: tuple[float, ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        pairs = zip(self.ours, self.theirs, strict=True) if self.theirs else ()
        return tuple(one / other for one, other in pairs)

    def meets(self, target: Target) -> bool:
        """Whether the median does what the target asks.

        Raises:
            ValueError: a ratio is asked for, and there is no peer.
        """
        match target:
            case Ratio(least):
                return self._ratio() >= least
            case MostRatio(most):
                return self._ratio() <= most
            case Rate(least):
                return statistics.median(self.ours) >= least
            case Most(most):
                return statistics.median(self.ours) <= most

    def _ratio(self) -> float:
        if not self.theirs:
            raise ValueError("a ratio to nobody")
        return statistics.median(self.ratios)


Figures = Mapping[str, Measured]
Finding = tuple[str, Measured]  # with the key of its row

ACCEPT: Final = "accept, 100 messages a session"
ACCEPT_ONE: Final = "accept, 1 message a session"
DELIVER: Final = "accept to delivered"
DELIVER_LARGE: Final = "accept to delivered, 100 kB"
OVER_TLS: Final = ", TLS"
POSTFIX, SIGNING, EXIM, OPENSMTPD = "Postfix", "Postfix, opendkim", "Exim", "OpenSMTPD"
FASTAPI, STARLETTE = "a bare FastAPI route", "a bare Starlette route"
SEND: Final = "HTTP send, one recipient"
SEND_MANY: Final = "HTTP send, recipients of 100 a message"
EACH_ALONE: Final = "100 recipients a message, octets of its own for each"
ALL_ALIKE: Final = "100 recipients a message, equal octets"
REDIRECTS: Final = "tracking redirects"
REDIRECT_WAIT: Final = "p99 of a redirect at 1000/s"
WAIT: Final = "p99 of dot to reply at 300/s"
IDLE: Final = "memory, idle"
LOADED: Final = "memory, after W3"
QUEUED: Final = "processor time a message, {:,} in the queue"
EMPTY_QUEUE: Final = "an empty queue"
QUEUE_SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)

ROWS: Final = (
    Row(ident="W1", what=ACCEPT, peer=POSTFIX, target=Ratio(3.0)),
    Row(ident="W1", what=ACCEPT, peer=EXIM),
    Row(ident="W1", what=ACCEPT, peer=OPENSMTPD),
    Row(ident="W1", what=ACCEPT + OVER_TLS, peer=POSTFIX),
    Row(ident="W2", what=ACCEPT_ONE, peer=POSTFIX, target=Ratio(1.5)),
    Row(ident="W3", what=DELIVER, peer=POSTFIX, target=Ratio(2.0)),
    Row(ident="W3", what=DELIVER, peer=SIGNING, target=Ratio(5.0)),
    Row(ident="W3", what=DELIVER, peer=EXIM),
    Row(ident="W3", what=DELIVER + OVER_TLS, peer=POSTFIX),
    Row(ident="W4", what=DELIVER_LARGE, peer=POSTFIX, target=Ratio(1.0)),
    Row(ident="W5", what=SEND, peer=FASTAPI, target=Rate(2000)),
    Row(ident="W5", what=SEND_MANY, target=Rate(6000)),
    Row(ident="W6", what=EACH_ALONE, target=Rate(1500)),
    Row(ident="W6", what=ALL_ALIKE, target=Rate(6000)),
    Row(ident="W7", what=REDIRECTS, peer=STARLETTE, target=Rate(7000)),
    Row(ident="W7", what=REDIRECT_WAIT, unit=" ms", target=Most(20)),
    Row(ident="W8", what=WAIT, unit=" ms", peer=POSTFIX, target=Most(25)),
    Row(ident="W9", what=IDLE, unit=" MiB", target=Most(100)),
    Row(ident="W9", what=LOADED, unit=" MiB", target=Most(180)),
    *(
        Row(
            ident="W10",
            what=QUEUED.format(size),
            unit=" ms",
            peer=EMPTY_QUEUE,
            target=MostRatio(1.2),
        )
        for size in QUEUE_SIZES
    ),
)
IDENTS: Final = tuple(dict.fromkeys(row.ident for row in ROWS))


def read(file: Path) -> dict[str, Measured]:
    """The figures of earlier runs, by key; none if there was no run."""
    if not file.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(file.read_text())
    return {
        key: Measured(**{name: tuple(values) for name, values in sides.items()})
        for key, sides in found.items()
    }


def write(file: Path, figures: Figures) -> None:
    """Keep the figures of the rows that still exist, in their order."""
    kept = {row.key: asdict(figures[row.key]) for row in ROWS if row.key in figures}
    file.write_text(json.dumps(kept, indent=1) + "\n")
