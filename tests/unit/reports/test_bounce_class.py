"""What a refusal means: status, reply code, words, and which of them wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.reports.bounce_class import CODES, PASSING, STATUSES, SUBJECTS, classify
from gatewayd.reports.refusal_words import CLEAR, HINTS
from gatewayd.reports.report import BounceClass, Reason
from gatewayd.suppression.rules import suppresses
from tests.unit.mail.stopwatch import assert_linear

# As servers say it. The first word is the reply code, the second may be a status.
SAID = {
    Reason.USER_UNKNOWN: (
        "550 5.1.1 <ann@example.com>: Recipient address rejected: User unknown in local table",
        "550-5.1.1 The email account that you tried to reach does not exist. Please try",
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient ann@example.com not found by lookup",
        "550 5.4.1 Recipient address rejected: Access denied. [XX1EUR01FT031.example.net]",
        "550 5.7.1 No mailbox found",
        "550 5.0.0 sorry, no mailbox here by that name (#5.1.1 - chkuser)",
        "550 Requested action not taken: mailbox unavailable",
        "554 delivery error: dd This user doesn't have a example.com account (ann@example.com) [0]",
        "511 5.1.1 unknown address or alias: ann@example.com",
        "553 5.3.0 <ann@example.com>... No such user here",
        "550 Unrouteable address",
        "550 5.1.1 <spam@full.example>: user does not exist",
        "450 4.1.1 <ann@example.com>: Recipient address rejected: User unknown",
        "550 5.2.1 Mailbox not available / Konto niedostepne",
        "550 5.1.0 Address rejected ann@example.com",
    ),
    Reason.HOST_UNKNOWN: (
        "550 5.1.2 <ann@nowhere.example>... Host unknown (Name server: x.: host not found)",
        "550 5.4.4 Host or domain name not found. Name service error for name=nowhere.example",
        "556 5.1.10 Domain nowhere.example does not accept mail (nullMX)",
        "550 5.0.0 Domain does not exist",
        "550 5.1.2 all relevant MX records point to non-existent hosts",
    ),
    Reason.MAILBOX_FULL: (
        "552 5.2.2 Over quota",
        "452-4.2.2 The email account that you tried to reach is over quota and inactive.",
        "550 5.1.1 User over quota. (#5.1.1)",
        "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException.MapiException",
        "550 5.7.0 The recipient mailbox has exceeded its disk space limit.",
        "552 RCPT TO:<ann@example.com> Mailbox disk quota exceeded",
        "422 The recipient's mailbox is over its storage limit",
    ),
    Reason.INACTIVE: (
        "550 5.2.1 The email account that you tried to reach is disabled.",
        "554 30 Sorry, your message to ann@x.example cannot be delivered. This mailbox is disabled",
        "551 <ann@example.com> is a deactivated mailbox",
        "550 5.7.13 Disabled recipient address",
        "550 recipient rejected: temporarily inactive",
    ),
    Reason.MOVED: (
        "551 5.1.6 The address has been replaced by bob@example.org",
        "550 5.1.6 Recipient has moved",
    ),
    Reason.BLOCKED: (
        "554 5.7.1 Service unavailable; Client host [192.0.2.8] blocked using zen.spamhaus.example",
        "550 5.1.1 <ann@example.com>: rejected, 192.0.2.8 is listed at bl.example",
        "421 4.7.0 [TSS04] Messages from 192.0.2.8 temporarily deferred; your IP is suspicious",
        "550 5.7.25 The IP address sending this message does not have a PTR record setup",
        "554 5.7.1 Your access to this mail system has been rejected due to poor reputation",
    ),
    Reason.SPAM: (
        "550 5.7.1 Message content rejected, UBE, id=12345-67",
        "554 5.7.1 The message was rejected as spam by our filter",
        "550-5.7.1 [192.0.2.8] Our system has detected that this message is unsolicited mail.",
    ),
    Reason.AUTH_FAILURE: (
        "550-5.7.26 Unauthenticated email from example.org is not accepted due to DMARC policy",
        "550 5.7.23 The message was rejected because of Sender Policy Framework violation",
        "550 5.7.20 No passing DKIM signature found",
    ),
    Reason.POLICY: (
        "550 5.7.1 <ann@example.com>: Delivery not authorized, message refused",
        "553 5.1.8 <news@example.org>... Domain of sender address news@example.org does not exist",
        "550 5.1.0 <news@example.org>: Sender address rejected: User unknown in virtual table",
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
        "550 5.1.1 RCP-P1 Refused due to recipient preferences",
    ),
    Reason.RATE_LIMITED: (
        "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents",
        "450 4.7.1 <ann@example.com>: Recipient address rejected: Greylisted",
        "421 4.7.28 Our system has detected an unusual rate of unsolicited mail",
        "452 4.5.3 Too many recipients",
    ),
    Reason.RELAYING_DENIED: (
        "554 5.7.1 <ann@example.com>: Relay access denied",
        "550 5.7.1 Unable to relay for ann@example.com",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    ),
    Reason.TOO_LARGE: (
        "552 5.3.4 Message size exceeds fixed maximum message size (5242880)",
        "552 5.2.3 Message too large",
    ),
    Reason.CONTENT: (
        "554 5.6.1 Body type not supported: 8BITMIME",
        "552-5.7.0 This message was blocked because it contains a virus",
    ),
    Reason.LOOP: ("554 5.4.6 Too many hops", "550 5.4.14 Hop count exceeded - possible mail loop"),
    Reason.EXPIRED: (
        "550 5.4.300 Message expired -> 451 Temporary failure",
        "554 4.4.7 Message delayed",
    ),
    Reason.NETWORK: (
        "451 4.4.1 connect to mail.example.com[192.0.2.1]:25: Connection timed out",
        "421 4.4.2 mail.example.com lost connection while sending RCPT TO",
    ),
    Reason.SYSTEM: (
        "452 4.3.1 Insufficient system storage",
        "451 4.3.0 Temporary lookup failure",
        "451 Requested action aborted: local error in processing",
    ),
    Reason.PROTOCOL: (
        "501 5.5.4 Syntax: MAIL FROM:<address>", "503 5.5.1 Bad sequence of commands",
    ),
    Reason.UNDEFINED: ("554 zork", "550 5.0.0 zork"),
}  # fmt: skip


def parts(reply: str) -> tuple[str, int]:
    """Status and reply code as they stand at the beginning of a reply."""
    code, _, rest = reply.replace("-", " ", 1).partition(" ")
    status = rest.partition(" ")[0]
    return (status if status.count(".") == 2 and status[0] in "245" else ""), int(code)


@pytest.mark.parametrize(
    ("reason", "reply"), [(reason, reply) for reason, replies in SAID.items() for reply in replies]
)
def test_a_reply_means_what_people_read_in_it(reason: Reason, reply: str) -> None:
    """One row for each form of words that large receivers use."""
    status, code = parts(reply)

    assert reason == classify(status, code, reply).reason


def test_each_reason_is_said_by_somebody() -> None:
    """A word of the closed list that no reply leads to would be a dead word."""
    assert set(Reason) == set(SAID)


@pytest.mark.parametrize(
    ("status", "code", "text", "klass"),
    [
        ("5.1.1", 550, "user unknown", BounceClass.PERMANENT),
        ("4.1.1", 450, "user unknown", BounceClass.PERMANENT),
        ("4.1.1", 450, "user unknown, try again later", BounceClass.TRANSIENT),
        ("4.1.1", 450, "address unverified: user unknown", BounceClass.TRANSIENT),
        ("5.2.2", 552, "mailbox full", BounceClass.TRANSIENT),
        ("5.0.0", 554, "connection timed out", BounceClass.TRANSIENT),
        ("5.4.7", None, "", BounceClass.TRANSIENT),
        ("4.4.4", 450, "Host or domain name not found", BounceClass.TRANSIENT),
        ("5.7.1", 550, "blocked", BounceClass.PERMANENT),
        ("4.7.1", 450, "blocked", BounceClass.TRANSIENT),
        ("", 550, "zork", BounceClass.PERMANENT),
        ("", 450, "zork", BounceClass.TRANSIENT),
        ("", None, "user unknown", BounceClass.PERMANENT),
        ("", None, "zork", BounceClass.UNKNOWN),
        ("", None, "internal server error", BounceClass.UNKNOWN),
    ],
)
def test_the_class_says_whether_trying_again_can_help(
    status: str, code: int | None, text: str, klass: BounceClass
) -> None:
    """The table at the top of bounce_class.py."""
    assert klass == classify(status, code, text).klass


@pytest.mark.parametrize("reason", sorted(PASSING))
def test_what_passes_is_never_permanent(reason: Reason) -> None:
    """5.2.2 is said of a mailbox that is empty next week."""
    replies = [(parts(reply)[0].replace("4.", "5.", 1), reply) for reply in SAID[reason]]
    classes = {classify(status, 550, reply).klass for status, reply in replies}

    assert {BounceClass.TRANSIENT} == classes


@pytest.mark.parametrize(("key", "reason"), STATUSES.items())
def test_a_status_alone_is_enough(key: tuple[int, int], reason: Reason) -> None:
    """One row of STATUSES: no words were said (RFC 3463)."""
    assert reason == classify(f"5.{key[0]}.{key[1]}", None, "").reason


@pytest.mark.parametrize(("key", "reason"), SUBJECTS.items())
def test_a_subject_alone_is_enough(key: tuple[int, int | None], reason: Reason) -> None:
    """One row of SUBJECTS: a detail that the registry does not have."""
    assert reason == classify(f"5.{key[0]}.{999 if key[1] is None else key[1]}", None, "").reason


@pytest.mark.parametrize(("code", "reason"), CODES.items())
def test_a_reply_code_alone_is_enough(code: int, reason: Reason) -> None:
    """One row of CODES: a server of before RFC 2034 that says nothing."""
    assert reason == classify("", code, "").reason


@pytest.mark.parametrize(
    "status", ["", "5", "5.1", "x.y.z", "5.1.1.1", "\u0665.\u0661.\u0661", "9.9.9"]
)
def test_what_is_no_status_says_nothing(status: str) -> None:
    """The field of a report may hold anything."""
    assert classify(status, None, "").reason == Reason.UNDEFINED


def test_names_in_addresses_are_no_words() -> None:
    """Nobody is a spammer or full because of a name."""
    verdict = classify("5.0.0", 550, "550 <spam@blocked.mailbox-full.example>: zork")

    assert verdict.reason == Reason.UNDEFINED


def test_codes_between_wrapped_lines_do_not_part_a_phrase() -> None:
    """A reply of several lines repeats its code and status in front of each."""
    text = "550-5.2.1 The email account that you tried\n550-5.2.1 to reach is\n550 5.2.1 disabled"

    assert classify("5.0.0", 550, text).reason == Reason.INACTIVE


def test_any_permanent_status_is_not_yet_a_dead_address() -> None:
    """RFC 3463 alone does not tell one: of these fifteen 5.x.x a third is."""
    replies = [reply for reason in SAID for reply in SAID[reason] if reply.startswith("5")]
    dead = [reply for reply in replies if suppresses(classify(*parts(reply), reply))]

    assert len(dead) < len(replies) / 2


def test_phrases_are_in_the_form_that_texts_are_brought_to() -> None:
    """A phrase with a mark or a capital letter would never be found."""
    wrong = [
        phrase
        for rows in (CLEAR, HINTS)
        for _, phrases in rows
        for phrase in phrases
        if phrase != phrase.lower() or set(phrase.replace(" * ", "")) & set('()[]{}",;*<>|=\t')
    ]

    assert wrong == []


def test_no_phrase_stands_twice_in_one_row() -> None:
    """A table that repeats itself is read with less trust."""
    twice = [
        (reason, phrase)
        for rows in (CLEAR, HINTS)
        for reason, phrases in rows
        for phrase in set(phrases)
        if phrases.count(phrase) > 1
    ]

    assert twice == []


@given(st.text(max_size=60), st.one_of(st.none(), st.integers()), st.text(max_size=3000))
def test_it_never_raises(status: str, code: int | None, text: str) -> None:
    """All three come from the other side."""
    assert classify(status, code, text).reason in Reason


@pytest.mark.parametrize("piece", ["a@", " ", "550 5.1.1 ", "mailbox ", "user user ", "@", "<"])
def test_time_is_linear(piece: str) -> None:
    """A diagnostic is cut before it is searched."""
    assert_linear(lambda n: classify("5.0.0", 550, piece * n), 50_000)
