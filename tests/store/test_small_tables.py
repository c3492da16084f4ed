"""store: mailboxes, tokens, quotas, suppressions, idempotency, DKIM keys and events."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from gatewayd.errors import StoreConflict
from gatewayd.ids import MailboxId, QueueId, TokenId
from gatewayd.store import (
    dkim_keys,
    events,
    idempotency,
    mailboxes,
    quotas,
    sealed,
    suppressions,
    tokens,
)
from gatewayd.store.database import Database
from gatewayd.store.dkim_keys import DkimKeyRow
from gatewayd.store.idempotency import IdempotencyRow
from gatewayd.store.suppressions import ALL
from tests.fakes import rows
from tests.fakes.clock import NOW, ManualClock

HOUR = dt.timedelta(hours=1)
M1, M2 = MailboxId("m1"), MailboxId("m2")


# --- mailboxes ---


async def test_mailbox_reads_back_equal_by_id_and_address(database: Database) -> None:
    row = rows.mailbox("m1", "ann@example.com")
    await rows.keep_mailbox(database, row)

    assert await database.read(lambda tx: mailboxes.by_ids(tx, [M1, M2])) == {"m1": row}
    assert await database.read(lambda tx: mailboxes.by_address_key(tx, row.address_key)) == row
    assert await database.read(lambda tx: mailboxes.by_address_key(tx, "none@x")) is None


async def test_address_of_a_mailbox_stands_once(database: Database) -> None:
    await rows.keep_mailbox(database, rows.mailbox("m1", "ann@example.com"))

    with pytest.raises(StoreConflict):
        await rows.keep_mailbox(database, rows.mailbox("m2", "ann@example.com"))


async def test_mailboxes_change_list_and_go(database: Database) -> None:
    one, two = rows.mailbox("m2", "bob@example.com"), rows.mailbox("m1", "zoe@example.com")
    for row in (two, one):
        await rows.keep_mailbox(database, row)
    await database.write(lambda tx: mailboxes.change(tx, M1, {"display_name": None}))

    changed = dataclasses.replace(two, display_name=None)
    assert await database.read(mailboxes.in_order) == [one, changed]
    await database.write(lambda tx: mailboxes.remove(tx, M2))
    assert await database.read(mailboxes.in_order) == [changed]


# --- tokens ---


async def test_token_reads_back_equal(database: Database) -> None:
    limited = rows.token("t1")
    free = rows.token("t2", hourly=None, allowed_recipient_domains=None, revoked_at=NOW)
    for row in (limited, free):
        await database.write(lambda tx, row=row: tokens.add(tx, row))  # type: ignore[misc]  # binds the loop's value

    found = await database.read(lambda tx: tokens.by_ids(tx, [limited.token_id, free.token_id]))

    assert found == {"t1": limited, "t2": free}


async def test_tokens_in_order_of_issue_of_one_mailbox_or_all(database: Database) -> None:
    for row in (
        rows.token("t2"),
        rows.token("t1", issued_at=NOW + HOUR),
        rows.token("t3", mailbox_id=M2),
    ):
        await database.write(lambda tx, row=row: tokens.add(tx, row))  # type: ignore[misc]  # binds the loop's value

    of_one = await database.read(lambda tx: tokens.in_order(tx, M1))
    of_all = await database.read(lambda tx: tokens.in_order(tx, None))

    assert [row.token_id for row in of_one] == ["t2", "t1"]
    assert [row.token_id for row in of_all] == ["t2", "t3", "t1"]


async def test_revoke_ends_a_token_once(database: Database) -> None:
    for name in ("t1", "t2", "t3"):
        await database.write(lambda tx, name=name: tokens.add(tx, rows.token(name)))  # type: ignore[misc]  # binds the loop's value

    assert await database.write(lambda tx: tokens.revoke(tx, TokenId("t1"))) is True
    assert await database.write(lambda tx: tokens.revoke(tx, TokenId("t1"))) is False
    assert await database.write(lambda tx: tokens.revoke(tx, TokenId("none"))) is False
    assert await database.write(lambda tx: tokens.revoke_of_mailbox(tx, M1)) == 2
    found = await database.read(lambda tx: tokens.in_order(tx, None))
    assert {row.revoked_at for row in found} == {NOW}


async def test_live_tokens_of_other_keys_are_counted(database: Database) -> None:
    """Neither the revoked nor the expired need an old key."""
    for row in (
        rows.token("t1", key_id="b"),
        rows.token("t2", key_id="a"),
        rows.token("t3", key_id="b", revoked_at=NOW),
        rows.token("t4", key_id="b", expires_at=NOW),
    ):
        await database.write(lambda tx, row=row: tokens.add(tx, row))  # type: ignore[misc]  # binds the loop's value

    assert await database.read(lambda tx: tokens.count_live_of_other_keys(tx, "a")) == 1


# --- quotas ---


async def test_quota_counters_are_made_kept_and_forgotten(database: Database) -> None:
    """Only the windows that were asked for, not others of the same token."""
    hour, day = (TokenId("t1"), "hour", NOW), (TokenId("t1"), "day", NOW - 12 * HOUR)
    before = (TokenId("t1"), "hour", NOW - HOUR)
    assert await database.write(lambda tx: quotas.take(tx, [hour, day])) == {hour: 0, day: 0}
    await database.write(lambda tx: quotas.put(tx, {hour: 3, day: 7}))
    await database.write(lambda tx: quotas.put(tx, {}))

    found = await database.write(lambda tx: quotas.take(tx, [hour, day, before]))

    assert found == {hour: 3, day: 7, before: 0}
    assert await database.write(lambda tx: quotas.take(tx, [])) == {}
    assert await database.write(lambda tx: quotas.remove_ended(tx, NOW)) == 2
    assert await database.write(lambda tx: quotas.take(tx, [hour])) == {hour: 3}


# --- suppressions ---


async def test_suppressions_are_found_by_scope_and_key(database: Database) -> None:
    """Of this mailbox or of all; not those of another, not the expired."""
    for row in (
        rows.suppression("m1", "a@x"),
        rows.suppression(ALL, "b@x"),
        rows.suppression("m2", "c@x"),
        rows.suppression("m1", "d@x", expires_at=NOW),
        rows.suppression("m1", "e@x", expires_at=NOW + HOUR),
    ):
        await database.write(lambda tx, row=row: suppressions.put(tx, row))  # type: ignore[misc]  # binds the loop's value

    found = await database.read(
        lambda tx: suppressions.find(
            tx, [("m1", key) for key in ("a@x", "b@x", "c@x", "d@x", "e@x", "A@x")]
        )
    )

    assert found.keys() == {("m1", "a@x"), (ALL, "b@x"), ("m1", "e@x")}
    assert found["m1", "a@x"] == rows.suppression("m1", "a@x")


async def test_are_any_knows_expiry_and_scope(database: Database) -> None:
    await database.write(
        lambda tx: suppressions.put(tx, rows.suppression("m1", "a@x", expires_at=NOW))
    )
    assert await database.read(lambda tx: suppressions.are_any(tx, "m1")) is False
    await database.write(lambda tx: suppressions.put(tx, rows.suppression("m2", "a@x")))
    assert await database.read(lambda tx: suppressions.are_any(tx, "m1")) is False
    assert await database.read(lambda tx: suppressions.are_any(tx, "m2")) is True
    await database.write(lambda tx: suppressions.put(tx, rows.suppression(ALL, "z@x")))
    assert await database.read(lambda tx: suppressions.are_any(tx, "m1")) is True


async def test_suppression_again_keeps_when_it_was_first_seen(database: Database) -> None:
    first = rows.suppression("m1", "a@x", expires_at=NOW)
    again = rows.suppression(
        "m1", "a@x", reason="5.2.1", source="report",
        first_seen_at=NOW + HOUR, last_seen_at=NOW + HOUR,
    )  # fmt: skip
    for row in (first, again):
        await database.write(lambda tx, row=row: suppressions.put(tx, row))  # type: ignore[misc]  # binds the loop's value

    found = await database.read(
        lambda tx: suppressions.in_order(tx, scope=None, after=None, limit=9)
    )

    assert found == [dataclasses.replace(again, first_seen_at=NOW)]


async def test_suppressions_in_pages(database: Database) -> None:
    for scope, address in (("m2", "a@x"), ("m1", "b@x"), (ALL, "a@x"), ("m1", "a@x")):
        await database.write(
            lambda tx, s=scope, a=address: suppressions.put(tx, rows.suppression(s, a))  # type: ignore[misc]  # binds the loop's values
        )

    async def page(
        scope: str | None, after: tuple[str, str] | None, limit: int
    ) -> list[tuple[str, str]]:
        found = await database.read(
            lambda tx: suppressions.in_order(tx, scope=scope, after=after, limit=limit)
        )
        return [(row.address_key, row.scope) for row in found]

    assert await page(None, None, 2) == [("a@x", ALL), ("a@x", "m1")]
    assert await page(None, ("a@x", "m1"), 9) == [("a@x", "m2"), ("b@x", "m1")]
    assert await page("m1", None, 9) == [("a@x", "m1"), ("b@x", "m1")]
    assert await database.write(lambda tx: suppressions.remove(tx, scope="m1", key="a@x")) is True
    assert await database.write(lambda tx: suppressions.remove(tx, scope="m1", key="a@x")) is False
    assert await page("m1", None, 9) == [("b@x", "m1")]


# --- idempotency ---


def _key(mailbox: MailboxId, key: str, expires_at: dt.datetime = NOW + HOUR) -> IdempotencyRow:
    return IdempotencyRow(
        mailbox_id=mailbox, key=key, fingerprint=b"\x00\xff", queue_id=QueueId("q1"),
        expires_at=expires_at,
    )  # fmt: skip


async def test_keys_are_found_by_mailbox_and_word(database: Database) -> None:
    """Two mailboxes may use the same word; an expired one is found too."""
    kept = [_key(M1, "a"), _key(M2, "a"), _key(M1, "b", NOW)]
    await database.write(lambda tx: idempotency.add(tx, kept))
    await database.write(lambda tx: idempotency.add(tx, []))

    found = await database.write(
        lambda tx: idempotency.find(tx, [(M1, "a"), (M1, "b"), (M2, "b"), (M1, "A")])
    )

    assert found == {(M1, "a"): kept[0], (M1, "b"): kept[2]}
    with pytest.raises(StoreConflict):
        await database.write(lambda tx: idempotency.add(tx, [_key(M1, "a")]))


async def test_keys_are_made_free_by_name_and_by_time(
    database: Database, clock: ManualClock
) -> None:
    kept = [_key(M1, "a"), _key(M2, "a"), _key(M1, "b", NOW + 2 * HOUR)]
    await database.write(lambda tx: idempotency.add(tx, kept))
    await database.write(lambda tx: idempotency.forget(tx, [(M1, "a")]))
    await database.write(lambda tx: idempotency.forget(tx, []))
    clock.advance(hours=1.5)

    assert await database.write(idempotency.remove_expired) == 1
    found = await database.write(
        lambda tx: idempotency.find(tx, [(row.mailbox_id, row.key) for row in kept])
    )
    assert found.keys() == {(M1, "b")}


# --- DKIM keys ---


def _dkim(domain: str, selector: str, private_key: str = "a:x") -> DkimKeyRow:
    return DkimKeyRow(
        domain=domain, selector=selector, algorithm="ed25519", private_key=private_key,
        created_at=NOW,
    )  # fmt: skip


async def test_dkim_keys_are_kept_by_domain_and_selector(database: Database) -> None:
    kept = [_dkim("a.example", "s2"), _dkim("a.example", "s1"), _dkim("b.example", "s1")]
    await database.write(lambda tx: dkim_keys.add(tx, kept))

    found = await database.read(lambda tx: dkim_keys.of_domain(tx, "a.example"))
    assert found == [kept[1], kept[0]]
    await database.write(lambda tx: dkim_keys.reseal(tx, "a.example", "s1", "b:y"))
    assert [row.private_key for row in await database.read(dkim_keys.in_order)] == [
        "b:y", "a:x", "a:x",
    ]  # fmt: skip
    assert await database.write(lambda tx: dkim_keys.remove(tx, "a.example")) == 2
    assert await database.write(lambda tx: dkim_keys.remove(tx, "a.example")) == 0


# --- sealed ---


async def test_secrets_under_another_key_are_counted_and_sealed_again(database: Database) -> None:
    """A key id is told from the same letter in another case, on both databases."""
    for number, password in enumerate(["a:1", "b:2", "A:3", None]):
        await rows.keep_mailbox(
            database,
            rows.mailbox(f"m{number}", f"m{number}@example.com", next_hop_password=password),
        )
    await database.write(lambda tx: dkim_keys.add(tx, [_dkim("a.example", "s1", "b:4")]))

    assert await database.read(lambda tx: sealed.count_without(tx, "a:")) == 3
    changed = await sealed.reseal_all(database, lambda text: f"a:{text[2:]}")

    assert changed == 3
    assert await database.read(lambda tx: sealed.count_without(tx, "a:")) == 0
    assert await sealed.reseal_all(database, lambda text: text) == 0
    assert await database.read(mailboxes.sealed) == [("m0", "a:1"), ("m1", "a:2"), ("m2", "a:3")]


# --- events ---


async def test_events_are_read_by_message_and_by_number(database: Database) -> None:
    def row(name: str, queue_id: str | None) -> dict[str, object]:
        return {
            "event_id": name, "type": "t", "at": NOW, "mailbox_id": "m1", "queue_id": queue_id,
            "recipient_id": None, "data": {"n": name},
        }  # fmt: skip

    await database.write(
        lambda tx: events.append(tx, [row("1", "q1"), row("2", None), row("3", "q1")])
    )
    await database.write(lambda tx: events.append(tx, []))

    of_one = await database.read(lambda tx: events.of_message(tx, QueueId("q1")))
    assert [(one.event_id, one.data) for one in of_one] == [("1", {"n": "1"}), ("3", {"n": "3"})]
    later = await database.read(lambda tx: events.after(tx, of_one[0].seq, limit=10))
    assert [one.event_id for one in later] == ["2", "3"]
