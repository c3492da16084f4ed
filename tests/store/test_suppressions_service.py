"""suppression.lists: who gets no mail any more, from one mailbox or from all."""

from __future__ import annotations

import asyncio
import datetime as dt
import re

import pytest
from sqlalchemy import event

from gatewayd.errors import Code, Refused
from gatewayd.mail.address import Address
from gatewayd.store import events
from gatewayd.store.suppressions import ALL
from gatewayd.suppression.importing import Importer, NewRow
from gatewayd.suppression.rules import AGENT
from tests.fakes.clock import NOW
from tests.fakes.world import World

BOB = "bob@example.net"
HOUR = dt.timedelta(hours=1)
CAUSES = ["unsubscribed", "complaint", "hard_bounce"]


async def test_suppressed_for_one_mailbox_or_for_all(world: World) -> None:
    ann = (await world.principal()).mailbox_id
    other = (await world.principal("zoe@example.com")).mailbox_id
    await world.suppressions.add(BOB, scope=ann, reason="5.1.1", source="op")
    await world.suppressions.add("all@example.net", scope=ALL, reason="5.1.1", source="op")

    for scope, address, is_found in (
        (ann, BOB, True), (ann, "bob@EXAMPLE.NET", True), (ann, "Bob@example.net", False),
        (other, BOB, False), (other, "all@example.net", True),
    ):  # fmt: skip
        found = await world.suppressions.test(address, scope=scope)
        assert (found is not None) is is_found
        parsed = Address.parse(address)
        assert await world.suppressions.is_suppressed(scope, parsed) is is_found


async def test_added_address_is_refused_at_once(world: World) -> None:
    """Though "there is none" was remembered a moment ago."""
    ann = (await world.principal()).mailbox_id
    assert await world.suppressions.is_suppressed(ann, Address.parse(BOB)) is False
    await world.suppressions.add(BOB, scope=ALL, reason="r", source="op")

    assert await world.suppressions.is_suppressed(ann, Address.parse(BOB)) is True


async def test_address_added_by_another_node_is_refused_within_a_second(world: World) -> None:
    ann = (await world.principal()).mailbox_id
    assert await world.suppressions.is_suppressed(ann, Address.parse(BOB)) is False
    await world.second().suppressions.add(BOB, scope=ann, reason="r", source="op")
    world.clock.advance(seconds=1)

    assert await world.suppressions.is_suppressed(ann, Address.parse(BOB)) is True


async def test_suppression_ends_with_its_time(world: World) -> None:
    await world.suppressions.add(
        BOB, scope=ALL, reason="r", source="op", expires_at=NOW + dt.timedelta(hours=1)
    )
    assert await world.suppressions.test(BOB, scope=ALL) is not None
    world.clock.advance(hours=1)

    assert await world.suppressions.test(BOB, scope=ALL) is None


async def test_removed_address_gets_mail_again(world: World) -> None:
    """What was done is told; what was not there is not found."""
    await world.suppressions.add(BOB, scope=ALL, reason="r", source="op")
    await world.suppressions.remove("bob@EXAMPLE.net", scope=ALL)

    assert await world.suppressions.test(BOB, scope=ALL) is None
    with pytest.raises(Refused) as caught:
        await world.suppressions.remove(BOB, scope=ALL)
    assert caught.value.kind is Code.NOT_FOUND
    told = await world.database.read(lambda tx: events.after(tx, 0, limit=99))
    assert [(one.type, one.data) for one in told] == [
        ("suppression.added", {"address": BOB, "reason": "r", "source": "op", "scope": ALL}),
        ("suppression.removed", {"address": BOB, "scope": ALL}),
    ]


@pytest.mark.parametrize("address", ["", "bob", "bob@", "<bob@example.net>", "a@b\x00"])
async def test_address_that_is_none_is_refused(world: World, address: str) -> None:
    for waiting in (
        world.suppressions.add(address, scope=ALL, reason="r", source="op"),
        world.suppressions.remove(address, scope=ALL),
        world.suppressions.test(address, scope=ALL),
    ):
        with pytest.raises(Refused) as caught:
            await waiting
        assert caught.value.kind is Code.VALIDATION_FAILED


async def test_list_in_pages(world: World) -> None:
    for name in ("c", "a", "b"):
        await world.suppressions.add(f"{name}@x.example", scope=ALL, reason="r", source="op")

    page = await world.suppressions.list(scope=None, after=None, limit=2)
    rest = await world.suppressions.list(
        scope=None, after=(page[-1].address_key, page[-1].scope), limit=2
    )

    assert [row.address for row in (*page, *rest)] == [f"{n}@x.example" for n in "abc"]


@pytest.mark.parametrize("cause", CAUSES)
async def test_words_of_an_agent_undo_no_cause(world: World, cause: str) -> None:
    """Not by a short suppression over it, and not by taking it back; and no event says they did."""
    await world.suppressions.add(BOB, scope="m1", reason=cause, source="smtp")
    told = await world.database.read(lambda tx: events.after(tx, 0, limit=99))
    world.clock.advance(seconds=60)

    row = await world.suppressions.add(
        BOB, scope="m1", reason="for a moment", source=AGENT, expires_at=NOW + HOUR
    )
    with pytest.raises(Refused) as caught:
        await world.suppressions.take_back(BOB, scope="m1")

    assert caught.value.kind is Code.SUPPRESSION_PROTECTED
    assert f"gatewayd suppressions remove {BOB} --mailbox" in caught.value.public
    assert row == await world.suppressions.test(BOB, scope="m1")
    assert (row.reason, row.source, row.expires_at) == (cause, "smtp", None)
    assert (row.first_seen_at, row.last_seen_at) == (NOW, world.clock.now())
    assert await world.database.read(lambda tx: events.after(tx, 0, limit=99)) == told


async def test_agent_corrects_and_takes_back_its_own_words(world: World) -> None:
    for reason, ends in (("asked", None), ("asked, for an hour", NOW + HOUR)):
        await world.suppressions.add(BOB, scope="m1", reason=reason, source=AGENT, expires_at=ends)
    (row,) = await world.suppressions.list(scope="m1", after=None, limit=9)
    await world.suppressions.take_back(BOB, scope="m1")

    assert (row.reason, row.expires_at) == ("asked, for an hour", NOW + HOUR)
    assert await world.suppressions.test(BOB, scope="m1") is None
    with pytest.raises(Refused) as caught:
        await world.suppressions.take_back(BOB, scope="m1")
    assert caught.value.kind is Code.NOT_FOUND
    told = await world.database.read(lambda tx: events.after(tx, 0, limit=99))
    assert [one.type for one in told] == [
        "suppression.added", "suppression.added", "suppression.removed",
    ]  # fmt: skip


async def test_agent_cannot_take_back_what_an_operator_said(world: World) -> None:
    await world.suppressions.add(BOB, scope="m1", reason="asked by phone", source="operator")

    with pytest.raises(Refused) as caught:
        await world.suppressions.take_back(BOB, scope="m1")

    assert caught.value.kind is Code.SUPPRESSION_PROTECTED


@pytest.mark.parametrize("cause", CAUSES)
async def test_operator_removes_any(world: World, cause: str) -> None:
    await world.suppressions.add(BOB, scope="m1", reason=cause, source="smtp")
    await world.suppressions.remove(BOB, scope="m1")

    assert await world.suppressions.test(BOB, scope="m1") is None


async def test_strongest_stays_whoever_comes_first(world: World) -> None:
    """Two nodes say many things of few addresses at the same moment; none is lost or weakened."""
    nodes = [world.suppressions, world.second().suppressions]
    said = [("asked", AGENT, HOUR), ("hard_bounce", "smtp", 9 * HOUR), ("complaint", "arf", HOUR)]
    await asyncio.gather(
        *(
            nodes[(number + turn) % 2].add(
                f"{number}@example.net", scope="m1", reason=reason, source=source,
                expires_at=NOW + lasts,
            )
            for number in range(10)
            for turn, (reason, source, lasts) in enumerate(said[number % 3 :] + said[: number % 3])
        )
    )  # fmt: skip

    rows = await world.suppressions.list(scope=None, after=None, limit=99)
    assert [(row.reason, row.source, row.expires_at) for row in rows] == [
        ("complaint", "arf", NOW + 9 * HOUR)
    ] * 10


async def test_addresses_are_written_and_locked_in_their_order(world: World) -> None:
    """Whatever the order they come in: so two nodes never wait for each other."""
    bound: list[list[str]] = []
    event.listen(
        world.database.engine, "before_cursor_execute",
        lambda *given: bound.append(re.findall(r"'([a-e])@x.example'", str(given[3]))),
    )  # fmt: skip
    for reason in ("hard_bounce", "complaint"):  # when they are new, and when they are there
        rows = [
            NewRow(address=f"{name}@x.example", scope="m1", reason=reason, source="s")
            for name in "dbeac"
        ]
        await Importer(world.database).take(rows)

    changes = [names for names in bound if names]
    assert [set(names) for names in changes] == [set("abcde")] * 4  # add; add, lock, change
    assert [names for names in changes if names != sorted(names)] == []
