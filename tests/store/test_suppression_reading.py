"""suppression.reading, suppression.importing: pages of the list, and many rows at once."""

from __future__ import annotations

import datetime as dt

import pytest

from gatewayd.errors import Code, Refused
from gatewayd.store import events
from gatewayd.store.suppressions import ALL
from gatewayd.suppression.importing import Imported, Importer, NewRow
from gatewayd.suppression.reading import SuppressionFilter, SuppressionReader
from tests.fakes.clock import NOW
from tests.fakes.world import World

BOB = "bob@example.net"
HOUR = dt.timedelta(hours=1)


def new(address: str, scope: str = "m1", **changed: dt.datetime | str) -> NewRow:
    given = {"reason": "r", "source": "import", **changed}
    return NewRow(address=address, scope=scope, **given)  # type: ignore[arg-type]  # any field of it


async def test_page_of_one_scope_by_filter(world: World) -> None:
    """Rows of other scopes are not there, those for all neither."""
    reader, importer = SuppressionReader(world.database), Importer(world.database)
    await importer.take(
        [
            new("d@example.net", reason="odd"),
            new("a@example.net", expires_at=NOW + HOUR),
            new("b@example.net", source="smtp", expires_at=NOW),
            new("c@example.net", "m2"),
            new("e@example.net", ALL),
        ]
    )

    for wanted, expected in (
        (SuppressionFilter(), "abd"),
        (SuppressionFilter(reason="odd"), "d"),
        (SuppressionFilter(source="smtp"), "b"),
        (SuppressionFilter(is_live=True), "ad"),
        (SuppressionFilter(is_live=False), "b"),
        (SuppressionFilter(reason="\x00"), ""),
    ):
        rows = await reader.page("m1", wanted, after=None, limit=9)
        assert [row.address[0] for row in rows] == list(expected), wanted
    second = await reader.page("m1", SuppressionFilter(), after="a@example.net", limit=1)
    assert [row.address for row in second] == ["b@example.net"]


async def test_entry_is_that_of_the_scope_though_it_is_over(world: World) -> None:
    reader = SuppressionReader(world.database)
    await Importer(world.database).take([new(BOB, expires_at=NOW - HOUR)])

    assert (await reader.entry("bob@EXAMPLE.net", scope="m1")).expires_at == NOW - HOUR
    for address, scope, code in (
        (BOB, "m2", Code.NOT_FOUND),
        (BOB, ALL, Code.NOT_FOUND),
        ("bob", "m1", Code.VALIDATION_FAILED),
    ):
        with pytest.raises(Refused) as caught:
            await reader.entry(address, scope=scope)
        assert caught.value.kind is code


async def test_holding_names_every_live_row_of_these_scopes(world: World) -> None:
    """That for all comes first; what is over does not hold."""
    reader = SuppressionReader(world.database)
    await Importer(world.database).take(
        [new(BOB), new(BOB, "m2", expires_at=NOW), new(BOB, "m3"), new(BOB, ALL)]
    )

    for scopes, expected in ((["m1", "m2"], [ALL, "m1"]), ([], [ALL]), (["m3"], [ALL, "m3"])):
        rows = await reader.holding(BOB, scopes=scopes)
        assert [row.scope for row in rows] == expected


async def test_import_keeps_what_the_file_says(world: World) -> None:
    """And for what it does not say: now, and for ever."""
    long_ago = NOW - dt.timedelta(days=400)
    await Importer(world.database).take(
        [
            new("a@example.net", first_seen_at=long_ago, last_seen_at=NOW - HOUR),
            new("b@example.net", last_seen_at=long_ago),
            new("c@example.net"),
        ]
    )
    rows = await world.suppressions.list(scope="m1", after=None, limit=9)

    assert [(row.first_seen_at, row.last_seen_at, row.expires_at) for row in rows] == [
        (long_ago, NOW - HOUR, None),
        (long_ago, long_ago, None),
        (NOW, NOW, None),
    ]


async def test_import_tells_of_what_is_new_only(world: World) -> None:
    """The same file again changes rows and writes no event; of two lines the last counts."""
    importer = Importer(world.database)
    rows = [new(BOB, reason="first"), new("zoe@example.net"), new("bob@EXAMPLE.net", reason="last")]

    assert await importer.take(rows) == Imported(added=2, changed=0)
    assert await importer.take(rows) == Imported(added=0, changed=2)
    told = await world.database.read(lambda tx: events.after(tx, 0, limit=99))
    assert [(one.type, one.mailbox_id, one.data["reason"]) for one in told] == [
        ("suppression.added", "m1", "last"),
        ("suppression.added", "m1", "r"),
    ]


async def test_import_weakens_nothing(world: World) -> None:
    """A file's line does not shorten a stronger cause; a stronger one in it counts, and is told."""
    importer = Importer(world.database)
    await importer.take(
        [
            new("a@example.net", reason="unsubscribed", source="page"),
            new("b@example.net", reason="hard_bounce", source="smtp", expires_at=NOW + HOUR),
        ]
    )

    done = await importer.take(
        [
            new("a@example.net", reason="imported", expires_at=NOW + HOUR),
            new("b@example.net", reason="complaint", source="fbl"),
        ]
    )

    assert done == Imported(added=0, changed=2)
    rows = await world.suppressions.list(scope="m1", after=None, limit=9)
    assert [(row.reason, row.source, row.expires_at) for row in rows] == [
        ("unsubscribed", "page", None), ("complaint", "fbl", None),
    ]  # fmt: skip
    told = await world.database.read(lambda tx: events.after(tx, 0, limit=99))
    assert [one.data["reason"] for one in told] == ["unsubscribed", "hard_bounce", "complaint"]


async def test_import_over_what_has_ended_is_new(world: World) -> None:
    importer = Importer(world.database)
    await importer.take([new(BOB, reason="complaint", expires_at=NOW - HOUR)])

    assert await importer.take([new(BOB)]) == Imported(added=1, changed=0)
    (row,) = await world.suppressions.list(scope="m1", after=None, limit=9)
    assert (row.reason, row.expires_at) == ("r", None)


async def test_import_with_an_address_that_is_none_takes_nothing(world: World) -> None:
    with pytest.raises(Refused) as caught:
        await Importer(world.database).take([new(BOB), new("nobody"), new("a@b@c")])

    assert [fault.pointer for fault in caught.value.faults] == [
        "/entries/1/address",
        "/entries/2/address",
    ]
    assert await world.suppressions.list(scope=None, after=None, limit=9) == []
