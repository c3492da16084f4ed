"""smtpd.server: connection caps, EHLO, TLS contexts."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from gatewayd.clock import SystemClock
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.listeners import ListenerTls, SubmissionListener
from gatewayd.config.types import Bind
from gatewayd.errors import KeyFileError
from gatewayd.smtpd.auth import LoginThrottle
from gatewayd.smtpd.data import MemoryBudget
from gatewayd.smtpd.server import Caps, server_tls, submission_terms
from gatewayd.smtpd.terms import hello_reply
from tests.fakes.submission_host import FakeMetrics, authority, write_certificate

_LIMITS = LimitsSection(connections=5, connections_per_ip=2, connections_per_token=1)


def test_caps_admit_so_many_of_one_network() -> None:
    """And one more when one has left."""
    caps = Caps(_LIMITS)

    assert [caps.admit("192.0.2.1") for _ in range(3)] == [True, True, False]
    caps.release("192.0.2.1")
    assert caps.admit("192.0.2.1")
    assert caps.open == 2


def test_caps_admit_so_many_in_all() -> None:
    """From whatever network."""
    caps = Caps(_LIMITS)

    admitted = [caps.admit(f"192.0.2.{number}") for number in range(6)]

    assert admitted == [True] * 5 + [False]


def test_caps_admit_so_many_of_one_token() -> None:
    """Another token has its own."""
    caps = Caps(_LIMITS)

    assert caps.admit_token("a")
    assert not caps.admit_token("a")
    assert caps.admit_token("b")
    caps.release_token("a")
    assert caps.admit_token("a")


def test_caps_are_stressed_from_four_fifths_on() -> None:
    """There is still room for some then."""
    caps = Caps(_LIMITS)

    for number in range(3):
        caps.admit(str(number))
    assert not caps.is_stressed
    caps.admit("3")
    assert caps.is_stressed


def test_hello_reply_has_a_space_on_its_last_line_only() -> None:
    """RFC 5321 4.2.1."""
    reply = hello_reply("mail.example.com", ["SIZE 1", "DSN"])

    assert reply == b"250-mail.example.com\r\n250-SIZE 1\r\n250 DSN\r\n"


def test_server_tls_is_1_2_or_newer(tmp_path: Path) -> None:
    """RFC 8314 4.1, RFC 8996."""
    context = server_tls(*write_certificate(tmp_path))

    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_server_tls_says_which_file_is_missing(tmp_path: Path) -> None:
    """The operator is told both names."""
    with pytest.raises(KeyFileError, match=r"no\.crt .* No such file"):
        server_tls(tmp_path / "no.crt", tmp_path / "no.key")


def test_server_tls_refuses_a_key_of_another_certificate(tmp_path: Path) -> None:
    """Before any client finds out."""
    certificate, key = write_certificate(tmp_path)
    authority().issue_cert("localhost").private_key_pem.write_to_path(key)

    with pytest.raises(KeyFileError, match="belong together"):
        server_tls(certificate, key)


def test_server_tls_refuses_a_key_with_a_passphrase(tmp_path: Path) -> None:
    """OpenSSL would wait for it on the terminal."""
    certificate, key = write_certificate(tmp_path)
    key.write_text(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
    )

    with pytest.raises(KeyFileError):
        server_tls(certificate, key)


@pytest.mark.parametrize(
    ("host", "offered"),
    [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False)],
)
def test_auth_without_tls_is_for_loopback_only(host: str, offered: bool) -> None:
    """Whatever the section says."""
    clock, limits = SystemClock(), LimitsSection()

    terms = submission_terms(
        section=SubmissionListener(
            name="x", bind=Bind(host, 587), tls=ListenerTls.NONE, auth_without_tls=True
        ),
        hostname="mail.example.com",
        limits=limits,
        timeouts=TimeoutsSection(),
        budget=MemoryBudget(1000),
        throttle=LoginThrottle(clock=clock, per_minute=1, per_day=1),
        clock=clock,
        metrics=FakeMetrics(),
        on_fatal=lambda _: None,
    )

    assert offered == terms.auth_without_tls
    assert offered == (b"AUTH" in terms.hello_plain)
