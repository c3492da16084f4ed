"""reports.dsn_compose: what a submitter reads, and what the readers of others make of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import email
import email.policy
from collections.abc import Sequence
from email.message import EmailMessage, Message
from typing import Any

import pytest
from flufl.bounce import scan_message
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.mail.address import Address, ForwardPath
from gatewayd.mail.envelope import Ret
from gatewayd.mail.header import HeaderSection, check
from gatewayd.mail.message import RawMessage
from gatewayd.reports.dsn_compose import AboutMessage, AboutRecipient, Addressing, compose
from gatewayd.reports.read import read
from gatewayd.reports.report import Action, Kind

AT = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
HEADER = HeaderSection(
    b"From: ann@example.com\r\nSubject: hello\r\nMessage-ID: <1@example.com>\r\n"
)
MESSAGE = AboutMessage(header=HEADER, body=b"Hello.\r\n", accepted_at=AT)
FAILED = AboutRecipient(
    forward_path=ForwardPath.parse("bob@example.net"), action=Action.FAILED, at=AT,
    orcpt="rfc822;Bob+2Btag@Example.net", status="5.1.1", code=550, text="no such user",
    remote_mta="mx.example.net",
)  # fmt: skip
DELAYED = AboutRecipient(
    forward_path=ForwardPath.parse("zoe@example.net"), action=Action.DELAYED, at=AT,
    reason="connection refused", retry_until=AT + dt.timedelta(days=5),
)  # fmt: skip
ADDRESSING = Addressing(
    hostname="mail.example.com",
    to=Address.parse("ann@example.com"),
    message_id="<dsn-1@mail.example.com>",
    date=AT,
)


def composed(
    *recipients: AboutRecipient,
    to: str = "ann@example.com",
    **changed: Any,  # noqa: ANN401 - any field of the message
) -> RawMessage:
    message = dataclasses.replace(MESSAGE, **changed)
    addressing = dataclasses.replace(ADDRESSING, to=Address.parse(to))
    return compose(message, recipients or (FAILED,), addressing)


def octets(message: RawMessage) -> bytes:
    assert isinstance(message.body, bytes)
    return message.header.octets + b"\r\n" + message.body


def parsed(message: RawMessage) -> EmailMessage:
    """As the standard library reads it; without a defect."""
    found = email.message_from_bytes(octets(message), policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert [part.defects for part in found.walk() if part.defects] == []
    return found


def parts(message: RawMessage) -> list[Any]:
    whole = parsed(message).get_payload()
    assert isinstance(whole, list)
    return whole


def groups(message: RawMessage) -> Sequence[Message]:
    """The groups of fields: the first about the message, then one for each recipient."""
    found = parts(message)[1].get_payload()
    assert isinstance(found, list)
    return found


def test_header_says_what_it_is() -> None:
    """RFC 3464 2, RFC 3834 5: a report, automatic, from the mail system to the mailbox."""
    found = parsed(composed())

    assert found.get_content_type() == "multipart/report"
    assert found.get_param("report-type") == "delivery-status"
    assert found["From"] == "Mail Delivery System <mailer-daemon@mail.example.com>"
    assert (found["To"], found["Auto-Submitted"]) == ("ann@example.com", "auto-replied")
    assert found["Subject"] == "Delivery Status Notification (Failure)"
    assert found["References"] == "<1@example.com>"


def test_fields_of_a_failure_and_a_delay() -> None:
    """RFC 3464 2.2, 2.3: grouped in one report, ENVID and ORCPT out of their xtext."""
    about, failed, delayed = groups(composed(FAILED, DELAYED, envid="QQ+3D1"))

    assert dict(about) == {
        "Original-Envelope-Id": "QQ=1",
        "Reporting-MTA": "dns; mail.example.com",
        "Arrival-Date": "Sat, 21 Nov 2026 12:00:00 +0000",
    }
    assert dict(failed) == {
        "Original-Recipient": "rfc822; Bob+tag@Example.net",
        "Final-Recipient": "rfc822; bob@example.net",
        "Action": "failed",
        "Status": "5.1.1",
        "Remote-MTA": "dns; mx.example.net",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
        "Last-Attempt-Date": "Sat, 21 Nov 2026 12:00:00 +0000",
    }
    assert dict(delayed) == {
        "Final-Recipient": "rfc822; zoe@example.net",
        "Action": "delayed",
        "Status": "4.0.0",
        "Diagnostic-Code": "x-gatewayd; connection refused",
        "Last-Attempt-Date": "Sat, 21 Nov 2026 12:00:00 +0000",
        "Will-Retry-Until": "Thu, 26 Nov 2026 12:00:00 +0000",
    }


def test_example_of_the_rfc() -> None:
    """RFC 3464 appendix E.1: the same fields come out, in the same order."""
    at = dt.datetime(1994, 7, 7, 21, 15, 49, tzinfo=dt.UTC)
    louis = AboutRecipient(
        forward_path=ForwardPath.parse("louisl@larry.slip.umd.edu"),
        action=Action.FAILED, at=at, orcpt="rfc822;louisl@larry.slip.umd.edu",
        status="4.0.0", code=426, text="connection timed out",
    )  # fmt: skip
    message = compose(
        dataclasses.replace(MESSAGE, accepted_at=at),
        [louis],
        dataclasses.replace(ADDRESSING, hostname="cs.utk.edu"),
    )

    about, group = groups(message)
    assert about["Reporting-MTA"] == "dns; cs.utk.edu"
    assert list(group.items()) == [
        ("Original-Recipient", "rfc822; louisl@larry.slip.umd.edu"),
        ("Final-Recipient", "rfc822; louisl@larry.slip.umd.edu"),
        ("Action", "failed"),
        ("Status", "4.0.0"),
        ("Diagnostic-Code", "smtp; 426 4.0.0 connection timed out"),
        ("Last-Attempt-Date", "Thu, 07 Jul 1994 21:15:49 +0000"),
    ]


def test_reply_of_a_report_is_not_told_twice() -> None:
    """The diagnostic of a report begins with its code; ours does not repeat it."""
    message = composed(dataclasses.replace(FAILED, text="550-5.1.1 no such user"))

    assert groups(message)[1]["Diagnostic-Code"] == "smtp; 550-5.1.1 no such user"
    assert "mx.example.net said: 550-5.1.1 no such user" in parts(message)[0].get_content()


def test_words_say_the_same() -> None:
    """A person reads the first part alone."""
    text = parts(composed(FAILED, DELAYED))[0].get_content()

    assert 'with the subject "hello"' in text
    assert "<bob@example.net> could not be reached. It is not tried again." in text
    assert "mx.example.net said: 550 5.1.1 no such user" in text
    assert "It is tried again until 2026-11-26 12:00:00 UTC" in text
    assert "connection refused" in text


@pytest.mark.parametrize(
    ("action", "subject"),
    [
        (Action.DELAYED, "Delivery Status Notification (Delay)"),
        (Action.DELIVERED, "Delivery Status Notification (Success)"),
        (Action.RELAYED, "Delivery Status Notification (Relayed)"),
        (Action.EXPANDED, "Delivery Status Notification (Expanded)"),
    ],
)
def test_good_news_bring_no_body_back(action: Action, subject: str) -> None:
    """RFC 3461 4.3: RET=FULL is about failures."""
    message = composed(dataclasses.replace(FAILED, action=action), ret=Ret.FULL)

    assert parsed(message)["Subject"] == subject
    assert parts(message)[2].get_content_type() == "text/rfc822-headers"


@pytest.mark.parametrize(
    ("ret", "body", "kind"),
    [
        (Ret.FULL, b"Hello.\r\n", "message/rfc822"),
        (Ret.FULL, b"", "message/rfc822"),
        (Ret.FULL, None, "text/rfc822-headers"),
        (Ret.HDRS, b"Hello.\r\n", "text/rfc822-headers"),
        (None, b"Hello.\r\n", "text/rfc822-headers"),
    ],
)
def test_ret_is_honoured(ret: Ret | None, body: bytes | None, kind: str) -> None:
    """The whole message only when it was asked for and is not too large."""
    message = composed(ret=ret, body=body)

    assert parts(message)[2].get_content_type() == kind
    assert HEADER.octets in octets(message)
    assert (kind == "message/rfc822" and bool(body)) == (b"\r\n\r\nHello.\r\n" in octets(message))


def test_8bit_body_is_declared_on_every_level() -> None:
    """RFC 2045 6.4; the octets come back as they were."""
    message = composed(ret=Ret.FULL, body="grüße\r\n".encode())

    assert message.has_8bit
    assert not message.needs_smtputf8
    assert parsed(message)["Content-Transfer-Encoding"] == "8bit"
    assert parts(message)[2]["Content-Transfer-Encoding"] == "8bit"
    assert "grüße".encode() in octets(message)


def test_utf8_address_makes_it_global() -> None:
    """RFC 6533: types utf-8, and the media types that may hold them."""
    jose = dataclasses.replace(
        FAILED,
        forward_path=ForwardPath.parse("josé@example.net"),
        orcpt=r"utf-8;jos\x{E9}@example.net",
        text="нет такого",
    )
    header = HeaderSection("Subject: grüße\r\n".encode())
    message = composed(jose, to="añn@example.com", header=header, ret=Ret.FULL)

    text = octets(message).decode()
    assert "Content-Type: message/global-delivery-status\r\n" in text
    assert "Content-Type: message/global\r\n" in text
    assert "Final-Recipient: utf-8; josé@example.net\r\n" in text
    assert "Original-Recipient: utf-8; josé@example.net\r\n" in text
    assert "Diagnostic-Code: smtp; 550 5.1.1 нет такого\r\n" in text
    assert message.needs_smtputf8  # its own To


def test_ascii_report_stays_ascii() -> None:
    r"""RFC 6533 3: a utf-8 ORCPT of an ASCII recipient is written as \x{..}."""
    one = dataclasses.replace(FAILED, orcpt=r"utf-8;jos\x{E9}@example.net", text="нет")
    message = composed(one)

    assert b"Original-Recipient: utf-8; jos\\x{E9}@example.net\r\n" in octets(message)
    assert groups(message)[1]["Diagnostic-Code"] == r"smtp; 550 5.1.1 \u043d\u0435\u0442"
    # The words are for people, and are encoded.
    assert "нет" in parts(message)[0].get_content()


HOSTILE = "x\r\nBcc: evil@example.org\r\n\r\n--=_\x00\x1b[31m\u202e"


def test_words_of_strangers_stay_in_their_line() -> None:
    """No line of a header or of a group is made by a peer or by an ORCPT."""
    one = dataclasses.replace(
        FAILED,
        orcpt="rfc822;a+0D+0AAction:+20delivered",
        text=HOSTILE,
        remote_mta=HOSTILE,
        status="5.1.1",
    )
    message = composed(one, dataclasses.replace(DELAYED, reason=HOSTILE), envid="a+0D+0Ab")

    assert len(groups(message)) == 3
    assert [group["Action"] for group in groups(message)[1:]] == ["failed", "delayed"]
    assert all(group["Bcc"] is None for group in groups(message))
    assert "Remote-MTA" not in groups(message)[1]
    assert not {0, 27} & set(octets(message))


@given(
    text=st.text(max_size=2000),
    orcpt=st.text(max_size=100),
    envid=st.text(max_size=100),
    host=st.text(max_size=300),
    subject=st.text(max_size=300),
)
def test_whatever_is_told_the_report_is_well_formed(
    text: str, orcpt: str, envid: str, host: str, subject: str
) -> None:
    """Lines fit, and the three parts stay three."""
    section = HeaderSection(b"Subject: x\r\n").replace(
        "Subject", "".join(filter(str.isprintable, subject)).strip(), smtputf8=True
    )
    one = dataclasses.replace(FAILED, text=text, orcpt=f"rfc822;{orcpt}", remote_mta=host)
    message = composed(one, envid=envid, header=section)

    assert check(message.header.octets) is None
    assert all(len(line) <= 998 for line in octets(message).split(b"\r\n"))
    assert len(parts(message)) == 3
    assert read(octets(message)).recipients[0].address == "bob@example.net"


def test_same_arguments_give_the_same_octets() -> None:
    assert octets(composed()) == octets(composed())


def test_other_readers_find_the_failed_recipient() -> None:
    """flufl.bounce names the one that failed, and does not take the delayed one for dead."""
    found = scan_message(email.message_from_bytes(octets(composed(FAILED, DELAYED))))

    assert found == {b"Bob+tag@Example.net"}


@pytest.mark.parametrize("action", Action)
def test_our_reader_reads_it_back(action: Action) -> None:
    """What went in comes out."""
    one = dataclasses.replace(FAILED, action=action)
    report = read(octets(composed(one, envid="QQ1", ret=Ret.FULL)))

    (found,) = report.recipients
    assert (report.kind, report.reporting_mta) == (Kind.DSN, "mail.example.com")
    assert (report.original_envelope_id, report.message_id) == ("QQ1", "<1@example.com>")
    assert (found.address, found.original_address) == ("bob@example.net", "Bob+tag@Example.net")
    assert (found.action, found.status, found.code) == (action, "5.1.1", 550)
    assert found.remote_mta == "mx.example.net"
