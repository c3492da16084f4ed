"""smtpd.auth: SASL mechanisms and the login throttle."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.smtpd.auth import (
    MECHANISMS,
    Credentials,
    LoginThrottle,
    NotBase64,
    SaslError,
    decode_base64,
    network_of,
)


class _Clock:
    """Time that stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.seconds, dt.UTC)

    def monotonic(self) -> float:
        return self.seconds


def _exchange(mechanism: str, *responses: bytes, initial: bool) -> Credentials:
    """Run a mechanism to its end."""
    waiting = list(responses)
    exchange = MECHANISMS[mechanism](waiting.pop(0) if initial else None)
    found: list[Credentials] = []

    def drive() -> Generator[bytes, bytes, None]:
        found.append((yield from exchange))

    driver = drive()
    with contextlib.suppress(StopIteration):
        next(driver)
        while True:
            driver.send(waiting.pop(0))
    assert not waiting
    return found[0]


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(
    ("mechanism", "responses"),
    [
        ("PLAIN", [b"\0ann@example.com\0secret"]),
        ("PLAIN", [b"ANN@example.com\0ann@example.com\0secret"]),
        ("LOGIN", [b"ann@example.com", b"secret"]),
        ("XOAUTH2", [b"user=ann@example.com\x01auth=Bearer secret\x01\x01"]),
        (
            "OAUTHBEARER",
            [b"n,a=ann@example.com,\x01host=h\x01port=587\x01auth=Bearer secret\x01\x01"],
        ),
        ("OAUTHBEARER", [b"y,a=ann@example.com,\x01auth=bearer secret\x01\x01"]),
    ],
)
def test_mechanism_gives_user_and_token(
    mechanism: str, responses: list[bytes], initial: bool
) -> None:
    """With and without an initial response."""
    found = _exchange(mechanism, *responses, initial=initial)

    assert Credentials("ann@example.com", "secret") == found


def test_oauthbearer_without_authorization_identity_is_the_tokens_own() -> None:
    """`n,,` names nobody: the token says who it is (RFC 7628 3.1)."""
    found = _exchange("OAUTHBEARER", b"n,,\x01auth=Bearer secret\x01\x01", initial=True)

    assert Credentials("token", "secret") == found


def test_oauthbearer_identity_is_unescaped() -> None:
    """`=2C` and `=3D` (RFC 5801 4)."""
    found = _exchange("OAUTHBEARER", b"n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01", initial=True)

    assert found.user == "a,b=c"


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b""),
        ("PLAIN", b"\0user"),
        ("PLAIN", b"\0\0token"),
        ("PLAIN", b"\0user\0"),
        ("PLAIN", b"\0user\0token\0more"),
        ("PLAIN", b"other@example.com\0ann@example.com\0token"),
        ("PLAIN", b"\0us\xffer\0token"),
        ("XOAUTH2", b"auth=Bearer t\x01\x01"),
        ("XOAUTH2", b"user=a\x01auth=Basic t\x01\x01"),
        ("XOAUTH2", b"user=a\x01auth=Bearer t\x01"),
        ("XOAUTH2", b"user=a\x01user=b\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"p=tls-unique,,\x01auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"auth=Bearer t\x01\x01"),
        ("OAUTHBEARER", b"n,a=x,auth=Bearer t"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer \x01\x01"),
    ],
)
def test_response_of_another_form_is_an_error(mechanism: str, response: bytes) -> None:
    """Nobody may act for another mailbox, and nothing is guessed."""
    with pytest.raises(SaslError):
        _exchange(mechanism, response, initial=True)


@given(st.sampled_from(["PLAIN", "XOAUTH2", "OAUTHBEARER"]), st.binary(max_size=200))
def test_no_response_raises_anything_but_sasl_error(mechanism: str, response: bytes) -> None:
    """Whatever is sent, there is a reply to it."""
    with contextlib.suppress(SaslError):
        _exchange(mechanism, response, initial=True)


@pytest.mark.parametrize("line", [b"a", b"ab=", b"====", b"a b=", b"abc\x80", b"YWJj\r"])
def test_base64_is_read_strictly(line: bytes) -> None:
    """No octet outside the alphabet is skipped (RFC 4954 4)."""
    with pytest.raises(NotBase64):
        decode_base64(line)


def test_credentials_do_not_show_the_token() -> None:
    """A repr may end in a log."""
    assert "secret" not in repr(Credentials("ann@example.com", "secret"))


def _throttle(clock: _Clock) -> LoginThrottle:
    return LoginThrottle(clock=clock, per_minute=10, per_day=50)


def _fail(throttle: LoginThrottle, peer: str, times: int) -> None:
    for _ in range(times):
        throttle.count_failure(peer)


def test_throttle_blocks_an_address_after_ten_in_a_minute() -> None:
    """And lets it go with the next minute."""
    clock = _Clock()
    throttle = _throttle(clock)

    _fail(throttle, "192.0.2.1", 9)
    assert not throttle.is_blocked("192.0.2.1")
    _fail(throttle, "192.0.2.1", 1)
    assert throttle.is_blocked("192.0.2.1")
    assert not throttle.is_blocked("192.0.2.2")
    clock.seconds += 60
    assert not throttle.is_blocked("192.0.2.1")


def test_throttle_blocks_an_address_after_fifty_in_a_day() -> None:
    """Slow guessing ends, too."""
    clock = _Clock()
    throttle = _throttle(clock)

    for _ in range(10):
        _fail(throttle, "192.0.2.1", 5)
        clock.seconds += 60
    assert throttle.is_blocked("192.0.2.1")
    clock.seconds += 86_400
    assert not throttle.is_blocked("192.0.2.1")


@pytest.mark.parametrize(
    ("peers", "other"),
    [
        ([f"192.0.2.{number}" for number in range(1, 4)], "192.0.2.60"),
        ([f"2001:db8:0:{number}::1" for number in range(1, 4)], "2001:db8:0:77::1"),
    ],
)
def test_throttle_blocks_the_wider_network_at_three_times_as_many(
    peers: list[str], other: str
) -> None:
    """A /26 or a /48 is likely one attacker."""
    throttle = _throttle(_Clock())

    for peer in peers:
        assert not throttle.is_blocked(other)
        _fail(throttle, peer, 10)

    assert throttle.is_blocked(other)


def test_throttle_takes_a_64_for_one_client() -> None:
    """Every IPv6 host has 2**64 addresses to guess from."""
    throttle = _throttle(_Clock())

    for number in range(10):
        throttle.count_failure(f"2001:db8::{number:x}")

    assert throttle.is_blocked("2001:db8::ffff")


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", ""])
def test_throttle_never_blocks_this_machine(peer: str) -> None:
    """All its clients share one address."""
    throttle = _throttle(_Clock())

    _fail(throttle, peer, 1000)

    assert not throttle.is_blocked(peer)


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_network_is_an_ipv4_address_or_an_ipv6_64(peer: str, network: str) -> None:
    """What counts as one client for connections_per_ip."""
    assert network == network_of(peer)
