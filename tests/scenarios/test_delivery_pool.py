"""Sessions that are used again, and those that died meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.mail.outcome import Deferred, Delivered, Failed
from tests.fakes.delivering import Delivering
from tests.fakes.delivery import ManualClock, claim_of
from tests.fakes.smtp_peer import CLOSE, EXTENSIONS, RESET, SILENT, Answer, SmtpPeer


async def test_session_is_used_again() -> None:
    """One greeting, many messages, and no RSET between those that went well."""
    async with SmtpPeer() as peer, Delivering() as world:
        for _ in range(5):
            await world.deliver(claim_of(), peer.next_hop())

        assert (peer.connections, len(peer.mails)) == (1, 5)
        assert b"RSET" not in peer.commands


async def test_session_is_reset_only_after_failure() -> None:
    """RSET goes out with the next MAIL, not by itself."""
    async with SmtpPeer(answers={"MAIL": [b"550 5.7.1 no\r\n"]}) as peer, Delivering() as world:
        first = await world.deliver(claim_of(), peer.next_hop())
        before = b"RSET" in peer.commands
        second = await world.deliver(claim_of(), peer.next_hop())

        assert [type(each) for each in (*first, *second)] == [Failed, Delivered]
        assert (before, peer.commands.count(b"RSET"), peer.connections) == (False, 1, 1)


@pytest.mark.parametrize("answer", [b"502 5.5.1 what?\r\n", b"421 4.3.2 bye\r\n", CLOSE])
async def test_session_that_cannot_be_reset_is_replaced(answer: Answer) -> None:
    """The message that comes after a failed one does not pay for it."""
    answers: dict[str, list[Answer]] = {"MAIL": [b"550 5.7.1 no\r\n"], "RSET": [answer]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        await world.deliver(claim_of(), peer.next_hop())
        second = await world.deliver(claim_of(), peer.next_hop())

        assert [type(each) for each in second] == [Delivered]
        assert peer.connections == 2


async def test_session_closed_while_idle_is_replaced() -> None:
    """Its end was seen, so nothing is tried on it."""
    async with SmtpPeer() as peer, Delivering() as world:
        await world.deliver(claim_of(), peer.next_hop())
        peer.drop_idle()
        await peer.closed.wait()
        again = await world.deliver(claim_of(), peer.next_hop())

        assert [type(each) for each in again] == [Delivered]
        assert peer.connections == 2


@pytest.mark.parametrize("answer", [CLOSE, RESET, SILENT, b"421 4.4.2 idle too long\r\n"])
async def test_half_dead_session_costs_nothing(answer: Answer) -> None:
    """No reply to MAIL on a reused session: once more on a new one, in the same attempt."""
    answers: dict[str, list[Answer]] = {"MAIL": [b"250 ok\r\n", answer]}
    async with (
        SmtpPeer(answers=answers) as peer,
        Delivering({"command_s": 0.2}) as world,
    ):
        await world.deliver(claim_of(), peer.next_hop())
        again = await world.deliver(claim_of(), peer.next_hop())

        assert [type(each) for each in again] == [Delivered]
        assert peer.connections == 2
        assert len(world.queue.settled) == 2


async def test_new_session_is_tried_once_only() -> None:
    """A next hop that closes every session at MAIL is not tried for ever."""
    answers: dict[str, list[Answer]] = {"MAIL": [b"250 ok\r\n", CLOSE, CLOSE]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        await world.deliver(claim_of(), peer.next_hop())
        again = await world.deliver(claim_of(), peer.next_hop())

        assert [type(each) for each in again] == [Deferred]
        assert peer.connections == 2


async def test_loss_after_the_first_reply_is_deferred() -> None:
    """The session was alive, so this is no stale one."""
    answers: dict[str, list[Answer]] = {"RCPT": [b"250 ok\r\n", CLOSE]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        await world.deliver(claim_of(), peer.next_hop())
        again = await world.deliver(claim_of(), peer.next_hop())

        assert [type(each) for each in again] == [Deferred]
        assert peer.connections == 1


async def test_session_ends_after_its_messages() -> None:
    """messages_per_connection, or MAILMAX if the peer says less (RFC 9422)."""
    extensions = (*EXTENSIONS, "LIMITS MAILMAX=2")
    async with SmtpPeer(extensions=extensions) as peer, Delivering() as world:
        for _ in range(4):
            await world.deliver(claim_of(), peer.next_hop())

        await peer.none_open.wait()
        assert peer.connections == 2
        assert peer.commands.count(b"QUIT") == 2


async def test_idle_session_is_closed_in_time() -> None:
    """After idle_s it is told QUIT."""
    async with SmtpPeer() as peer, Delivering() as world:
        clock = ManualClock()
        world.pool._clock = clock
        await world.deliver(claim_of(), peer.next_hop())
        world.pool.sweep()
        kept = peer.open
        clock.seconds = world.section.idle_s + 1
        world.pool.sweep()
        await peer.closed.wait()

        assert (kept, peer.commands[-1]) == (1, b"QUIT")


async def test_next_hops_with_other_users_share_nothing() -> None:
    """A session is for those who logged in by it."""
    async with SmtpPeer(extensions=(*EXTENSIONS, "AUTH PLAIN")) as peer, Delivering() as world:
        await world.deliver(claim_of(), peer.next_hop(user="ann", password="one"))
        await world.deliver(claim_of(), peer.next_hop(user="bob", password="two"))

        assert peer.connections == 2


async def test_close_says_goodbye_to_all() -> None:
    """Every idle session gets QUIT."""
    async with SmtpPeer() as peer, Delivering() as world:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(world.deliver(claim_of(), peer.next_hop()))
        opened = peer.open
        await world.pool.close()

        assert opened == 5
        assert peer.commands.count(b"QUIT") == 5
