"""The bounce listener of an installed daemon under attack, and next hops that lie.

One daemon stands for the whole file. After every attack it takes a plain message by SMTP, delivers
it, and its log holds no error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.fakes.returning import dsn, group
from tests.peers.attacker import (
    COST_S,
    Attacker,
    Reply,
    assert_goes_on,
    count,
    cpu_s,
    stored,
)
from tests.peers.bombs import BOMBS
from tests.peers.target import MAIL, Target, target
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DOMAIN = "bounces.test"
REPLAYS = int(os.environ.get("GATEWAYD_REPLAYS", "100"))
SOON_S = 60.0


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("attacked"), bounces=DOMAIN) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(attacked: Target) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    assert_goes_on(attacked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that a next hop has taken. verp: its reverse-path."""

    address: str
    queue_id: str
    verp: str


def sent(attacked: Target) -> Sent:
    """One to an address that no other test writes to."""
    subject = attacked.mark()
    address = f"{subject}x@rcpt.test"
    answer = attacked.post({**MAIL, "to": address, "subject": subject})
    verp = attacked.copy(subject).reverse_path
    queue_id = answer.json["queue_id"]
    one = Sent(address=address, queue_id=queue_id, verp=verp)
    eventually(lambda: state(attacked, one) == "delivered", within_s=SOON_S)
    return one


def state(attacked: Target, one: Sent) -> object:
    ((found,),) = stored(attacked, "SELECT state FROM recipients WHERE queue_id = ?", one.queue_id)
    return found


def suppressed(attacked: Target) -> set[object]:
    return {address for (address,) in stored(attacked, "SELECT address FROM suppressions")}


def told(attacked: Target, one: Sent) -> list[object]:
    """Types of the events about a message."""
    query = "SELECT type FROM events WHERE queue_id = ? ORDER BY seq"
    return [word for (word,) in stored(attacked, query, one.queue_id)]


def bring(attacked: Target, octets: bytes, *to: str, by: str = "") -> Reply:
    """Bring mail back: the answer to it, or to the last recipient where none was taken."""
    with Attacker(attacked.gateway.ports.bounces) as client:
        client.hello()
        assert client.ask(f"MAIL FROM:<{by}>").code == 250
        answers = [client.ask(f"RCPT TO:<{each}>") for each in to]
        if not any(answer.code == 250 for answer in answers):
            assert client.ask("DATA").both == (554, "5.5.1")
            return answers[-1]
        assert client.ask("DATA").code == 354
        client.send(octets + b".\r\n")
        return client.read()


def known(attacked: Target) -> list[int]:
    """What an attack must not change: messages, suppressions, recipients that bounced."""
    return [
        count(attacked, "SELECT count(*) FROM messages"),
        count(attacked, "SELECT count(*) FROM suppressions"),
        count(attacked, "SELECT count(*) FROM recipients WHERE bounced_at IS NOT NULL"),
    ]


# No relay.

NO_RELAY, NOBODY, NO_ADDRESS = (550, "5.7.1"), (550, "5.1.1"), (553, "5.1.3")
RELAYS = {
    "victim@rcpt.test": NO_RELAY,
    "victim@bounces.test.rcpt.test": NO_RELAY,
    "victim@rcpt.bounces.test": NO_RELAY,
    "victim@[127.0.0.1]": NO_RELAY,
    "victim@[IPv6:::1]": NO_RELAY,
    "victim@localhost": NO_RELAY,
    "victim@gateway.test": NO_RELAY,
    "agent@sender.test": NO_RELAY,
    "postmaster@rcpt.test": NO_RELAY,
    "complaints@rcpt.test": NO_RELAY,
    "bounce+x@rcpt.test": NO_RELAY,
    "victim%rcpt.test@bounces.test": NOBODY,
    '"victim@rcpt.test"@bounces.test': NOBODY,
    "rcpt.test!victim@bounces.test": NOBODY,
    "postmaster%rcpt.test@bounces.test": NOBODY,
    '"postmaster@rcpt.test"@bounces.test': NOBODY,
    "agent@bounces.test": NOBODY,
    "@bounces.test:victim@rcpt.test": NO_ADDRESS,
    "@bounces.test,@x.test:victim@rcpt.test": NO_ADDRESS,
    "victim@rcpt.test@bounces.test": NO_ADDRESS,
    "victim@bounces.test@": NO_ADDRESS,
    "victim@": NO_ADDRESS,
    "victim": NO_ADDRESS,
    "": NO_ADDRESS,
}


@pytest.mark.parametrize(
    "by", ["", "eve@evil.test", "agent@sender.test", "postmaster@bounces.test"]
)
def test_nothing_is_relayed(attacked: Target, by: str) -> None:
    """For nobody and by no trick; and what is refused costs nobody a DSN (backscatter)."""
    before, copies = known(attacked), len(attacked.sink.copies)
    answers = {to: bring(attacked, b"Subject: x\r\n\r\nx\r\n", to, by=by).both for to in RELAYS}

    assert answers == RELAYS
    assert (known(attacked), len(attacked.sink.copies)) == (before, copies)


# Addresses that are not ours.


def forged(verp: str, other: str) -> dict[str, str]:
    """Addresses like one of ours; other: one of another message."""
    local, _, domain = verp.partition("@")
    tail, other_tail = local[-21:], other.partition("@")[0][-21:]
    flipped = {
        f"flip {at}": local[:at] + ("a" if letter != "a" else "b") + local[at + 1 :]
        for at, letter in enumerate(local)
    }
    made = {
        **flipped,
        "other id": f"{other.partition('@')[0][:-21]}{tail}",
        "other end": f"{local[:-21]}{other_tail}",
        "no MAC": local[:-16],
        "short": local[:-1],
        "half": local[:30],
        "long": local + "a",
        "zeros": local[:-16] + "a" * 16,
        "later day": local[:-20] + "7777" + local[-16:],
        "plus twice": local.replace("+", "++"),
        "quoted and escaped": f'"{local}\\ "',
        "NUL in base32": local[:-1] + "0",
        "sql": '"bounce+\' OR 1=1--"',
        "bare": "bounce+",
    }
    return {name: f"{each}@{domain}" for name, each in made.items()}


def test_a_forged_address_is_refused_before_data(attacked: Target) -> None:
    """Whichever letter is wrong; it changes nothing, and nobody is told."""
    one, other = sent(attacked), sent(attacked)
    before = known(attacked)
    report = dsn(group(one.address))
    wrong = {
        name: answer
        for name, verp in forged(one.verp, other.verp).items()
        if (answer := bring(attacked, report, verp)).both != NOBODY
    }

    assert wrong == {}
    assert known(attacked) == before
    assert told(attacked, one) == ["message.accepted", "recipient.delivered"]


@pytest.mark.parametrize("case", ["upper", "title", "swapcase"])
def test_an_address_in_another_case_works(attacked: Target, case: str) -> None:
    """The control of the test before: relays fold it, and case says nothing."""
    one = sent(attacked)
    local, _, domain = one.verp.partition("@")

    assert (
        bring(attacked, dsn(group(one.address)), f"{getattr(local, case)()}@{domain}").code == 250
    )
    assert state(attacked, one) == "bounced"
    assert one.address in suppressed(attacked)


# Reports that say more than they may.


def test_a_report_counts_once(attacked: Target) -> None:
    """However often it comes, by however many at a time."""
    one = sent(attacked)
    report = dsn(group(one.address))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: bring(attacked, report, one.verp).both, range(REPLAYS)))

    assert answers == [(250, "2.0.0")] * REPLAYS
    query = "SELECT count(*) FROM suppressions WHERE address = ?"
    assert count(attacked, query, one.address) == 1
    assert told(attacked, one) == [
        "message.accepted", "recipient.delivered", "recipient.bounced", "suppression.added",
    ]  # fmt: skip


def test_a_report_about_another_suppresses_nobody(attacked: Target) -> None:
    """Who has a copy of one mail cannot stop mail to anybody else (and not to itself so)."""
    one, other = sent(attacked), sent(attacked)
    before = suppressed(attacked)
    for report in (
        dsn(group(other.address)),
        dsn(group(other.address, original=other.address)),
        dsn(group(other.address), group("ann@rcpt.test"), group(other.address.upper())),
        dsn(group(f"{other.address}, ann@rcpt.test")),
        dsn(group(other.address, said=f"550 5.1.1 <{other.address}> unknown")),
        dsn(group(other.address), original=f"To: {other.address}\r\n\r\n".encode()),
        dsn(group(other.address), to=other.verp),
    ):
        assert bring(attacked, report, one.verp).code == 250

    assert (state(attacked, one), state(attacked, other)) == ("bounced", "delivered")
    assert suppressed(attacked) == before


@pytest.mark.parametrize("by", ["eve@evil.test", "MAILER-DAEMON@rcpt.test"])
def test_a_report_from_somebody_is_none(attacked: Target, by: str) -> None:
    """Its reverse-path is null (RFC 3464 2)."""
    one = sent(attacked)

    assert bring(attacked, dsn(group(one.address)), one.verp, by=by).code == 250
    assert state(attacked, one) == "delivered"
    assert one.address not in suppressed(attacked)


MANY = b"Status: 5.1.1\r\n" * 40_000
REPORTS = {
    **{name: octets for name, (octets, _) in BOMBS.items()},
    "groups 10k": dsn(*(group(f"a{number}@x.test") for number in range(10_000))),
    "fields 40k of one": dsn({f"X-{number}": "y" for number in range(40_000)}),
    "one field 40k times": dsn(group()).replace(b"Action", MANY + b"Action"),
    "folds 200k": dsn(group(said="550\r\n " + " x\r\n " * 200_000 + "x")),
    "spaces": dsn(group(said=f"550{' ' * 900}\r\n " * 1000)),
    "brackets": dsn(group(said="<" * 900)).replace(b"Your", (b"<" * 900 + b"\r\n") * 2000),
    "addresses": b"Subject: failure\r\n\r\n" + b"<a@b.test>: unknown user\r\n" * 60_000,
    "returned in returned": dsn(group(), original=b"Content-Type: message/rfc822\r\n\r\n" * 90),
    "verp": dsn(group(), original=(f"bounce+{'a' * 26}.{'a' * 21}@{DOMAIN}\r\n" * 20_000).encode()),
}  # fmt: skip


def test_a_report_is_taken_apart_within_limits(attacked: Target) -> None:
    """Each is answered, at a bounded cost, and others are served meanwhile."""
    one = sent(attacked)
    codes, costs = set(), {}
    for name, report in REPORTS.items():
        before = cpu_s(attacked)
        with Attacker(attacked.gateway.ports.bounces) as other:
            other.hello()
            codes.add(
                bring(attacked, report.replace(b"bob@example.net", b"x@x.test"), one.verp).code
            )
            assert other.ask("NOOP").code == 250
        costs[name] = cpu_s(attacked) - before

    assert codes == {250, 550}
    assert {name: cost for name, cost in costs.items() if cost > COST_S} == {}
    assert one.address not in suppressed(attacked)


# Next hops that lie.


REPLIES = {
    "other": b"550 5.1.1 {other} is unknown",
    "both": b"550 5.1.1 <{own}>, <{other}>: no such users",
    "lines": b"550-5.1.1 {own}\r\n550 5.1.1 {other}",
    "field": b"550 5.1.1 Final-Recipient: rfc822; {other}",
    "control": "550 5.1.1 \x1b[2J\x1b]0;pwn\x07\x85\u2028\u202e\x7f\x00 {other}".encode(),
    "octets": b"550 5.1.1 {other} \x9b\xff\xfe" + b"x" * 400,
    "json": b'550 5.1.1 {other} "},{"event":"login","level":"error"}',
    "policy": b"550 5.7.1 {other}",
}


@pytest.mark.parametrize("kind", REPLIES)
def test_a_reply_is_about_its_own_recipient(attacked: Target, kind: str) -> None:
    """Whomever its text names: that is text (suppression poisoning), and one line of the log."""
    other = sent(attacked)
    before = suppressed(attacked)
    own = f"{attacked.mark()}y@rcpt.test"
    reply = REPLIES[kind].replace(b"{own}", own.encode())
    attacked.sink.refuse(own, reply.replace(b"{other}", other.address.encode()) + b"\r\n")
    answer = attacked.post({**MAIL, "to": own, "text": "Hello"})
    one = Sent(address=own, queue_id=answer.json["queue_id"], verp="")
    eventually(lambda: state(attacked, one) == "failed", within_s=SOON_S)

    assert suppressed(attacked) - before == ({own} if b"5.1.1" in reply else set())
    assert attacked.post({**MAIL, "to": other.address}).status == 202
    for line in attacked.log_lines():
        assert line.isprintable()
        assert isinstance(json.loads(line), dict)
    assert attacked.gateway.logged("login") == []
