"""delivery.trouble: one test, or one row of parameters, per row of the table in its docstring."""

from __future__ import annotations

import pytest

from gatewayd.delivery import trouble
from gatewayd.delivery.trouble import Phase
from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Released
from gatewayd.mail.reply import Reply

BEFORE_MAIL = [Phase.CONNECT, Phase.TLS, Phase.EHLO, Phase.AUTH]
FROM_MAIL = [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.BODY, Phase.DOT]


def reply(text: str) -> Reply:
    """What a peer said."""
    return Reply.parse([text.encode()])


@pytest.mark.parametrize("phase", FROM_MAIL)
def test_4yz_defers(phase: Phase) -> None:
    """The same may work later (RFC 5321 4.2.1); after the dot it is no doubt, 421 too."""
    for said in (reply("451 4.3.0 later"), reply("421 4.3.2 bye")):
        assert trouble.from_reply(phase, said) == Deferred(said.text, said)


@pytest.mark.parametrize("phase", FROM_MAIL)
def test_5yz_fails(phase: Phase) -> None:
    """The same will not work (RFC 5321 4.2.1)."""
    said = reply("550 5.7.1 no")

    assert trouble.from_reply(phase, said) == Failed("no", said)


@pytest.mark.parametrize("phase", BEFORE_MAIL)
@pytest.mark.parametrize("text", ["421 4.3.2 busy", "554 5.7.1 your address is listed"])
def test_refusal_before_mail_defers(phase: Phase, text: str) -> None:
    """It is about us, so no recipient may pay for it."""
    assert isinstance(trouble.from_reply(phase, reply(text)), Deferred)


def test_bad_password_names_the_next_hop() -> None:
    """An operator reads this and knows what to mend."""
    outcome = trouble.from_reply(Phase.AUTH, reply("535 5.7.8 bad credentials"))

    assert isinstance(outcome, Deferred)
    assert outcome.reason == (
        "the mailbox's next hop refused its user and password: bad credentials"
    )


@pytest.mark.parametrize("code", [530, 534, 538])
def test_mail_refused_for_want_of_auth_defers(code: int) -> None:
    """The session is at fault, not the message (RFC 4954 6)."""
    said = reply(f"{code} 5.7.0 authenticate first")

    assert isinstance(trouble.from_reply(Phase.MAIL, said), Deferred)
    assert isinstance(trouble.from_reply(Phase.RCPT, said), Failed)


TOO_MANY = ["452 too many", "452 4.5.3 too many", "452 4.3.1 full", "552 too many", "552 5.5.3 x"]


@pytest.mark.parametrize("text", TOO_MANY)
def test_too_many_recipients_are_released(text: str) -> None:
    """The rest goes in another transaction, at once (RFC 5321 4.5.3.1.10)."""
    outcome = trouble.from_reply(Phase.RCPT, reply(text), others_accepted=True)

    assert isinstance(outcome, Released)


@pytest.mark.parametrize("text", TOO_MANY)
def test_too_many_for_the_first_recipient_defers(text: str) -> None:
    """Released again and again, it would go round for ever (RFC 5321 4.5.3.1.10)."""
    assert isinstance(trouble.from_reply(Phase.RCPT, reply(text)), Deferred)


@pytest.mark.parametrize(
    ("text", "expected"), [("452 4.2.2 mailbox full", Deferred), ("552 5.2.2 over quota", Failed)]
)
def test_status_about_the_recipient_means_what_it_says(text: str, expected: type) -> None:
    """A full mailbox is not too many recipients."""
    assert isinstance(trouble.from_reply(Phase.RCPT, reply(text), others_accepted=True), expected)


def test_552_elsewhere_fails() -> None:
    """After the dot it says that the message is too large."""
    assert isinstance(trouble.from_reply(Phase.DOT, reply("552 too large")), Failed)


def test_2yz_to_the_dot_delivers() -> None:
    """The next hop has it now (RFC 5321 4.2.5)."""
    said = reply("250 2.0.0 queued as 4711")

    assert trouble.from_reply(Phase.DOT, said) == Delivered(said)


@pytest.mark.parametrize(
    ("phase", "text"),
    [(Phase.MAIL, "354 go"), (Phase.RCPT, "354 go"), (Phase.DATA, "250 ok"), (Phase.DOT, "354 go")],
)
def test_wrong_positive_reply_defers(phase: Phase, text: str) -> None:
    """The peer is confused, and has not said that it took anything."""
    assert isinstance(trouble.from_reply(phase, reply(text)), Deferred)


@pytest.mark.parametrize("phase", [*BEFORE_MAIL, *FROM_MAIL[:-1]])
def test_loss_before_the_dot_defers(phase: Phase) -> None:
    """Nothing was handed over."""
    assert trouble.from_loss(phase, "lost") == Deferred(f"lost ({phase.value})")


def test_loss_after_the_dot_is_in_doubt() -> None:
    """It may have been taken (RFC 1047)."""
    assert trouble.from_loss(Phase.DOT, "lost") == InDoubt("lost")


def test_stale_session_is_released() -> None:
    """It had died while it was idle; nothing was tried."""
    assert trouble.from_loss(Phase.MAIL, "lost", is_stale=True) == Released("lost")


@pytest.mark.parametrize(
    ("phase", "text", "is_reused", "expected"),
    [
        (Phase.MAIL, "421 4.4.2 idle", True, True),
        (Phase.MAIL, "421 4.4.2 idle", False, False),
        (Phase.RCPT, "421 4.4.2 idle", True, False),
        (Phase.MAIL, "451 4.3.0 later", True, False),
    ],
)
def test_421_to_mail_on_a_reused_session_is_stale(
    phase: Phase, text: str, *, is_reused: bool, expected: bool
) -> None:
    """The words of a server that was about to hang up."""
    assert trouble.is_stale(phase, reply(text), is_reused=is_reused) is expected


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (trouble.no_eight_bit(), "5.6.3"),
        (trouble.no_utf8(), "5.6.7"),
        (trouble.too_large(2000, 1000), "5.3.4"),
        (trouble.damaged(), "5.3.0"),
    ],
)
def test_what_we_find_ourselves_fails_with_a_status(outcome: object, status: str) -> None:
    """Enhanced status of RFC 3463, where no peer gave one."""
    assert isinstance(outcome, Failed)
    assert outcome.status == status


def test_missing_tls_auth_and_route_defer() -> None:
    """All of it can be put right while the mail waits."""
    assert trouble.no_tls("no STARTTLS") == Deferred("4.7.5 no STARTTLS")
    assert trouble.no_auth("no AUTH") == Deferred("4.7.0 no AUTH")
    assert isinstance(trouble.no_route(), Deferred)


def test_more_recipients_than_rcptmax_are_released() -> None:
    """They go in another transaction (RFC 9422)."""
    assert isinstance(trouble.too_many(5), Released)


def test_fault_of_ours_follows_the_dot() -> None:
    """What we do not know, we say."""
    assert isinstance(trouble.own_fault(Phase.BODY), Deferred)
    assert isinstance(trouble.own_fault(Phase.DOT), InDoubt)
