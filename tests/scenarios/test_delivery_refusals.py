"""Which recipients a refusal was given to: what `queue/refusal.py` counts by."""

from __future__ import annotations

from tests.fakes.delivering import Delivering
from tests.fakes.delivery import claim_of
from tests.fakes.smtp_peer import SmtpPeer


async def test_each_refusal_of_rcpt_is_an_outcome_of_its_own() -> None:
    """In the same words too: each recipient was refused alone, so each may be suppressed."""
    answers = {"RCPT": [b"550 5.1.1 no such user\r\n"] * 2}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        first, second = await world.deliver(claim_of("a@x.test", "b@x.test"), peer.next_hop())

        assert first == second
        assert first is not second
        assert world.record.phase == "rcpt"


async def test_refusal_of_the_message_is_one_outcome_for_all() -> None:
    """It says of none of them that it is dead; who was refused before has his own."""
    answers = {
        "RCPT": [b"550 5.1.1 no such user\r\n"],
        "DOT": [b"550 5.1.1 no such user\r\n"],
    }
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        claim = claim_of("a@x.test", "b@x.test", "c@x.test")
        alone, second, third = await world.deliver(claim, peer.next_hop())

        assert second is third
        assert alone is not second
        assert world.record.phase == "dot"
