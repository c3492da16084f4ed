"""bounces.reading: one test per cell of the table, by where a message came to."""

from __future__ import annotations

import pytest

from gatewayd.bounces.reading import Reading, reading_of, reverse_path_of
from gatewayd.bounces.returned import Returned, Unrecognised
from gatewayd.bounces.signed import Signed
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail.address import NULL, ReversePath
from tests.fakes.returning import arf, dsn, group

IDENT = "01936f1e-0000-7000-8000-00000000000a"
OTHER = "01936f1e-0000-7000-8000-00000000000b"
PERSON = ReversePath.parse("eve@example.net")
MAIL = b"From: eve@example.net\r\nSubject: lunch\r\n\r\nAt noon?\r\n"
VACATION = (
    b"From: eve@example.net\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n"
    b"X-Autoreply: yes\r\n\r\nI am away until Monday.\r\n"
)


def at_verp(octets: bytes, signed: Signed, *, path: ReversePath = NULL) -> Reading:
    returned = Returned(idents=(IDENT,), reverse_path=path, octets=octets, peer="192.0.2.9")
    return reading_of(returned, signed, parse_octets=1 << 21)


def at_complaints(octets: bytes, signed: Signed) -> Reading:
    returned = Returned(is_complaint=True, reverse_path=PERSON, octets=octets, peer="192.0.2.9")
    return reading_of(returned, signed, parse_octets=1 << 21)


def without_envelope(octets: bytes, signed: Signed) -> Reading:
    returned = Returned(reverse_path=None, octets=octets, peer="inbox")
    return reading_of(returned, signed, parse_octets=1 << 21)


def verp(reverse_paths: ReversePaths, ident: str) -> bytes:
    return f"Return-Path: <{reverse_paths.make(ident)}>\r\n\r\nHello".encode()


def test_report_at_verp_is_of_its_id(signed: Signed, reverse_paths: ReversePaths) -> None:
    """The envelope names it, whatever else stands in the text."""
    reading = at_verp(dsn(group(), original=verp(reverse_paths, OTHER)), signed)

    assert (reading.why, reading.idents) == (None, frozenset({IDENT}))
    assert reading.report is not None
    assert [one.address for one in reading.report.recipients] == ["bob@example.net"]


@pytest.mark.parametrize("octets", [dsn(group()), MAIL, arf(b"")])
def test_other_reverse_path_at_verp_is_not_recognised(octets: bytes, signed: Signed) -> None:
    reading = at_verp(octets, signed, path=PERSON)

    assert reading.why is Unrecognised.REVERSE_PATH_NOT_NULL


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (MAIL, Unrecognised.NOT_A_REPORT),
        (VACATION, Unrecognised.AUTO_REPLY),
        (b"", Unrecognised.NOT_A_REPORT),
        (b"\x00\xff" * 500, Unrecognised.NOT_A_REPORT),
    ],
)
def test_other_mail_at_verp_is_not_recognised(
    octets: bytes, why: Unrecognised, signed: Signed
) -> None:
    assert at_verp(octets, signed).why is why


def test_complaint_at_verp_is_of_what_it_carries(
    signed: Signed, reverse_paths: ReversePaths
) -> None:
    """Not of the address that it came to: that stands in no reported message."""
    reading = at_verp(arf(verp(reverse_paths, OTHER)), signed)

    assert reading.complaint is not None
    assert reading.complaint.idents == {OTHER}
    assert at_verp(arf(b"From: x\r\n\r\n"), signed).why is Unrecognised.NOT_SIGNED


def test_complaint_at_complaints_takes_any_reverse_path(
    signed: Signed, reverse_paths: ReversePaths
) -> None:
    reading = at_complaints(arf(verp(reverse_paths, OTHER)), signed)

    assert (reading.why, reading.idents) == (None, frozenset({OTHER}))


@pytest.mark.parametrize("octets", [dsn(group()), MAIL])
def test_other_mail_at_complaints_is_not_recognised(octets: bytes, signed: Signed) -> None:
    assert at_complaints(octets, signed).why is Unrecognised.NOT_A_COMPLAINT


def test_report_without_envelope_is_of_what_it_carries(
    signed: Signed, reverse_paths: ReversePaths
) -> None:
    reading = without_envelope(dsn(group(), to=str(reverse_paths.make(OTHER))), signed)
    inside = without_envelope(dsn(group(), original=verp(reverse_paths, IDENT)), signed)

    assert (reading.why, reading.idents) == (None, frozenset({OTHER}))
    assert (inside.why, inside.idents) == (None, frozenset({IDENT}))
    assert without_envelope(dsn(group()), signed).why is Unrecognised.NOT_SIGNED


def test_report_without_envelope_needs_a_null_return_path(
    signed: Signed, reverse_paths: ReversePaths
) -> None:
    octets = dsn(group(), to=str(reverse_paths.make(OTHER)))

    assert without_envelope(b"Return-Path: <>\r\n" + octets, signed).why is None
    assert (
        without_envelope(b"Return-Path: <eve@example.net>\r\n" + octets, signed).why
        is Unrecognised.REVERSE_PATH_NOT_NULL
    )


@pytest.mark.parametrize(
    ("field", "is_null"),
    [
        (b"", True), (b"Return-Path: <>", True), (b"Return-path:<MAILER-DAEMON>", True),
        (b"Return-Path: <a@b.example>", False), (b"Return-Path: nonsense", False),
    ],
)  # fmt: skip
def test_return_path_stands_for_the_envelope(field: bytes, is_null: bool) -> None:
    returned = Returned(reverse_path=None, octets=field + b"\r\nTo: x\r\n\r\n", peer="inbox")

    assert reverse_path_of(returned).is_null is is_null


def test_no_more_is_read_than_allowed(signed: Signed) -> None:
    octets = dsn(group())
    returned = Returned(idents=(IDENT,), reverse_path=NULL, octets=octets, peer="192.0.2.9")

    reading = reading_of(returned, signed, parse_octets=octets.index(b"Final-Recipient"))

    assert reading.report is None or not any(one.address for one in reading.report.recipients)
