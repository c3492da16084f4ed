"""Real clients, through the daemon, into a real Postfix: what people use works as it is.

One daemon and one smarthost for all of them. The smarthost wants STARTTLS and a login; what lies
in its maildir is what a recipient gets, below the four fields that Postfix puts on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from gatewayd.domains.service import DnsRecord
from tests.peers import clients
from tests.peers.clients import Client
from tests.peers.dns import verified_algorithms
from tests.peers.gateway import Gateway
from tests.peers.postfix import NullClient, Smarthost
from tests.peers.programs import require, run

CORPUS = Path(__file__).parents[1] / "corpus" / "mime"

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway that delivers to a smarthost, and what it says to publish."""

    gateway: Gateway
    smarthost: Smarthost
    records: tuple[DnsRecord, ...]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        smarthost = stack.enter_context(Smarthost())
        directory = tmp_path_factory.mktemp("gateway")
        password = directory / "smarthost-password"
        password.touch(mode=0o600)
        password.write_text(smarthost.password)
        gateway = Gateway(
            directory,
            smarthost=(
                f'host = "127.0.0.1"\nport = {smarthost.port}\nuser = "{smarthost.user}"\n'
                f'password_file = "{password}"\nca_file = "{smarthost.certificates.ca}"\n'
            ),
        )
        stack.enter_context(gateway)
        gateway.command("db", "init")
        gateway.start()
        gateway.command("mailboxes", "create", gateway.mailbox)
        gateway.token = gateway.command("tokens", "issue", gateway.mailbox)["token"]
        added = gateway.command("domains", "add", gateway.mailbox.partition("@")[2])
        records = tuple(DnsRecord(**record) for record in added["records"])
        yield Site(gateway, smarthost, records)
        assert gateway.stop() == 0, gateway.tail()


CLIENTS: dict[str, Client] = {
    "swaks-587-plain": partial(clients.swaks, method="PLAIN"),
    "swaks-587-login": partial(clients.swaks, method="LOGIN"),
    "swaks-465-plain": partial(clients.swaks, method="PLAIN", is_implicit=True),
    "swaks-465-login": partial(clients.swaks, method="LOGIN", is_implicit=True),
    "swaks-user-token": partial(clients.swaks, method="PLAIN", user="token"),
    "smtplib-587": clients.smtplib_starttls,
    "smtplib-465": clients.smtplib_implicit,
    "nodemailer-587": clients.nodemailer,
    "nodemailer-465": partial(clients.nodemailer, is_implicit=True),
    "curl-587": clients.curl_smtp,
    "curl-465": partial(clients.curl_smtp, is_implicit=True),
    "curl-http": clients.curl_http,
    "msmtp-587": clients.msmtp,
}


@pytest.mark.parametrize("name", CLIENTS)
def test_client_sends_and_both_signatures_verify(site: Site, name: str) -> None:
    """Each client's message lies in the maildir of a real MTA, signed by RSA and Ed25519."""
    text = f"by-{name}-client"
    CLIENTS[name](site.gateway, text)
    arrived = site.smarthost.wait_for(f"Subject: {text}\r\n".encode())

    assert text in body_of(arrived).decode()
    assert verified_algorithms(arrived, site.records) == ["rsa-sha256", "ed25519-sha256"]
    assert b"Delivered-To: ann@rcpt.test\r\n" in arrived


def test_null_client_relays_by_sasl(site: Site) -> None:
    """A Postfix that sends all mail of its machine through us: its users become the mailbox."""
    gateway = site.gateway
    client = NullClient(
        relay_port=gateway.ports.submission,
        ca=gateway.certificates.ca,
        mailbox=gateway.mailbox,
        token=gateway.token,
    )
    with client:
        octets = b"From: cron <root@client.test>\nTo: ann@rcpt.test\nSubject: nightly\n\nall well\n"
        client.sendmail("root@client.test", ["ann@rcpt.test"], octets)
        try:
            arrived = site.smarthost.wait_for(b"Subject: nightly\r\n")
        except TimeoutError:
            pytest.fail(f"{client.queue()}\n{client.tail()}")

    assert f"From: cron <{gateway.mailbox}>\r\n".encode() in arrived
    assert arrived.startswith(f"Return-Path: <{gateway.mailbox}>\r\n".encode())
    assert verified_algorithms(arrived, site.records) == ["rsa-sha256", "ed25519-sha256"]


@pytest.mark.parametrize("name", sorted(file.stem for file in CORPUS.glob("*.eml")))
def test_body_octets_arrive_unchanged(site: Site, name: str) -> None:
    """No octet of a body is touched on the way, whatever is in it."""
    octets = (CORPUS / f"{name}.eml").read_bytes()
    clients.send_octets(site.gateway, octets, options=("BODY=8BITMIME",))
    arrived = site.smarthost.wait_for(f"Subject: {name}\r\n".encode())

    assert body_of(octets) == body_of(arrived)
    assert verified_algorithms(arrived, site.records) == ["rsa-sha256", "ed25519-sha256"]


def test_smime_signature_verifies_on_arrival(site: Site, tmp_path: Path) -> None:
    """A signature of RFC 8551 over part of the body is as good as before."""
    require("openssl")
    octets = renamed("smime-signed", "smime-verified")
    clients.send_octets(site.gateway, octets)
    file = tmp_path / "arrived.eml"
    file.write_bytes(site.smarthost.wait_for(b"Subject: smime-verified\r\n"))
    result = run("openssl", "cms", "-verify", "-in", file, "-noverify")

    assert b"Gr=C3=BC=C3=9Fe" in result.stdout


def test_pgp_signature_verifies_on_arrival(site: Site, tmp_path: Path) -> None:
    """A signature of RFC 3156 over part of the body is as good as before."""
    require("gpgv")
    clients.send_octets(site.gateway, renamed("pgp-signed", "pgp-verified"))
    arrived = site.smarthost.wait_for(b"Subject: pgp-verified\r\n")
    signed, signature = signed_part(arrived)
    (tmp_path / "signed").write_bytes(signed)
    (tmp_path / "signature.asc").write_bytes(signature)
    result = run(
        *("gpgv", "--keyring", CORPUS / "pgp-key.gpg"),
        *(tmp_path / "signature.asc", tmp_path / "signed"),
    )

    assert b"Good signature" in result.stderr


def signed_part(octets: bytes) -> tuple[bytes, bytes]:
    """The part that was signed, and its detached signature."""
    _, signed, rest = octets.split(b"--pgp-boundary-7d1f\r\n")
    signature, _, _ = rest.partition(b"\r\n--pgp-boundary-7d1f--")
    return signed.removesuffix(b"\r\n"), signature.partition(b"\r\n\r\n")[2]


def renamed(name: str, subject: str) -> bytes:
    """A message of the corpus under another subject and Message-ID."""
    header, blank, body = (CORPUS / f"{name}.eml").read_bytes().partition(b"\r\n\r\n")
    return header.replace(name.encode(), subject.encode()) + blank + body


def body_of(octets: bytes) -> bytes:
    return octets.partition(b"\r\n\r\n")[2]
