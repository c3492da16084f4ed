"""queue.inspect: operators and readers see, explain and move what is in the queue."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass

import pytest

from gatewayd.errors import Code, Refused
from gatewayd.ids import MailboxId, QueueId, RecipientId
from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome
from gatewayd.mail.reply import Reply
from gatewayd.policy.submission import Options
from gatewayd.queue.inspect import Moved
from gatewayd.queue.outcome import AttemptRecord
from gatewayd.queue.states import State
from gatewayd.store import events, recipients
from gatewayd.store.suppressions import ALL
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, World, submission

RECORD = AttemptRecord(
    next_hop="h:25", phase="dot", tls="", transcript="C: MAIL", started_at=NOW, ended_at=NOW
)
OUTCOMES: dict[State, Outcome] = {
    State.DELIVERED: Delivered(Reply(250, None, "ok")),
    State.FAILED: Failed("mailbox full", Reply(552, None, "mailbox full")),
    State.IN_DOUBT: InDoubt("timeout"),
}
VERBS = ("hold", "release", "retry", "cancel")
LEGAL = {
    "hold": {State.QUEUED},
    "release": {State.HELD},
    "retry": {State.QUEUED, State.HELD, State.FAILED, State.EXPIRED, State.IN_DOUBT},
    "cancel": {State.QUEUED, State.HELD, State.IN_DOUBT},
}
LEADS_TO = {
    "hold": State.HELD,
    "release": State.QUEUED,
    "retry": State.QUEUED,
    "cancel": State.CANCELLED,
}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A filter."""

    state: State | None = None
    recipient: str | None = None
    tag: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


async def _in_state(world: World, state: State) -> QueueId:
    """A message whose one recipient is there."""
    queue_id = await world.sent()
    if state is State.QUEUED:
        return queue_id
    if state in (State.HELD, State.CANCELLED, State.EXPIRED, State.BOUNCED):
        (one,) = (await world.inspector.message(queue_id, None)).recipients
        ids: list[RecipientId] = [one.recipient_id]
        await world.database.write(
            lambda tx: recipients.change(tx, ids, state=state.value, due_at=None, reason="test")
        )
        return queue_id
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))
    if state is not State.CLAIMED:
        outcomes = {one.recipient_id: OUTCOMES[state] for one in claim.recipients}
        await world.queue.settle(claim, outcomes, RECORD)
    return queue_id


async def _do(world: World, verb: str, queue_id: QueueId) -> Moved:
    moved: Moved = await getattr(world.inspector, verb)(queue_id, by="op")
    return moved


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", State)
async def test_verb_from_each_state(world: World, verb: str, state: State) -> None:
    """Legal ones move and are told; all others are a conflict that says why, and change nothing."""
    queue_id = await _in_state(world, state)
    before = await world.inspector.message(queue_id, None)

    if state not in LEGAL[verb]:
        with pytest.raises(Refused) as caught:
            await _do(world, verb, queue_id)
        assert caught.value.kind is Code.CONFLICT
        word = "being delivered" if state is State.CLAIMED else state.value
        assert word in caught.value.public
        assert await world.inspector.message(queue_id, None) == before
        return

    assert await _do(world, verb, queue_id) == Moved(moved=1, left=())
    (one,) = (await world.inspector.message(queue_id, None)).recipients
    assert one.state is LEADS_TO[verb]
    assert (one.next_attempt_at == NOW) == (one.state is State.QUEUED)
    assert one.last_reply is not None
    assert one.last_reply.endswith(" by op")
    told = await world.database.read(lambda tx: events.of_message(tx, queue_id))
    assert (told[-1].type.partition(".")[0], told[-1].data) == (
        "message",
        {"by": "op", "recipients": 1},
    )


async def test_retry_starts_the_count_anew(world: World) -> None:
    queue_id = await _in_state(world, State.FAILED)
    await world.inspector.retry(queue_id, by="op")

    (one,) = (await world.inspector.message(queue_id, None)).recipients

    assert (one.state, one.attempts) == (State.QUEUED, 0)


async def test_release_keeps_the_count(world: World) -> None:
    queue_id = await world.sent()
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))
    await world.queue.settle(claim, {claim.recipients[0].recipient_id: Deferred("later")}, RECORD)
    await world.inspector.hold(queue_id, by="op")
    await world.inspector.release(queue_id, by="op")

    (one,) = (await world.inspector.message(queue_id, None)).recipients

    assert (one.state, one.attempts, one.next_attempt_at) == (State.QUEUED, 1, NOW)


async def test_verb_moves_what_it_may_and_names_what_it_leaves(world: World) -> None:
    queue_id = await world.sent("a@example.net", "b@example.net")
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))
    first, second = claim.recipients
    await world.queue.settle(
        claim,
        {first.recipient_id: OUTCOMES[State.DELIVERED], second.recipient_id: Deferred("later")},
        RECORD,
    )

    moved = await world.inspector.cancel(queue_id, by="op")

    assert moved.moved == 1
    assert moved.left == ("a@example.net is delivered, and cannot be cancelled",)


async def test_held_message_is_not_claimed(world: World) -> None:
    queue_id = await world.sent()
    await world.inspector.hold(queue_id, by="op")
    assert await world.queue.lanes() == {}
    await world.inspector.release(queue_id, by="op")
    assert len(await world.queue.lanes()) == 1


@pytest.mark.parametrize("queue_id", ["none", "", "a\x00b", "\ud800", "x" * 10_000])
async def test_message_that_is_not_there_is_not_found(world: World, queue_id: str) -> None:
    """Whatever a client asks for, also what no database could hold."""
    for ask in (
        world.inspector.message(QueueId(queue_id), None),
        world.inspector.explain(QueueId(queue_id), None),
        world.inspector.hold(QueueId(queue_id), by="op"),
    ):
        with pytest.raises(Refused) as caught:
            await ask
        assert caught.value.kind is Code.NOT_FOUND


async def test_message_of_another_mailbox_is_not_found(world: World) -> None:
    principal = await world.principal()
    queue_id = await world.sent()
    view = await world.inspector.message(queue_id, principal.mailbox_id)
    assert (view.mailbox, view.subject, view.message_id) == (ANN, "hello", "<1@example.com>")

    for ask in (world.inspector.message, world.inspector.explain):
        with pytest.raises(Refused) as caught:
            await ask(queue_id, MailboxId("other"))
        assert caught.value.kind is Code.NOT_FOUND


async def _listed(world: World, wanted: Wanted) -> list[QueueId]:
    page = await world.inspector.messages(wanted, mailbox_id=None, cursor=None, limit=10)
    return [view.queue_id for view in page.items]


async def test_list_by_filter(world: World) -> None:
    principal = await world.principal()
    first = await world.sent("Bob@EXAMPLE.net")
    await world.inspector.hold(first, by="op")
    world.clock.advance(hours=1)
    tagged = submission(principal, "zoe@example.org", options=Options(tags=("Welcome",)))
    second = (await world.intake.accept(tagged)).queue_id

    at = NOW + dt.timedelta(minutes=30)
    for wanted, expected in (
        (Wanted(), [second, first]),
        (Wanted(state=State.HELD), [first]),
        (Wanted(recipient="Bob@Example.NET"), [first]),
        (Wanted(recipient="bob@example.net"), []),
        (Wanted(recipient="no address"), []),
        (Wanted(recipient="a\x00b"), []),
        (Wanted(tag="Welcome"), [second]),
        (Wanted(tag="Wel"), []),
        (Wanted(tag="\x00"), []),
        (Wanted(since=at), [second]),
        (Wanted(until=at), [first]),
    ):
        assert await _listed(world, wanted) == expected, wanted


async def test_list_in_pages(world: World) -> None:
    """Each message once, though new ones come in between."""
    sent = [await world.sent() for _ in range(5)]
    seen: list[QueueId] = []
    cursor = None
    while True:
        page = await world.inspector.messages(Wanted(), mailbox_id=None, cursor=cursor, limit=2)
        seen += [view.queue_id for view in page.items]
        await world.sent()
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == sent[::-1]
    for odd in ("\x00", "zzz", "\ud800"):
        await world.inspector.messages(Wanted(), mailbox_id=None, cursor=odd, limit=2)


async def test_list_of_one_mailbox(world: World) -> None:
    ann = await world.principal()
    await world.sent()
    for mailbox_id, count in ((ann.mailbox_id, 1), (MailboxId("other"), 0)):
        page = await world.inspector.messages(
            Wanted(), mailbox_id=mailbox_id, cursor=None, limit=10
        )
        assert len(page.items) == count


EXPLAINED = {
    State.QUEUED: "waits to be sent now",
    State.CLAIMED: "is being delivered at this moment since 2026-11-21 12:00:00 UTC",
    State.DELIVERED: "was taken by the next hop at 2026-11-21 12:00:00 UTC (h:25 said 250 ok)",
    State.FAILED: "was refused for good after 1 attempt(s) (h:25 said 552 mailbox full); "
    "send it again in some days",
    State.IN_DOUBT: "may have been taken: no reply came to the final dot; "
    "it is sent again at 2026-11-21 12:0",
    State.EXPIRED: "was given up after 0 attempt(s): no time or no try was left (test); "
    "correct the cause, then send it again",
    State.HELD: "is held (test); an operator releases, retries or cancels it",
    State.CANCELLED: "was cancelled (test)",
    State.BOUNCED: "came back at an unknown time (test); read what was said",
}


@pytest.mark.parametrize("state", State)
async def test_explain_says_where_it_is_and_what_to_do(world: World, state: State) -> None:
    queue_id = await _in_state(world, state)

    found = await world.inspector.explain(queue_id, None)

    assert found.lines[0].startswith(f"bob@example.net {EXPLAINED[state]}")
    assert found.summary == f"accepted 2026-11-21 12:00:00 UTC by smtp: 1 {state.value}"
    assert found.events[0].type == "message.accepted"


async def test_explain_a_deferral(world: World) -> None:
    queue_id = await world.sent()
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))
    said = Deferred("greylisted", Reply(451, None, "greylisted"))
    await world.queue.settle(claim, {claim.recipients[0].recipient_id: said}, RECORD)

    (line,) = (await world.inspector.explain(queue_id, None)).lines

    assert line.startswith(
        "bob@example.net was deferred after 1 attempt(s); the next attempt is at "
    )
    assert line.endswith("(h:25 said 451 greylisted)")


async def test_explain_names_who_is_before_it_and_what_troubles_the_others(world: World) -> None:
    """Nothing is written on a recipient that waits, so the queue around it is asked."""
    await world.sent("a@example.net")
    world.clock.advance(seconds=1)
    await world.sent("b@example.net")
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))
    refused = Deferred("connection refused (connect)")
    await world.queue.settle(claim, {claim.recipients[0].recipient_id: refused}, RECORD)
    world.clock.advance(seconds=1)
    last = await world.sent("c@example.net")
    world.clock.advance(seconds=60)

    (line,) = (await world.inspector.explain(last, None)).lines

    assert line == (
        "c@example.net has waited since 2026-11-21 12:00:02 UTC: "
        "1 other recipient(s) of this mailbox are before it; its next hop may be held back: "
        "at 2026-11-21 12:00:01 UTC other mail was deferred (connection refused (connect))"
    )


async def test_explain_says_who_is_suppressed_since(world: World) -> None:
    """For this mailbox, or by an operator for all; another mailbox's list does not matter."""
    owner = (await world.principal()).mailbox_id
    queue_id = await world.sent("a@example.net", "b@example.net", "c@example.net")
    for address, scope in (
        ("a@EXAMPLE.net", owner),
        ("b@example.net", ALL),
        ("c@example.net", "x"),
    ):
        await world.suppressions.add(address, scope=scope, reason="hard_bounce", source="dsn")

    found = await world.inspector.explain(queue_id, None)

    assert [[fact.text for fact in one.facts] for one in found.recipients] == [
        ["no new mail of this mailbox goes to this address: hard_bounce"],
        ["no new mail of any mailbox goes to this address: hard_bounce"],
        [],
    ]
    assert found.summary.endswith("3 queued; 2 suppressed")


async def test_attempts_say_who_was_in_them_and_how_it_ended(world: World) -> None:
    """One recipient delivered, one to be tried again; then one alone, which goes on."""
    queue_id = await world.sent("a@example.net", "b@example.net")
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))
    first, second = claim.recipients
    over_tls = dataclasses.replace(RECORD, tls="TLSv1.3 TLS_AES_256_GCM_SHA384")
    await world.queue.settle(
        claim,
        {first.recipient_id: OUTCOMES[State.DELIVERED], second.recipient_id: Deferred("later")},
        over_tls,
    )
    world.clock.advance(hours=1)
    await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 1))

    owner = (await world.principal()).mailbox_id
    made = await world.inspector.attempts(queue_id, owner)

    assert [[(r.address, r.outcome) for r in one.recipients] for one in made] == [
        [("a@example.net", "delivered"), ("b@example.net", "deferred")],
        [("b@example.net", None)],
    ]
    assert [(one.tls_version, one.tls_cipher) for one in made] == [
        ("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
        (None, None),
    ]
    assert [(one.transcript, one.duration_ms) for one in made] == [("C: MAIL", 0), ("", None)]
    with pytest.raises(Refused) as caught:
        await world.inspector.attempts(queue_id, MailboxId("other"))
    assert caught.value.kind is Code.NOT_FOUND


async def test_count_by_state_names_every_state(world: World) -> None:
    await world.sent("a@example.net", "b@example.net")

    counted = await world.inspector.count_by_state()

    assert counted == {**dict.fromkeys(State, 0), State.QUEUED: 2}


async def test_view_shows_the_attempts(world: World) -> None:
    queue_id = await _in_state(world, State.DELIVERED)

    (attempt,) = (await world.inspector.message(queue_id, None)).attempts

    assert dataclasses.asdict(attempt).items() >= {"next_hop": "h:25", "marked": False}.items()
