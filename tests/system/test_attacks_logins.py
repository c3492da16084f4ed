"""Who guesses: tokens that are none over AUTH, and how often one may try.

One daemon stands for the whole file. It also listens beyond loopback, where failures are counted:
on loopback every client has the same address. After every attack it takes a plain message by SMTP,
delivers it, and its log holds no error.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatewayd.clock import SystemClock
from tests.peers.attacker import HOME, MAILBOX, Attacker, Reply, assert_goes_on, trusting
from tests.peers.forger import Forger, invalid, make_forger
from tests.peers.target import OTHER, Target, target
from tests.peers.waiting import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FASTEST_S = 0.09  # every refusal takes 0.1 s; a loop's clock may be a little early
LINE_OCTETS = 12_288  # of AUTH (RFC 4954 4)
BEYOND = """\
[[submission]]
name = "beyond"
bind = "0.0.0.0:{submission}"

[bounces]
domain = "bounces.test"
bind = "0.0.0.0:{bounces}"
postmaster = "ops@sender.test"
"""


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    """Beyond loopback: submission, bounces."""
    submission, bounces = free_ports(2)
    return submission, bounces


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, ports: tuple[int, int]) -> Iterator[Target]:
    extra = BEYOND.format(submission=ports[0], bounces=ports[1])
    with target(tmp_path_factory.mktemp("attacked"), extra=extra) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(attacked: Target) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    assert_goes_on(attacked)


@pytest.fixture(scope="module")
def forger(attacked: Target) -> Forger:
    return make_forger(attacked.gateway)


# Tokens.


def plain(user: str, token: str) -> bytes:
    return base64.b64encode(f"\0{user}\0{token}".encode())


def refused(attacked: Target, user: str, token: str) -> tuple[Reply, float]:
    """What is answered to a login that must fail, after how long; MAIL is not taken then."""
    clock = SystemClock()
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        began_s = clock.monotonic()
        answer = client.ask(b"AUTH PLAIN " + plain(user, token))
        took_s = clock.monotonic() - began_s
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (530, "5.7.0")
        return answer, took_s


def test_no_token_that_is_none_logs_in(attacked: Target, forger: Forger) -> None:
    """One answer for every reason, and none is faster than the others (RFC 4954 6)."""
    now = int(SystemClock().now().timestamp())
    good = attacked.gateway.token
    tried = {
        **{name: (MAILBOX, token) for name, token in invalid(forger).items()},
        "expired": (MAILBOX, forger.with_claims(exp=now - 3600)),
        "expired, any user": ("token", forger.with_claims(exp=now - 3600)),
        "another's mailbox": (OTHER, good),
        "nobody's mailbox": ("nobody@sender.test", good),
        "another domain": ("agent@evil.test", good),
        "no mailbox": ("agent", good),
        "sql": ("' OR 1=1--", good),
        "sub of another": (OTHER, forger.with_claims(sub=OTHER)),
        "longer than a token may be": (MAILBOX, good + "A" * 8000),
        "half": (MAILBOX, good[:-8]),
        "password": (MAILBOX, "password"),
    }
    tried = {name: each for name, each in tried.items() if fits(*each)}
    with ThreadPoolExecutor(8) as pool:
        answers = dict(
            zip(tried, pool.map(lambda each: refused(attacked, *each), tried.values()), strict=True)
        )

    assert {
        name: reply for name, (reply, _) in answers.items() if reply.both != (535, "5.7.8")
    } == {}
    assert len({reply.text for reply, _ in answers.values()}) == 1
    assert {name: took_s for name, (_, took_s) in answers.items() if took_s < FASTEST_S} == {}


def fits(user: str, token: str) -> bool:
    return len(b"AUTH PLAIN " + plain(user, token)) + 2 <= LINE_OCTETS


def test_a_token_that_fits_no_line_is_not_read(attacked: Target, forger: Forger) -> None:
    """12 KiB of AUTH are taken (RFC 4954 4), 64 KiB dropped, more ends the session."""
    tried = [token for token in invalid(forger).values() if not fits(MAILBOX, token)]
    assert max(map(len, tried)) > 1_000_000
    for token in tried:
        with Attacker(attacked.gateway.ports.plain) as client:
            client.hello()
            client.flood(b"AUTH PLAIN " + plain(MAILBOX, token) + b"\r\n", 1)
            if len(token) > 60_000:
                assert {each.code for each in client.rest()} <= {421}
            else:
                assert client.read().both == (500, "5.5.2")
                assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (530, "5.7.0")


@pytest.mark.parametrize("mechanism", ["LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_each_mechanism_says_the_same(attacked: Target, mechanism: str) -> None:
    """As PLAIN does; those of OAuth in their own way first (RFC 7628 3.2.3)."""
    said, _ = refused(attacked, MAILBOX, "password")
    bearer = "auth=Bearer password\x01\x01"
    steps = {
        "LOGIN": (MAILBOX, "password"),
        "XOAUTH2": (f"user={MAILBOX}\x01{bearer}", "\x01"),
        "OAUTHBEARER": (f"n,a={MAILBOX},\x01{bearer}", "\x01"),
    }[mechanism]
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        first, second = (base64.b64encode(step.encode()) for step in steps)
        assert client.ask(f"AUTH {mechanism} ".encode() + first).code == 334
        assert client.ask(second) == said


def test_a_token_sends_what_its_scopes_say(attacked: Target) -> None:
    """One that may only read logs in, and sends nothing."""
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        assert client.log_in(MAILBOX, attacked.issued["reader"].token).code == 235
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (550, "5.7.1")
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        assert client.log_in(OTHER, attacked.issued["other"].token).code == 235
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (550, "5.7.1")


def test_a_revoked_token_ends_on_an_open_session(attacked: Target) -> None:
    """At the next MAIL; nobody can log in with it."""
    issued = attacked.issued["revoked"]
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        assert client.log_in(MAILBOX, issued.token).code == 235
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").code == 250
        assert client.ask("RSET").code == 250
        assert attacked.operate("DELETE", f"/tokens/{issued.row.token_id}").status == 200
        assert client.ask(f"MAIL FROM:<{MAILBOX}>").both == (530, "5.7.0")
        assert client.log_in(MAILBOX, issued.token).both == (535, "5.7.8")


# How often one may try.


def test_the_third_failure_ends_a_session(attacked: Target) -> None:
    """Whatever is said between them."""
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        for between in ("EHLO again.test", "RSET"):
            assert client.log_in(MAILBOX, "password").both == (535, "5.7.8")
            assert client.ask(between).code == 250
        assert client.log_in(MAILBOX, "password").both == (535, "5.7.8")

        assert [each.both for each in client.rest()] == [(421, "4.7.0")]


@pytest.fixture(scope="module")
def own() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    return address


def minute() -> int:
    """The window that the daemon counts in; its clock is this machine's."""
    return int(SystemClock().monotonic()) // 60


def test_who_guesses_tokens_is_turned_away(
    attacked: Target, ports: tuple[int, int], own: str
) -> None:
    """10 failures in a minute from one address, then no token helps, on whatever connection."""
    began_in = minute()
    failures = 0
    while (answers := guessed(ports[0], own))[-1].code != 421:
        failures += len(answers)
    failures += len(answers) - 1
    with beyond(ports[0], own) as client:
        answer = client.log_in(MAILBOX, attacked.gateway.token)
        is_blocked = answer.both == (421, "4.7.0") and client.rest() == []
    is_one_minute = began_in == minute()

    # What was counted in the minute before does not count.
    assert failures == 10 or (10 < failures < 20 and not is_one_minute)
    assert is_blocked or not is_one_minute
    with beyond(ports[0], HOME) as other:
        assert other.log_in(MAILBOX, attacked.gateway.token).code == 235


def beyond(port: int, own: str) -> Attacker:
    """A connection in TLS to one of these ports."""
    client = Attacker(port, to=own, source=own)
    client.hello()
    assert client.ask("STARTTLS").code == 220
    client.wrap(trusting())
    client.ask("EHLO attacker.test")
    return client


def guessed(port: int, own: str) -> list[Reply]:
    """Up to two wrong logins on one connection; a third would end it in any case."""
    answers = []
    with beyond(port, own) as client:
        for _ in range(2):
            answers.append(client.log_in(MAILBOX, "password"))
            if answers[-1].code == 421:
                break
            assert answers[-1].both == (535, "5.7.8")
    return answers


def test_who_guesses_bounce_addresses_is_turned_away(
    attacked: Target, ports: tuple[int, int], own: str
) -> None:
    """20 in a minute from one address; then nothing is taken from it, and from others it is."""
    began_in = minute()
    failures = 0
    with Attacker(ports[1], to=own, source=own) as client:
        client.hello()
        client.ask("MAIL FROM:<>")
        while (answer := client.ask(f"RCPT TO:<bounce+{failures}@bounces.test>")).code != 421:
            assert answer.both == (550, "5.1.1")
            failures += 1
        assert (answer.both, client.rest()) == ((421, "4.7.0"), [])
    with Attacker(ports[1], to=own, source=own) as again:
        again.hello()
        is_blocked = again.ask("MAIL FROM:<>").both == (421, "4.7.0")
    is_one_minute = began_in == minute()

    assert failures == 19 or (19 < failures < 39 and not is_one_minute)
    assert is_blocked or not is_one_minute
    with Attacker(ports[1]) as other:
        other.hello()
        assert other.ask("MAIL FROM:<>").code == 250
    assert attacked.gateway.metric("bounce_rejected_total") >= 20
