"""smtpd.simulator: what the address asks for, and what is kept."""

from __future__ import annotations

import datetime as dt

import pytest

from gatewayd.clock import SystemClock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.types import Bind
from gatewayd.mail.address import ForwardPath, ReversePath
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.mail.header import HeaderSection
from gatewayd.mail.message import RawMessage
from gatewayd.smtpd.replies import Rejected
from gatewayd.smtpd.simulated_returns import Returns
from gatewayd.smtpd.simulator import MailCatcher, Simulator, SimulatorHandler
from gatewayd.smtpd.terms import Facts, Goodbye, HangUp
from tests.fakes.submission_host import FakeMetrics

_FACTS = Facts(peer="127.0.0.1", helo="x", tls="", is_logged_in=False)


def _recipient(address: str) -> Recipient:
    return Recipient(ForwardPath.parse(address))


def _handler(catcher: MailCatcher | None = None) -> SimulatorHandler:
    clock = SystemClock()
    return SimulatorHandler(catcher or MailCatcher(clock), Returns(None, clock=clock))


def _envelope(address: str = "bob@example.net") -> Envelope:
    return Envelope(ReversePath.parse("agent@example.com"), (_recipient(address),))


def _message(body: bytes = b"hello\r\n") -> RawMessage:
    return RawMessage(HeaderSection(b"Subject: x\r\n"), body)


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("temperror@example.net", "451 4.3.0"),
        ("user-temperror@example.net", "451 4.3.0"),
        ("USER.TEMPERROR@example.net", "451 4.3.0"),
        ("permerror@example.net", "550 5.1.1"),
        ("user-452@example.net", "452 4.3.1"),
        ("user-552@example.net", "552 5.2.2"),
        ("450@example.net", "450 4.2.0"),
        ("user+599@example.net", "5"),
        ("user-458@example.net", "458 4.0.0"),
        ('"user 550"@example.net', "550 5.1.1"),
    ],
)
async def test_address_gets_what_it_asks_for(address: str, reply: str) -> None:
    """One row of the table each; 599 is no reply code of SMTP (RFC 5321 4.2.1)."""
    handler = _handler()

    if reply == "5":
        await handler.recipient(_recipient(address), already=0)
        return
    with pytest.raises(Rejected) as caught:
        await handler.recipient(_recipient(address), already=0)
    assert reply == f"{caught.value.reply.code} {caught.value.reply.status}"


@pytest.mark.parametrize(
    "address", ["bob@example.net", "user1452@example.net", "user-352@example.net", "451a@x.example"]
)
async def test_other_address_is_taken(address: str) -> None:
    """A longer number is no code."""
    await SimulatorHandler(
        MailCatcher(SystemClock()), Returns(None, clock=SystemClock())
    ).recipient(_recipient(address), already=0)


async def test_421_ends_the_session() -> None:
    """As it does for a real server (RFC 5321 3.8)."""
    with pytest.raises(Goodbye) as caught:
        await SimulatorHandler(
            MailCatcher(SystemClock()), Returns(None, clock=SystemClock())
        ).recipient(_recipient("user-421@example.net"), already=0)

    assert caught.value.reply.startswith(b"421 4.3.2 ")


async def test_timeout_hangs_up_after_the_dot_and_keeps_nothing() -> None:
    """The gateway is left in doubt."""
    catcher = MailCatcher(SystemClock())

    with pytest.raises(HangUp):
        await _handler(catcher).accept(_envelope("a-timeout@example.net"), _message(), _FACTS)

    assert len(catcher) == 0


def test_caught_mail_is_the_whole_message() -> None:
    """Octet for octet."""
    mail = MailCatcher(SystemClock()).catch(_envelope(), _message())

    assert mail.octets == b"Subject: x\r\n\r\nhello\r\n"
    assert mail.reverse_path == "agent@example.com"
    assert mail.recipients == ("bob@example.net",)
    assert mail.caught_at.tzinfo is dt.UTC


def test_catcher_lists_newest_first_in_pages() -> None:
    """`before` is the last id of the page before."""
    catcher = MailCatcher(SystemClock())
    kept = [catcher.catch(_envelope(), _message()) for _ in range(5)]

    first = catcher.newest(2)
    second = catcher.newest(10, before=first[-1].mail_id)

    assert kept[::-1] == first + second
    assert kept[3] == catcher.find(kept[3].mail_id)
    assert catcher.find("no-such-id") is None


def test_catcher_forgets_the_oldest_by_number() -> None:
    """It is bounded."""
    catcher = MailCatcher(SystemClock(), kept_messages=3)
    kept = [catcher.catch(_envelope(), _message()) for _ in range(5)]

    assert kept[:1:-1] == catcher.newest(10)


def test_catcher_forgets_the_oldest_by_octets() -> None:
    """In octets, too."""
    catcher = MailCatcher(SystemClock(), kept_octets=3000)
    for _ in range(10):
        catcher.catch(_envelope(), _message(b"x" * 986))

    assert len(catcher) == 3
    assert catcher.held_octets == 3000
    catcher.clear()
    assert (len(catcher), catcher.held_octets) == (0, 0)


def test_simulator_is_for_loopback_only() -> None:
    """It takes mail from anybody."""
    with pytest.raises(ValueError, match="loopback"):
        Simulator(
            bind=Bind("192.0.2.1", 0),
            catcher=MailCatcher(SystemClock()),
            returns=Returns(None, clock=SystemClock()),
            limits=LimitsSection(),
            timeouts=TimeoutsSection(),
            clock=SystemClock(),
            metrics=FakeMetrics(),
        )
