"""Where reports come back to, and which ones are asked for (RFC 3461)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import replace

import pytest

from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail.envelope import Notify, Ret
from gatewayd.queue.claim import Claim
from tests.fakes.clock import NOW, ManualClock
from tests.fakes.delivering import Delivering
from tests.fakes.delivery import claim_of
from tests.fakes.smtp_peer import SmtpPeer

DOMAIN = "bounces.example.com"


@pytest.fixture
def reverse_paths(clock: ManualClock) -> ReversePaths:
    ring = new_ring(Purpose.VERP, created_at=NOW)
    return ReversePaths(ring, domain=DOMAIN, lifetime=dt.timedelta(days=14), clock=clock)


def named_by(command: bytes, reverse_paths: ReversePaths) -> str | None:
    """Whom the reverse-path of a MAIL command names."""
    local_part, _, domain = command.partition(b"<")[2].partition(b">")[0].partition(b"@")
    assert domain.decode() == DOMAIN
    return reverse_paths.read(local_part.decode())


async def handed_over(claim: Claim, reverse_paths: ReversePaths | None) -> list[bytes]:
    """MAIL and RCPT as the next hop got them."""
    async with SmtpPeer() as peer, Delivering(reverse_paths=reverse_paths) as world:
        await world.deliver(claim, peer.next_hop())
        assert world.record.dsn_offered is True
        return peer.commands[1 : 2 + len(claim.recipients)]


@pytest.mark.parametrize("sandbox", [False, True])
async def test_shared_message_returns_by_its_queue_id(
    reverse_paths: ReversePaths, *, sandbox: bool
) -> None:
    """The report names the recipient. The simulator's reports come back, too."""
    claim = claim_of("a@x.test", "b@x.test", sandbox=sandbox)

    mail, *_ = await handed_over(claim, reverse_paths)

    assert named_by(mail, reverse_paths) == claim.queue_id


async def test_individual_message_returns_by_its_recipient(reverse_paths: ReversePaths) -> None:
    claim = replace(claim_of("a@x.test"), unsubscribe=True)

    mail, *_ = await handed_over(claim, reverse_paths)

    assert named_by(mail, reverse_paths) == claim.recipients[0].recipient_id


async def test_null_reverse_path_stays_null(reverse_paths: ReversePaths) -> None:
    """A report about a report is never wanted (RFC 5321 4.5.5)."""
    mail, rcpt = await handed_over(claim_of("a@x.test", reverse_path=""), reverse_paths)

    assert mail.startswith(b"MAIL FROM:<> ")
    assert rcpt == b"RCPT TO:<a@x.test>"


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ((), b""),
        ((Notify.NEVER,), b" NOTIFY=FAILURE"),
        ((Notify.FAILURE,), b" NOTIFY=FAILURE"),
        ((Notify.SUCCESS,), b" NOTIFY=FAILURE,SUCCESS"),
        ((Notify.DELAY, Notify.SUCCESS), b" NOTIFY=DELAY,FAILURE,SUCCESS"),
    ],
)
async def test_failure_is_always_asked_for(
    reverse_paths: ReversePaths, asked: Collection[Notify], passed: bytes
) -> None:
    """Otherwise a dead address is never learned; without NOTIFY it is the default."""
    _, rcpt = await handed_over(claim_of("a@x.test", notify=asked), reverse_paths)

    assert rcpt == b"RCPT TO:<a@x.test>" + passed + b" ORCPT=rfc822;a@x.test"


@pytest.mark.parametrize(
    ("address", "given", "passed"),
    [
        ("a+b=c@x.test", None, b" ORCPT=rfc822;a+2Bb+3Dc@x.test"),
        ("a@x.test", "rfc822;list@y.test", b" ORCPT=rfc822;list@y.test"),
        ("jürgen@x.test", None, b""),
    ],
)
async def test_report_is_told_whom_we_wrote_to(
    reverse_paths: ReversePaths, address: str, given: str | None, passed: bytes
) -> None:
    """So that it can be held against our row, whatever aliases come after (RFC 3461 5.2.1)."""
    _, rcpt = await handed_over(claim_of(address, orcpt=given), reverse_paths)

    assert rcpt == f"RCPT TO:<{address}>".encode() + passed


async def test_ret_and_envid_pass_on(reverse_paths: ReversePaths) -> None:
    claim = claim_of("a@x.test", ret=Ret.HDRS, envid="QQ3")

    mail, _ = await handed_over(claim, reverse_paths)

    assert mail.endswith(b" RET=HDRS ENVID=QQ3")


async def test_without_a_bounce_domain_the_submitter_is_told() -> None:
    """The mailbox is the reverse-path, and what it asks for is what is asked for."""
    claim = claim_of("a@x.test", notify=(Notify.NEVER,))

    mail, rcpt = await handed_over(claim, None)

    assert mail.startswith(b"MAIL FROM:<ann@example.com> ")
    assert rcpt == b"RCPT TO:<a@x.test> NOTIFY=NEVER"
