"""mail.envelope: values that can be keys, compared and not changed."""

from __future__ import annotations

import dataclasses

import pytest

from gatewayd.mail.address import ForwardPath, ReversePath
from gatewayd.mail.envelope import BodyType, Envelope, Notify, Recipient, Ret


def _envelope() -> Envelope:
    recipient = Recipient(ForwardPath.parse("ann@example.com"), frozenset({Notify.FAILURE}))
    return Envelope(ReversePath.parse("bob@example.com"), (recipient,), ret=Ret.HDRS)


def test_envelope_when_made_twice_then_equal_and_hashable() -> None:
    """Two envelopes of the same values are one: idempotency compares them."""
    assert _envelope() == _envelope()
    assert len({_envelope(), _envelope()}) == 1


def test_envelope_when_changed_in_place_then_refused() -> None:
    """What was accepted does not change on its way."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        _envelope().smtputf8 = True  # type: ignore[misc]  # the point of the test


def test_envelope_when_nothing_was_asked_then_defaults_are_those_of_the_standards() -> None:
    """No BODY is 7BIT (RFC 6152 2); no NOTIFY is not NEVER (RFC 3461 4.1)."""
    envelope = Envelope(ReversePath.parse(""), (Recipient(ForwardPath.parse("ann@example.com")),))

    assert envelope.body is BodyType.SEVEN_BIT
    assert envelope.recipients[0].notify == frozenset()
    assert str(envelope.recipients[0].address) == "ann@example.com"


@pytest.mark.parametrize(
    ("value", "word"),
    [(BodyType.EIGHT_BIT, "8BITMIME"), (Notify.NEVER, "NEVER"), (Ret.FULL, "FULL")],
)
def test_words_are_those_of_the_wire(value: str, word: str) -> None:
    """A value goes into a command or a row as its word."""
    assert word == str(value)
