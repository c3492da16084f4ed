"""bounces: what no column can hold, in every field of a report, is no fault of the database."""

from __future__ import annotations

import base64

import pytest

from gatewayd.bounces.pipeline import Kind, Returned
from gatewayd.queue.states import State
from tests.fakes.returning import Returning
from tests.fakes.world import World

HOSTILE = (
    "\0",
    "\ud800",
    "\u2028",
    "\x1b[31m",
    "\x85",
    "'; DROP TABLE recipients; --",
    "\U0010ffff",
)
_FIELDS = (
    "Reporting-MTA", "Original-Envelope-Id", "Final-Recipient", "Original-Recipient", "Action",
    "Status", "Remote-MTA", "Diagnostic-Code",
)  # fmt: skip


@pytest.fixture
def returning(world: World) -> Returning:
    return Returning(world=world)


def _part(kind: str, text: str) -> bytes:
    """A part in base64, where any octet may hide."""
    octets = base64.encodebytes(text.encode("utf-8", "surrogatepass"))
    return (
        f"--b\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n\r\n".encode()
        + octets.replace(b"\n", b"\r\n")
    )


def _dsn(spoiled: str, hostile: str) -> bytes:
    fields = {
        "Reporting-MTA": "dns; mx.example", "Original-Envelope-Id": "1",
        "Final-Recipient": "rfc822; bob@example.net", "Original-Recipient": "rfc822; b@x.example",
        "Action": "failed", "Status": "5.1.1", "Remote-MTA": "dns; mx.example",
        "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
    }  # fmt: skip
    fields[spoiled] = fields[spoiled][:9] + hostile + fields[spoiled][9:]
    lines = [f"{name}: {value}\r\n" for name, value in fields.items()]
    status = "".join(lines[:2]) + "\r\n" + "".join(lines[2:])
    return (
        b"From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        + _part("text/plain", f"not delivered {hostile}")
        + _part("message/delivery-status", status)
        + b"--b--\r\n"
    )


@pytest.mark.parametrize("spoiled", _FIELDS)
@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
async def test_hostile_octets_in_a_report_are_taken(
    returning: Returning, spoiled: str, hostile: str
) -> None:
    """Whoever holds a VERP address could else make every report of his a fault of ours."""
    queue_id = await returning.sent(notify="FAILURE")
    row = await returning.row(queue_id)
    taken = await returning.take(row.recipient_id, _dsn(spoiled, hostile))

    assert taken.kind in (Kind.REPORT, Kind.UNRECOGNISED)
    after = await returning.row(queue_id)
    assert after.state == (State.BOUNCED if taken.changes else State.DELIVERED)
    assert "\0" not in str([event.data for event in await returning.told(queue_id)])


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
async def test_hostile_octets_in_a_complaint_are_taken(returning: Returning, hostile: str) -> None:
    """The same, for anybody at all."""
    queue_id = await returning.sent()
    row = await returning.row(queue_id)
    verp = returning.reverse_paths.make(row.recipient_id)
    fields = "".join(
        f"{name}: {value}{hostile}x\r\n"
        for name, value in (
            ("User-Agent", "FBL/1"), ("Version", "1"), ("Original-Rcpt-To", "bob@example.net"),
            ("Reporting-MTA", "dns; mx.example"), ("Source-IP", "192.0.2.1"),
            ("Reported-Domain", "example.com"), ("Original-Mail-From", "x@example.com"),
        )
    )  # fmt: skip
    octets = (
        b"From: fbl@provider.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
        + _part("text/plain", hostile)
        + _part("message/feedback-report", f"Feedback-Type: abuse\r\n{fields}")
        + b"--b\r\nContent-Type: message/rfc822\r\n\r\n"
        + f"Return-Path: <{verp}>\r\nSubject: hello\r\n\r\nhi\r\n--b--\r\n".encode()
    )
    taken = await returning.complain(octets)

    assert taken.changes == 1
    assert (await returning.row(queue_id)).complained_at is not None


@pytest.mark.parametrize("hostile", HOSTILE, ids=ascii)
async def test_hostile_return_path_of_a_file_is_taken(returning: Returning, hostile: str) -> None:
    """What came without an envelope has only that."""
    header = f"Return-Path: <a{hostile}@b.example>\r\nSubject: x\r\n\r\n"
    taken = await returning.bounces.take(
        Returned(
            reverse_path=None, octets=header.encode("utf-8", "surrogatepass"), peer=f"a{hostile}"
        )
    )

    assert taken.kind is Kind.UNRECOGNISED
