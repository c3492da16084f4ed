"""mail.outcome: a closed union that a match reads whole."""

from __future__ import annotations

from typing import assert_never

import pytest

from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply

_REPLY = Reply(550, None, "no")


def _word(outcome: Outcome) -> str:
    match outcome:
        case Delivered():
            return "delivered"
        case Deferred(reason, _):
            return reason
        case Failed(reason, _, _):
            return reason
        case InDoubt(reason) | Released(reason):
            return reason
        case _:
            assert_never(outcome)


@pytest.mark.parametrize(
    "outcome",
    [
        Delivered(_REPLY),
        Deferred("x"),
        Deferred("x", _REPLY),
        Failed("x", None, "5.6.7"),
        InDoubt("x"),
        Released("x"),
    ],
)
def test_outcome_when_matched_then_every_kind_has_its_case(outcome: Outcome) -> None:
    """Mypy holds that the match is whole; values compare and can be keys."""
    assert _word(outcome) in ("x", "delivered")
    assert len({outcome, outcome}) == 1
