"""queue.notify: one test per row of its table."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from gatewayd.mail.envelope import Notify
from gatewayd.queue.notify import action_of
from gatewayd.queue.states import State
from gatewayd.reports.report import Action

ALL = frozenset(Notify) - {Notify.NEVER}


def told(
    state: State, asked: Collection[Notify] = ALL, *, dsn: bool = False, late: bool = False
) -> Action | None:
    return action_of(state, asked, is_dsn_offered=dsn, is_late=late)


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED])
def test_failure_is_told_to_who_asked(state: State) -> None:
    assert told(state) is Action.FAILED
    assert told(state, [Notify.SUCCESS, Notify.DELAY]) is None


def test_delay_is_told_when_it_is_late() -> None:
    assert told(State.QUEUED, late=True) is Action.DELAYED
    assert told(State.QUEUED) is None
    assert told(State.QUEUED, [Notify.FAILURE, Notify.SUCCESS], late=True) is None


def test_success_is_told_where_the_next_hop_will_not() -> None:
    """`relayed`: it went to where no DSN is known (RFC 3461 5.2.2)."""
    assert told(State.DELIVERED) is Action.RELAYED
    assert told(State.DELIVERED, dsn=True) is None
    assert told(State.DELIVERED, [Notify.FAILURE, Notify.DELAY]) is None


@pytest.mark.parametrize("state", State)
def test_nobody_is_told_without_notify(state: State) -> None:
    """Nor with NEVER: a bent rule, an agent asks the API."""
    assert told(state, [], late=True) is None
    assert told(state, [Notify.NEVER], late=True) is None


@pytest.mark.parametrize(
    "state", [State.IN_DOUBT, State.CLAIMED, State.HELD, State.CANCELLED, State.BOUNCED]
)
def test_other_states_are_told_to_nobody(state: State) -> None:
    assert told(state, late=True) is None
