"""Destination: what is held for one next hop, and how much more of it there may be. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from gatewayd.config.delivery import NextHop
from gatewayd.delivery.concurrency import Window
from gatewayd.queue.claim import Claim
from gatewayd.queue.handover import Room

KEPT_READY: Final = 2  # windows of claims that wait at a next hop that has proved itself

Item = TypeVar("Item")
Lane = TypeVar("Lane", bound=Hashable)


@dataclass(slots=True, eq=False)
class Destination:
    """The work of one next hop; None stands for mail that has none.

    recipients: of what waits and runs. has_more: there is more due than it had room for.
    used_at: monotonic time of its last work. offered: what an acceptance may claim for it.
    """

    next_hop: NextHop | None
    window: Window
    used_at: float
    waiting: deque[Claim] = field(default_factory=deque)
    recipients: int = 0
    has_more: bool = False
    offered: Room = field(default_factory=Room)

    @property
    def held(self) -> int:
        """Claims that wait and run."""
        return len(self.waiting) + self.window.running

    @property
    def free(self) -> int:
        """How many claims more it may hold."""
        size = self.window.size
        capacity = size * (1 + KEPT_READY) if self.window.is_proved else size
        return max(0, capacity - self.held)

    @property
    def room(self) -> int:
        """How many claims to fetch for it now: a window of them at once, or what is missing."""
        free = self.free
        return free if free >= self.window.size or not self.waiting else 0


def shares_of(lanes: Sequence[Lane], room: int) -> dict[Lane, int]:
    """Part `room` among lanes; those in front get what cannot be parted."""
    if not lanes or room <= 0:
        return {}
    each, over = divmod(room, len(lanes))
    shares = {lane: each + (index < over) for index, lane in enumerate(lanes)}
    return {lane: share for lane, share in shares.items() if share}


def turned(items: Sequence[Item], turn: int) -> list[Item]:
    """The items begun elsewhere each time, so that the same ones are not always served first."""
    at = turn % len(items) if items else 0
    return [*items[at:], *items[:at]]
