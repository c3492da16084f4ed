"""A client logs in: every mechanism, every size of token, every port; and every way to fail."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from gatewayd.config.limits import LimitsSection
from gatewayd.config.listeners import ListenerTls
from gatewayd.errors import StoreBroken, StoreUnavailable
from tests.fakes.submission_client import (
    Answer,
    SubmissionClient,
    connect,
    encoded,
    oauthbearer,
    plain,
    xoauth2,
)
from tests.fakes.submission_host import (
    EXPIRED,
    MAILBOX,
    TOKEN,
    Host,
    client_context,
    submission_host,
)


@pytest.fixture(autouse=True)
def _swift_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse without the wait, but where a test is about it."""
    monkeypatch.setattr("gatewayd.smtpd.auth.FAILURE_S", 0.0)


_RESPONSES = {"PLAIN": plain, "XOAUTH2": xoauth2, "OAUTHBEARER": oauthbearer}


@asynccontextmanager
async def _session(
    tls: ListenerTls = ListenerTls.NONE, limits: LimitsSection | None = None
) -> AsyncIterator[tuple[Host, SubmissionClient]]:
    """A client that may log in."""
    async with submission_host(
        tls=tls, auth_without_tls=tls is ListenerTls.NONE, limits=limits
    ) as host:
        implicit = client_context() if tls is ListenerTls.IMPLICIT else None
        async with connect(host.address, tls=implicit) as client:
            await client.hello()
            if tls is ListenerTls.STARTTLS:
                await client.start_tls(client_context())
                await client.ask("EHLO client.example")
            yield host, client


async def _log_in(
    client: SubmissionClient, mechanism: str, user: str, token: str, *, initial: bool
) -> Answer:
    if mechanism == "LOGIN":
        first = encoded(user)
        answer = await client.ask(b"AUTH LOGIN" + (b" " + first if initial else b""))
        if not initial:
            assert base64.b64decode(answer.text) == b"Username:"
            answer = await client.ask(first)
        assert base64.b64decode(answer.text) == b"Password:"
        return await client.ask(encoded(token))
    response = _RESPONSES[mechanism](user, token)
    if initial:
        return await client.ask(f"AUTH {mechanism} ".encode() + response)
    answer = await client.ask(f"AUTH {mechanism}")
    assert (answer.code, answer.text) == (334, "")
    return await client.ask(response)


@pytest.mark.parametrize("tls", ListenerTls)
@pytest.mark.parametrize("size", [300, 1500, 4096, 8192])
@pytest.mark.parametrize("initial", [True, False], ids=["initial", "asked"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
async def test_token_of_any_size_logs_in(
    mechanism: str, initial: bool, size: int, tls: ListenerTls
) -> None:
    """Up to 8 KiB, by every mechanism, on every kind of port (library-facts F3, F4)."""
    token = "t" * size
    async with _session(tls) as (host, client):
        host.tokens.known.add(token)
        answer = await _log_in(client, mechanism, MAILBOX, token, initial=initial)
        mail = await client.ask(f"MAIL FROM:<{MAILBOX}>")

    assert str(answer) == "235 2.7.0 logged in"
    assert mail.code == 250


async def test_token_over_the_limit_is_refused_unread() -> None:
    """8 KiB is the most that is looked at (A3)."""
    token = "t" * 8193
    async with _session() as (host, client):
        host.tokens.known.add(token)
        answer = await _log_in(client, "PLAIN", MAILBOX, token, initial=False)

    assert (answer.code, answer.status) == (535, "5.7.8")


@pytest.mark.parametrize("name", ["plain", "Plain", "PLAIN"])
async def test_mechanism_is_caseless(name: str) -> None:
    """RFC 4954 3 (library-facts F9)."""
    async with _session() as (_, client):
        answer = await client.ask(f"AUTH {name} ".encode() + plain(MAILBOX, TOKEN))

    assert answer.code == 235


@pytest.mark.parametrize("user", ["token", "TOKEN", MAILBOX])
async def test_user_may_be_the_word_token(user: str) -> None:
    """For clients that know nothing but their token."""
    async with _session() as (_, client):
        assert (await client.log_in(user, TOKEN)).code == 235


async def test_every_reason_to_refuse_a_login_looks_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody learns which mailboxes or tokens there are, from text or time."""
    monkeypatch.setattr("gatewayd.smtpd.auth.FAILURE_S", 0.03)
    attempts = [
        ("other@example.com", TOKEN),
        (MAILBOX, "no-such-token"),
        (MAILBOX, EXPIRED),
        (MAILBOX, "revoked"),
        (MAILBOX, "x" * 9000),
    ]
    limits = LimitsSection(auth_failures_per_connection=100)
    loop = asyncio.get_running_loop()
    answers, times = set(), []
    async with _session(limits=limits) as (host, client):
        host.tokens.known.add("revoked")
        host.tokens.revoked.add("revoked")
        for user, token in attempts:
            began = loop.time()
            answers.add(str(await _log_in(client, "LOGIN", user, token, initial=False)))
            times.append(loop.time() - began)

    assert len(answers) == 1
    assert answers.pop().startswith("535 5.7.8 token_invalid: ")
    assert min(times) >= 0.025
    assert host.metrics.smtp_auth_failures.value == len(attempts)


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_bearer_mechanism_explains_in_json_before_it_refuses(mechanism: str) -> None:
    """The client answers with ^A, and gets its 535 then (RFC 7628 3.2.3)."""
    async with _session() as (_, client):
        answer = await _log_in(client, mechanism, MAILBOX, "wrong", initial=True)
        refusal = await client.ask("AQ==")

    assert answer.code == 334
    assert json.loads(base64.b64decode(answer.text))["status"] == "invalid_token"
    assert (refusal.code, refusal.status) == (535, "5.7.8")


async def test_third_failure_ends_the_session() -> None:
    """535 as always, then 421 4.7.0."""
    async with _session() as (_, client):
        for _ in range(3):
            assert (await client.log_in(MAILBOX, "wrong")).code == 535
        last = await client.read()

        assert (last.code, last.status) == (421, "4.7.0")
        assert await client.is_closed()


async def test_failures_are_not_forgotten_by_rset_or_ehlo() -> None:
    """They belong to the connection."""
    async with _session() as (_, client):
        await client.log_in(MAILBOX, "wrong")
        await client.ask("EHLO again")
        await client.log_in(MAILBOX, "wrong")
        await client.ask("RSET")
        await client.log_in(MAILBOX, "wrong")

        assert (await client.read()).code == 421


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("*", "501 5.7.0"),
        ("not base64!", "501 5.5.2"),
        ("YWJj", "501 5.5.2"),
        ("", "501 5.5.2"),
        ("x" * 13_000, "500 5.5."),
    ],
)
async def test_exchange_that_goes_wrong_ends_without_a_login(line: str, reply: str) -> None:
    """And the session goes on (RFC 4954 4)."""
    async with _session() as (host, client):
        assert (await client.ask("AUTH PLAIN")).code == 334
        answer = await client.ask(line)
        assert (await client.log_in(MAILBOX, TOKEN)).code == 235

    assert str(answer).startswith(reply)
    assert host.metrics.smtp_auth_failures.value == 0


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("AUTH", "504 5.5.4"),
        ("AUTH CRAM-MD5", "504 5.5.4"),
        ("AUTH PLAIN not-base64", "501 5.5.2"),
        ("AUTH PLAIN =", "501 5.5.2"),
        ("AUTH PLAIN a b", "501 5.5.2"),
    ],
)
async def test_auth_of_the_wrong_form_is_told_so(command: str, reply: str) -> None:
    """The mechanisms there are stand in the text."""
    async with _session() as (_, client):
        answer = await client.ask(command)

    assert str(answer).startswith(reply)
    if reply == "504 5.5.4":
        assert "PLAIN LOGIN XOAUTH2 OAUTHBEARER" in answer.text


async def test_auth_out_of_order_is_503() -> None:
    """Before EHLO, twice, in a transaction (RFC 4954 4)."""
    async with submission_host() as host, connect(host.address) as client:
        await client.read()
        before = await client.log_in(MAILBOX, TOKEN)
        await client.ask("EHLO x")
        await client.log_in(MAILBOX, TOKEN)
        twice = await client.log_in(MAILBOX, TOKEN)

    assert [before.code, twice.code] == [503, 503]


@pytest.mark.parametrize("tls", [ListenerTls.STARTTLS, ListenerTls.NONE])
async def test_auth_in_plaintext_is_538(tls: ListenerTls) -> None:
    """And what a blind client sends next is neither logged nor said back."""
    async with submission_host(tls=tls, auth_without_tls=False) as host:
        with capture_logs() as logs:
            async with connect(host.address) as client:
                await client.hello()
                answer = await client.ask("AUTH LOGIN")
                said = [await client.ask(encoded(word)) for word in (MAILBOX, "secret-token")]

    assert (answer.code, answer.status) == (538, "5.7.11")
    assert [each.code for each in said] == [500, 500]
    shown = f"{logs} {said}".lower()
    assert "secret" not in shown
    assert encoded("secret-token").decode().lower() not in shown


async def test_nothing_of_a_login_is_logged() -> None:
    """Neither of one that fails nor of one that works (library-facts F8)."""
    with capture_logs() as logs:
        async with _session() as (host, client):
            host.tokens.known.add("secret-token")
            await client.log_in(MAILBOX, "secret-wrong")
            await client.log_in(MAILBOX, "secret-token")
            host.tokens.fault = RuntimeError("secret-fault")

    shown = str(logs)
    assert "smtp_login_refused" in shown
    for secret in ("secret", MAILBOX, plain(MAILBOX, "secret-token").decode()):
        assert secret not in shown


@pytest.mark.parametrize(
    "fault", [StoreUnavailable("busy"), RuntimeError("secret"), StoreBroken("fsync")]
)
async def test_login_that_cannot_be_checked_is_454(fault: Exception) -> None:
    """It is no failure of the client's (RFC 4954 6)."""
    async with _session() as (host, client):
        host.tokens.fault = fault
        with capture_logs() as logs:
            answer = await client.log_in(MAILBOX, TOKEN)
        host.tokens.fault = None
        again = await client.log_in(MAILBOX, TOKEN)

    assert (answer.code, answer.status) == (454, "4.7.0")
    assert "secret" not in f"{answer} {logs}"
    assert again.code == 235
    assert host.metrics.smtp_auth_failures.value == 0
    assert ([fault] if isinstance(fault, StoreBroken) else []) == host.fatal


async def test_revoked_token_is_refused_at_the_next_mail() -> None:
    """530 5.7.0, and the client may log in with another token on the same connection."""
    async with _session() as (host, client):
        await client.log_in(MAILBOX, TOKEN)
        assert (await client.ask(f"MAIL FROM:<{MAILBOX}>")).code == 250
        await client.ask("RSET")
        host.tokens.revoked.add(TOKEN)
        refused = await client.ask(f"MAIL FROM:<{MAILBOX}>")
        again = await client.ask(f"MAIL FROM:<{MAILBOX}>")
        host.tokens.known.add("new-token")
        await client.log_in(MAILBOX, "new-token")
        accepted = await client.ask(f"MAIL FROM:<{MAILBOX}>")

    assert str(refused).startswith("530 5.7.0 token_revoked: ")
    assert str(again).startswith("530 5.7.0 token_missing: ")
    assert accepted.code == 250


async def test_token_has_so_many_connections() -> None:
    """One more is told 421 4.3.2; when one has gone there is room again."""
    limits = LimitsSection(connections_per_token=2)
    async with (
        submission_host(limits=limits) as host,
        connect(host.address) as one,
        connect(host.address) as two,
    ):
        for client in (one, two):
            await client.hello()
            assert (await client.log_in(MAILBOX, TOKEN)).code == 235
        async with connect(host.address) as three:
            await three.hello()
            answer = await three.log_in(MAILBOX, TOKEN)
            assert (answer.code, answer.status) == (421, "4.3.2")
            assert await three.is_closed()
        await two.ask("QUIT")
        assert await two.is_closed()
        async with connect(host.address) as four:
            await four.hello()
            assert (await four.log_in(MAILBOX, TOKEN)).code == 235


async def test_network_with_too_many_failures_may_not_log_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even with the right token; it is told 421 and closed before anything is checked."""
    # All of loopback is exempt, and that is where this test comes from.
    monkeypatch.setattr("gatewayd.smtpd.auth._networks", lambda peer: ((1, peer),))
    limits = LimitsSection(auth_failures_per_minute=2, auth_failures_per_connection=100)
    async with _session(limits=limits) as (_, client):
        for _ in range(2):
            assert (await client.log_in(MAILBOX, "wrong")).code == 535
        answer = await client.log_in(MAILBOX, TOKEN)

        assert (answer.code, answer.status) == (421, "4.7.0")
        assert await client.is_closed()
