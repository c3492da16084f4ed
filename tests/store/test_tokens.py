"""tokens.service: issued, listed, revoked; who is asking, at most a second behind."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

import jwt
import pytest
from sqlalchemy import delete, event

from gatewayd.errors import Code, Refused
from gatewayd.ids import TokenId
from gatewayd.mailboxes.accounts import Change
from gatewayd.store import events
from gatewayd.store.database import Database
from gatewayd.store.schema import tokens
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.service import Issued, Request
from gatewayd.tokens.verify import signing_key
from tests.fakes.world import ANN, World

BOB = "bob@example.com"


async def _issue(world: World, mailbox: str = ANN, **wanted: object) -> Issued:
    if not await world.mailboxes.list():
        for address in (ANN, BOB):
            await world.mailboxes.create(address, Change())
    return await world.tokens.issue(Request(mailbox=mailbox, **wanted))  # type: ignore[arg-type]  # any field


async def _code(waiting: object) -> Code:
    with pytest.raises(Refused) as caught:
        await waiting  # type: ignore[misc]  # a coroutine
    return caught.value.kind


async def test_token_that_was_issued_is_who_it_says(world: World) -> None:
    issued = await _issue(
        world, scopes=(Scope.MESSAGES_SEND,), hourly=5, daily=9, sandbox=True, name="ci",
        allowed_recipient_domains=("B\u00fccher.example", "EXAMPLE.net"),
    )  # fmt: skip

    found = await world.tokens.authenticate(issued.token, user=None)

    assert (str(found.mailbox), found.token_id, found.sandbox) == (ANN, issued.row.token_id, True)
    assert (set(found.scopes), found.hourly, found.daily) == ({Scope.MESSAGES_SEND}, 5, 9)
    domains = frozenset({"xn--bcher-kva.example", "example.net"})
    assert found.allowed_recipient_domains == domains
    assert found.expires_at == issued.row.expires_at
    assert [(row.name, mailbox) for row, mailbox in await world.tokens.list(ANN)] == [("ci", ANN)]
    assert await world.tokens.list(BOB) == []


async def test_a_token_is_read_once_and_each_has_its_own_principal(world: World) -> None:
    """A request costs no more than a look whether it still holds."""
    issued, other = await _issue(world), await _issue(world, BOB)

    found = [await world.tokens.authenticate(issued.token, user=None) for _ in range(2)]
    world.tokens.use(world.ring)
    again = await world.tokens.authenticate(issued.token, user=None)

    assert found[0] is found[1]
    assert again == found[0]
    assert again is not found[0]
    assert str((await world.tokens.authenticate(other.token, user=None)).mailbox) == BOB


async def test_limits_are_the_default_unless_asked_for(world: World) -> None:
    default, free = await _issue(world), await _issue(world, unlimited=True)

    assert (default.row.hourly, default.row.daily) == (1000, 10_000)
    assert (free.row.hourly, free.row.daily) == (None, None)


@pytest.mark.parametrize(
    ("user", "is_good"),
    [
        (None, True), ("token", True), ("TOKEN", True), (ANN, True), ("Ann@EXAMPLE.com", True),
        (BOB, False), ("", False), ("ann", False), ("ann@example.com\x00", False),
    ],
)  # fmt: skip
async def test_user_name_is_the_mailbox_or_the_word(
    world: World, user: str | None, is_good: bool
) -> None:
    token = (await _issue(world)).token
    if is_good:
        await world.tokens.authenticate(token, user=user)
    else:
        assert await _code(world.tokens.authenticate(token, user=user)) is Code.TOKEN_INVALID


async def test_revoked_token_ends_at_once_here(world: World) -> None:
    """On open sessions too; a second time there is nothing to end."""
    issued = await _issue(world)
    principal = await world.tokens.authenticate(issued.token, user=None)
    assert await world.tokens.revoke(issued.row.token_id) is True

    assert await _code(world.tokens.check(principal)) is Code.TOKEN_REVOKED
    assert await _code(world.tokens.authenticate(issued.token, user=None)) is Code.TOKEN_REVOKED
    assert await world.tokens.revoke(issued.row.token_id) is False
    assert await _code(world.tokens.revoke(TokenId("none"))) is Code.NOT_FOUND
    told = await world.database.read(lambda tx: events.after(tx, 0, limit=99))
    assert [one.type for one in told][-2:] == ["token.issued", "token.revoked"]


async def test_revoked_token_ends_within_a_second_on_another_node(world: World) -> None:
    issued = await _issue(world)
    other = world.second()
    other.tokens.use(world.ring)
    principal = await other.tokens.authenticate(issued.token, user=None)
    await world.tokens.revoke(issued.row.token_id)
    world.clock.advance(seconds=1)

    assert await _code(other.tokens.check(principal)) is Code.TOKEN_REVOKED
    assert await _code(other.tokens.authenticate(issued.token, user=None)) is Code.TOKEN_REVOKED


async def test_expired_token_ends_on_open_sessions(world: World) -> None:
    issued = await _issue(world, lifetime_s=60)
    principal = await world.tokens.authenticate(issued.token, user=None)
    world.clock.advance(seconds=89)
    await world.tokens.check(principal)
    world.clock.advance(seconds=1)

    assert await _code(world.tokens.check(principal)) is Code.TOKEN_EXPIRED


async def test_mailbox_that_is_gone_ends_its_tokens(world: World) -> None:
    """Also for one of the same name that is made later."""
    issued = await _issue(world)
    principal = await world.tokens.authenticate(issued.token, user=None)
    assert await world.mailboxes.destroy(ANN) == 1
    await world.mailboxes.create(ANN, Change())
    world.clock.advance(seconds=1)

    assert await _code(world.tokens.check(principal)) is Code.TOKEN_REVOKED
    with pytest.raises(Refused):
        await world.tokens.authenticate(issued.token, user=None)


async def test_token_of_another_database_is_refused(world: World) -> None:
    """The same key, but no such token id: a copy of the key file is not enough."""
    issued = await _issue(world)
    await world.database.write(lambda tx: tx.execute(delete(tokens)))
    world.tokens.forget()

    assert await _code(world.tokens.authenticate(issued.token, user=None)) is Code.TOKEN_INVALID


async def test_time_tells_nothing_about_a_token(world: World) -> None:
    """What we did not sign asks the database nothing, whoever it names.

    What we did sign asks the same, whether the token, its mailbox or neither is known.
    """
    issued, other = await _issue(world), await _issue(world, BOB)
    head, claims, signature = issued.token.split(".")
    forged = (
        f"{head}.{claims}.{signature[::-1]}",
        f"{head}.{other.token.split('.')[1]}.{signature}",
        f"{head}.e30.{signature}",
        f"{head}.{claims}.",
        "a",
    )
    said = json.loads(base64.urlsafe_b64decode(claims + "=="))
    past = int(world.clock.now().timestamp()) - 3600
    signed = [
        jwt.encode(
            {**said, **changed},
            signing_key(world.ring, "a"),
            algorithm="EdDSA",
            headers={"kid": "a"},
        )
        for changed in ({"sub": BOB}, {"sub": "nobody@example.com"}, {"exp": past}, {})
    ]
    await world.tokens.revoke(issued.row.token_id)
    asked: list[list[str]] = []
    for token in (*forged, *signed):
        world.tokens.forget()
        with statements(world.database) as seen:
            await _code(world.tokens.authenticate(token, user=None))
        asked.append([each.partition(" ")[0] for each in seen])

    assert asked[: len(forged)] == [[]] * len(forged)
    of_sub, of_nobody, expired, revoked = asked[len(forged) :]
    assert of_sub == of_nobody == revoked != []
    assert expired == []


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Every statement that the database is asked meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    engines = {database._writer_engine, database._reader_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"mailbox": "none@example.com"}, Code.NOT_FOUND),
        ({"mailbox": "no address"}, Code.VALIDATION_FAILED),
        ({"lifetime_s": -1}, Code.VALIDATION_FAILED),
        ({"lifetime_s": 10**12}, Code.VALIDATION_FAILED),
        ({"allowed_recipient_domains": ("not a domain",)}, Code.VALIDATION_FAILED),
        ({"hourly": -1}, Code.VALIDATION_FAILED),
        ({"daily": -1}, Code.VALIDATION_FAILED),
        ({"name": "a\x00b"}, Code.VALIDATION_FAILED),
        ({"lifetime_s": 0}, Code.VALIDATION_FAILED),
    ],
)
async def test_wish_that_cannot_be_met_is_refused(
    world: World, wanted: dict[str, object], code: Code
) -> None:
    """Nothing is issued that could not be used."""
    await _issue(world)

    assert await _code(world.tokens.issue(Request(**{"mailbox": ANN, **wanted}))) is code  # type: ignore[arg-type]  # any field
    assert len(await world.tokens.list()) == 1
