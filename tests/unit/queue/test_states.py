"""queue.states: one test per row of the table, and nothing else is legal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.queue.states import (
    AT_REST,
    TRANSITIONS,
    Event,
    IllegalTransition,
    State,
    after,
    sources,
)

ROWS = """
queued    claimed   claimed
queued    held      held
queued    cancelled cancelled
queued    retried   queued
queued    suppressed failed
claimed   delivered delivered
claimed   deferred  queued
claimed   released  queued
claimed   failed    failed
claimed   expired   expired
claimed   in_doubt  in_doubt
in_doubt  retried   queued
in_doubt  expired   expired
in_doubt  cancelled cancelled
in_doubt  bounced   bounced
in_doubt  delivered delivered
queued    bounced   bounced
claimed   bounced   bounced
held      released  queued
held      retried   queued
held      cancelled cancelled
failed    retried   queued
expired   retried   queued
delivered bounced   bounced
"""
TABLE = [tuple(line.split()) for line in ROWS.strip().splitlines()]


@pytest.mark.parametrize(("before", "event", "then"), TABLE)
def test_row(before: str, event: str, then: str) -> None:
    assert State(then) == after(State(before), Event(event))


def test_table_has_no_other_row() -> None:
    assert {(State(a), Event(b)): State(c) for a, b, c in TABLE} == TRANSITIONS


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_stands_in_no_row_is_not_legal(state: State, event: Event) -> None:
    """Neither by `after` nor by `sources`."""
    is_legal = (state.value, event.value) in {row[:2] for row in TABLE}

    assert is_legal == (state in sources(event))
    if not is_legal:
        with pytest.raises(IllegalTransition):
            after(state, event)


@given(st.lists(st.sampled_from(Event), max_size=40))
def test_walk_never_leaves_the_table(events: list[Event]) -> None:
    """Whatever happens, in whatever order: what was delivered is never queued again."""
    state, handed_over = State.QUEUED, False
    for event in events:
        if state not in sources(event):
            continue
        state = after(state, event)
        handed_over = handed_over or state is State.DELIVERED

        assert state in State
        assert not handed_over or state in (State.DELIVERED, State.BOUNCED)


def test_nothing_is_due_for_those_at_rest() -> None:
    """From rest there is a way only by an operator or a report."""
    ways = {event for (state, event) in TRANSITIONS if state in AT_REST}

    assert ways == {Event.RETRIED, Event.BOUNCED}
