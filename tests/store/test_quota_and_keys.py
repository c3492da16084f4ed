"""intake under races: no quota is exceeded, and no key is accepted twice."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from typing import Any

import pytest

from gatewayd.errors import Code, Refused
from gatewayd.intake.pipeline import Intake
from gatewayd.policy.submission import Accepted, Options, Submission
from gatewayd.store import messages, recipients
from gatewayd.tokens.claims import Principal
from tests.fakes.world import MESSAGE, World, submission

PARALLEL = 50
THREE = ("a@example.net", "b@example.net", "c@example.net")


async def _accept(intake: Intake, one: Submission) -> Accepted | Refused:
    try:
        return await intake.accept(one)
    except Refused as refused:
        return refused


async def _codes(world: World, *given: Submission) -> Counter[str]:
    """What became of submissions that came at the same time, over one or two nodes."""
    found = await asyncio.gather(*(_accept(world.intake, one) for one in given))
    return Counter(one.code if isinstance(one, Refused) else "accepted" for one in found)


def _keyed(principal: Principal, key: str, body: bytes = b"") -> Submission:
    return submission(principal, content=MESSAGE + body, options=Options(idempotency_key=key))


# --- quota ---


@pytest.mark.parametrize("limits", [{"hourly": 10}, {"daily": 10}, {"hourly": 99, "daily": 10}])
async def test_quota_is_never_exceeded_by_parallel_submissions(
    world: World, limits: dict[str, Any]
) -> None:
    """Ten an hour, three each: three messages, all or nothing."""
    principal = await world.principal(**limits)

    codes = await _codes(world, *(submission(principal, *THREE) for _ in range(PARALLEL)))

    assert codes == {"accepted": 3, "quota_exceeded": PARALLEL - 3}
    assert await world.database.read(recipients.count_by_state) == {"queued": 9}
    assert await _codes(world, submission(principal)) == {"accepted": 1}
    assert await _codes(world, submission(principal)) == {"quota_exceeded": 1}


@pytest.mark.peer
async def test_quota_is_never_exceeded_over_two_nodes(world: World) -> None:
    """The counters are locked rows, so nodes wait for each other."""
    principal = await world.principal(hourly=10)
    nodes = [world, world.second()]

    found = await asyncio.gather(
        *(
            _accept(nodes[number % 2].intake, submission(principal, *THREE))
            for number in range(PARALLEL)
        )
    )

    assert Counter(type(one) for one in found) == {Accepted: 3, Refused: PARALLEL - 3}
    assert await world.database.read(recipients.count_by_state) == {"queued": 9}


async def test_quota_is_of_a_token_and_a_window(world: World) -> None:
    """Another token has its own; the next hour begins anew, the next day too."""
    narrow = await world.principal(hourly=1, daily=2)
    other = await world.principal(hourly=1, daily=2)
    assert await _codes(world, submission(narrow), submission(narrow)) == {
        "accepted": 1, "quota_exceeded": 1,
    }  # fmt: skip
    assert await _codes(world, submission(other)) == {"accepted": 1}
    world.clock.advance(hours=1)
    assert await _codes(world, submission(narrow), submission(narrow)) == {
        "accepted": 1, "quota_exceeded": 1,
    }  # fmt: skip
    world.clock.advance(hours=1)
    assert await _codes(world, submission(narrow)) == {"quota_exceeded": 1}
    world.clock.advance(hours=10)
    assert await _codes(world, submission(narrow)) == {"accepted": 1}


async def test_refusal_says_when_to_come_again(world: World) -> None:
    """The window that ends last decides."""
    principal = await world.principal(hourly=1, daily=1)
    accepted = await world.intake.accept(submission(principal))
    assert [(q.window, q.limit, q.remaining, q.reset_s) for q in accepted.quota] == [
        ("hour", 1, 0, 3600), ("day", 1, 0, 43_200),
    ]  # fmt: skip

    refused = await _accept(world.intake, submission(principal))

    assert isinstance(refused, Refused)
    assert (refused.kind, refused.retry_after_s) == (Code.QUOTA_EXCEEDED, 43_200)


async def test_nothing_is_debited_by_a_refusal_or_a_replay(world: World) -> None:
    principal = await world.principal(hourly=2)
    await world.suppressions.add("b@example.net", scope="*", reason="r", source="s")

    codes = await _codes(
        world,
        submission(principal, "a@example.net", "b@example.net"),
        _keyed(principal, "k"), _keyed(principal, "k"), _keyed(principal, "k"),
        submission(principal, content=b"From: eve@example.com\r\n\r\n"),
    )  # fmt: skip

    assert codes == {"recipient_suppressed": 1, "accepted": 3, "sender_not_allowed": 1}
    assert await _codes(world, submission(principal)) == {"accepted": 1}
    assert await _codes(world, submission(principal)) == {"quota_exceeded": 1}


# --- idempotency ---


async def test_same_key_at_the_same_time_is_one_message(world: World) -> None:
    """Fifty callers, one message, one answer."""
    principal = await world.principal()

    found = await asyncio.gather(
        *(world.intake.accept(_keyed(principal, "k")) for _ in range(PARALLEL))
    )

    assert len({one.queue_id for one in found}) == 1
    assert len({one.recipients for one in found}) == 1
    assert sorted(one.replayed for one in found) == [False] + [True] * (PARALLEL - 1)
    assert await world.database.read(messages.count) == 1


@pytest.mark.peer
async def test_same_key_over_two_nodes_is_one_message(world: World) -> None:
    """Who lost the race is told to ask again, or gets the answer; never a second message."""
    principal = await world.principal()
    nodes = [world, world.second()]

    found = await asyncio.gather(
        *(_accept(nodes[n % 2].intake, _keyed(principal, "k")) for n in range(PARALLEL))
    )

    accepted = [one for one in found if isinstance(one, Accepted)]
    refused = {one.kind for one in found if isinstance(one, Refused)}
    assert len({one.queue_id for one in accepted}) == 1
    assert refused <= {Code.IDEMPOTENCY_IN_FLIGHT}
    assert await world.database.read(messages.count) == 1


async def test_same_key_for_another_message_is_refused(world: World) -> None:
    """Another body, another recipient, another subject; not another try of the same."""
    principal = await world.principal()
    first = await world.intake.accept(_keyed(principal, "k"))
    changed = [
        _keyed(principal, "k", b"More.\r\n"),
        submission(principal, "zoe@example.net", options=Options(idempotency_key="k")),
        submission(
            principal,
            content=MESSAGE.replace(b"hello", b"other"),
            options=Options(idempotency_key="k"),
        ),
    ]
    again = MESSAGE.replace(b"<1@", b"<2@").replace(b"12:00", b"12:05")
    retried = submission(
        principal, content=b"Received: from x\r\n" + again, options=Options(idempotency_key="k")
    )

    assert await _codes(world, *changed) == {"idempotency_key_reused": 3}
    replayed = await world.intake.accept(retried)
    assert (replayed.queue_id, replayed.recipients, replayed.replayed) == (
        first.queue_id, first.recipients, True,
    )  # fmt: skip


async def test_key_is_of_a_mailbox(world: World) -> None:
    """Two mailboxes may use the same word; two tokens of one mailbox share it."""
    ann, again = await world.principal(), await world.principal()
    bob = await world.principal("bob@example.com")
    of_bob = submission(
        bob, content=MESSAGE.replace(b"ann@", b"bob@", 1), options=Options(idempotency_key="k")
    )
    first = await world.intake.accept(_keyed(ann, "k"))

    assert (await world.intake.accept(_keyed(again, "k"))).queue_id == first.queue_id
    assert (await world.intake.accept(of_bob)).queue_id != first.queue_id


async def test_key_in_the_header_section_is_a_key(world: World) -> None:
    """Over SMTP there is no other place for it."""
    principal = await world.principal()
    content = b'Idempotency-Key: "k"\r\n' + MESSAGE

    first = await world.intake.accept(submission(principal, content=content))
    second = await world.intake.accept(submission(principal, content=content))

    assert (second.queue_id, second.replayed) == (first.queue_id, True)


async def test_key_that_has_expired_is_free(world: World) -> None:
    """After a day the same key is a new message; within a set, once."""
    principal = await world.principal()
    first = await world.intake.accept(_keyed(principal, "k"))
    world.clock.advance(hours=23.9)
    assert (await world.intake.accept(_keyed(principal, "k"))).replayed is True
    principal = await world.principal()
    world.clock.advance(hours=0.2)

    found = await asyncio.gather(
        *(world.intake.accept(_keyed(principal, "k", b"New.\r\n")) for _ in range(3))
    )

    assert {one.queue_id for one in found} != {first.queue_id}
    assert sorted(one.replayed for one in found) == [False, True, True]
    assert await world.database.read(messages.count) == 2


async def test_replay_after_a_restart(world: World) -> None:
    """The answer lies in the database, with the message."""
    principal = await world.principal()
    first = await world.intake.accept(_keyed(principal, "k"))
    world.database.close()
    world.open()

    again = await world.intake.accept(_keyed(principal, "k"))

    assert (again.queue_id, again.recipients, again.replayed) == (
        first.queue_id, first.recipients, True,
    )  # fmt: skip


async def test_refusal_is_not_remembered(world: World) -> None:
    """Only acceptances are: the same key may be used when the fault is mended."""
    principal = await world.principal()
    await world.suppressions.add("bob@example.net", scope="*", reason="r", source="s")
    assert await _codes(world, _keyed(principal, "k")) == {"recipient_suppressed": 1}
    await world.suppressions.remove("bob@example.net", scope="*")

    assert await _codes(world, _keyed(principal, "k")) == {"accepted": 1}


async def test_caller_that_is_gone_does_not_take_its_message_back(world: World) -> None:
    principal = await world.principal(lifetime_s=int(dt.timedelta(days=1).total_seconds()))
    caller = asyncio.ensure_future(world.intake.accept(_keyed(principal, "k")))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])

    again = await world.intake.accept(_keyed(principal, "k"))

    assert again.replayed
    assert await world.database.read(messages.count) == 1
