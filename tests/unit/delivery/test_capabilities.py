"""delivery.smtp.capabilities: what an EHLO reply offers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.delivery.smtp.capabilities import Capabilities


def test_nothing_offered_is_nothing() -> None:
    """The default is what RFC 821 had."""
    assert Capabilities.parse([]) == Capabilities()


def test_every_keyword_is_read_in_any_case() -> None:
    """Keywords are case-insensitive (RFC 5321 4.1.1.1)."""
    lines = [
        "pipelining",
        "SIZE 10485760",
        "8bitmime",
        "SmtpUtf8",
        "DSN",
        "STARTTLS",
        "AUTH PLAIN LOGIN",
        "LIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1",
        "CHUNKING",
    ]

    assert Capabilities.parse(lines) == Capabilities(
        pipelining=True,
        size_octets=10_485_760,
        has_size=True,
        eight_bit_mime=True,
        smtputf8=True,
        dsn=True,
        starttls=True,
        recipients_max=20,
        mails_max=5,
        auth=frozenset({"PLAIN", "LOGIN"}),
    )


@pytest.mark.parametrize(
    "line", ["SIZE", "SIZE 0", "SIZE x", "SIZE -1", "SIZE " + "9" * 5000, "SIZE \u0661"]
)
def test_size_without_a_usable_number_is_no_limit(line: str) -> None:
    """Zero and nothing mean "no fixed limit" (RFC 1870 3); nonsense is not a limit either."""
    assert Capabilities.parse([line]) == Capabilities(has_size=True)


@pytest.mark.parametrize("line", ["LIMITS", "LIMITS RCPTMAX", "LIMITS RCPTMAX=0 MAILMAX=x"])
def test_limits_without_usable_numbers_are_none(line: str) -> None:
    """A limit of no recipients would stop all mail."""
    assert Capabilities.parse([line]) == Capabilities()


def test_old_spelling_of_auth_counts() -> None:
    """AUTH=LOGIN, alone or beside the right one."""
    lines = ["AUTH PLAIN", "AUTH=LOGIN"]

    assert Capabilities.parse(lines).auth == frozenset({"PLAIN", "LOGIN"})


def test_first_line_of_a_keyword_counts() -> None:
    """A keyword stands once (RFC 5321 4.1.1.1); a second one changes nothing."""
    assert Capabilities.parse(["SIZE 10", "SIZE 20"]).size_octets == 10


@given(st.lists(st.text(max_size=60), max_size=20))
def test_any_text_is_survived(lines: list[str]) -> None:
    """A peer may say what it likes."""
    found = Capabilities.parse(lines)

    assert found.size_octets is None or found.size_octets > 0
