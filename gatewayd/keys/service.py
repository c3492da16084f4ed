"""Keys: list and rotate, in three phases, with nothing lost when it is interrupted.

| phase  | file                         | rows                         | why                       |
|--------|------------------------------|------------------------------|---------------------------|
| begin  | a `next` key is added        | -                            | every node can read it    |
| switch | `next` is active, active old | re-encrypted, one at a time  | new texts use the new key |
| finish | `old` is dropped             | must not need it, or refused | a stolen key is dead      |

`switch` may be run again: what is under the active key already stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gatewayd.clock import Clock
from gatewayd.errors import Code, Refused
from gatewayd.keys import files, rotate
from gatewayd.keys.ring import KeyRing, Purpose

PHASES = ("begin", "switch", "finish")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What a purpose's keys protect, for the room that knows it.

    reseal: put everything under the active key; how many texts that were.
    needed: how many texts or tokens need a key that is not the active one.
    use: take another ring.
    """

    reseal: Callable[[], Awaitable[int]]
    needed: Callable[[KeyRing], Awaitable[int]]
    use: Callable[[KeyRing], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a phase did, and what comes next."""

    purpose: Purpose
    phase: str
    resealed: int
    keys: tuple[tuple[str, str], ...]  # kid, state
    hint: str


class Keys:
    """Key rings from the outside."""

    def __init__(
        self,
        directory: Path,
        credentials: Path | None,
        *,
        uses: Mapping[Purpose, Uses],
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._credentials = credentials
        self._uses = uses
        self._clock = clock
        self._lock = asyncio.Lock()

    async def list(self) -> list[KeyRing]:
        """Every ring that there is."""
        return [
            files.load(self._directory, purpose, self._credentials)
            for purpose in Purpose
            if files.is_present(self._directory, purpose, self._credentials)
        ]

    async def rotate(self, purpose: Purpose, phase: str) -> Rotated:
        """Do one phase.

        Raises:
            Refused: conflict out of order, or while an old key is needed; validation_failed for a
                phase that does not exist.
            KeyFileError: the file cannot be read or written.
        """
        if phase not in PHASES or purpose not in self._uses:
            raise Refused(
                Code.VALIDATION_FAILED,
                f"phases are {', '.join(PHASES)}; keys are "
                f"{', '.join(sorted(purpose.value for purpose in self._uses))}",
            )
        async with self._lock:
            return await self._rotate(purpose, phase, self._uses[purpose])

    async def _rotate(self, purpose: Purpose, phase: str, uses: Uses) -> Rotated:
        ring = files.load(self._directory, purpose, self._credentials)
        is_again = phase == "switch" and ring.next is None and bool(ring.old)
        if phase == "begin":
            ring = rotate.begin(ring, now=self._clock.now())
        elif phase == "finish":
            ring = rotate.finish(ring, still_needed=await uses.needed(ring))
        elif not is_again:
            ring = rotate.switch(ring)
        if not is_again:
            await asyncio.to_thread(files.save, ring, self._directory, self._credentials)
        uses.use(ring)
        resealed = await uses.reseal() if phase == "switch" else 0
        return Rotated(
            purpose=purpose,
            phase=phase,
            resealed=resealed,
            keys=tuple((key.kid, key.state.value) for key in ring.keys),
            hint=_HINTS[phase],
        )


_HINTS = {
    "begin": "every node must read the new file (reload them) before `switch`",
    "switch": "reload the other nodes; `finish` when nothing needs the old key any more",
    "finish": "done: the old key opens nothing of ours any more; destroy its copies",
}
