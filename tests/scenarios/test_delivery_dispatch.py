"""The dispatcher: who is served, how much at once, and what a stop leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from gatewayd.clock import SystemClock
from gatewayd.config.delivery import NextHop
from gatewayd.delivery.dispatcher import PAUSE_S, Dispatcher
from gatewayd.errors import StoreBroken, StoreUnavailable
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import MailboxId, RecipientId
from gatewayd.mail.outcome import Deferred, Delivered, Outcome
from gatewayd.queue.claim import Claim
from gatewayd.queue.outcome import AttemptRecord
from tests.fakes.delivering import Delivering, Dispatching
from tests.fakes.delivery import FakeNextHops, FakeQueue, Settled, claim_of
from tests.fakes.smtp_peer import RESET, SILENT, Answer, SmtpPeer


async def test_due_mail_is_delivered_as_it_comes() -> None:
    """A commit wakes the dispatcher; nothing waits for the next poll."""
    async with SmtpPeer() as peer, Delivering() as world:
        hops = FakeNextHops(smarthost=peer.next_hop())
        async with Dispatching(world, hops):
            world.queue.put(claim_of())
            await world.queue.until_settled(1)
            world.queue.put(claim_of(), claim_of())
            await world.queue.until_settled(3)

        assert len(peer.mails) == 3
        assert peer.connections <= 2


async def test_many_messages_go_over_few_connections() -> None:
    """No more run at once than the window, and claims are made for a window at a time."""
    settings = {"concurrency_start": 2, "concurrency_max": 4}
    async with SmtpPeer() as peer, Delivering(settings) as world:
        world.queue.put(*(claim_of(mailbox_id=f"mailbox-{n % 7}") for n in range(200)))
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())):
            await world.queue.until_settled(200)

        assert len(peer.mails) == 200
        assert peer.most_open <= 4
        assert world.queue.journal.count("claim") < 100
        assert all(sum(wants.values()) <= 12 for wants in world.queue.wants)


async def test_released_recipients_go_in_the_next_transaction() -> None:
    """A next hop that takes two at a time gets five in three transactions."""
    extensions = ("PIPELINING", "LIMITS RCPTMAX=2")
    async with (
        SmtpPeer(extensions=extensions) as peer,
        Delivering(queue=FakeQueue(requeues=True)) as world,
    ):
        world.queue.put(claim_of(*(f"r{number}@x.test" for number in range(5))))
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())):
            await world.queue.until_settled(3)

        assert [len(mail.forward_paths) for mail in peer.mails] == [2, 2, 1]


async def test_slow_next_hop_delays_nobody() -> None:
    """Fifty that never answer, each with more mail than its window, and ten that do (X7)."""
    settings = {"ready_recipients": 400, "claim_messages": 20}
    async with (
        SmtpPeer(answers={"CONNECT": [SILENT] * 1000}) as slow,
        SmtpPeer() as good,
        Delivering(settings) as world,
    ):
        by_mailbox: dict[str, NextHop | None] = {}
        for number in range(50):
            by_mailbox[f"slow-{number}"] = slow.next_hop(user=f"u{number}", password="x")
            world.queue.put(*(claim_of(mailbox_id=f"slow-{number}") for _ in range(20)))
        for number in range(10):
            by_mailbox[f"good-{number}"] = good.next_hop(ca_file=f"/{number}")
        async with Dispatching(world, FakeNextHops(by_mailbox)):
            async with asyncio.timeout(10):
                for _ in range(5):
                    before = len(world.queue.settled)
                    for number in range(10):
                        world.queue.put(claim_of(mailbox_id=f"good-{number}"))
                    async with asyncio.timeout(2):
                        await world.queue.until_settled(before + 10)

        assert len(good.mails) == 50
        assert all(isinstance(each.in_order[0], Delivered) for each in world.queue.settled)


async def test_dead_next_hop_is_left_alone() -> None:
    """After three failures nothing is claimed for it, and what was waits uncounted."""
    async with SmtpPeer() as gone:
        hop = gone.next_hop()
    async with Delivering() as world:
        world.queue.put(*(claim_of() for _ in range(30)))
        async with Dispatching(world, FakeNextHops(smarthost=hop)) as dispatching:
            await world.queue.until_settled(5)
            window = dispatching.dispatcher._destinations[hop].window

            assert window.is_paused
            assert len(world.queue.settled) == 5
            assert all(isinstance(each.in_order[0], Deferred) for each in world.queue.settled)
            assert [len(claims) for claims in world.queue.due.values()] == [25]


async def test_next_hop_that_resets_everything_is_left_alone() -> None:
    """A session that is lost in the middle is as good as none."""
    async with (
        SmtpPeer(answers={"MAIL": [RESET] * 100}) as peer,
        Delivering() as world,
    ):
        world.queue.put(*(claim_of() for _ in range(30)))
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())) as dispatching:
            await world.queue.until_settled(5)
            window = dispatching.dispatcher._destinations[peer.next_hop()].window

            assert window.is_paused


async def test_claims_of_a_next_hop_that_died_are_given_back() -> None:
    """They were kept ready for it; now they are untried work again."""
    settings = {"concurrency_start": 4, "concurrency_max": 4}
    answers: dict[str, list[Answer]] = {"MAIL": [*[b"250 ok\r\n"] * 4, *[RESET] * 100]}
    async with SmtpPeer(answers=answers) as peer, Delivering(settings) as world:
        claims = [claim_of() for _ in range(40)]
        world.queue.put(*claims)
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())) as one:
            await world.queue.until(lambda: bool(world.queue.released))
            window = one.dispatcher._destinations[peer.next_hop()].window
            assert window.is_paused

        # One whose outcome is kept while the dispatcher stops is given back as well: no harm.
        settled = {each.claim.attempt_id for each in world.queue.settled}
        untried = {each.attempt_id for each in world.queue.due[claims[0].mailbox_id]}
        released = {each.attempt_id for each in world.queue.released}
        assert settled | untried | released == {each.attempt_id for each in claims}


async def test_mailbox_without_next_hop_is_told_what_to_do() -> None:
    """Its mail waits and says why; others go."""
    async with SmtpPeer() as peer, Delivering() as world:
        hops = FakeNextHops({"none": None}, peer.next_hop())
        world.queue.put(claim_of(mailbox_id="none"), claim_of())
        async with Dispatching(world, hops):
            await world.queue.until_settled(2)

        (lost,) = (each for each in world.queue.settled if each.claim.mailbox_id == "none")
        assert isinstance(lost.in_order[0], Deferred)
        assert lost.in_order[0].reason.startswith("no route: set a smarthost")
        assert lost.attempt.next_hop == ""


async def test_sandbox_mail_stays_on_the_machine() -> None:
    """It goes to the simulator, whatever next hop its mailbox has."""
    async with SmtpPeer() as simulator, SmtpPeer() as outside, Delivering() as world:
        world.queue.put(claim_of(sandbox=True), claim_of())
        hops = FakeNextHops(smarthost=outside.next_hop())
        async with Dispatching(world, hops, simulator=simulator.next_hop()):
            await world.queue.until_settled(2)

        assert (len(simulator.mails), len(outside.mails)) == (1, 1)


async def test_sandbox_mail_without_simulator_goes_nowhere() -> None:
    """Not even to the smarthost."""
    async with SmtpPeer() as outside, Delivering() as world:
        world.queue.put(claim_of(sandbox=True))
        async with Dispatching(world, FakeNextHops(smarthost=outside.next_hop())):
            await world.queue.until_settled(1)

        assert isinstance(world.queue.settled[0].in_order[0], Deferred)
        assert outside.connections == 0


@pytest.mark.slow
async def test_busy_store_pauses_claiming() -> None:
    """And says so once; the mail goes when the store is back."""
    async with SmtpPeer() as peer, Delivering() as world:
        world.queue.faults["lanes"] = [StoreUnavailable("busy")] * 2
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())):
            world.queue.put(claim_of())
            world.queue.wakeup.notify()
            await world.queue.until_settled(1)

        assert world.log.events.count("claims_paused") == 1


async def test_broken_store_stops_the_service() -> None:
    """Nothing may go on after a failed fsync."""
    async with SmtpPeer() as peer, Delivering() as world:
        world.queue.faults["settle"] = [StoreBroken("fsync failed")]
        world.queue.put(claim_of())
        with pytest.raises(ExceptionGroup) as caught:
            async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())):
                await asyncio.Event().wait()

        assert caught.group_contains(StoreBroken)


async def test_leases_are_renewed_while_work_lasts() -> None:
    """What runs and what waits; what is lost and not begun is dropped."""
    settings = {"renew_s": 0.05, "concurrency_start": 1, "concurrency_max": 1}
    async with (
        SmtpPeer(answers={"MAIL": [b"250 ok\r\n", SILENT]}) as peer,
        Delivering(settings) as world,
    ):
        claims = [claim_of() for _ in range(3)]
        world.queue.put(*claims)
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())):
            await world.queue.until_settled(1)
            world.queue.renewed.clear()
            await world.queue.until(lambda: len(world.queue.renewed) >= 2)

        assert set(world.queue.renewed) <= {claim.attempt_id for claim in claims[1:]}


@dataclass(slots=True)
class _Held:
    """Lets an attempt reach its dot and no further until told."""

    at_dot: asyncio.Event = field(default_factory=asyncio.Event)

    def answer(self) -> bytes:
        self.at_dot.set()
        return b""


async def test_drain_releases_what_is_before_its_marker() -> None:
    """It is given back untried, at once."""
    async with (
        SmtpPeer(answers={"MAIL": [SILENT] * 10}) as peer,
        Delivering() as world,
    ):
        claims = [claim_of() for _ in range(8)]
        world.queue.put(*claims)
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop()), drain_s=60):
            await peer.silent.wait()

        assert world.queue.settled == []
        assert {each.queue_id for each in world.queue.released} <= {c.queue_id for c in claims}
        assert len(world.queue.released) == 5


async def test_drain_waits_for_what_is_past_its_marker() -> None:
    """The reply to the dot may still come."""
    held = _Held()
    async with SmtpPeer(answers={"DOT": [held.answer]}) as peer, Delivering() as world:
        world.queue.put(claim_of())
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop()), drain_s=60) as one:
            await held.at_dot.wait()
            async with asyncio.TaskGroup() as group:
                drain = group.create_task(one.dispatcher.drain(SystemClock().monotonic() + 60))
                await asyncio.sleep(0)
                assert not drain.done()
                for writer in list(peer._writers):
                    writer.write(b"250 2.0.0 taken\r\n")

        assert [type(each) for each in world.queue.settled[0].in_order] == [Delivered]
        assert world.queue.released == []


async def test_drain_gives_up_at_its_deadline() -> None:
    """Past the marker and without reply: the queue makes it doubt."""
    held = _Held()
    async with SmtpPeer(answers={"DOT": [held.answer]}) as peer, Delivering() as world:
        claim = claim_of()
        world.queue.put(claim)
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop()), drain_s=0.05):
            await held.at_dot.wait()

        assert world.queue.settled == []
        assert [each.attempt_id for each in world.queue.released] == [claim.attempt_id]
        assert claim.attempt_id in world.queue.marked


async def test_drain_before_run_and_twice_is_legal() -> None:
    """A daemon that stops while it starts."""
    async with Delivering() as world:
        dispatching = Dispatching(world, FakeNextHops())
        async with dispatching:
            await dispatching.dispatcher.drain(0.0)
            await dispatching.dispatcher.drain(0.0)
        fresh: Dispatcher = dispatching.dispatcher
        ready = asyncio.Event()
        await fresh.run(ready)

        assert ready.is_set()


class RowsQueue(FakeQueue):
    """Reads so few rows that one message fills a claim, and tells nobody of an outcome."""

    async def claim(self, wants: Mapping[MailboxId, int]) -> list[Claim]:
        return await super().claim(dict.fromkeys(wants, 1))

    async def settle(
        self, one: Claim, outcomes: Mapping[RecipientId, Outcome], attempt: AttemptRecord
    ) -> None:
        self.settled.append(Settled(one, dict(outcomes), attempt))
        self.changed.set()


class WatchedWakeup(Wakeup):
    """Remembers how long each wait was to be at most."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    async def wait(self, timeout_s: float | None) -> bool:
        self.waits_s.append(timeout_s)
        return await super().wait(timeout_s)


async def test_messages_to_many_are_claimed_one_after_the_other_without_a_pause() -> None:
    """A claim that recipients filled is no sign that nothing else is due."""
    wakeup = WatchedWakeup()
    queue = RowsQueue(wakeup=wakeup)
    async with (
        SmtpPeer() as peer,
        Delivering({"concurrency_start": 10}, queue=queue) as world,
    ):
        queue.put(*(claim_of(*(f"r{n}@x.test" for n in range(10))) for _ in range(5)))
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())):
            await queue.until_settled(5)

        assert len(peer.mails) == 5
        assert PAUSE_S not in wakeup.waits_s
