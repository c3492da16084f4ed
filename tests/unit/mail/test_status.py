"""mail.status: enhanced statuses are read strictly and have the names of the registry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.errors import Code
from gatewayd.mail.status import NAMES, EnhancedStatus, StatusSyntaxError


@given(st.sampled_from([2, 4, 5]), st.integers(0, 999), st.integers(0, 999))
def test_status_when_written_and_read_then_the_same(klass: int, subject: int, detail: int) -> None:
    """Every status of RFC 3463 2 makes the round trip."""
    status = EnhancedStatus(klass, subject, detail)

    assert status == EnhancedStatus.parse(str(status))


@pytest.mark.parametrize(
    "text",
    ["", "5", "5.1", "5.1.1.1", "3.0.0", "05.1.1", "5.01.1", "5.1.1000", "5.1.1 ", "5.\u0661.1"],
)
def test_parse_when_text_is_malformed_then_refused(text: str) -> None:
    """No leading zeros, no class but 2, 4 and 5, ASCII digits (RFC 3463 2)."""
    with pytest.raises(StatusSyntaxError):
        EnhancedStatus.parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("5.1.1", "Bad destination mailbox address"),
        ("2.1.5", "Destination address valid"),
        ("4.7.28", "Mail flood detected"),
        ("5.7.999", "Other or undefined security status"),
        ("5.99.1", "Other undefined Status"),
    ],
)
def test_name_is_that_of_the_registry(text: str, name: str) -> None:
    """An unknown detail has its subject's name (RFC 5248)."""
    assert name == EnhancedStatus.parse(text).name


def test_every_subject_of_the_registry_has_a_general_name() -> None:
    """`name` falls back to (subject, 0), so it has to be there."""
    assert {subject for subject, _ in NAMES} == {
        subject for subject, detail in NAMES if detail == 0
    }


@pytest.mark.parametrize("code", Code, ids=lambda code: code.word)
def test_every_refusal_code_has_a_status_that_is_registered(code: Code) -> None:
    """The text in `errors.Code` is an enhanced status, refusing and in the registry."""
    status = EnhancedStatus.parse(code.status)

    assert status.is_temporary or status.is_permanent
    assert (status.subject, status.detail) in NAMES
