"""Two nodes come to the same rows in the same order: PostgreSQL never has to undo one of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from gatewayd.errors import LeaseLost
from gatewayd.mail.outcome import Deferred
from gatewayd.queue import outcome
from gatewayd.queue.claim import Claim
from gatewayd.store import claims
from gatewayd.store.database import Tx
from tests.fakes import stores
from tests.fakes.clock import ManualClock
from tests.fakes.returning import RECORD
from tests.fakes.stores import Store
from tests.fakes.world import World
from tests.peers.postgres import PostgresServer
from tests.peers.waiting import eventually

LIMIT_S = 60

_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


@pytest.fixture
def shared(postgres: PostgresServer, clock: ManualClock) -> Iterator[Store]:
    """An empty database that two nodes can have at once."""
    stores.empty(postgres)
    found = stores.postgres(postgres, clock)
    yield found
    found.close()


@pytest.mark.peer
@pytest.mark.slow
async def test_lease_is_taken_back_while_its_outcome_is_kept(
    shared: Store, tmp_path: Path, clock: ManualClock
) -> None:
    """One node has the attempt, the other wants it: it waits there, and holds nothing meanwhile."""
    ours = World(store=shared, spool_directory=tmp_path / "spool")
    others = ours.second()
    await ours.sent("bob@example.net", "zoe@example.net")
    (claim,) = await ours.queue.claim(dict.fromkeys(await ours.queue.lanes(), 1))
    clock.advance(hours=1)  # long past the lease
    taken, go_on = threading.Event(), threading.Event()

    def take_back(tx: Tx) -> tuple[int, int]:
        ids = claims.expired(tx, before=tx.now, limit=1)
        taken.set()
        assert go_on.wait(LIMIT_S)
        tx.execute(text("SET LOCAL deadlock_timeout = '10ms'"))  # so that it is this one that fails
        return outcome.recover(tx, ids, terms=ours.queue._terms)

    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(others.database.write(take_back))
        assert await asyncio.to_thread(taken.wait, LIMIT_S)
        settling = tasks.create_task(_settled(ours, claim))
        await asyncio.to_thread(eventually, lambda: _is_waiting(shared), within_s=LIMIT_S)
        go_on.set()

    assert taking.result() == (2, 0)
    assert settling.result() is False


async def _settled(world: World, claim: Claim) -> bool:
    """Whether an outcome was kept."""
    outcomes = {one.recipient_id: Deferred("busy") for one in claim.recipients}
    try:
        await world.queue.settle(claim, outcomes, RECORD)
    except LeaseLost:
        return False
    return True


def _is_waiting(store: Store) -> bool:
    """Whether a transaction wants what another one has."""
    engine = store.make_dialect().reader_engine()
    try:
        with engine.connect() as connection:
            return bool(connection.execute(_WAITING).scalar_one())
    finally:
        engine.dispose()
