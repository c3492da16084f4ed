"""Every group of a delivery status is one recipient, however the fields are broken."""

from __future__ import annotations

import pytest

from gatewayd.reports import dsn
from gatewayd.reports.report import Action, BounceClass, Reason, ReportedRecipient

MESSAGE = "Reporting-MTA: dns; mx.example\n"
ANN = "Final-Recipient: rfc822; ann@example.com\nAction: failed\nStatus: 5.1.1\n"
BOB = "Final-Recipient: rfc822; bob@example.com\nAction: failed\nStatus: 5.2.2\n"


def _names(text: str) -> list[str]:
    return [group["final-recipient"].split()[-1] for group in dsn.groups(text)[1]]


def _recipient(
    text: str, *, beside: str = "", whole: str = "", only_original: str = "", is_delay: bool = False
) -> ReportedRecipient:
    (group,) = dsn.groups(text)[1]
    return dsn.recipient(
        group,
        words=lambda _: beside,
        whole=whole,
        only_original=only_original,
        is_delay=is_delay,
    )


@pytest.mark.parametrize(
    "text",
    [
        f"{MESSAGE}\n{ANN}\n{BOB}",
        f"{MESSAGE}\n\n\n{ANN}\n\n\n\n{BOB}\n\n",
        f"{MESSAGE}{ANN}{BOB}",
        f"{ANN}\n{BOB}",
        f"{MESSAGE} \n{ANN}\t\n{BOB}",
        f"{MESSAGE}\n{ANN}\n{BOB}".replace("\nAction", "\n\nAction"),
        f"{MESSAGE}\n{ANN}\n{BOB}".upper().replace("EXAMPLE.COM", "example.com"),
    ],
    ids=["sound", "many-blanks", "no-blank", "no-message", "spaces", "blank-inside", "upper-case"],
)
def test_each_recipient_is_one_group(text: str) -> None:
    assert [name.lower() for name in _names(text)] == ["ann@example.com", "bob@example.com"]


def test_a_wrapped_line_without_a_space_is_more_of_its_field() -> None:
    text = (
        f"{ANN}Diagnostic-Code: smtp; 550\nno such user\nRemedy: ask\nRemote-MTA: dns; mx.example\n"
    )
    (group,) = dsn.groups(text)[1]
    assert group["diagnostic-code"] == "smtp; 550 no such user Remedy: ask"
    assert group["remote-mta"] == "dns; mx.example"


def test_recipients_over_the_limit_are_skipped() -> None:
    assert len(_names("\n".join([ANN] * (dsn.MAX_RECIPIENTS * 2)))) == dsn.MAX_RECIPIENTS


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ("Action: failed\nStatus: 5.1.1", Action.FAILED),
        ("Action: Failure (no more attempts)\nStatus: 5.1.1", Action.FAILED),
        ("Action: delayed\nStatus: 4.4.1", Action.DELAYED),
        ("Action: relayed\nStatus: 2.0.0", Action.RELAYED),
        ("Action: expanded\nStatus: 2.0.0", Action.EXPANDED),
        ("Action: delivered\nStatus: 2.0.0", Action.DELIVERED),
        ("Status: 5.1.1", Action.FAILED),
        ("Status: 4.4.1", Action.DELAYED),
        ("Status: 4.4.7", Action.FAILED),
        ("Status: 2.0.0", Action.DELIVERED),
        ("Diagnostic-Code: smtp; 450 later", Action.DELAYED),
        ("Action: what\nDiagnostic-Code: smtp; 550 no", Action.FAILED),
        ("X-Nothing: else", Action.FAILED),
    ],
)
def test_the_action_is_told_or_concluded(fields: str, action: Action) -> None:
    assert _recipient(f"Final-Recipient: rfc822; ann@example.com\n{fields}\n").action == action


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Status: 5.1.1", "5.1.1"),
        ("Status: 5.1.1\nDiagnostic-Code: smtp; 550 5.7.1 no", "5.1.1"),
        ("Status: 5.0.0\nDiagnostic-Code: smtp; 550 5.7.1 no", "5.7.1"),
        ("Diagnostic-Code: smtp; 550 5.1.1 unknown", "5.1.1"),
        ("Diagnostic-Code: smtp; 550 unknown", "5.0.0"),
        ("Action: failed", ""),
    ],
)
def test_the_status_is_the_one_that_says_most(fields: str, status: str) -> None:
    assert _recipient(f"Final-Recipient: rfc822; ann@example.com\n{fields}\n").status == status


@pytest.mark.parametrize(
    ("fields", "address"),
    [
        ("Final-Recipient: x400; /S=LEE/\nOriginal-Recipient: rfc822; ann@example.com", "ann"),
        ("Final-Recipient: rfc822; |/bin/x\nDiagnostic-Code: 550 <bob@example.com> no", "bob"),
        ("Final-Recipient: unknown", "eve"),
    ],
)
def test_a_recipient_without_an_address_is_found_elsewhere(fields: str, address: str) -> None:
    read = _recipient(f"{fields}\nAction: failed\n", only_original="eve@example.com")
    assert read.address == f"{address}@example.com"


def test_words_beside_the_address_stand_for_a_missing_diagnostic() -> None:
    read = _recipient(
        "Final-Recipient: rfc822; ann@example.com\nAction: failed\nStatus: 5.0.0\n",
        beside="550 5.1.1 <ann@example.com>: User unknown",
    )
    assert read.verdict.reason is Reason.USER_UNKNOWN
    assert (read.status, read.code) == ("5.1.1", 550)


def test_a_failure_without_a_word_is_for_good_and_of_no_reason() -> None:
    read = _recipient("Final-Recipient: rfc822; ann@example.com\nAction: failed\n")
    assert (read.verdict.klass, read.verdict.reason) == (
        BounceClass.PERMANENT,
        Reason.UNDEFINED,
    )


def test_a_delay_is_for_now_whatever_its_status_says() -> None:
    read = _recipient("Final-Recipient: rfc822; ann@example.com\nAction: delayed\nStatus: 5.1.1\n")
    assert read.verdict.klass is BounceClass.TRANSIENT
