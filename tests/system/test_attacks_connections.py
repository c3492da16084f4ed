"""Connections that attack: what they hold, what they cost, and what they are told.

One daemon stands for most of the file, another with short deadlines for those that do nothing.
After every attack it takes a plain message by SMTP, delivers it, and its log holds no error.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.attacker import (
    MAILBOX,
    Attacker,
    Reply,
    assert_goes_on,
    logged_in,
)
from tests.peers.programs import require
from tests.peers.target import OTHER, Target, target
from tests.peers.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 1_048_576
SOON_S = 60.0
FLOOD_KIB = 8192  # 2 MiB for the connection, and what a process does by itself


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    # Long enough for whatever a test opens before it looks.
    patience = "[timeouts]\ncommand_s = 600\ntls_handshake_s = 600\n"
    with target(tmp_path_factory.mktemp("attacked"), extra=patience) as running:
        yield running


@pytest.fixture(autouse=True)
def _goes_on(attacked: Target) -> Iterator[None]:
    """Whatever was done to it, the next message arrives, and nothing broke inside."""
    yield
    assert_goes_on(attacked)


# What one connection costs.

MULTIPART = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
FLOODS = {
    "endless line": (b"", b"x" * 65_536),
    "endless line of NUL": (b"", b"\0" * 65_536),
    "empty lines": (b"", b"\r\n" * 32_768),
    "commands": (b"", b"NOOP\r\n" * 10_000),
    "login": (b"AUTH PLAIN ", b"A" * 65_536),
    "endless line of a message": (b"DATA\r\n\r\n", b"x" * 65_536),
    "tiny lines of a message": (b"DATA\r\n\r\n", b"\r\n" * 32_768),
    "dots of a message": (b"DATA\r\n\r\n", b"..\r\n" * 16_384),
    "header without an end": (b"DATA\r\n", b"A: b\r\n" * 10_922),
    "folds without an end": (b"DATA\r\nA: b\r\n", b" b\r\n" * 16_384),
    "parts without an end": (b"DATA\r\n" + MULTIPART, b"--b\r\n\r\n" * 9362),
    "chunk without an end": (b"BDAT 20000000\r\n", b"x" * 65_536),
    "answers that nobody reads": (b"RSET\r\n", b"MAIL FROM:<@>\r\n" * 4681),
    "chunk of tiny lines": (b"BDAT 20000000\r\n", b"\r\n" * 32_768),
}  # fmt: skip
FLOOD_OCTETS = 150 * MIB


def peak_kib(attacked: Target) -> int:
    """The most that was resident since `forget_peak`; where no kernel counts it, what is now."""
    assert attacked.gateway.process is not None
    text = Path(f"/proc/{attacked.gateway.process.pid}/status").read_text()
    found = re.findall(r"(?m)^Vm(?:HWM|RSS):\s+(\d+) kB", text)
    return max(map(int, found))


def forget_peak(attacked: Target) -> None:
    """Begin to measure at what is resident now (proc(5), clear_refs)."""
    assert attacked.gateway.process is not None
    with contextlib.suppress(OSError):
        Path(f"/proc/{attacked.gateway.process.pid}/clear_refs").write_text("5")


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_costs_little_memory(attacked: Target, flood: str) -> None:
    """A connection costs 2 MiB at most, whatever it sends; it is cut off before it has sent all."""
    first, block = FLOODS[flood]
    forget_peak(attacked)
    before = peak_kib(attacked)
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        if first.startswith((b"DATA", b"BDAT", b"RSET")):
            client.log_in(MAILBOX, attacked.gateway.token)
            client.ask_all(f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<ann@rcpt.test>")
        client.send(first)
        sent = client.flood(block, FLOOD_OCTETS)
        grown = peak_kib(attacked) - before

    assert sent < FLOOD_OCTETS
    assert grown < FLOOD_KIB


@pytest.mark.parametrize("line", ["NOOP", "RSET", "EHLO attacker.test", "VRFY ann", "HELP"])
@pytest.mark.parametrize("is_known", [False, True], ids=["stranger", "logged in"])
def test_what_brings_no_message_further_is_counted(
    attacked: Target, line: str, *, is_known: bool
) -> None:
    """20 of these between two messages, and it ends."""
    with Attacker(attacked.gateway.ports.plain) as client:
        client.hello()
        if is_known:  # AUTH is one of them
            assert client.log_in(MAILBOX, attacked.gateway.token).code == 235
        codes = [client.ask(line).code for _ in range(19 if is_known else 20)]

        assert {code // 100 for code in codes} == {2}
        assert client.ask(line).both == (421, "4.7.0")
        assert client.rest() == []


# How many there may be.


def test_one_address_holds_so_many_connections(attacked: Target) -> None:
    """50; the others are told so and closed, and nobody else notices."""
    source = "127.0.0.9"
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Attacker(attacked.gateway.ports.plain, source=source))
            for _ in range(60)
        ]
        told = [client.read().both for client in clients]
        assert told == [(220, "")] * 50 + [(421, "4.3.2")] * 10
        assert [client.rest() for client in clients[50:]] == [[]] * 10
        assert_goes_on(attacked)

    eventually(lambda: greeted(attacked, source) == 220, within_s=SOON_S)


def greeted(attacked: Target, source: str) -> int:
    with Attacker(attacked.gateway.ports.plain, source=source) as client:
        return client.read().code


def test_one_token_holds_so_many_connections(attacked: Target) -> None:
    """20, from wherever; the next login ends its connection."""
    token = attacked.issued["other"].token
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Attacker(attacked.gateway.ports.plain, source=f"127.0.0.{number}"))
            for number in range(10, 31)
        ]
        for client in clients:
            client.hello()
        told = [client.log_in(OTHER, token).both for client in clients]

        assert told == [(235, "2.7.0")] * 20 + [(421, "4.3.2")]
        assert clients[-1].rest() == []


def open_files(attacked: Target) -> int:
    assert attacked.gateway.process is not None
    return len(list(Path(f"/proc/{attacked.gateway.process.pid}/fd").iterdir()))


STALLS = {
    "silent": ("plain", b""),
    "half a line": ("plain", b"EHL"),
    "silent before TLS": ("submissions", b""),
    "half a handshake": ("submissions", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "stalled STARTTLS": ("submission", b"EHLO a\r\n"),
}


def stalled(attacked: Target, stack: contextlib.ExitStack, kind: str, source: str) -> Attacker:
    """A connection that goes on no more."""
    door, octets = STALLS[kind]
    client = Attacker(getattr(attacked.gateway.ports, door), source=source)
    stack.enter_context(client)
    if door != "submissions":
        client.read()
    client.send(octets)
    if door == "submission":
        client.read()
        assert client.ask("STARTTLS").code == 220
        client.send(b"\x16")
    return client


def test_a_good_client_is_served_among_two_hundred_slow_ones(attacked: Target) -> None:
    """Five kinds of doing nothing; who does something goes first, and all is given back."""
    gateway = attacked.gateway
    eventually(lambda: gateway.metric("smtp_sessions") == 0, within_s=SOON_S)
    files = open_files(attacked)
    with contextlib.ExitStack() as stack:
        for number, kind in enumerate(list(STALLS) * 40):
            stalled(attacked, stack, kind, f"127.0.1.{1 + number % 5}")
        eventually(lambda: gateway.metric("smtp_sessions") == 200, within_s=SOON_S)
        for _ in range(10):
            assert_goes_on(attacked)
        assert gateway.metric("smtp_sessions") >= 200

    eventually(lambda: gateway.metric("smtp_sessions") == 0, within_s=SOON_S)
    eventually(lambda: open_files(attacked) <= files + 20, within_s=SOON_S)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A daemon that waits for nobody; logins need a little of its time even so."""
    deadlines = "command_s = 8\ndata_block_s = 2\ntls_handshake_s = 5\n"
    with target(tmp_path_factory.mktemp("hasty"), extra=f"[timeouts]\n{deadlines}") as running:
        yield running
        running.assert_goes_on()


def test_who_does_nothing_is_cut_off(hasty: Target) -> None:
    """By a deadline for each kind; who drips octets has no more time than who sends none."""
    before = hasty.gateway.metric("smtp_timeouts_total")
    with contextlib.ExitStack() as stack:
        strangers = [stalled(hasty, stack, kind, "127.0.2.1") for kind in STALLS for _ in range(8)]
        drips = [stalled(hasty, stack, "silent", "127.0.2.2") for _ in range(8)]
        senders = []
        for command in ("DATA", "BDAT 1000", "DATA", "BDAT 1000"):
            client = stack.enter_context(logged_in(hasty))
            client.ask_all(f"MAIL FROM:<{MAILBOX}>", "RCPT TO:<ann@rcpt.test>")
            client.send(f"{command}\r\n".encode())
            assert not command.startswith("DATA") or client.read().code == 354
            senders.append(client)
        ends = drip([*drips, *senders[:2]])
        told = [client.rest() for client in [*strangers, *senders[2:]]]

    assert [reply.both for replies in ends for reply in replies] == [(421, "4.4.2")] * 10
    assert [reply.both for replies in told for reply in replies] == [(421, "4.4.2")] * 18
    assert hasty.gateway.metric("smtp_timeouts_total") == before + 28


def drip(clients: list[Attacker]) -> list[list[Reply]]:
    """Send an octet now and then to each connection, until all were ended; their last words."""
    ends: dict[Attacker, list[Reply]] = {}
    while len(ends) < len(clients):
        for client in clients:
            if client not in ends and not client.drip():
                ends[client] = client.rest()
    return list(ends.values())


# TLS.

EXTENSIONS = bytes.fromhex(
    "000a0006000400170018" "000b00020100" "000d000c000a04030401050308040201" "ff01000100"
)  # fmt: skip
GOOD, OLD = "c02bc02fc02cc030", "c009c013c00ac014009c009d002f0035"
WEAK = "000a0005000400030009001300010002c012c011c006c00100600019001b00180034003a"


def client_hello(minor: int, ciphers: str) -> bytes:
    """Of SSL 3.0 (0) to TLS 1.2 (3), as a record (RFC 5246 7.4.1.2).

    It offers DEFLATE beside no compression (CVE-2012-4929).
    """
    suites = bytes.fromhex(ciphers)
    body = b"\x03" + bytes([minor]) + bytes(range(32)) + b"\x00"
    body += len(suites).to_bytes(2, "big") + suites + b"\x02\x01\x00"
    body += len(EXTENSIONS).to_bytes(2, "big") + EXTENSIONS
    hand = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(hand).to_bytes(2, "big") + hand


@pytest.mark.parametrize("door", ["submissions", "submission"])
def test_no_tls_of_old_is_spoken(attacked: Target, door: str) -> None:
    """TLS 1.2 at least, with forward secrecy and authenticated ciphers, without compression."""
    offers = [*((minor, GOOD + OLD) for minor in range(4)), (3, WEAK), (3, OLD)]
    answers = []
    for minor, ciphers in offers:
        with Attacker(getattr(attacked.gateway.ports, door)) as client:
            if door == "submission":
                client.hello()
                client.ask("STARTTLS")
            client.send(client_hello(minor, ciphers))
            answers.append(client.raw(200))

    spoken = answers.pop(3)
    assert answers == [b""] * 5  # closed
    assert spoken[:1] + spoken[9:11] == b"\x16\x03\x03"
    chosen = 11 + 32 + 1 + spoken[11 + 32]  # behind random and session id (RFC 5246 7.4.1.3)
    assert spoken[chosen : chosen + 2].hex() in {GOOD[at : at + 4] for at in range(0, 16, 4)}
    assert spoken[chosen + 2] == 0  # no compression


def test_tls_is_not_negotiated_again(attacked: Target) -> None:
    """A handshake in a handshake costs us more than the client (CVE-2011-1473)."""
    require("openssl")
    at = f"127.0.0.1:{attacked.gateway.ports.submissions}"
    with subprocess.Popen(
        ["timeout", "60", "openssl", "s_client", "-connect", at, "-tls1_2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"R\n")  # its command for that
        client.stdin.flush()
        said = client.stdout.read()

    assert b"Cipher is ECDHE" in said
    assert b"RENEGOTIATING" in said
    assert b"no renegotiation" in said
