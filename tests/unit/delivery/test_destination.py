"""delivery.destination: how much of what is due a next hop gets."""

from __future__ import annotations

from gatewayd.delivery.concurrency import Window
from gatewayd.delivery.destination import Destination, shares_of, turned
from tests.fakes.delivery import ManualClock, claim_of


def new_destination() -> Destination:
    """One with a window of 5."""
    window = Window(start=5, maximum=5, clock=ManualClock())
    return Destination(None, window, 0.0)


def test_unproved_next_hop_gets_one_window() -> None:
    """None waits for it in memory."""
    destination = new_destination()
    before = destination.room
    for _ in range(3):
        destination.window.started()

    assert (before, destination.room) == (5, 2)


def test_proved_next_hop_gets_two_windows_more() -> None:
    """So that it is never idle while the next claim is on its way."""
    destination = new_destination()
    destination.window.started()
    destination.window.reached()

    assert destination.room == 15


def test_proved_next_hop_is_refilled_a_window_at_a_time() -> None:
    """Otherwise each outcome would cost a transaction for the next claim."""
    destination = new_destination()
    destination.window.started()
    destination.window.reached()
    for _ in range(5):
        destination.window.started()
    rooms = []
    for _ in range(10):
        destination.waiting.append(claim_of())
        rooms.append(destination.room)

    assert rooms == [9, 8, 7, 6, 5, 0, 0, 0, 0, 0]


def test_paused_next_hop_gets_nothing() -> None:
    """Its breaker is open."""
    destination = new_destination()
    for _ in range(3):
        destination.window.started()
        destination.window.unreachable()

    assert destination.room == 0


def test_room_is_parted_evenly() -> None:
    """What cannot be parted goes to those in front."""
    assert shares_of(["a", "b", "c"], 7) == {"a": 3, "b": 2, "c": 2}
    assert shares_of(["a", "b", "c"], 2) == {"a": 1, "b": 1}
    assert shares_of(["a"], 0) == {}
    assert shares_of([], 5) == {}


def test_turns_begin_elsewhere_each_time() -> None:
    """Everyone is first once."""
    assert [turned("abc", turn)[0] for turn in range(4)] == ["a", "b", "c", "a"]
    assert turned([], 3) == []
