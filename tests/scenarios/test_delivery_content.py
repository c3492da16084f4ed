"""What goes on the wire: dots, ends, parameters, signatures, large bodies, slow readers."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace

import dkim
import pytest

from gatewayd.dkim.key import generate_ed25519, generate_rsa
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.mail.envelope import BodyType, Notify, Ret
from gatewayd.mail.lines import DotReader
from gatewayd.mail.outcome import Deferred, Delivered, Failed
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW
from tests.fakes.delivering import Delivering
from tests.fakes.delivery import MESSAGE, FakeKeys, claim_of, spooled
from tests.fakes.smtp_peer import EXTENSIONS, SmtpPeer

HEADER = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def undotted(octets: bytes) -> bytes:
    """Content without its dot-stuffing, read by the receiving side's code."""
    reader = DotReader()
    content = reader.feed(octets + b".\r\n")
    assert reader.ended
    assert reader.rest == b""
    return content


def offers_without(*words: str) -> tuple[str, ...]:
    """What a peer offers, less this."""
    return tuple(each for each in EXTENSIONS if each.split()[0] not in words)


@pytest.mark.parametrize(
    "body",
    [
        b".\r\n",
        b"..\r\n",
        b".leading\r\n.\r\n..two\r\n",
        b"no end",
        b"ends in cr\r\n.",
        b"",
        b"\r\n\r\n",
        b"smuggled\r\n.\r\r\nMAIL FROM:<evil@x.test>\r\n",
    ],
)
async def test_body_arrives_unchanged(body: bytes) -> None:
    """Dots are stuffed, a missing last CRLF is added, and nothing else (RFC 5321 4.5.2)."""
    async with SmtpPeer() as peer, Delivering() as world:
        await world.deliver(claim_of(message=HEADER + body), peer.next_hop())

        ends = not body or body.endswith(b"\r\n")
        expected = HEADER + body + (b"" if ends else b"\r\n")
        assert undotted(peer.mails[0].octets) == expected


async def test_spooled_body_arrives_unchanged() -> None:
    """A body in the spool is streamed in blocks, with dots at their edges stuffed."""
    body = (b"x" * 65_534 + b"\r\n") + (b"." * 65_535 + b"\r") + b"\n.\r\n" + b".tail"
    async with SmtpPeer() as peer, Delivering() as world:
        message = spooled(world.spool.add(body))
        outcomes = await world.deliver(claim_of(message=message), peer.next_hop())

        assert [type(each) for each in outcomes] == [Delivered]
        assert undotted(peer.mails[0].octets) == HEADER + body + b"\r\n"


@pytest.mark.parametrize("is_spooled", [False, True])
async def test_both_signatures_verify(*, is_spooled: bool) -> None:
    """What the peer got passes dkimpy, and every attempt sends the same octets (RFC 6376)."""
    keys = (generate_rsa("example.com", "r1"), generate_ed25519("example.com", "e1"))
    records = {f"{name}.": value for name, value in (key.txt_record() for key in keys)}

    def lookup(name: bytes, **_: object) -> bytes:
        return records[name.decode()].encode()

    async with (
        SmtpPeer() as peer,
        Delivering(keys=FakeKeys({"example.com": keys})) as world,
    ):
        body = b".Hello\r\n" * (50_000 if is_spooled else 3)
        message = spooled(world.spool.add(body) if is_spooled else body)
        claim = claim_of(message=message)
        await world.deliver(claim, peer.next_hop())
        await world.deliver(claim, peer.next_hop())

        first, second = (undotted(mail.octets) for mail in peer.mails)
        results = [dkim.DKIM(first).verify(idx=index, dnsfunc=lookup) for index in range(2)]
        assert results == [True, True]
        assert first == second


async def test_message_without_key_goes_unsigned() -> None:
    """It is counted each time and told once."""
    async with SmtpPeer() as peer, Delivering() as world:
        await world.deliver(claim_of(), peer.next_hop())
        await world.deliver(claim_of(), peer.next_hop())

        assert world.metrics.unsigned == 2
        assert world.log.events.count("message_unsigned") == 1


@pytest.mark.parametrize("is_signed", [True, False])
async def test_one_click_is_offered_in_signed_mail_only(*, is_signed: bool) -> None:
    """Both fields must be under a DKIM signature (RFC 8058 4)."""
    made = (generate_ed25519("example.com", "e1"),)
    keys = FakeKeys({"example.com": made} if is_signed else {})
    links = Links(new_ring(Purpose.TRACKING, created_at=NOW), "https://gw.example")
    async with SmtpPeer() as peer, Delivering(keys=keys, links=links) as world:
        await world.deliver(replace(claim_of(), unsubscribe=True), peer.next_hop())

        (mail,) = peer.mails
        assert b"\r\nList-Unsubscribe: <https://gw.example/" in mail.octets
        assert (b"\r\nList-Unsubscribe-Post:" in mail.octets) is is_signed
        assert mail.octets.startswith(b"DKIM-Signature:") is is_signed


async def test_mail_that_no_domain_answers_for_is_not_called_unsigned() -> None:
    """What is sent on to postmaster is not signed on purpose: there is no key to add."""
    async with SmtpPeer() as peer, Delivering() as world:
        await world.deliver(replace(claim_of(), mailbox=""), peer.next_hop())

        assert len(peer.mails) == 1
        assert world.metrics.unsigned == 0
        assert "message_unsigned" not in world.log.events


async def test_parameters_are_passed_on() -> None:
    """SIZE, BODY, SMTPUTF8 and DSN parameters to a peer that offers them (RFC 3461 4)."""
    claim = claim_of(
        "jürgen@example.net",
        body_type=BodyType.EIGHT_BIT,
        smtputf8=True,
        envid="QQ3",
        ret=Ret.HDRS,
        notify={Notify.SUCCESS, Notify.FAILURE},
        orcpt="rfc822;b@x.test",
    )
    async with SmtpPeer() as peer, Delivering() as world:
        await world.deliver(claim, peer.next_hop())

        size = claim.message.size_octets
        assert peer.commands[1:3] == [
            b"MAIL FROM:<ann@example.com> SIZE=%d BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ3" % size,
            "RCPT TO:<jürgen@example.net> NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;b@x.test".encode(),
        ]


async def test_parameters_are_kept_from_a_peer_without_extensions() -> None:
    """A domain in UTF-8 has A-labels; nothing else needs an extension here (RFC 6531 3.2)."""
    claim = claim_of("bob@bücher.example", envid="1", ret=Ret.FULL, orcpt="rfc822;b@x.test")
    async with SmtpPeer(extensions=()) as peer, Delivering() as world:
        outcomes = await world.deliver(claim, peer.next_hop())

        assert [type(each) for each in outcomes] == [Delivered]
        assert peer.commands[1:3] == [
            b"MAIL FROM:<ann@example.com>",
            b"RCPT TO:<bob@xn--bcher-kva.example>",
        ]


@pytest.mark.parametrize(
    ("recipient", "body", "missing", "status"),
    [
        ("bob@example.net", "größer".encode(), "8BITMIME", "5.6.3"),
        ("jürgen@example.net", b"hello", "SMTPUTF8", "5.6.7"),
    ],
)
async def test_missing_extension_fails_the_message(
    recipient: str, body: bytes, missing: str, status: str
) -> None:
    """Nothing is re-encoded, and nothing of the message is sent."""
    claim = claim_of(recipient, message=HEADER + body + b"\r\n")
    async with SmtpPeer(extensions=offers_without(missing)) as peer, Delivering() as world:
        (outcome,) = await world.deliver(claim, peer.next_hop())
        again = await world.deliver(claim_of(), peer.next_hop())

        assert isinstance(outcome, Failed)
        assert outcome.status == status
        assert [type(each) for each in again] == [Delivered]
        assert peer.connections == 1


async def test_too_large_for_the_peer_fails() -> None:
    """Its SIZE says so before anything is sent (RFC 1870 6.1)."""
    async with SmtpPeer(extensions=("PIPELINING", "SIZE 100")) as peer, Delivering() as world:
        (outcome,) = await world.deliver(claim_of(), peer.next_hop())

        assert isinstance(outcome, Failed)
        assert outcome.status == "5.3.4"
        assert peer.commands == [b"EHLO gateway.test"]


async def test_damaged_body_is_never_sent() -> None:
    """The spool's check comes before the connection, and others go on."""
    async with SmtpPeer() as peer, Delivering() as world:
        message = spooled(world.spool.add(b"x" * 70_000))
        world.spool.damaged.add("body")
        (outcome,) = await world.deliver(claim_of(message=message), peer.next_hop())

        assert outcome == Failed("stored octets damaged", status="5.3.0")
        assert peer.connections == 0


async def test_body_that_ends_too_soon_gets_no_dot() -> None:
    """Half a message is not a message."""
    async with SmtpPeer() as peer, Delivering() as world:
        message = spooled(world.spool.add(b"x" * 200_000))
        world.spool.broken.add("body")
        (outcome,) = await world.deliver(claim_of(message=message), peer.next_hop())

        assert outcome == Failed("stored octets damaged", status="5.3.0")
        assert peer.journal == []
        assert world.queue.marked == set()


@pytest.mark.slow
async def test_peer_that_does_not_read_costs_no_memory() -> None:
    """64 MiB to a peer that stops after 354: little is read, and the deadline ends it."""
    async with (
        SmtpPeer(reads_content=False, extensions=("PIPELINING", "8BITMIME")) as peer,
        Delivering({"block_s": 0.3}) as world,
    ):
        body = world.spool.add(b"some line of text..\r\n" * (64 << 20 >> 4))
        message = spooled(body)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (outcome,) = await world.deliver(claim_of(message=message), peer.next_hop())
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

        assert outcome == Deferred("the next hop takes no more octets (body)")
        assert world.spool.blocks_read * 65_536 < 8 << 20  # the kernel takes most of it
        assert grown_kib < 4096
        assert peer.journal == []


async def test_slow_reader_is_waited_for() -> None:
    """Back-pressure holds the writer, not the loop: another message passes meanwhile."""
    async with (
        SmtpPeer(reads_content=False) as slow,
        SmtpPeer() as good,
        Delivering({"block_s": 60.0}) as world,
    ):
        message = spooled(world.spool.add(b"some line of text..\r\n" * 300_000))
        async with asyncio.TaskGroup() as group:
            stuck = group.create_task(world.deliver(claim_of(message=message), slow.next_hop()))
            await slow.stalled.wait()
            await world.deliver(claim_of(), good.next_hop())
            assert len(good.mails) == 1
            stuck.cancel()

        assert world.queue.settled[-1].attempt.phase == "dot"


async def test_transcript_is_short_and_tells_no_address() -> None:
    """At most 4 KiB; the beginning and the end stay."""
    names = [f"user{number}@example.net" for number in range(100)]
    answers = {"RCPT": [f"550 5.1.1 <{name}> unknown\r\n".encode() for name in names]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        await world.deliver(replace(claim_of(*names)), peer.next_hop())

        transcript = world.record.transcript
        assert len(transcript.encode()) <= 4096
        assert transcript.startswith("S: 220 peer.test ESMTP\nC: EHLO gateway.test\n")
        assert "example.net" not in transcript
        assert "550 5.1.1" in transcript
