"""queue.refusal: one test per row of its table."""

from __future__ import annotations

import pytest

from gatewayd.mail.outcome import Failed
from gatewayd.mail.reply import Reply
from gatewayd.queue.refusal import suppresses

GONE = Failed("no such user", Reply.parse([b"550 5.1.1 no such user"]))
POLICY = Failed("rejected", Reply.parse([b"550 5.7.1 message rejected as spam"]))


def test_refusal_of_mail_is_about_nobody() -> None:
    """The next hop had not heard of the recipient: it is our address that it does not know."""
    assert not suppresses(GONE, phase="mail", shared_by=1)


def test_refusal_of_rcpt_is_about_the_address() -> None:
    assert suppresses(GONE, phase="rcpt", shared_by=1)


@pytest.mark.parametrize("phase", ["data", "body", "dot"])
def test_late_refusal_of_one_is_about_the_address(phase: str) -> None:
    assert suppresses(GONE, phase=phase, shared_by=1)


@pytest.mark.parametrize("phase", ["data", "body", "dot"])
def test_late_refusal_of_several_does_not_say_whom_it_means(phase: str) -> None:
    assert not suppresses(GONE, phase=phase, shared_by=2)


def test_our_own_finding_is_about_nobody() -> None:
    own = Failed("no SMTPUTF8 at the next hop", status="5.1.1")

    assert not suppresses(own, phase="rcpt", shared_by=1)


def test_refusal_of_the_message_is_about_nobody() -> None:
    """What it means is told by the table that reports are judged by too."""
    assert not suppresses(POLICY, phase="dot", shared_by=1)
