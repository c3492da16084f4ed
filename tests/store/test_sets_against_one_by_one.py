"""intake: a set decided together gives what its members give one by one, in answers and in rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gatewayd.errors import Refused
from gatewayd.intake.pipeline import Kept
from gatewayd.policy.submission import Options, Submission
from gatewayd.store import schema
from gatewayd.store.database import Tx
from gatewayd.store.suppressions import ALL
from gatewayd.tokens.claims import Principal
from tests.fakes.world import MESSAGE, World, submission

ADDRESSES = tuple(f"{name}@example.net" for name in "abcde")
SUPPRESSED = "d@example.net"
SUPPRESSED_FOR_ANN = "e@example.net"
# Of the rows, what is drawn anew for each run.
DRAWN = {"recipient_id", "event_id", "seq"}


@dataclass(frozen=True)
class Drawn:
    """One submission: whose token, to whom, under which key, and which of two bodies."""

    token: int
    to: tuple[str, ...]
    key: str | None
    is_other: bool
    is_foreign: bool


DRAWS = st.builds(
    Drawn,
    st.integers(0, 2),
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=3).map(tuple),
    st.sampled_from([None, "k1", "k2"]),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)


def _submission(drawn: Drawn, principals: Sequence[Principal]) -> Submission:
    principal = principals[drawn.token]
    content = MESSAGE.replace(b"ann@example.com", str(principal.mailbox).encode(), 1)
    if drawn.is_other:
        content += b"Other.\r\n"
    if drawn.is_foreign:
        content = content.replace(b"From: ", b"Sender: eve@example.com\r\nFrom: ")
    options = Options(idempotency_key=drawn.key)
    return submission(principal, *drawn.to, content=content, options=options)


def _answer(answer: object) -> object:
    if isinstance(answer, Refused):
        return (answer.code, answer.public, answer.faults, answer.retry_after_s)
    assert isinstance(answer, Kept)
    accepted = answer.accepted
    to = tuple((one.address, one.status) for one in accepted.recipients)
    return (accepted.queue_id, to, accepted.replayed, accepted.quota)


def _rows(tx: Tx) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table that intake writes, in an order of their own."""
    tables = (
        schema.messages, schema.message_octets, schema.recipients, schema.events,
        schema.idempotency, schema.quotas,
    )  # fmt: skip
    return {
        table.name: sorted(
            (
                {name: value for name, value in row._mapping.items() if name not in DRAWN}
                for row in tx.execute(select(*table.c))
            ),
            key=repr,
        )
        for table in tables
    }


class _Undo(Exception):
    """Rolls a work back after it was looked at."""


async def _tried(world: World, waiting: Sequence[Any], size: int) -> tuple[list[object], object]:
    """Answers and rows when the members are decided in sets of this size; nothing is kept."""
    seen: list[tuple[list[object], object]] = []

    def work(tx: Tx) -> None:
        answers: list[object] = []
        for start in range(0, len(waiting), size):
            answers.extend(world.intake._decide(tx, waiting[start : start + size]))
        seen.append((list(map(_answer, answers)), _rows(tx)))
        raise _Undo

    with pytest.raises(_Undo):
        await world.database.write(work)
    return seen[0]


@pytest.mark.slow
def test_set_equals_one_by_one(world: World) -> None:
    """Shared tokens, quotas, keys and suppressions, in the same order."""
    loop = asyncio.new_event_loop()
    try:
        principals = loop.run_until_complete(_principals(world))

        @settings(
            max_examples=40,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(st.lists(DRAWS, min_size=2, max_size=12), st.integers(2, 5))
        def hammer(drawn: list[Drawn], size: int) -> None:
            waiting = [world.intake._examine(_submission(one, principals)) for one in drawn]
            singly = loop.run_until_complete(_tried(world, waiting, 1))
            assert loop.run_until_complete(_tried(world, waiting, len(waiting))) == singly
            assert loop.run_until_complete(_tried(world, waiting, size)) == singly

        hammer()
    finally:
        loop.close()


async def _principals(world: World) -> list[Principal]:
    """Two tokens of one mailbox, the first with narrow limits, and one of another."""
    ann = await world.principal(hourly=4, daily=6)
    free = await world.principal(unlimited=True)
    bob = await world.principal("bob@example.com", hourly=3)
    await world.suppressions.add(SUPPRESSED, scope=ALL, reason="r", source="s")
    await world.suppressions.add(SUPPRESSED_FOR_ANN, scope=ann.mailbox_id, reason="r", source="s")
    return [ann, free, bob]
