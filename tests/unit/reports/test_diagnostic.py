"""Code, status and the line to keep are told apart from the other numbers of a diagnostic."""

from __future__ import annotations

import pytest

from gatewayd.reports import diagnostic


@pytest.mark.parametrize(
    ("text", "code", "status"),
    [
        ("smtp; 550 5.1.1 <ann@example.com>: User unknown", 550, "5.1.1"),
        ("smtp;550-5.1.1 no such user 550 5.1.1 go away", 550, "5.1.1"),
        ("host mx.example [192.0.2.550] said: 554 no", 554, ""),
        ("450 try later; later: 550 5.1.1 gone", 550, "5.1.1"),
        ("550 5.0.0 sorry (#5.1.1)", 550, "5.1.1"),
        ("452 4.2.2 full", 452, "4.2.2"),
        ("250 2.0.0 ok, then 421 closing", 421, ""),
        ("X-Postfix; connect to mx.example[192.0.2.1]:25: timed out", None, ""),
        ("version 5.1.1.7 of 450 things", 450, ""),
        ("in 2024, port 5255, id 550abc", None, ""),
        ("", None, ""),
    ],
)
def test_code_and_status_of_a_diagnostic(text: str, code: int | None, status: str) -> None:
    said = diagnostic.read(text)
    assert (said.code, said.status) == (code, status)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("5.1.1", "5.1.1"),
        ("5.1.1 (bad destination mailbox address)", "5.1.1"),
        ("5.1.010", "5.1.10"),
        ("5.1", ""),
        ("permanent", ""),
    ],
)
def test_a_status_field_is_read_leniently(value: str, status: str) -> None:
    assert diagnostic.status_of(value) == status


def test_what_is_kept_is_one_short_line() -> None:
    shown = diagnostic.shown("550 a\r\n\tb\x1b[31m\u2028" + "x" * 9999)
    assert shown.startswith("550 a b\\x1b[31m\\x2028x")
    assert len(shown) == diagnostic.MAX_SHOWN
