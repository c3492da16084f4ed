"""What a refusal costs tells nothing: forgeries of a known and of an unknown name cost the same.

Measured is the time that the processor gave this thread, not what a clock says, and the two are
measured in turns. A median of many turns may be half or double the other: to look a name up first,
or to leave the signature out, makes them differ by ten and more. That MACs are compared in constant
time is held by tests/contracts/test_constant_time.py: of one octet more or less no clock of a
shared machine knows.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import statistics
import time
from collections.abc import Callable

import pytest

from gatewayd.config.security import TokensSection
from gatewayd.errors import Refused
from gatewayd.keys.ring import KeyRing, Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.tokens.verify import Verifier, signing_key
from gatewayd.tracking.links import Links
from tests.fakes.clock import NOW, ManualClock

TURNS = 200
BATCH = 5  # calls in one measurement
RECIPIENT = "01a1fc9a-5d00-7886-982b-a25654c0dfc4"
UNKNOWN = "01a1fc9a-5d00-7886-982b-000000000000"

Call = Callable[[], object]


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _token(ring: KeyRing, *, subject: str, changed: int | None = None) -> str:
    """A token of a ring; `changed` is the octet of its signature that is another one."""
    at = int(NOW.timestamp())
    claims = {
        "iss": "gatewayd", "aud": "gatewayd", "sub": subject, "jti": "t1", "iat": at,
        "exp": at + 3600, "scope": "messages:send",
    }  # fmt: skip
    parts = [{"alg": "EdDSA", "kid": "a"}, claims]
    signed = ".".join(_text(json.dumps(part).encode()) for part in parts)
    signature = bytearray(signing_key(ring, "a").sign(signed.encode()))
    if changed is not None:
        signature[changed] ^= 1
    return f"{signed}.{_text(bytes(signature))}"


def _tokens(ours: KeyRing, theirs: KeyRing) -> dict[str, Call]:
    verifier = Verifier(ours, section=TokensSection(), token_octets=8192, clock=ManualClock())

    def refused(token: str) -> Call:
        def verify() -> None:
            with pytest.raises(Refused):
                verifier.verify(token)

        return verify

    return {
        "first octet": refused(_token(ours, subject="ann@example.com", changed=0)),
        "last octet of R": refused(_token(ours, subject="ann@example.com", changed=31)),
        "nobody's name": refused(_token(ours, subject="xyz@example.org", changed=0)),
        "another key": refused(_token(theirs, subject="ann@example.com")),
    }


def _reverse_paths(ours: KeyRing, theirs: KeyRing) -> dict[str, Call]:
    clock = ManualClock()
    reading, forging = (
        ReversePaths(ring, domain="b.example", lifetime=dt.timedelta(days=14), clock=clock)
        for ring in (ours, theirs)
    )
    real = reading.make(RECIPIENT).address
    assert real is not None
    text = real.local_part
    changed = {
        at: text[:at] + ("a" if text[at] != "a" else "b") + text[at + 1 :] for at in (39, 54)
    }
    foreign = forging.make(UNKNOWN).address
    assert foreign is not None
    assert reading.read(text) == RECIPIENT

    def refused(forged: str) -> Call:
        assert reading.read(forged) is None
        return lambda: reading.read(forged)

    return {
        "first of the MAC": refused(changed[39]),
        "last of the MAC": refused(changed[54]),
        "another key, nobody's id": refused(foreign.local_part),
    }


def _links(ours: KeyRing, theirs: KeyRing) -> dict[str, Call]:
    reading, forging = (Links(ring, "https://gw.example") for ring in (ours, theirs))
    real = reading.unsubscribe_url(RECIPIENT).rpartition("/")[2]  # type: ignore[arg-type]  # an id
    foreign = forging.unsubscribe_url(UNKNOWN).rpartition("/")[2]  # type: ignore[arg-type]  # an id
    octets = base64.urlsafe_b64decode(real[1:] + "=" * (-len(real[1:]) % 4))
    assert reading.read_unsubscribe(real) == RECIPIENT

    def refused(token: str) -> Call:
        assert reading.read_unsubscribe(token) is None
        return lambda: reading.read_unsubscribe(token)

    first = octets[:16] + bytes([octets[16] ^ 1]) + octets[17:]
    last = octets[:-1] + bytes([octets[-1] ^ 1])
    return {
        "first of the MAC": refused(real[0] + _text(first)),
        "last of the MAC": refused(real[0] + _text(last)),
        "another key, nobody's id": refused(foreign),
    }


def _costs(calls: dict[str, Call]) -> dict[str, float]:
    """The median cost of each, in nanoseconds of this thread."""
    taken: dict[str, list[int]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            began = time.thread_time_ns()
            for _ in range(BATCH):
                call()
            taken[name].append(time.thread_time_ns() - began)
    return {name: statistics.median(some) for name, some in taken.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("purpose", "forgeries"),
    [
        (Purpose.JWT, _tokens),
        (Purpose.VERP, _reverse_paths),
        (Purpose.TRACKING, _links),
    ],
    ids=["token", "reverse-path", "link"],
)
def test_forgeries_cost_the_same(
    purpose: Purpose, forgeries: Callable[[KeyRing, KeyRing], dict[str, Call]]
) -> None:
    """Whoever guesses learns neither how much was right nor whether the name exists."""
    rings = (new_ring(purpose, created_at=NOW), new_ring(purpose, created_at=NOW))
    costs = _costs(forgeries(*rings))

    assert max(costs.values()) < 2 * min(costs.values()), costs
