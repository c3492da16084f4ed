"""What a next hop answers, and what becomes of each recipient."""

from __future__ import annotations

import pytest

from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Released
from gatewayd.mail.reply import Reply
from tests.fakes.delivering import Delivering
from tests.fakes.delivery import MESSAGE, claim_of, spooled
from tests.fakes.smtp_peer import CLOSE, EXTENSIONS, RESET, SILENT, Answer, SmtpPeer

BARE = tuple(word for word in EXTENSIONS if word != "PIPELINING")
BOTH = pytest.mark.parametrize("extensions", [EXTENSIONS, BARE], ids=["pipelined", "stepwise"])


@BOTH
async def test_message_arrives_as_it_was_stored(extensions: tuple[str, ...]) -> None:
    """Whatever the peer offers, the octets on the wire are those that were accepted."""
    async with SmtpPeer(extensions=extensions) as peer, Delivering() as world:
        outcomes = await world.deliver(claim_of(), peer.next_hop())

        assert [Delivered(Reply.parse([b"250 2.0.0 taken"]))] == outcomes
        assert [mail.octets for mail in peer.mails] == [MESSAGE]
        assert world.record.phase == "dot"


async def test_envelope_goes_out_in_one_write() -> None:
    """MAIL, every RCPT and DATA are in the wire's log before the first answer (RFC 2920)."""
    async with SmtpPeer() as peer, Delivering() as world:
        await world.deliver(claim_of("a@x.test", "b@x.test"), peer.next_hop())

        sent = [line.split(b":")[0] for line in peer.commands]
        assert sent == [b"EHLO gateway.test", b"MAIL FROM", b"RCPT TO", b"RCPT TO", b"DATA"]


@BOTH
async def test_each_recipient_gets_its_own_outcome(extensions: tuple[str, ...]) -> None:
    """One is refused for ever, one for now, one is delivered (RFC 5321 3.3)."""
    answers = {"RCPT": [b"550 5.1.1 nobody\r\n", b"250 ok\r\n", b"450 4.2.1 busy\r\n"]}
    async with SmtpPeer(answers=answers, extensions=extensions) as peer, Delivering() as world:
        outcomes = await world.deliver(
            claim_of("a@x.test", "b@x.test", "c@x.test"), peer.next_hop()
        )

        assert [Failed, Delivered, Deferred] == [type(each) for each in outcomes]
        assert [mail.forward_paths for mail in peer.mails] == [[b"RCPT TO:<b@x.test>"]]


@BOTH
async def test_too_many_recipients_go_in_another_transaction(extensions: tuple[str, ...]) -> None:
    """452 and a bare 552 after others were accepted part the transaction (RFC 5321 4.5.3.1.10)."""
    answers = {"RCPT": [b"250 ok\r\n", b"452 4.5.3 too many\r\n", b"552 too many\r\n"]}
    async with SmtpPeer(answers=answers, extensions=extensions) as peer, Delivering() as world:
        outcomes = await world.deliver(
            claim_of("a@x.test", "b@x.test", "c@x.test"), peer.next_hop()
        )

        assert [Delivered, Released, Released] == [type(each) for each in outcomes]


async def test_limits_part_the_transaction_before_it_is_sent() -> None:
    """No more recipients are named than RCPTMAX of EHLO allows (RFC 9422)."""
    extensions = (*EXTENSIONS, "LIMITS RCPTMAX=2")
    async with SmtpPeer(extensions=extensions) as peer, Delivering() as world:
        outcomes = await world.deliver(
            claim_of("a@x.test", "b@x.test", "c@x.test"), peer.next_hop()
        )

        assert [Delivered, Delivered, Released] == [type(each) for each in outcomes]
        assert len(peer.mails[0].forward_paths) == 2


@BOTH
async def test_all_recipients_refused_sends_no_message(extensions: tuple[str, ...]) -> None:
    """No octet of the message goes to a peer that took no recipient, and the session lives on."""
    answers = {"RCPT": [b"550 5.1.1 no\r\n"] * 2}
    async with SmtpPeer(answers=answers, extensions=extensions) as peer, Delivering() as world:
        refused = await world.deliver(claim_of("a@x.test", "b@x.test"), peer.next_hop())
        taken = await world.deliver(claim_of(), peer.next_hop())

        assert [Failed, Failed, Delivered] == [type(each) for each in (*refused, *taken)]
        assert (peer.connections, len(peer.mails)) == (1, 1)
        assert b"RSET" in peer.commands
        assert b"Hello" not in peer.wire.split(b"RSET")[0]


async def test_unwanted_354_gets_a_lone_dot() -> None:
    """A peer that waits for a message to nobody gets an empty one (RFC 2920 3.1)."""
    answers = {
        "RCPT": [b"550 5.1.1 no\r\n"],
        "DATA": [b"354 go ahead\r\n"],
        "DOT": [b"554 5.5.1 no valid recipients\r\n"],
    }
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        refused = await world.deliver(claim_of(), peer.next_hop())
        taken = await world.deliver(claim_of(), peer.next_hop())

        assert [Failed, Delivered] == [type(each) for each in (*refused, *taken)]
        assert b"DATA\r\n.\r\n" in peer.wire
        assert peer.connections == 1
        assert set() == world.queue.marked - {world.queue.settled[1].claim.attempt_id}


@pytest.mark.parametrize(
    ("step", "answer", "expected"),
    [
        ("CONNECT", b"554 5.7.1 your address is listed\r\n", Deferred),
        ("CONNECT", b"421 4.3.2 busy\r\n", Deferred),
        ("CONNECT", CLOSE, Deferred),
        ("CONNECT", RESET, Deferred),
        ("CONNECT", SILENT, Deferred),
        ("EHLO", b"554 5.7.1 not you\r\n", Deferred),
        ("EHLO", b"421 4.3.2 busy\r\n", Deferred),
        ("EHLO", CLOSE, Deferred),
        ("EHLO", SILENT, Deferred),
        ("MAIL", b"550 5.7.1 not this sender\r\n", Failed),
        ("MAIL", b"451 4.3.0 later\r\n", Deferred),
        ("MAIL", b"421 4.3.2 going down\r\n", Deferred),
        ("MAIL", b"530 5.7.0 Authentication required\r\n", Deferred),
        ("MAIL", b"354 what\r\n", Deferred),
        ("MAIL", CLOSE, Deferred),
        ("MAIL", RESET, Deferred),
        ("MAIL", SILENT, Deferred),
        ("RCPT", b"550 5.1.1 nobody\r\n", Failed),
        ("RCPT", b"552 5.2.2 mailbox full\r\n", Failed),
        ("RCPT", b"552 too many recipients\r\n", Deferred),
        ("RCPT", b"452 4.5.3 too many\r\n", Deferred),
        ("RCPT", b"421 4.3.2 going down\r\n", Deferred),
        ("RCPT", CLOSE, Deferred),
        ("RCPT", SILENT, Deferred),
        ("DATA", b"554 5.7.1 no\r\n", Failed),
        ("DATA", b"451 4.3.0 later\r\n", Deferred),
        ("DATA", b"421 4.3.2 going down\r\n", Deferred),
        ("DATA", b"250 what\r\n", Deferred),
        ("DATA", CLOSE, Deferred),
        ("DATA", SILENT, Deferred),
        ("DOT", b"554 5.7.1 spam\r\n", Failed),
        ("DOT", b"451 4.3.0 later\r\n", Deferred),
        ("DOT", b"421 4.3.2 going down\r\n", Deferred),
        ("DOT", b"354 what\r\n", Deferred),
        ("DOT", CLOSE, InDoubt),
        ("DOT", RESET, InDoubt),
        ("DOT", SILENT, InDoubt),
    ],
)
@BOTH
async def test_every_step_can_fail(
    step: str, answer: Answer, expected: type, extensions: tuple[str, ...]
) -> None:
    """Only what happens after the dot without a reply is doubt (RFC 1047)."""
    short = dict.fromkeys(("greeting_s", "command_s", "data_s", "dot_timeout_s"), 0.2)
    async with (
        SmtpPeer(answers={step: [answer]}, extensions=extensions) as peer,
        Delivering(short) as world,
    ):
        outcomes = await world.deliver(claim_of(), peer.next_hop())

        assert [expected] == [type(each) for each in outcomes]
        assert step.lower() == world.record.phase or step in ("CONNECT", "EHLO")


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_421_does_not_reach_the_next_message(step: str) -> None:
    """The session that said 421 is gone, and the next message gets another."""
    answers = {step: [b"421 4.3.2 going down\r\n"]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        first = await world.deliver(claim_of(), peer.next_hop())
        second = await world.deliver(claim_of(), peer.next_hop())

        assert [Deferred, Delivered] == [type(each) for each in (*first, *second)]
        assert peer.connections == 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"250 " + b"x" * 40_000 + b"\r\n",
        b"x" * 40_000,
        b"250-more\r\n" * 4_000,
        b"999 what\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\xff\xfe\xfd\r\n",
        b"\r\n",
    ],
    ids=["long line", "no end", "endless lines", "999", "http", "not utf-8", "empty"],
)
@pytest.mark.parametrize("step", ["CONNECT", "EHLO", "MAIL", "RCPT", "DOT"])
async def test_what_is_no_reply_ends_the_session(step: str, garbage: bytes) -> None:
    """No more than 32 KiB of nonsense is read; before the dot it defers, after it is doubt."""
    async with (
        SmtpPeer(answers={step: [garbage]}) as peer,
        Delivering({"greeting_s": 2.0, "command_s": 2.0, "dot_timeout_s": 2.0}) as world,
    ):
        outcomes = await world.deliver(claim_of(), peer.next_hop())

        assert [InDoubt if step == "DOT" else Deferred] == [type(each) for each in outcomes]


async def test_text_that_is_not_utf8_is_kept_readable() -> None:
    """A reply in some old charset is a reply (RFC 5321 4.2 looks at the code alone)."""
    answers = {"RCPT": [b"550 5.1.1 unbekannter Empf\xe4nger\x07\r\n"]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        (outcome,) = await world.deliver(claim_of(), peer.next_hop())

        assert isinstance(outcome, Failed)
        assert outcome.reason.startswith("unbekannter Empf")
        assert "\x07" not in outcome.reason


async def test_unasked_reply_ends_the_session() -> None:
    """A reply too many would be paired with the next command."""
    answers = {"MAIL": [b"250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        outcomes = await world.deliver(claim_of(), peer.next_hop())

        assert [Deferred] == [type(each) for each in outcomes]
        assert b"Hello" not in peer.wire


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"552 5.3.4 too big\r\n", Failed),
        (b"451 4.3.1 disk full\r\n", Deferred),
        (b"421 4.3.1 disk full\r\n", Deferred),
        (CLOSE, Deferred),
        (RESET, Deferred),
    ],
)
async def test_refusal_in_the_middle_of_the_message(answer: Answer, expected: type) -> None:
    """A peer that has enough before the end took nothing, and no dot follows."""
    async with SmtpPeer(answers={"BODY": [answer]}) as peer, Delivering() as world:
        body = world.spool.add(b"x" * 70 + b"\r\n" + b"spam and eggs\r\n" * 400_000)
        outcomes = await world.deliver(claim_of(message=spooled(body)), peer.next_hop())

        assert [expected] == [type(each) for each in outcomes]
        assert peer.journal == []
        assert set() == world.queue.marked
