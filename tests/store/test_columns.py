"""store.columns: what is written reads back equal on both databases."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import insert, select

from gatewayd.store.database import Database, Tx
from gatewayd.store.schema import events

ROW = {"event_id": "1", "type": "test"}


async def _kept(database: Database, at: dt.datetime, data: Any) -> Any:  # noqa: ANN401 - any JSON value
    await database.write(lambda tx: tx.execute(insert(events), {**ROW, "at": at, "data": data}))
    return await database.read(lambda tx: tx.execute(select(events.c.at, events.c.data)).one())


@pytest.mark.parametrize(
    "at",
    [
        dt.datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC),
        dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    ],
)
async def test_instant_reads_back_equal(database: Database, at: dt.datetime) -> None:
    """To the microsecond, whatever the zone it came in."""
    row = await _kept(database, at, {})

    assert at == row.at
    assert dt.UTC is row.at.tzinfo


async def test_instant_without_a_zone_is_refused(database: Database) -> None:
    """A time without a zone is a mistake of ours, not a guess."""
    with pytest.raises(Exception, match="offset-naive"):
        await _kept(database, dt.datetime(2026, 1, 1), {})  # noqa: DTZ001 - the mistake


@pytest.mark.parametrize(
    "data",
    [{}, {"a": [1, None, True, 1.5]}, {"k": "\x00 \ud800 \u20ac \U0001f600"}, {"": "\\u0000"}],
)
async def test_json_reads_back_equal(database: Database, data: dict[str, Any]) -> None:
    """Any JSON value, also one with NUL or half a surrogate pair, which PostgreSQL would refuse."""
    row = await _kept(database, dt.datetime.now(dt.UTC), data)  # noqa: TID251 - any time

    assert data == row.data


async def test_events_are_numbered_in_order(database: Database) -> None:
    """`seq` is given by the database and grows."""
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def work(tx: Tx) -> list[int]:
        tx.execute(insert(events), [{**ROW, "at": at, "data": {"n": n}} for n in range(3)])
        return list(tx.execute(select(events.c.seq).order_by(events.c.seq)).scalars())

    first, second, third = await database.write(work)

    assert first < second < third
