"""Who stops receiving, for how long, and what outweighs what: one test for each row."""

from __future__ import annotations

import datetime as dt

import pytest

from gatewayd.config.returns import SuppressionSection
from gatewayd.reports.report import BounceClass, Reason, Verdict
from gatewayd.store.suppressions import SuppressionRow
from gatewayd.suppression.rules import Strength, Why, expiry, merged, strength, suppresses

NOW = dt.datetime(2026, 11, 21, 7, 0, tzinfo=dt.UTC)
EARLY, LATE = NOW + dt.timedelta(days=1), NOW + dt.timedelta(days=30)
OVER = NOW - dt.timedelta(days=1)
LONG_AGO = NOW - dt.timedelta(days=99)
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


def row(
    reason: str, expires_at: dt.datetime | None, source: str = "x", seen_at: dt.datetime = NOW
) -> SuppressionRow:
    return SuppressionRow(
        scope="m1", address_key="a@x", address="a@x", reason=reason, source=source,
        first_seen_at=seen_at, last_seen_at=seen_at, expires_at=expires_at,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "source", "expected"),
    [
        ("requested", "api", Strength.ASKED),
        ("requested", "operator", Strength.KNOWN),
        ("imported", "import", Strength.KNOWN),
        ("hard_bounce", "smtp", Strength.KNOWN),
        ("complaint", "complaint", Strength.REPORTED),
        ("unsubscribed", "one-click", Strength.LEFT),
        ("unsubscribed", "api", Strength.LEFT),  # the word decides, whoever wrote it
    ],
)
def test_each_word_has_its_strength(reason: str, source: str, expected: Strength) -> None:
    assert expected is strength(row(reason, None, source))


@pytest.mark.parametrize(
    ("there", "new", "expected"),
    [
        # stronger: its word, and the later end
        (("asked", LATE, "api"), ("hard_bounce", EARLY), ("hard_bounce", LATE)),
        (("asked", EARLY, "api"), ("asked", LATE, "op"), ("asked", LATE)),
        (("hard_bounce", None), ("complaint", EARLY), ("complaint", None)),
        (("complaint", EARLY), ("unsubscribed", None), ("unsubscribed", None)),
        (("complaint", None), ("unsubscribed", None), ("unsubscribed", None)),
        # one's own words again: as they are now
        (("asked", None, "api"), ("again", EARLY, "api"), ("again", EARLY)),
        (("asked", None, "op"), ("again", EARLY, "import"), ("again", EARLY)),
        # equal otherwise: of the one that ends later
        (("asked", EARLY, "op"), ("hard_bounce", None), ("hard_bounce", None)),
        (("asked", None, "op"), ("hard_bounce", None), ("asked", None)),
        (("hard_bounce", LATE), ("asked", EARLY, "op"), ("hard_bounce", LATE)),
        (("complaint", LATE), ("complaint", EARLY), ("complaint", LATE)),
        (("complaint", EARLY), ("complaint", LATE), ("complaint", LATE)),
        # weaker: the word stays, the later end
        (("unsubscribed", None), ("asked", EARLY, "api"), ("unsubscribed", None)),
        (("complaint", LATE), ("asked", EARLY, "op"), ("complaint", LATE)),
        (("complaint", EARLY), ("asked", None, "api"), ("complaint", None)),
        (("hard_bounce", EARLY), ("asked", LATE, "api"), ("hard_bounce", LATE)),
        (("asked", EARLY, "op"), ("asked", LATE, "api"), ("asked", LATE)),
        # what is over counts for nothing
        (("complaint", OVER), ("asked", EARLY, "api"), ("asked", EARLY)),
        (("complaint", NOW), ("asked", EARLY, "api"), ("asked", EARLY)),
        (("asked", EARLY, "api"), ("complaint", OVER), ("asked", EARLY)),
    ],
)
def test_a_new_cause_never_weakens_what_is_there(
    there: tuple[str, dt.datetime | None], new: tuple[str, dt.datetime | None],
    expected: tuple[str, dt.datetime | None],
) -> None:  # fmt: skip
    found = merged(row(*there), row(*new), NOW)

    assert expected == (found.reason, found.expires_at)


@pytest.mark.parametrize(
    ("there", "new", "source"),
    [("complaint", "asked", "first"), ("asked", "complaint", "second"), ("own", "own", "second")],
)
def test_word_and_source_are_of_the_same_cause(there: str, new: str, source: str) -> None:
    """First seen when it first was, seen again now."""
    first = row(there, LATE, "first", LONG_AGO)

    found = merged(first, row(new, LATE, "second"), NOW)

    assert (source, LONG_AGO, NOW) == (found.source, found.first_seen_at, found.last_seen_at)
