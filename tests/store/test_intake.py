"""intake.pipeline: what is accepted is there whole; what is refused leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewayd.errors import Code, Refused, StoreFull, StoreUnavailable
from gatewayd.mail.address import ForwardPath, ReversePath
from gatewayd.mail.envelope import BodyType, Recipient
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage, SpooledBody
from gatewayd.mailboxes.accounts import Change
from gatewayd.policy.submission import Door, Options
from gatewayd.queue.states import State
from gatewayd.store import messages, recipients
from gatewayd.tokens.claims import Scope
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, MESSAGE, World, fields, submission

HEADER = RawMessage.parse(MESSAGE).header
LARGE = b"x" * 76 + b"\r\n"


def _files(world: World) -> list[Path]:
    return [path for path in world.spool_directory.rglob("*") if path.is_file()]


async def _spooled(world: World, octets: bytes = LARGE * 1000) -> SpooledBody:
    writer = world.spool.incoming()
    writer.write(octets)
    body = await writer.finish()
    assert isinstance(body, SpooledBody)
    return body


async def _refused(waiting: object) -> Refused:
    with pytest.raises(Refused) as caught:
        await waiting  # type: ignore[misc]  # a coroutine
    return caught.value


async def test_accepted_message_is_there_whole(world: World) -> None:
    principal = await world.principal()
    options = Options(tags=("t",), metadata=(("k", "v"),))
    given = submission(principal, "bob@example.net", "zoe@example.org", options=options)

    accepted = await world.intake.accept(given)

    view = await world.inspector.message(accepted.queue_id, principal.mailbox_id)
    assert (accepted.accepted_at, accepted.replayed) == (NOW, False)
    assert [(r.recipient_id, r.address, r.state) for r in view.recipients] == [
        (r.recipient_id, r.address, State(r.status)) for r in accepted.recipients
    ]
    assert (view.tags, view.metadata, view.subject) == (("t",), {"k": "v"}, "hello")
    assert (view.door, view.reverse_path, view.message_id) == ("smtp", ANN, "<1@example.com>")
    assert world.accepted == [1]


async def test_http_fields_are_stored_as_a_message(world: World) -> None:
    principal = await world.principal()

    await world.intake.accept(submission(principal, content=fields(), door=Door.HTTP))

    (claim,) = await world.queue.claim({principal.mailbox_id: 1})
    assert claim.message.body == b"Hello.\r\n"
    assert claim.body_type is BodyType.SEVEN_BIT


async def test_large_body_is_a_file_and_a_small_one_a_row(world: World) -> None:
    """Over HTTP intake spools it; over SMTP it is already."""
    principal = await world.principal()
    await world.intake.accept(submission(principal, content=MESSAGE + LARGE * 10))
    assert _files(world) == []
    await world.intake.accept(submission(principal, content=MESSAGE + LARGE * 1000, door=Door.HTTP))
    body = await _spooled(world)
    await world.intake.accept(submission(principal, content=RawMessage(HEADER, body)))

    claims = await world.queue.claim({principal.mailbox_id: 9})

    assert [type(claim.message.body) for claim in claims] == [bytes, SpooledBody, SpooledBody]
    assert claims[2].message.body == body
    assert b"".join(world.spool.blocks(claims[1].message.body)) == b"Hello.\r\n" + LARGE * 1000
    assert len(_files(world)) == 2


@pytest.mark.parametrize("door", Door)
async def test_refused_message_leaves_no_file(world: World, door: Door) -> None:
    """By its own fault or by the database's word."""
    principal = await world.principal()
    await world.suppressions.add("bob@example.net", scope="*", reason="r", source="s")
    foreign = HeaderSection(b"From: eve@example.com\r\n")
    for header in (HEADER, foreign):
        body = await _spooled(world) if door is Door.SMTP else LARGE * 1000
        await _refused(
            world.intake.accept(submission(principal, content=RawMessage(header, body), door=door))
        )

    assert _files(world) == []
    assert await world.database.read(messages.count) == 0


async def test_replay_leaves_no_second_file(world: World) -> None:
    principal = await world.principal()
    for _ in range(2):
        content = RawMessage(HEADER, await _spooled(world))
        options = Options(idempotency_key="k")
        await world.intake.accept(submission(principal, content=content, options=options))

    assert len(_files(world)) == 1


async def test_full_disk_leaves_no_file(world: World) -> None:
    """The space is needed for outcomes."""
    principal = await world.principal()

    def full(*_: object) -> None:
        raise StoreFull("no space")

    world.intake._sets._work = full  # type: ignore[assignment]  # a database that is full
    with pytest.raises(StoreFull):
        await world.intake.accept(
            submission(principal, content=RawMessage(HEADER, await _spooled(world)))
        )

    assert _files(world) == []


async def test_closed_database_is_unavailable_not_refused(world: World) -> None:
    principal = await world.principal()
    world.database.close()

    with pytest.raises(StoreUnavailable):
        await world.intake.accept(submission(principal))


async def test_no_room_is_said_at_mail_and_at_the_dot(world: World) -> None:
    principal = await world.principal()
    world.space.room = False
    path = ReversePath.parse(ANN)

    for waiting in (
        world.intake.screen_sender(principal, reverse_path=path, size_octets=None),
        world.intake.accept(submission(principal)),
    ):
        assert (await _refused(waiting)).kind is Code.STORAGE_FULL
    world.space.room = True
    await world.intake.accept(submission(principal))


async def test_display_name_of_the_operator_is_in_the_stored_copy(world: World) -> None:
    principal = await world.principal()
    await world.mailboxes.update(ANN, Change(display_name="Ann from Support"))
    await world.intake.accept(submission(principal))

    (claim,) = await world.queue.claim({principal.mailbox_id: 1})

    assert claim.message.header.first("From") == b"Ann from Support <ann@example.com>"


async def test_mailbox_with_utf8_may_send_raw_over_http(world: World) -> None:
    """Without From: it is added, and the next hop asked for SMTPUTF8 (RFC 6531)."""
    principal = await world.principal("j\u00fcrgen@example.com")
    await world.intake.accept(
        submission(principal, content=b"Subject: s\r\n\r\nHi.\r\n", door=Door.HTTP)
    )

    (claim,) = await world.queue.claim({principal.mailbox_id: 1})

    assert claim.smtputf8 is True
    assert claim.message.header.first("From") == "j\u00fcrgen@example.com".encode()


# --- what MAIL and RCPT are told ---


@pytest.mark.parametrize(
    ("path", "size", "code"),
    [
        (ANN, None, None), (ANN, 10_485_760, None), (ANN, 10_485_761, Code.MESSAGE_TOO_LARGE),
        ("", None, Code.SENDER_NOT_ALLOWED), ("eve@example.com", None, Code.SENDER_NOT_ALLOWED),
    ],
)  # fmt: skip
async def test_mail_is_told(world: World, path: str, size: int | None, code: Code | None) -> None:
    principal = await world.principal()
    waiting = world.intake.screen_sender(
        principal, reverse_path=ReversePath.parse(path), size_octets=size
    )
    if code is None:
        await waiting
    else:
        assert (await _refused(waiting)).kind is code


async def test_mail_is_told_of_scope_expiry_and_revocation(world: World) -> None:
    path = ReversePath.parse(ANN)
    reader = await world.principal(scopes=(Scope.MESSAGES_READ,))
    short = await world.principal(lifetime_s=60)
    ended = await world.principal()
    await world.tokens.revoke(ended.token_id)
    world.clock.advance(seconds=90)

    for principal, code in (
        (reader, Code.SCOPE_MISSING), (short, Code.TOKEN_EXPIRED), (ended, Code.TOKEN_REVOKED),
    ):  # fmt: skip
        waiting = world.intake.screen_sender(principal, reverse_path=path, size_octets=None)
        assert (await _refused(waiting)).kind is code
        assert (await _refused(world.intake.accept(submission(principal)))).kind is code


async def test_rcpt_is_told(world: World) -> None:
    principal = await world.principal(allowed_recipient_domains=("example.net",))
    await world.suppressions.add("no@example.net", scope="*", reason="r", source="s")

    async def told(address: str, already: int = 0) -> Code | None:
        recipient = Recipient(ForwardPath.parse(address))
        try:
            await world.intake.screen_recipient(principal, recipient, already=already)
        except Refused as refused:
            return refused.kind
        return None

    assert await told("bob@example.net") is None
    assert await told("bob@EXAMPLE.net", already=99) is None
    assert await told("bob@example.net", already=100) is Code.TOO_MANY_RECIPIENTS
    assert await told("bob@example.org") is Code.RECIPIENT_DOMAIN_NOT_ALLOWED
    assert await told("bob@sub.example.net") is Code.RECIPIENT_DOMAIN_NOT_ALLOWED
    assert await told("no@example.net") is Code.RECIPIENT_SUPPRESSED


async def test_refusal_is_counted_by_its_code(world: World) -> None:
    principal = await world.principal()
    await _refused(
        world.intake.accept(submission(principal, content=b"From: eve@example.com\r\n\r\n"))
    )

    assert await world.database.read(recipients.count_by_state) == {}
    assert b'code="sender_not_allowed"' in world.metrics.render()
