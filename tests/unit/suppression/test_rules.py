"""Who stops receiving, and for how long: one test for each row of the table."""

from __future__ import annotations

import datetime as dt

import pytest

from gatewayd.config.returns import SuppressionSection
from gatewayd.reports.report import BounceClass, Reason, Verdict
from gatewayd.suppression.rules import Why, expiry, suppresses

NOW = dt.datetime(2026, 11, 21, 7, 0, tzinfo=dt.UTC)
DEAD = (Reason.USER_UNKNOWN, Reason.HOST_UNKNOWN, Reason.MOVED, Reason.INACTIVE)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_permanent_failure_suppresses_only_where_nobody_is_there(reason: Reason) -> None:
    """What is wrong with us, the message or the machine says nothing of the address."""
    verdict = Verdict(klass=BounceClass.PERMANENT, reason=reason)

    assert (reason in DEAD) == suppresses(verdict)


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("klass", [BounceClass.TRANSIENT, BounceClass.UNKNOWN])
def test_what_may_pass_never_suppresses(klass: BounceClass, reason: Reason) -> None:
    """A guess costs mail that somebody waits for."""
    assert not suppresses(Verdict(klass=klass, reason=reason))


@pytest.mark.parametrize(
    ("why", "days"),
    [(Why.HARD_BOUNCE, 30), (Why.COMPLAINT, 90), (Why.UNSUBSCRIBED, None)],
)
def test_each_kind_has_its_own_days(why: Why, days: int | None) -> None:
    """Days are counted from now; who has unsubscribed stays so."""
    section = SuppressionSection(bounce_days=30, complaint_days=90)
    expected = None if days is None else NOW + dt.timedelta(days=days)

    assert expected == expiry(why, section, NOW)


@pytest.mark.parametrize("why", list(Why))
def test_without_a_word_in_the_config_all_is_for_ever(why: Why) -> None:
    """The default forgets nothing."""
    assert expiry(why, SuppressionSection(), NOW) is None
