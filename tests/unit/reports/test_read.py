"""What comes back is read whichever form it has: a corpus, properties, hostile input."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.reports.read import read
from gatewayd.reports.report import Action, Kind, Report
from gatewayd.suppression.rules import suppresses
from tests.unit.mail.stopwatch import assert_linear

CORPUS = Path(__file__).parents[2] / "corpus"
FOLDERS: Final = ("dsn", "arf", "bounces", "not-bounces")
CASES = sorted(path for folder in FOLDERS for path in (CORPUS / folder).glob("*.eml"))
HEAD: Final = (
    b"Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.net\nSubject: Undelivered Mail\n"
    b"To: bounce@bounces.example.org\n"
)


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def seen(report: Report, expected: dict[str, Any]) -> dict[str, Any]:
    """The report in the words of the file that stands beside its input, as far as that asks."""
    fields = {
        "kind": report.kind,
        "reporting_mta": report.reporting_mta,
        "message_id": report.message_id,
        "envelope_id": report.original_envelope_id,
        "feedback_type": report.feedback_type,
    }
    known = [
        {
            "address": each.address,
            "action": each.action,
            "class": each.verdict.klass,
            "reason": each.verdict.reason,
            "status": each.status,
            "code": each.code,
            "remote_mta": each.remote_mta,
            "original_address": each.original_address,
        }
        for each in report.recipients
    ]
    asked = expected["recipients"] + [{}] * len(known)
    recipients = [
        {key: each[key] for key in (wanted or each)}
        for each, wanted in zip(known, asked, strict=False)
    ]
    return {key: fields[key] for key in expected if key != "recipients"} | {
        "recipients": recipients
    }


def expectation(path: Path) -> dict[str, Any]:
    expected: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return expected


@pytest.mark.parametrize("path", CASES, ids=name)
def test_a_mail_of_the_corpus_is_read_as_its_file_says(path: Path) -> None:
    """Each X.eml has its X.json; adding a case is adding two files."""
    expected = expectation(path)

    assert expected == seen(read(path.read_bytes()), expected)


@pytest.mark.parametrize("path", CASES, ids=name)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\r\r\n"], ids=["crlf", "cr", "crcrlf"])
def test_line_ends_do_not_matter(path: Path, line_end: bytes) -> None:
    """CRLF from SMTP, CR from an old Macintosh, CR CR LF from a gateway that added one."""
    octets = path.read_bytes().replace(b"\r\n", b"\n")

    assert read(octets) == read(octets.replace(b"\n", line_end))


@pytest.mark.parametrize("path", CASES, ids=name)
def test_a_mail_of_the_corpus_has_its_file_and_the_other_way_round(path: Path) -> None:
    """A case without its expectation would test nothing."""
    assert path.with_suffix(".json").exists()
    assert len(list(path.parent.glob("*.json"))) == len(list(path.parent.glob("*.eml")))


@pytest.mark.parametrize("path", CASES, ids=name)
def test_a_person_who_passes_it_on_has_not_bounced(path: Path) -> None:
    """Whatever is attached to somebody's letter was said by somebody else."""
    letter = (
        b"Return-Path: <bob@example.org>\nFrom: Bob <bob@example.org>\nTo: help@example.org\n"
        b"Subject: Fwd: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/mixed; boundary="letter"\n\n--letter\n\nWhat is this?\n\n'
        b"--letter\nContent-Type: message/rfc822\n\n" + path.read_bytes() + b"\n--letter--\n"
    )

    assert read(letter).kind == Kind.OTHER


@pytest.mark.parametrize("path", CASES, ids=name)
def test_a_person_who_quotes_it_has_not_bounced(path: Path) -> None:
    """A bounce with a mark before each line is an answer to somebody."""
    quoted = b"".join(b"> " + line + b"\n" for line in path.read_bytes().split(b"\n"))
    letter = (
        b"Return-Path: <bob@example.org>\nFrom: Bob <bob@example.org>\nTo: help@example.org\n"
        b"Subject: mail delivery failed, what now?\n\nI got this:\n\n" + quoted
    )

    assert read(letter).kind == Kind.OTHER


@pytest.mark.parametrize("path", sorted((CORPUS / "not-bounces").glob("*.eml")), ids=name)
def test_what_is_no_bounce_suppresses_nobody(path: Path) -> None:
    """No failed recipient comes out of an answer, a letter, a notice to an operator."""
    assert read(path.read_bytes()).recipients == ()


@pytest.mark.parametrize("path", sorted((CORPUS / "arf").glob("*.eml")), ids=name)
def test_a_complaint_has_no_failed_recipient(path: Path) -> None:
    """The mail arrived: that is what somebody complains of."""
    actions = {each.action for each in read(path.read_bytes()).recipients}

    assert set() == actions - {Action.DELIVERED}


def test_the_corpus_says_who_is_suppressed() -> None:
    """Over all bounces of the corpus: dead addresses, and only those."""
    dead = {"user_unknown", "host_unknown", "inactive", "moved"}
    wrong = [
        (name(path), each.address)
        for path in CASES
        for each, told in zip(
            read(path.read_bytes()).recipients, expectation(path)["recipients"], strict=True
        )
        if (told["reason"] in dead and told["class"] == "permanent") != suppresses(each.verdict)
    ]

    assert wrong == []


def test_the_original_is_given_back() -> None:
    """Tokens of ours are looked for in what was returned."""
    report = read((CORPUS / "dsn/postfix-user-unknown.eml").read_bytes())

    assert report.original.startswith(b"From: Sender <news@example.org>\n")
    assert b"Hello Ann" in report.original


def test_a_diagnostic_is_one_line_without_controls() -> None:
    """What a remote says is shown to people, in logs, terminals and pages."""
    octets = (CORPUS / "dsn/postfix-user-unknown.eml").read_bytes()
    said = read(octets.replace(b"User unknown in local", b"User \x1b]0;pwn\x07\x00unknown" * 99))
    [recipient] = said.recipients

    assert len(recipient.diagnostic) <= 512
    assert recipient.diagnostic.isprintable()
    assert "\\x1b]0;pwn\\x07" in recipient.diagnostic


BLOCKS = st.sampled_from(
    [path.read_bytes() for path in CASES]
    + [b"--b1\n", b"\n\n", b"Final-Recipient: rfc822;", b"<@>", b"\xff\xfe\x00", b"=?x?b?a?="]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=200), BLOCKS), max_size=4))
def test_nothing_makes_it_raise(blocks: list[bytes]) -> None:
    """Whatever octets come to the bounce listener, reading them is no event."""
    report = read(b"".join(blocks))

    assert report.kind in Kind


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(CASES), data=st.data())
def test_no_damage_makes_it_raise(path: Path, data: st.DataObject) -> None:
    """Cut anywhere, with rubbish put in anywhere."""
    octets = path.read_bytes()
    start = data.draw(st.integers(0, len(octets)))
    end = data.draw(st.integers(start, len(octets)))
    report = read(octets[:start] + data.draw(st.binary(max_size=20)) + octets[end:])

    assert len(report.recipients) <= 200


def nested(count: int) -> bytes:
    return HEAD + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (at, at) for at in range(count)
    )


def report_for(count: int) -> bytes:
    group = b"Final-Recipient: rfc822; u%d@example.com\nStatus: 5.1.1\nAction: failed\n\n"
    status = b"".join(group % at for at in range(count))
    return HEAD + b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n" + status


def html(text: bytes) -> Callable[[int], bytes]:
    return lambda count: HEAD + b"Content-Type: text/html\n\n" + text * count


def body(text: bytes) -> Callable[[int], bytes]:
    return lambda count: HEAD + b"\nYour mail could not be delivered to:\n" + text * count


HOSTILE: dict[str, tuple[Callable[[int], bytes], int]] = {
    "nested multiparts": (nested, 500),
    "one boundary, nested": (
        lambda n: (
            HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n"
            b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * n
        ),
        5_000,
    ),
    "tiny parts": (
        lambda n: HEAD + b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * n,
        100_000,
    ),
    "endless fields": (lambda n: HEAD + b"X: y\n" * n, 50_000),
    "one endless field": (lambda n: HEAD + b"Subject: " + b"a " * n, 500_000),
    "folded without end": (lambda n: b"Subject: a\n" + b" x\n" * n, 200_000),
    "parameters": (lambda n: HEAD + b"Content-Type: multipart/mixed" + b"; a=b" * n, 50_000),
    "a long boundary": (
        lambda n: HEAD + b"Content-Type: multipart/mixed; boundary=" + b"x" * n + b"\n\n--\n",
        70_000,
    ),
    "encoded words": (lambda n: b"From: " + b"=?utf-8?q?x?= " * n + b"\n\n", 20_000),
    "recipient groups": (report_for, 10_000),
    "blank lines of a status": (lambda n: report_for(1) + b"\n" * n + b"x: y", 500_000),
    "a long diagnostic": (
        lambda n: report_for(1)[:-1] + b"Diagnostic-Code: smtp; " + b"550 5.1.1 " * n,
        50_000,
    ),
    "failed recipients": (
        lambda n: HEAD + b"X-Failed-Recipients: " + b"u@example.com," * n + b"\n\nu@example.com\n",
        10_000,
    ),
    "at signs": (body(b"@"), 500_000),
    "addresses without end": (body(b"a@a@"), 200_000),
    "a long local-part": (lambda n: body(b"a")(n) + b"@example.com", 500_000),
    "a long domain": (lambda n: body(b"")(0) + b"x@" + b"a." * n, 200_000),
    "brackets": (body(b"<a@"), 200_000),
    "bullets": (body(b">*- "), 200_000),
    "parentheses": (body(b"(("), 200_000),
    "spaces": (body(b" "), 500_000),
    "blank lines": (body(b"\n"), 500_000),
    "carriage returns": (body(b"\r"), 500_000),
    "openings": (body(b"message could not be delivered to @ x@ "), 20_000),
    "quoted openings": (body(b"\n> a message that you sent could not be delivered to"), 20_000),
    "less-than": (html(b"<"), 300_000),
    "open tags": (html(b"<a "), 200_000),
    "open comments": (html(b"<!--"), 200_000),
    "character references": (html(b"&#"), 200_000),
    "named references": (html(b"&amp"), 200_000),
    "base64": (lambda n: HEAD + b"Content-Transfer-Encoding: base64\n\n" + b"QUJD" * n, 200_000),
    "feedback fields": (
        lambda n: (
            HEAD + b"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
            b"Original-Rcpt-To: a@example.com\n" * n
        ),
        20_000,
    ),
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_time_is_in_proportion_to_the_octets(attack: str) -> None:
    """ReDoS and MIME bombs: twice the input takes at most two and a half times as long."""
    make, count = HOSTILE[attack]

    assert_linear(lambda n: read(make(n)), count)


@pytest.mark.parametrize("attack", HOSTILE)
def test_an_attack_is_over_soon(attack: str) -> None:
    """A quarter of a second for what takes milliseconds: a bound, not a measurement."""
    make, count = HOSTILE[attack]
    octets = make(2 * count)
    start = time.process_time()
    report = read(octets)

    assert time.process_time() - start < 0.25
    assert len(report.recipients) <= 200


@pytest.mark.parametrize(
    "charset", ["utf-7", "unicode-1-1-utf-7", "x-user-defined", "punycode", "idna", "zip", "\x00"]
)
def test_an_unknown_charset_is_read_all_the_same(charset: str) -> None:
    """Codecs that are no charsets, and names that nobody knows, are not asked."""
    text = (CORPUS / "bounces/qmail.eml").read_bytes()
    report = read(text.replace(b"us-ascii", charset.encode()))

    assert [each.address for each in report.recipients] == ["ann@example.com", "bob@example.com"]
