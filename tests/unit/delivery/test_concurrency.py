"""delivery.concurrency: slow start, back-off and breaker, on a clock that stands still."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.delivery.concurrency import PAUSE_FIRST_S, PAUSE_MAX_S, Window
from tests.fakes.delivery import ManualClock


def new_window(clock: ManualClock, *, start: int = 5, maximum: int = 20) -> Window:
    """A window at its beginning."""
    return Window(start=start, maximum=maximum, clock=clock)


def reach(window: Window, times: int = 1) -> None:
    """Attempts that reached the next hop."""
    for _ in range(times):
        window.started()
        window.reached()


def miss(window: Window, times: int = 1) -> None:
    """Attempts that did not."""
    for _ in range(times):
        window.started()
        window.unreachable()


def test_first_contact_gets_the_start() -> None:
    """Nobody is flooded who has not proved himself."""
    window = new_window(ManualClock())

    assert (window.size, window.free, window.is_proved) == (5, 5, False)


def test_start_is_never_above_the_maximum() -> None:
    """Two keys of the configuration that disagree."""
    assert new_window(ManualClock(), start=5, maximum=2).size == 2


def test_running_attempts_take_room() -> None:
    """And give it back."""
    window = new_window(ManualClock())
    for _ in range(5):
        window.started()
    taken = window.free
    window.ended()

    assert (taken, window.free) == (0, 1)


def test_each_success_grows_the_window_up_to_the_maximum() -> None:
    """Slow start."""
    window = new_window(ManualClock())
    reach(window, 3)
    grown = window.size
    reach(window, 100)

    assert (grown, window.size, window.is_proved) == (8, 20, True)


def test_failure_halves_the_window() -> None:
    """And growth is slow from then on: one in about a window of successes."""
    window = new_window(ManualClock())
    reach(window, 15)
    miss(window)
    halved = window.size
    reach(window, 5)
    still = window.size
    reach(window, 10)

    assert (halved, still, window.size) == (10, 10, 11)


def test_window_is_at_least_one() -> None:
    """Or nobody would ever learn that the next hop is back."""
    window = new_window(ManualClock())
    miss(window, 2)

    assert window.size == 1


def test_breaker_opens_after_three_failures_in_a_row() -> None:
    """Nothing is started for 30 s."""
    clock = ManualClock()
    window = new_window(clock)
    miss(window, 2)
    reach(window)
    miss(window, 2)
    closed = window.is_paused
    miss(window)

    assert (closed, window.is_paused, window.size, window.free) == (False, True, 0, 0)
    assert window.probe_in_s == PAUSE_FIRST_S


def test_one_probe_goes_through_after_the_pause() -> None:
    """And no second while it runs."""
    clock = ManualClock()
    window = new_window(clock)
    miss(window, 3)
    clock.seconds = PAUSE_FIRST_S
    before = window.free
    window.started()

    assert (before, window.free, window.probe_in_s) == (1, 0, 0.0)


def test_probe_that_fails_doubles_the_pause_up_to_five_minutes() -> None:
    """30, 60, 120, 240, 300, 300."""
    clock = ManualClock()
    window = new_window(clock)
    miss(window, 3)
    pauses = []
    for _ in range(6):
        pause = window.probe_in_s
        assert pause is not None
        pauses.append(pause)
        clock.seconds += pause
        miss(window)

    assert pauses == [30, 60, 120, 240, PAUSE_MAX_S, PAUSE_MAX_S]


def test_probe_that_succeeds_closes_the_breaker() -> None:
    """The next outage begins with the first pause again."""
    clock = ManualClock()
    window = new_window(clock)
    miss(window, 3)
    clock.seconds = PAUSE_FIRST_S
    miss(window)
    clock.seconds += 2 * PAUSE_FIRST_S
    reach(window)
    is_closed = not window.is_paused
    miss(window, 3)

    assert (is_closed, window.probe_in_s) == (True, PAUSE_FIRST_S)


def test_late_failures_of_a_burst_do_not_lengthen_the_pause() -> None:
    """They were started before the breaker opened."""
    window = new_window(ManualClock())
    for _ in range(5):
        window.started()
    for _ in range(5):
        window.unreachable()

    assert window.probe_in_s == PAUSE_FIRST_S


@given(st.lists(st.sampled_from(["reached", "unreachable", "ended", "wait"]), max_size=200))
def test_window_stays_within_its_bounds(story: list[str]) -> None:
    """Whatever happens, 0 to the maximum, and what runs is counted right."""
    clock = ManualClock()
    window = new_window(clock)
    for word in story:
        if word == "wait":
            clock.seconds += 40
        else:
            window.started()
            getattr(window, word)()

        assert 0 <= window.size <= 20
        assert window.running == 0
