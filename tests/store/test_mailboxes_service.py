"""mailboxes.accounts: made, changed and ended by operators; the next hop of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from gatewayd.config.delivery import NextHop, TlsMode
from gatewayd.errors import Code, Refused
from gatewayd.ids import MailboxId
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.sealed import Sealer
from gatewayd.mail.outcome import Delivered
from gatewayd.mail.reply import Reply
from gatewayd.mailboxes.accounts import Change
from gatewayd.queue.outcome import AttemptRecord
from gatewayd.store import events, sealed
from gatewayd.store.schema import mailboxes
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, HOP, World

RELAY = Change(
    next_hop_host="relay.example.com", next_hop_user="u", next_hop_password="s3cret",
    next_hop_ca_file="/etc/ca.pem",
)  # fmt: skip


async def _code(waiting: object) -> tuple[Code, list[str]]:
    with pytest.raises(Refused) as caught:
        await waiting  # type: ignore[misc]  # a coroutine
    return caught.value.kind, [fault.pointer for fault in caught.value.faults]


async def _told(world: World) -> list[tuple[str, dict[str, object]]]:
    found = await world.database.read(lambda tx: events.after(tx, 0, limit=99))
    return [(one.type, one.data) for one in found]


async def test_mailbox_is_made_once_whatever_the_case(world: World) -> None:
    """Domain folded, local-part ASCII-caseless, as the sender binding compares."""
    row = await world.mailboxes.create("Ann@EXAMPLE.com", Change())

    assert row.address == "Ann@example.com"
    assert await world.mailboxes.get("ann@Example.COM") == row
    assert await _code(world.mailboxes.create("ANN@example.com", Change())) == (Code.CONFLICT, [])
    assert await world.mailboxes.list() == [row]
    assert await _told(world) == [("mailbox.created", {"address": "Ann@example.com"})]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        (Change(tracking="some"), "/tracking"),
        (Change(on_in_doubt="ask"), "/on_in_doubt"),
        (Change(next_hop_host="h", next_hop_tls_mode="maybe"), "/next_hop_tls_mode"),
        (Change(next_hop_host="h", next_hop_port=65_536), "/next_hop_port"),
        (Change(next_hop_host="h", next_hop_port=-1), "/next_hop_port"),
        (Change(display_name="a\r\nBcc: eve@example.com"), "/display_name"),
        (Change(display_name="a\x00b"), "/display_name"),
        (Change(next_hop_host="h", next_hop_tls_mode="none-on-loopback"), "/next_hop_tls_mode"),
        (Change(next_hop_host="h\x00"), "/next_hop_host"),
        (Change(next_hop_host="h", next_hop_user="u\x00"), "/next_hop_user"),
        (Change(next_hop_port=25), "/next_hop_port"),
        (Change(next_hop_user="u"), "/next_hop_user"),
    ],
)
async def test_setting_that_cannot_be_is_refused(
    world: World, change: Change, pointer: str
) -> None:
    """On making and on changing, with a pointer; nothing is stored."""
    assert await _code(world.mailboxes.create(ANN, change)) == (Code.VALIDATION_FAILED, [pointer])
    assert await world.mailboxes.list() == []
    await world.mailboxes.create(ANN, Change())
    before = await world.mailboxes.get(ANN)
    assert await _code(world.mailboxes.update(ANN, change)) == (Code.VALIDATION_FAILED, [pointer])
    assert await world.mailboxes.get(ANN) == before


@pytest.mark.parametrize("address", ["", "ann", "@example.com", "a@b@c", "ann@example.com\r\n"])
async def test_address_that_is_none_is_refused(world: World, address: str) -> None:
    code, _ = await _code(world.mailboxes.create(address, Change()))

    assert code is Code.VALIDATION_FAILED


async def test_change_sets_clears_and_leaves(world: World) -> None:
    """None leaves, an empty text clears; only what changed is told."""
    await world.mailboxes.create(ANN, Change(display_name="Ann", tracking="off"))
    world.clock.advance(seconds=1)
    row = await world.mailboxes.update(ANN, Change(display_name="", track_smtp=True))

    assert (row.display_name, row.track_smtp, row.tracking) == (None, True, "off")
    assert row.updated_at > row.created_at == NOW
    assert await world.mailboxes.get(ANN) == row
    changed = {"address": ANN, "changed": ["display_name", "track_smtp"]}
    assert (await _told(world))[-1] == ("mailbox.updated", changed)
    await world.mailboxes.update(ANN, Change(tracking="off"))
    assert len(await _told(world)) == 2
    assert (await _code(world.mailboxes.update("no@example.com", Change())))[0] is Code.NOT_FOUND


async def test_link_to_leave_by_is_a_setting(world: World) -> None:
    """It is on until the operator says otherwise."""
    made = await world.mailboxes.create(ANN, Change())
    changed = await world.mailboxes.update(ANN, Change(unsubscribe=False))
    await world.mailboxes.update(ANN, Change(tracking="off"))

    assert (made.unsubscribe, changed.unsubscribe) == (True, False)
    assert (await world.mailboxes.get(ANN)).unsubscribe is False


async def test_password_is_sealed_in_the_database_and_open_in_the_next_hop(world: World) -> None:
    """Neither the row nor the events hold it."""
    row = await world.mailboxes.create(ANN, RELAY)

    kept = await world.database.read(
        lambda tx: tx.execute(select(mailboxes.c.next_hop_password)).scalar_one()
    )
    hop = await world.mailboxes.next_hop(row.mailbox_id)

    assert "s3cret" not in kept
    assert hop == NextHop(
        host="relay.example.com", port=587, tls_mode=TlsMode.STARTTLS_REQUIRED, user="u",
        password="s3cret", ca_file=Path("/etc/ca.pem"),
    )  # fmt: skip
    assert "s3cret" not in repr(hop)
    assert "s3cret" not in repr(await _told(world))


async def test_next_hop_falls_back_to_the_smarthost(world: World) -> None:
    """Without one of its own, and for a mailbox that is gone: its last mail still goes."""
    row = await world.mailboxes.create(ANN, RELAY)
    await world.mailboxes.update(ANN, Change(next_hop_host=""))

    assert await world.mailboxes.next_hop(row.mailbox_id) == HOP
    assert await world.mailboxes.next_hop(MailboxId("gone")) == HOP
    cleared = await world.mailboxes.get(ANN)
    assert (cleared.next_hop_user, cleared.next_hop_password, cleared.next_hop_port) == (None,) * 3
    world.mailboxes.use_smarthost(None)
    assert await world.mailboxes.next_hop(row.mailbox_id) is None


async def test_next_hop_follows_a_change_of_another_node_within_a_second(world: World) -> None:
    row = await world.mailboxes.create(ANN, RELAY)
    other = world.second()
    other.mailboxes.use(world.sealer)
    assert (await other.mailboxes.next_hop(row.mailbox_id)) is not None
    await world.mailboxes.update(ANN, Change(next_hop_host="new.example.com"))
    world.clock.advance(seconds=1)

    hop = await other.mailboxes.next_hop(row.mailbox_id)

    assert hop is not None
    assert hop.host == "new.example.com"


async def test_password_survives_a_rotation_of_keys(world: World) -> None:
    row = await world.mailboxes.create(ANN, RELAY)
    fresh = Sealer(new_ring(Purpose.FERNET, created_at=NOW))
    await sealed.reseal_all(world.database, lambda text: fresh.seal(world.sealer.open(text)))
    world.mailboxes.use(fresh)

    hop = await world.mailboxes.next_hop(row.mailbox_id)

    assert hop is not None
    assert hop.password == "s3cret"


async def test_mailbox_with_mail_that_is_owed_is_not_destroyed(world: World) -> None:
    """Its tokens end with it, its mail does not vanish."""
    await world.sent()
    code, _ = await _code(world.mailboxes.destroy(ANN))
    assert code is Code.CONFLICT
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))
    record = AttemptRecord(
        next_hop="", phase="dot", tls="", transcript="", started_at=NOW, ended_at=NOW
    )
    outcomes = {claim.recipients[0].recipient_id: Delivered(Reply(250, None, "ok"))}
    await world.queue.settle(claim, outcomes, record)

    assert await world.mailboxes.destroy(ANN) == 1
    assert await world.mailboxes.list() == []
    assert (await world.inspector.message(claim.queue_id, None)).mailbox == ""
    assert (await _code(world.mailboxes.destroy(ANN)))[0] is Code.NOT_FOUND
