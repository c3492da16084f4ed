"""Small writes for tests of the database: a mark in the event log, a gate that holds the writer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy import insert, select

from gatewayd.store.database import Database, Tx
from gatewayd.store.schema import events, idempotency

R = TypeVar("R")
GATE_S = 30


def mark(name: str) -> Callable[[Tx], str]:
    """A work that writes `name`, and returns it."""

    def work(tx: Tx) -> str:
        tx.execute(insert(events), {"event_id": name, "type": "mark", "at": tx.now, "data": {}})
        return name

    return work


def take_key(tx: Tx, key: str) -> None:
    """Write a row that can stand once."""
    tx.execute(
        insert(idempotency),
        {"mailbox_id": "m", "key": key, "fingerprint": b"", "queue_id": "q", "expires_at": tx.now},
    )


def marks(tx: Tx) -> list[str]:
    """The names that were written, in order."""
    return list(tx.execute(select(events.c.event_id).order_by(events.c.seq)).scalars())


class Gate:
    """A work that keeps the writer busy, in its transaction, until it is opened."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()

    def work(self, tx: Tx) -> None:  # noqa: ARG002 - a work's signature
        self._entered.set()
        assert self._open.wait(GATE_S)

    def open(self) -> None:
        self._open.set()

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, GATE_S)


async def together(database: Database, *waiting: Coroutine[Any, Any, R]) -> list[R | BaseException]:
    """Start all of these while the writer is held, so that they wait together; their results."""
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(database.write(gate.work))
        await gate.entered()
        started = [tasks.create_task(caught(one)) for one in waiting]
        await asyncio.sleep(0)  # each one runs to its first wait
        gate.open()
    assert held.result() is None
    return [task.result() for task in started]


async def caught(waiting: Coroutine[Any, Any, R]) -> R | BaseException:
    """Its result, or what it raised."""
    try:
        return await waiting
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
