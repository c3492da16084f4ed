"""Sessions with a next hop: TLS that fails closed, AUTH once, plaintext on loopback only."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from gatewayd.config.delivery import NextHop, TlsMode
from gatewayd.delivery.attempt import Running
from gatewayd.mail.outcome import Deferred, Delivered
from tests.fakes.delivering import Delivering
from tests.fakes.delivery import claim_of
from tests.fakes.smtp_peer import CLOSE, EXTENSIONS, SILENT, SmtpPeer

IMPLICIT, STARTTLS = TlsMode.IMPLICIT, TlsMode.STARTTLS_REQUIRED
TLS = pytest.mark.parametrize("mode", [IMPLICIT, STARTTLS])


class Authority:
    """A certificate authority, its file, and server contexts."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self.file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def context(self, *names: str, not_after: dt.datetime | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cert = self._ca.issue_cert(*(names or ("127.0.0.1",)), not_after=not_after)
        cert.configure_cert(context)
        return context


@pytest.fixture(name="authority")
def make_authority(tmp_path: Path) -> Authority:
    """One that next hops may be told to trust."""
    return Authority(tmp_path)


@TLS
async def test_tls_facts_are_kept_with_the_attempt(mode: TlsMode, authority: Authority) -> None:
    """Version and cipher of the session that carried the message."""
    async with SmtpPeer(tls=mode, context=authority.context()) as peer, Delivering() as world:
        outcomes = await world.deliver(claim_of(), peer.next_hop(ca_file=authority.file))

        assert [type(each) for each in outcomes] == [Delivered]
        assert world.record.tls == "TLSv1.3 TLS_AES_256_GCM_SHA384"
        assert b"MAIL" not in peer.plain


@TLS
@pytest.mark.parametrize("why", ["wrong name", "expired", "unknown authority"])
async def test_bad_certificate_defers_and_sends_nothing(
    mode: TlsMode, why: str, authority: Authority, tmp_path: Path
) -> None:
    """4.7.5, and no octet of AUTH or MAIL leaves, in plaintext or otherwise (RFC 3207 4.1)."""
    context = authority.context()
    if why == "wrong name":
        context = authority.context("other.test")
    if why == "expired":
        context = authority.context("127.0.0.1", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    if why == "unknown authority":
        (tmp_path / "else").mkdir()
        context = Authority(tmp_path / "else").context()
    async with SmtpPeer(tls=mode, context=context) as peer, Delivering() as world:
        hop = peer.next_hop(ca_file=authority.file, user="ann", password="secret")
        (outcome,) = await world.deliver(claim_of(), hop)

        assert isinstance(outcome, Deferred)
        assert outcome.reason.startswith("4.7.5 the certificate of 127.0.0.1 is refused: ")
        assert world.record.phase == "tls"
        assert_nothing_leaked(peer)


async def test_old_tls_only_defers(authority: Authority) -> None:
    """Below TLS 1.2 there is no session (RFC 8996)."""
    context = authority.context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with SmtpPeer(tls=STARTTLS, context=context) as peer, Delivering() as world:
        (outcome,) = await world.deliver(claim_of(), peer.next_hop(ca_file=authority.file))

        assert isinstance(outcome, Deferred)
        assert outcome.reason.startswith("4.7.5")
        assert_nothing_leaked(peer)


@pytest.mark.parametrize("answer", [b"454 4.7.0 not now\r\n", b"502 5.5.1 what\r\n", CLOSE])
async def test_starttls_refused_defers(answer: bytes, authority: Authority) -> None:
    """Required means required."""
    answers = {"STARTTLS": [answer]}
    async with (
        SmtpPeer(tls=STARTTLS, context=authority.context(), answers=answers) as peer,
        Delivering() as world,
    ):
        hop = peer.next_hop(ca_file=authority.file, user="ann", password="secret")
        (outcome,) = await world.deliver(claim_of(), hop)

        assert isinstance(outcome, Deferred)
        assert outcome.reason.startswith("4.7.5")
        assert_nothing_leaked(peer)


async def test_starttls_stripped_defers() -> None:
    """Somebody in the middle took STARTTLS out of EHLO: no AUTH, no MAIL."""
    async with SmtpPeer(extensions=(*EXTENSIONS, "AUTH PLAIN")) as peer, Delivering() as world:
        hop = peer.next_hop(tls_mode=STARTTLS, user="ann", password="secret")
        (outcome,) = await world.deliver(claim_of(), hop)

        assert outcome == Deferred("4.7.5 STARTTLS is required and the next hop does not offer it")
        assert_nothing_leaked(peer)


async def test_words_injected_before_tls_are_dropped(authority: Authority) -> None:
    """What follows the 220 in plaintext is nobody's word (RFC 3207 4.2, CVE-2021-38371)."""
    injected = b"220 go\r\n250-evil.test\r\n250 AUTH LOGIN\r\n535 gone\r\n"
    async with (
        SmtpPeer(
            tls=STARTTLS, context=authority.context(), answers={"STARTTLS": [injected]}
        ) as peer,
        Delivering() as world,
    ):
        hop = peer.next_hop(ca_file=authority.file, user="ann", password="secret")
        (outcome,) = await world.deliver(claim_of(), hop)

        assert isinstance(outcome, Deferred)
        assert outcome.reason == "4.7.0 the next hop offers no AUTH, and PLAIN or LOGIN is needed"
        assert [line for line in peer.commands if line.startswith(b"EHLO")] == [
            b"EHLO gateway.test"
        ] * 2


async def test_missing_authorities_file_defers(tmp_path: Path, authority: Authority) -> None:
    """A file that the operator forgot does not mean "trust anybody"."""
    async with SmtpPeer(tls=STARTTLS, context=authority.context()) as peer, Delivering() as world:
        (outcome,) = await world.deliver(claim_of(), peer.next_hop(ca_file=tmp_path / "no.pem"))

        assert isinstance(outcome, Deferred)
        assert_nothing_leaked(peer)


@pytest.mark.parametrize(
    ("offer", "sent"),
    [
        ("AUTH PLAIN LOGIN", [b"AUTH PLAIN " + base64.b64encode(b"\0ann\0secret")]),
        ("AUTH LOGIN CRAM-MD5", [b"AUTH LOGIN YW5u", b"c2VjcmV0"]),
        ("AUTH=LOGIN", [b"AUTH LOGIN YW5u", b"c2VjcmV0"]),
    ],
)
async def test_auth_uses_one_mechanism(offer: str, sent: list[bytes]) -> None:
    """PLAIN if it is there, LOGIN else (RFC 4954)."""
    async with SmtpPeer(extensions=(*EXTENSIONS, offer)) as peer, Delivering() as world:
        outcomes = await world.deliver(claim_of(), peer.next_hop(user="ann", password="secret"))

        assert [type(each) for each in outcomes] == [Delivered]
        assert peer.commands[1 : 1 + len(sent)] == sent
        assert "secret" not in world.record.transcript


async def test_auth_is_tried_once_and_defers() -> None:
    """A wrong password is the operator's to mend; trying all mechanisms locks accounts."""
    answers = {"AUTH": [b"535 5.7.8 bad c2VjcmV0 secret\r\n"]}
    extensions = (*EXTENSIONS, "AUTH PLAIN LOGIN CRAM-MD5")
    async with SmtpPeer(extensions=extensions, answers=answers) as peer, Delivering() as world:
        (outcome,) = await world.deliver(claim_of(), peer.next_hop(user="ann", password="secret"))

        assert isinstance(outcome, Deferred)
        assert outcome.reason == "the mailbox's next hop refused its user and password: bad *** ***"
        assert len([line for line in peer.commands if line.startswith(b"AUTH")]) == 1
        assert "secret" not in world.record.transcript


async def test_no_usable_mechanism_defers() -> None:
    """CRAM-MD5 alone is not enough, and nothing is tried."""
    async with SmtpPeer(extensions=(*EXTENSIONS, "AUTH CRAM-MD5")) as peer, Delivering() as world:
        (outcome,) = await world.deliver(claim_of(), peer.next_hop(user="ann", password="secret"))

        assert isinstance(outcome, Deferred)
        assert outcome.reason.startswith("4.7.0 the next hop offers CRAM-MD5")


async def test_plaintext_stays_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the configuration takes for loopback may resolve to another machine."""

    def resolve(*_: object, **__: object) -> list[object]:
        return [(2, 1, 6, "", ("127.0.0.1", 25)), (2, 1, 6, "", ("192.0.2.7", 25))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    async with Delivering() as world:
        hop = NextHop(host="localhost", port=25, tls_mode=TlsMode.NONE_ON_LOOPBACK)
        (outcome,) = await world.deliver(claim_of(), hop)

        assert outcome == Deferred(
            "4.7.5 plaintext is for loopback, and the next hop resolves to 192.0.2.7"
        )


async def test_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that refuses is not the end of a name that has another."""
    async with SmtpPeer() as closed:
        dead = closed.port
    async with SmtpPeer() as peer, Delivering() as world:

        def resolve(*_: object, **__: object) -> list[object]:
            found = [("127.0.0.1", dead), ("127.0.0.1", peer.port)]
            return [(2, 1, 6, "", address) for address in found]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        outcomes = await world.deliver(claim_of(), peer.next_hop(host="localhost"))

        assert [type(each) for each in outcomes] == [Delivered]


async def test_refused_connection_defers() -> None:
    """Nobody listens there."""
    async with SmtpPeer() as peer:
        hop = peer.next_hop()
    async with Delivering() as world:
        (outcome,) = await world.deliver(claim_of(), hop)

        assert outcome == Deferred(f"{hop}: Connection refused (connect)")


async def test_unknown_name_defers() -> None:
    """A name that does not resolve may resolve later, or be mended."""
    async with Delivering() as world:
        hop = NextHop(host="nowhere.invalid", port=25, tls_mode=IMPLICIT)
        (outcome,) = await world.deliver(claim_of(), hop)

        assert isinstance(outcome, Deferred)
        assert world.record.phase == "connect"


async def test_whole_session_has_a_deadline() -> None:
    """An attempt ends at attempt_s, however patient each step is."""
    async with (
        SmtpPeer(answers={"EHLO": [lambda: b""]}) as peer,
        Delivering({"attempt_s": 0.2}) as world,
    ):
        (outcome,) = await world.deliver(claim_of(), peer.next_hop())

        assert isinstance(outcome, Deferred)
        assert "did not answer in time" in outcome.reason


@pytest.mark.parametrize("turns", range(12))
async def test_cancelled_while_it_opens_is_cancelled(turns: int) -> None:
    """However close to the last reply before MAIL the cancellation comes."""
    answered = asyncio.Event()

    def answer() -> bytes:
        answered.set()
        return b"250 peer.test\r\n"

    async with (
        SmtpPeer(answers={"EHLO": [answer], "MAIL": [SILENT]}) as peer,
        Delivering() as world,
        asyncio.TaskGroup() as group,
    ):
        attempt = group.create_task(world.attempts.run(Running(claim_of()), peer.next_hop()))
        await answered.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        attempt.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([attempt])

        assert attempt.cancelled()
        assert world.queue.settled == []


async def test_server_without_ehlo_is_greeted_the_old_way() -> None:
    """HELO after 502, and no extension is used (RFC 5321 3.2)."""
    answers = {"EHLO": [b"502 5.5.1 what?\r\n"]}
    async with SmtpPeer(answers=answers) as peer, Delivering() as world:
        outcomes = await world.deliver(claim_of(), peer.next_hop())

        assert [type(each) for each in outcomes] == [Delivered]
        assert peer.commands[1:3] == [b"HELO gateway.test", b"MAIL FROM:<ann@example.com>"]


def assert_nothing_leaked(peer: SmtpPeer) -> None:
    """Neither a password nor an envelope was sent."""
    assert b"AUTH" not in peer.wire
    assert b"MAIL" not in peer.wire
