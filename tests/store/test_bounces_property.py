"""bounces: nobody who lacks a MAC of ours changes anything, and whoever has one changes his own."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gatewayd import ids
from gatewayd.bounces.keep import keep
from gatewayd.bounces.pipeline import Returned
from gatewayd.bounces.reading import reading_of
from gatewayd.bounces.signed import Signed
from gatewayd.config.returns import SuppressionSection
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail.address import NULL, ReversePath
from gatewayd.mail.outcome import Deferred, InDoubt
from gatewayd.store import schema
from gatewayd.store.database import Tx
from gatewayd.store.recipients import RecipientRow
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW
from tests.fakes.returning import DOMAIN, Returning, arf, dsn, group
from tests.fakes.world import World

NAMES = ("bob@example.net", "zoe@example.org", "kim@example.org", "eve@example.com", "", "x")
PATHS = (NULL, NULL, NULL, ReversePath.parse("mallory@example.net"))
ACTIONS = ("failed", "failed", "failed", "delayed", "delivered", "relayed", "expanded")
STATUSES = ("5.1.1", "5.2.2", "4.4.7", "5.7.1")


@dataclass(frozen=True)
class Drawn:
    """One returned message.

    target: whose VERP address or token it carries.
    by_message: the address is that of the message, not of the recipient.
    kind: how the address came to be: ours, another ring's, expired, with a character changed.
    """

    target: int
    by_message: bool
    kind: str
    changed_at: int
    path: ReversePath
    groups: tuple[tuple[str, str, str, str], ...]
    complains: bool
    by_token: bool
    has_envelope: bool


DRAWS = st.builds(
    Drawn,
    st.integers(0, 6),
    st.booleans(),
    st.sampled_from(["ours", "ours", "ours", "other ring", "expired", "changed", "unknown"]),
    st.integers(7, 54),
    st.sampled_from(PATHS),
    st.lists(
        st.tuples(
            st.sampled_from(NAMES), st.sampled_from(NAMES), st.sampled_from(ACTIONS),
            st.sampled_from(STATUSES),
        ),
        max_size=4,
    ).map(tuple),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)  # fmt: skip


class _Undo(Exception):
    """Rolls a work back after it was looked at."""


@dataclass
class Scene:
    """Messages in every state, and what makes and reads the addresses of ours and of others."""

    returning: Returning
    rows: Sequence[RecipientRow]

    def __post_init__(self) -> None:
        clock, lifetime = self.returning.world.clock, dt.timedelta(days=14)
        self.other = ReversePaths(
            new_ring(Purpose.VERP, created_at=NOW), domain=DOMAIN, lifetime=lifetime, clock=clock
        )
        self.other_links = Links(new_ring(Purpose.TRACKING, created_at=NOW), "https://gw.example")
        self.signed = Signed(self.returning.reverse_paths, self.returning.links.find_leaving)
        self.expired = [
            (self.address(row.queue_id), self.address(row.recipient_id)) for row in self.rows
        ]

    def address(self, ident: str) -> str:
        return str(self.returning.reverse_paths.make(ident))

    def verp(self, drawn: Drawn) -> str:
        row = self.rows[drawn.target]
        ident: str = row.queue_id if drawn.by_message else row.recipient_id
        match drawn.kind:
            case "other ring":
                return str(self.other.make(ident))
            case "expired":
                return self.expired[drawn.target][0 if drawn.by_message else 1]
            case "changed":
                text = self.address(ident)
                letter = "a" if text[drawn.changed_at] != "a" else "b"
                return text[: drawn.changed_at] + letter + text[drawn.changed_at + 1 :]
            case "unknown":
                return self.address(ids.recipient_id(NOW))
        return self.address(ident)

    def token(self, drawn: Drawn) -> str:
        links = self.returning.links if drawn.kind in ("ours", "expired") else self.other_links
        return links.unsubscribe_url(self.rows[drawn.target].recipient_id)

    def returned(self, drawn: Drawn) -> Returned | None:
        """What the door hands over; None where it refuses at RCPT."""
        verp = self.verp(drawn)
        if drawn.complains:
            mark = self.token(drawn) if drawn.by_token else verp
            named = drawn.groups[0][0] if drawn.groups else ""
            octets = arf(f"X-Mark: <{mark}>\r\nSubject: hello\r\n\r\nHello".encode(), named=named)
            return Returned(is_complaint=True, reverse_path=drawn.path, octets=octets, peer="p")
        told = [
            group(final, original=original, action=action, status=status, said=status)
            for final, original, action, status in drawn.groups
        ]
        octets = dsn(*told, original=f"Return-Path: <{verp}>\r\n\r\n".encode())
        if not drawn.has_envelope:
            return Returned(reverse_path=drawn.path, octets=octets, peer="p")
        ident = self.returning.reverse_paths.read(verp.partition("@")[0])
        if ident is None:
            return None
        return Returned(idents=(ident,), reverse_path=drawn.path, octets=octets, peer="p")

    def may_change(self, drawn: Drawn) -> set[str]:
        """Whom it may be about at most: recipients of the one address or token that is ours."""
        row = self.rows[drawn.target]
        if drawn.complains and drawn.by_token:
            return {row.recipient_id} if drawn.kind in ("ours", "expired") else set()
        if drawn.kind != "ours" or (not drawn.complains and not drawn.path.is_null):
            return set()
        if not drawn.by_message:
            return {row.recipient_id}
        sharers = [one for one in self.rows if one.queue_id == row.queue_id]
        if len(sharers) == 1:
            return {row.recipient_id}
        named = {name.lower() for final, original, *_ in drawn.groups for name in (final, original)}
        return {one.recipient_id for one in sharers if one.forward_path in named}


def _state(tx: Tx) -> dict[str, dict[tuple[Any, ...], Any]]:
    """Every row that a report could change, and every event but of what is not recognised."""
    keys = {
        schema.recipients: ["recipient_id"], schema.suppressions: ["scope", "address_key"],
        schema.notices: ["notice_id"], schema.messages: ["queue_id"], schema.events: ["seq"],
    }  # fmt: skip
    return {
        table.name: {
            tuple(row._mapping[name] for name in names): tuple(row)
            for row in tx.execute(select(*table.c))
            if table is not schema.events or row.type != "return.unrecognised"
        }
        for table, names in keys.items()
    }


def _changed(before: dict[str, Any], after: dict[str, Any], table: str) -> list[tuple[Any, ...]]:
    return [row for key, row in after[table].items() if before[table].get(key) != row]


@pytest.mark.slow
def test_nobody_changes_what_is_not_his(world: World) -> None:
    """Forged, expired, of another ring, of another message, from a person: zero changes.

    What is authentic changes rows of its own address at most, and a second time nothing.
    """
    loop = asyncio.new_event_loop()
    try:
        scene = loop.run_until_complete(_scene(world))

        @settings(
            max_examples=500,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(DRAWS)
        def hammer(drawn: Drawn) -> None:
            returned = scene.returned(drawn)
            if returned is not None:
                loop.run_until_complete(_try(scene, drawn, returned))

        hammer()
    finally:
        loop.close()


async def _try(scene: Scene, drawn: Drawn, returned: Returned) -> None:
    """Take it twice in a transaction that is undone."""
    reading = reading_of(returned, scene.signed, parse_octets=1 << 21)
    seen: list[dict[str, Any]] = []

    def work(tx: Tx) -> None:
        for is_quiet in (None, False, True):
            if is_quiet is not None:
                keep(tx, reading, section=SuppressionSection(), is_quiet=is_quiet)
            seen.append(_state(tx))
        raise _Undo

    with pytest.raises(_Undo):
        await scene.returning.world.database.write(work)
    before, after, again = seen
    allowed = scene.may_change(drawn)
    changed = {row[0] for row in _changed(before, after, "recipients")}
    assert changed <= allowed
    if not allowed:
        assert after == before
    assert after["messages"] == before["messages"]
    told = [row[6] for row in _changed(before, after, "events")]
    assert set(told) <= allowed
    own = {row.forward_path for row in scene.rows if row.recipient_id in allowed}
    assert {row[2] for row in _changed(before, after, "suppressions")} <= own
    assert again == after


async def _scene(world: World) -> Scene:
    """Seven recipients: shared and alone, delivered, in doubt, queued before and after a dot."""
    returning = Returning(world=world)
    both = "FAILURE,SUCCESS,DELAY"
    messages = [
        await returning.sent("bob@example.net", "zoe@example.org", notify=both),
        await returning.sent("bob@example.net", notify=both),
        await returning.sent("kim@example.org", outcome=InDoubt("timeout")),
        await returning.sent("zoe@example.org", outcome=Deferred("421 after the dot")),
        await returning.sent("kim@example.org", sandbox=True),
        await returning.queued("bob@example.net"),
    ]
    rows = [row for queue_id in messages for row in await returning.rows(queue_id)]
    scene = Scene(returning, rows)
    world.clock.advance(days=15)  # what was made before has expired
    return scene
