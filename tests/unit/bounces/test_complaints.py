"""bounces.complaints: who complained is told by what we signed inside the reported message."""

from __future__ import annotations

import base64
import dataclasses
import quopri
from collections.abc import Callable

import pytest

from gatewayd import ids
from gatewayd.bounces import complaints
from gatewayd.bounces.complaints import Complaint
from gatewayd.bounces.signed import Signed
from gatewayd.ids import QueueId, RecipientId
from gatewayd.keys.verp import ReversePaths
from gatewayd.reports.read import read
from gatewayd.store.recipients import RecipientRow
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW
from tests.fakes.returning import arf

QUEUE, BOB, ZOE = ids.queue_id(NOW), ids.recipient_id(NOW), ids.recipient_id(NOW)
ANN = "ann@example.com"


def row(recipient_id: RecipientId, path: str, queue_id: QueueId = QUEUE) -> RecipientRow:
    return RecipientRow(
        recipient_id=recipient_id, queue_id=queue_id, position=0, lane="m", forward_path=path,
        notify="", orcpt=None, state="delivered", attempts=1, due_at=None, attempt_id=None,
        reply_code=250, reply_status="2.0.0", reason="", delivered_at=NOW, updated_at=NOW,
    )  # fmt: skip


ROWS = {one.recipient_id: one for one in (row(BOB, "bob@example.net"), row(ZOE, "zoe@example.org"))}


def said(signed: Signed, original: bytes, **given: str) -> Complaint:
    return complaints.read(read(arf(original, **given)), signed)


def who(complaint: Complaint, rows: dict[RecipientId, RecipientRow]) -> list[RecipientId]:
    return [one.recipient_id for one in complaints.complainers(complaint, rows, {QUEUE: ANN})]


def test_return_path_of_one_recipient(signed: Signed, reverse_paths: ReversePaths) -> None:
    original = f"Return-Path: <{reverse_paths.make(BOB)}>\r\nFrom: {ANN}\r\n\r\nHello".encode()
    complaint = said(signed, original)

    assert (complaint.idents, complaint.is_quoted) == (frozenset({BOB}), False)
    assert complaint.is_complaint
    assert who(complaint, {BOB: ROWS[BOB]}) == [BOB]


def test_unsubscribe_url_in_the_header(signed: Signed, links: Links) -> None:
    """Providers drop Return-Path; List-Unsubscribe stays."""
    original = f"List-Unsubscribe: <{links.unsubscribe_url(BOB)}>\r\nFrom: x@y.example\r\n\r\nHello"

    assert who(said(signed, original.encode()), ROWS) == [BOB]


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("7bit", bytes), ("base64", base64.encodebytes), ("quoted-printable", quopri.encodestring)],
)
def test_link_in_the_body_of_mail_from_the_mailbox(
    encoding: str, encode: Callable[[bytes], bytes], signed: Signed, links: Links
) -> None:
    body = encode(f'<a href="{links.unsubscribe_url(BOB)}">a</a>'.encode())
    original = (
        f"From: Ann <{ANN}>\r\nContent-Type: text/html\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode() + body
    complaint = said(signed, original)

    assert (complaint.idents, complaint.is_quoted) == (frozenset({BOB}), True)
    assert who(complaint, ROWS) == [BOB]


@pytest.mark.parametrize("sender", ["From: bob@example.net\r\n", ""])
def test_link_that_somebody_else_quotes(sender: str, signed: Signed, links: Links) -> None:
    """Bob's own mail, with ours below it, was taken for spam: Bob did not complain."""
    original = f"{sender}Subject: Re: hello\r\n\r\n> {links.unsubscribe_url(BOB)}"

    assert who(said(signed, original.encode()), ROWS) == []


@pytest.mark.parametrize("where", ["X-A: {}\r\n\r\nHello", "From: Ann <" + ANN + ">\r\n\r\n{}"])
def test_click_and_open_tokens_name_nobody(where: str, signed: Signed, links: Links) -> None:
    """Proxies, and whoever a link was passed on to, have them: they must not suppress anybody."""
    for url in (links.click_url(BOB, "https://a.example/"), links.open_url(BOB)):
        complaint = said(signed, where.replace("{}", url).encode(), named="bob@example.net")

        assert complaint.idents == frozenset()
        assert who(complaint, ROWS) == []


@pytest.mark.parametrize("where", ["From: {}", "Subject: {}\r\n\r\nHello {}"])
def test_address_without_mac_is_nobody(where: str, signed: Signed) -> None:
    """Neither what the report names, nor what the message says."""
    complaint = said(
        signed, where.replace("{}", "bob@example.net").encode(), named="bob@example.net"
    )

    assert complaint.idents == frozenset()
    assert who(complaint, ROWS) == []


@pytest.mark.parametrize(
    ("named", "expected"),
    [("bob@EXAMPLE.net", [BOB]), ("eve@example.net", []), ("", [])],
)
def test_shared_address_needs_a_name(
    named: str, expected: list[RecipientId], signed: Signed, reverse_paths: ReversePaths
) -> None:
    original = f"Return-Path: <{reverse_paths.make(QUEUE)}>\r\nFrom: {ANN}\r\n\r\nHello".encode()

    assert who(said(signed, original, named=named), ROWS) == expected


def test_address_of_a_message_to_one_needs_none(
    signed: Signed, reverse_paths: ReversePaths
) -> None:
    original = f"Return-Path: <{reverse_paths.make(QUEUE)}>\r\nFrom: {ANN}\r\n\r\nHello".encode()

    assert who(said(signed, original), {BOB: ROWS[BOB]}) == [BOB]


def test_recipient_of_another_message_is_left_alone(
    signed: Signed, reverse_paths: ReversePaths
) -> None:
    """The address of one message never names a recipient of another, whatever the report says."""
    original = f"Return-Path: <{reverse_paths.make(QUEUE)}>\r\n\r\nHello".encode()
    eve = dataclasses.replace(
        row(ids.recipient_id(NOW), "eve@example.net"), queue_id=ids.queue_id(NOW)
    )

    assert who(said(signed, original, named="eve@example.net"), {eve.recipient_id: eve}) == []


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [("abuse", True), ("fraud", True), ("opt-out", True), ("not-spam", False), ("other", False)],
)
def test_only_some_feedback_is_a_complaint(feedback: str, expected: bool, signed: Signed) -> None:
    assert said(signed, b"From: x\r\n\r\n", feedback=feedback).is_complaint is expected
