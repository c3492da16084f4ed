"""bounces.decide: one test per row of its two tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.bounces.decide import Agreement, Candidate, Effect, Known, Meant, decide, meant
from gatewayd.ids import RecipientId
from gatewayd.queue.states import Event, State, sources
from gatewayd.reports.report import Action, BounceClass, Reason, ReportedRecipient, Verdict

FAILED, DELAYED = Action.FAILED, Action.DELAYED
OTHERS = (Action.DELIVERED, Action.RELAYED, Action.EXPANDED)
DEAD = Verdict(klass=BounceClass.PERMANENT, reason=Reason.USER_UNKNOWN)
BOB, ZOE = RecipientId("bob"), RecipientId("zoe")


def known(
    state: State, *, sent: bool = True, bounced: bool = False, delayed: bool = False
) -> Known:
    return Known(state=state, is_handed_over=sent, is_bounced=bounced, is_delayed=delayed)


def candidate(recipient_id: RecipientId, path: str, orcpt: str | None = None) -> Candidate:
    return Candidate(recipient_id=recipient_id, forward_path=path, orcpt=orcpt)


def told(address: str, *, original: str = "", action: Action = FAILED) -> ReportedRecipient:
    return ReportedRecipient(
        address=address, original_address=original, action=action, verdict=DEAD
    )


@pytest.mark.parametrize(
    ("state", "sent", "action", "effects"),
    [
        (State.DELIVERED, False, FAILED, (Effect.BOUNCED,)),
        (State.DELIVERED, False, DELAYED, (Effect.DELAYED,)),
        (State.IN_DOUBT, False, FAILED, (Effect.BOUNCED,)),
        (State.IN_DOUBT, False, DELAYED, (Effect.PROVED, Effect.DELAYED)),
        (State.QUEUED, True, FAILED, (Effect.BOUNCED,)),
        (State.QUEUED, True, DELAYED, (Effect.DELAYED,)),
        (State.CLAIMED, True, FAILED, (Effect.BOUNCED,)),
        (State.CLAIMED, True, DELAYED, (Effect.DELAYED,)),
    ],
)
def test_row_of_what_was_sent(
    state: State, sent: bool, action: Action, effects: tuple[Effect, ...]
) -> None:
    assert effects == decide(known(state, sent=sent), action)


@pytest.mark.parametrize("action", OTHERS)
@pytest.mark.parametrize(
    ("state", "effects"),
    [
        (State.DELIVERED, (Effect.TOLD,)),
        (State.IN_DOUBT, (Effect.PROVED, Effect.TOLD)),
        (State.QUEUED, (Effect.TOLD,)),
        (State.CLAIMED, (Effect.TOLD,)),
    ],
)
def test_row_of_good_news(state: State, effects: tuple[Effect, ...], action: Action) -> None:
    """A report that the next hop has the mail proves the hand-over of one in doubt."""
    assert effects == decide(known(state), action)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("state", [State.QUEUED, State.CLAIMED])
def test_report_before_the_hand_over_is_early(state: State, action: Action) -> None:
    assert decide(known(state, sent=False), action) == (Effect.EARLY,)


@pytest.mark.parametrize("state", [State.HELD, State.FAILED, State.EXPIRED, State.CANCELLED])
def test_row_of_what_came_to_rest_without_delivery(state: State) -> None:
    """A failure is noted where an attempt had come to the dot; nothing moves the state."""
    assert decide(known(state), FAILED) == (Effect.NOTED,)
    assert [decide(known(state), action) for action in (DELAYED, *OTHERS)] == [()] * 4
    assert {(Effect.IMPOSSIBLE,)} == {decide(known(state, sent=False), one) for one in Action}


@pytest.mark.parametrize("action", Action)
def test_bounced_stays_as_it_is(action: Action) -> None:
    assert decide(known(State.BOUNCED, bounced=True), action) == ()


@pytest.mark.parametrize(
    "state",
    [State.QUEUED, State.CLAIMED, State.HELD, State.FAILED, State.EXPIRED, State.CANCELLED],
)
def test_failure_is_news_once(state: State) -> None:
    """An operator who retries what bounced is not stopped by the same report again."""
    assert decide(known(state, bounced=True), FAILED) == ()


@pytest.mark.parametrize("state", [State.DELIVERED, State.IN_DOUBT])
def test_failure_after_another_delivery_is_news(state: State) -> None:
    assert decide(known(state, bounced=True), FAILED) == (Effect.BOUNCED,)


@pytest.mark.parametrize("state", [State.DELIVERED, State.QUEUED, State.CLAIMED])
def test_delay_is_noted_once(state: State) -> None:
    assert decide(known(state, delayed=True), DELAYED) == ()


@given(
    st.builds(
        Known,
        state=st.sampled_from(State),
        is_handed_over=st.booleans(),
        is_bounced=st.booleans(),
        is_delayed=st.booleans(),
    ),
    st.sampled_from(Action),
)
def test_effects_keep_to_the_states(before: Known, action: Action) -> None:
    """What moves a state is legal by queue/states.py; only a failure bounces anybody."""
    effects = decide(before, action)

    assert Effect.BOUNCED not in effects or before.state in sources(Event.BOUNCED)
    assert Effect.PROVED not in effects or before.state in sources(Event.DELIVERED)
    assert action is FAILED or not {Effect.BOUNCED, Effect.NOTED} & set(effects)


@pytest.mark.parametrize("address", ["bob@example.net", "BOB@EXAMPLE.NET", '"bob"@example.net'])
def test_final_recipient_agrees(address: str) -> None:
    found = meant([candidate(BOB, "bob@example.net")], [told(address)])

    assert found[BOB].agreement is Agreement.FINAL


def test_domain_agrees_in_either_form() -> None:
    """U-labels and A-labels are one domain (RFC 5891)."""
    found = meant([candidate(BOB, "bob@b\u00fccher.example")], [told("bob@xn--bcher-kva.example")])

    assert found[BOB].agreement is Agreement.FINAL


@pytest.mark.parametrize("orcpt", [None, "rfc822;list+40example.org"])
def test_original_recipient_agrees(orcpt: str | None) -> None:
    """Our forward-path, or the ORCPT that we passed on (RFC 3464 2.3.1)."""
    original = "bob@example.net" if orcpt is None else "list@example.org"
    report = [told("robert@internal.example", original=original)]
    found = meant([candidate(BOB, "bob@example.net", orcpt)], report)

    assert found == {BOB: Meant(told=report[0], agreement=Agreement.ORIGINAL)}


def test_no_address_means_the_only_one() -> None:
    found = meant([candidate(BOB, "bob@example.net")], [told("")])

    assert found[BOB].agreement is Agreement.UNTOLD


def test_another_address_means_the_only_one_and_never_suppresses() -> None:
    """A forwarded copy came back: the address that we wrote to may be alive."""
    found = meant([candidate(BOB, "bob@example.net")], [told("robert@elsewhere.example")])

    assert found[BOB].agreement is Agreement.OTHER
    assert [one.may_suppress for one in Agreement] == [False, True, True, True]


@pytest.mark.parametrize("address", ["", "robert@elsewhere.example"])
def test_shared_address_needs_a_name(address: str) -> None:
    sharers = [candidate(BOB, "bob@example.net"), candidate(ZOE, "zoe@example.org")]

    assert meant(sharers, [told(address)]) == {}


def test_each_group_means_its_own() -> None:
    """One report about several recipients (RFC 3464 2.3)."""
    sharers = [candidate(BOB, "bob@example.net"), candidate(ZOE, "zoe@example.org")]
    report = [told("zoe@example.org", action=DELAYED), told("bob@example.net"), told("x@y.example")]

    found = meant(sharers, report)

    assert {key: one.told.action for key, one in found.items()} == {BOB: FAILED, ZOE: DELAYED}


def test_final_recipient_goes_before_the_original() -> None:
    report = [
        told("robert@b.example", original="bob@example.net", action=Action.DELIVERED),
        told("bob@example.net"),
    ]

    assert meant([candidate(BOB, "bob@example.net")], report)[BOB].told is report[1]


def test_alias_with_a_living_target_is_not_returned() -> None:
    """Of groups that name it equally well the mildest counts."""
    report = [
        told("dead@b.example", original="bob@example.net"),
        told("alive@b.example", original="bob@example.net", action=Action.RELAYED),
    ]

    assert meant([candidate(BOB, "bob@example.net")], report)[BOB].told is report[1]


def test_nobody_is_meant_by_an_empty_report() -> None:
    assert meant([candidate(BOB, "bob@example.net")], []) == {}
