"""What a submitter asked to hear by NOTIFY reaches its mailbox by its own next hop, and once."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import smtplib
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gatewayd.mail.xtext import encode
from gatewayd.reports.read import read
from gatewayd.reports.report import Action, Kind, Report
from tests.fakes.smtp_sink import Copy, SmtpSink
from tests.peers.gateway import Gateway
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow]

WAIT_S = 30.0
# One for each time: an address that is refused so is suppressed afterwards.
BAD = [f"bad{number}@example.net" for number in range(6)]
BUSY, GOOD = "busy@example.net", "good@example.net"
REFUSED = {
    **{address: f"550 5.1.1 <{address}>: no such user\r\n".encode() for address in BAD},
    BUSY: b"451 4.3.2 busy\r\n",
}
BODY = "Hello, all of you.\r\n"
ALL = "NOTIFY=SUCCESS,FAILURE,DELAY"


@pytest.fixture(scope="module")
def sink() -> Iterator[SmtpSink]:
    """The next hop of everybody; it offers no DSN."""
    with SmtpSink(refused=REFUSED) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, sink: SmtpSink) -> Iterator[Gateway]:
    with Gateway(
        tmp_path_factory.mktemp("dsn"),
        smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        delivery="delay_notice_s = 1",
        retry="first_s = 1\nfactor = 1.0\njitter = 0.0\n",
    ) as running:
        running.prepare()
        running.start()
        yield running


def send(
    gateway: Gateway, asked: Sequence[tuple[str, str]], *, subject: str, mail: Sequence[str] = ()
) -> str:
    """Submit by SMTP to these recipients with these parameters; the queue id."""
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=WAIT_S) as client:
        client.ehlo()
        client.login(gateway.mailbox, gateway.token)
        client.mail(gateway.mailbox, list(mail))
        for address, parameter in asked:
            assert client.rcpt(address, [parameter] if parameter else [])[0] == 250
        code, text = client.data(
            f"From: {gateway.mailbox}\r\nTo: x@example.net\r\nSubject: {subject}\r\n\r\n{BODY}"
        )
    assert code == 250, text
    return str(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.decode())[0])


def reports(sink: SmtpSink, subject: str) -> list[Copy]:
    """What came to the mailbox about a message, by its subject."""
    return [
        copy
        for copy in sink.copies
        if copy.reverse_path == "" and f"Subject: {subject}\r\n".encode() in copy.octets
    ]


def arrived(sink: SmtpSink, subject: str, action: Action) -> tuple[Copy, Report]:
    """The report about a message that says this of a recipient."""

    def find() -> list[tuple[Copy, Report]]:
        found = []
        for copy in reports(sink, subject):
            report = read(copy.octets)
            if action in {one.action for one in report.recipients}:
                found.append((copy, report))
        return found

    return eventually(find, within_s=WAIT_S, what=f"a report of {action}")[0]


def settled(gateway: Gateway, queue_id: str) -> dict[str, Any]:
    """The answer about a message when the submitter was told of it."""

    def find() -> dict[str, Any]:
        found: dict[str, Any] = gateway.command("messages", "explain", queue_id)
        told = [fact for one in found["recipients"] for fact in one["facts"]]
        return found if "notified" in {fact["what"] for fact in told} else {}

    return eventually(find, within_s=WAIT_S, what=gateway.tail)


def test_failure_comes_to_the_mailbox_with_the_message(gateway: Gateway, sink: SmtpSink) -> None:
    """RFC 3461 5.2.6: ENVID, ORCPT and RET are honoured; who was delivered is not named."""
    orcpt = f"ORCPT=rfc822;{encode('Bad+user@Example.net')}"
    queue_id = send(
        gateway,
        [(BAD[0], f"NOTIFY=FAILURE {orcpt}"), (GOOD, "NOTIFY=FAILURE")],
        subject="failure",
        mail=["RET=FULL", "ENVID=QQ+3D17"],
    )
    copy, report = arrived(sink, "failure", Action.FAILED)
    (one,) = report.recipients

    assert copy.forward_paths == (gateway.mailbox,)
    assert copy.field("From") == f"Mail Delivery System <mailer-daemon@{gateway.hostname}>"
    assert copy.field("Auto-Submitted") == "auto-replied"
    assert BODY.encode() in copy.octets
    assert (report.kind, report.original_envelope_id) == (Kind.DSN, "QQ=17")
    assert (one.address, one.original_address) == (BAD[0], "Bad+user@Example.net")
    assert (one.status, one.code, one.remote_mta) == ("5.1.1", 550, "127.0.0.1")

    found = settled(gateway, queue_id)
    notices = [fact for fact in found["recipients"][0]["facts"] if fact["what"] == "notified"]
    (listed,) = [
        item
        for item in gateway.command("messages", "list", "--recipient", gateway.mailbox)["items"]
        if item["queue_id"] in notices[0]["text"]
    ]
    assert (listed["door"], listed["is_dsn"], listed["reverse_path"]) == ("dsn", True, "")


def test_explain_is_the_same_by_api_and_command(gateway: Gateway) -> None:
    """One answer, word for word."""
    queue_id = send(gateway, [(GOOD, "NOTIFY=SUCCESS")], subject="same")
    by_command = settled(gateway, queue_id)
    request = urllib.request.Request(  # noqa: S310 - to our own daemon
        f"{gateway.http_url}/api/v1/messages/{queue_id}/explain",
        headers={"Authorization": f"Bearer {gateway.token}"},
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310 - as above
        by_api = json.load(answer)

    assert by_command == by_api
    assert by_api["summary"].endswith("by smtp: 1 delivered")


def test_success_at_a_hop_without_dsn_is_relayed(gateway: Gateway, sink: SmtpSink) -> None:
    """RFC 3461 5.2.2: nobody behind it will tell, so we do; the header alone comes back."""
    send(gateway, [(GOOD, "NOTIFY=SUCCESS")], subject="success", mail=["RET=FULL"])
    copy, report = arrived(sink, "success", Action.RELAYED)

    assert [(one.address, one.status[:1]) for one in report.recipients] == [(GOOD, "2")]
    assert BODY.encode() not in copy.octets


def test_delay_is_told_once(gateway: Gateway, sink: SmtpSink) -> None:
    """However often it is deferred after that."""
    queue_id = send(gateway, [(BUSY, "NOTIFY=DELAY")], subject="delay")
    copy, _ = arrived(sink, "delay", Action.DELAYED)

    def tried_again() -> bool:
        (one,) = gateway.command("messages", "show", queue_id)["recipients"]
        return int(one["attempts"]) >= 5

    eventually(tried_again, within_s=WAIT_S, what=gateway.tail)
    gateway.command("messages", "hold", queue_id)
    assert b"Will-Retry-Until: " in copy.octets
    assert len(reports(sink, "delay")) == 1


def test_nothing_is_told_to_who_did_not_ask(gateway: Gateway, sink: SmtpSink) -> None:
    """Neither without NOTIFY, nor with NEVER, nor about what did not happen."""
    sent = [
        send(gateway, [(BAD[1], ""), (GOOD, "")], subject="silent"),
        send(gateway, [(BAD[2], "NOTIFY=NEVER"), (GOOD, "NOTIFY=NEVER")], subject="silent"),
        send(
            gateway, [(BAD[3], "NOTIFY=SUCCESS,DELAY"), (GOOD, "NOTIFY=FAILURE")], subject="silent"
        ),
    ]
    for queue_id in sent:
        eventually(
            functools.partial(_is_settled, gateway, queue_id), within_s=WAIT_S, what=gateway.tail
        )
    # What is told of later has come: so would have what was owed before it.
    send(gateway, [(BAD[4], "NOTIFY=FAILURE")], subject="after")
    arrived(sink, "after", Action.FAILED)

    assert reports(sink, "silent") == []


def _is_settled(gateway: Gateway, queue_id: str) -> bool:
    found = gateway.command("messages", "show", queue_id)["recipients"]
    return {one["state"] for one in found} == {"failed", "delivered"}


def test_report_survives_a_crash_and_comes_once(tmp_path: Path) -> None:
    """The daemon is killed when the outcome is on the disk: the next one tells what is owed."""
    with (
        SmtpSink(refused=REFUSED) as sink,
        Gateway(
            tmp_path,
            smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        ) as gateway,
    ):
        gateway.prepare()
        gateway.start(environment={"GATEWAYD_FAILPOINTS": "after_outcome=kill"}, may_die=True)
        with contextlib.suppress(smtplib.SMTPException, OSError):
            send(gateway, [(BAD[0], ALL)], subject="crash")
        gateway.wait_for_exit()
        assert reports(sink, "crash") == []
        gateway.start()
        arrived(sink, "crash", Action.FAILED)
        gateway.stop()
        gateway.start()
        send(gateway, [(BAD[1], ALL)], subject="after")
        arrived(sink, "after", Action.FAILED)

    assert len(reports(sink, "crash")) == 1
