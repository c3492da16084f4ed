"""Every rule through every door: the real listener and the real API over the real kernel.

A submission with one fault is refused with the same word by SMTP and by HTTP, and nothing of it is
stored. `NOT_BY_BOTH` names the words that one door cannot come to, and why.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest

from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.listeners import ListenerTls, SubmissionListener
from gatewayd.config.types import Bind
from gatewayd.errors import Code, StoreUnavailable
from gatewayd.events.read import Events
from gatewayd.intake.pipeline import Settings
from gatewayd.smtpd import Caps, Listener, MemoryBudget, SubmissionHandler
from gatewayd.smtpd.auth import LoginThrottle
from gatewayd.smtpd.replies import NEVER_IN_SMTP
from gatewayd.smtpd.server import submission_terms
from gatewayd.smtpd.submission import VERBS
from gatewayd.store import messages
from gatewayd.suppression.reading import SuppressionReader
from gatewayd.tokens.claims import Scope
from gatewayd.tokens.service import Request
from gatewayd.web.app import ApiParts, create_api_app
from tests.fakes import stores
from tests.fakes.clock import ManualClock
from tests.fakes.http_api import FakeReadiness
from tests.fakes.submission_client import Answer, SubmissionClient, connect
from tests.fakes.submission_host import FakeMetrics
from tests.fakes.world import ANN, MESSAGE, World

LIMITS = LimitsSection(
    recipients=2, message_octets=20_000, header_octets=3000, header_lines=60, mime_parts=5,
    received_hops=3,
)  # fmt: skip
NOT_BY_BOTH = {
    Code.TOKEN_MISSING: "SMTP offers no transaction to whom has not logged in",
    Code.RECIPIENT_MISSING: "SMTP answers DATA without RCPT by its order of commands",
    Code.SMTPUTF8_REQUIRED: "HTTP asks for SMTPUTF8 itself where the octets need it",
    Code.RECIPIENT_UNKNOWN: "said of addresses of the bounce domain",
    Code.RELAYING_DENIED: "said by the bounce listener, which takes no submissions",
    Code.REPORT_TOO_EARLY: "said of reports, not of submissions",
    Code.IDEMPOTENCY_IN_FLIGHT: "a race of two nodes: tests/store/test_quota_and_keys.py",
}


@dataclasses.dataclass
class Try:
    """A submission that every door accepts, until a rule spoils it."""

    world: World
    wishes: dict[str, object] = dataclasses.field(default_factory=dict)
    token: str = ""
    to: tuple[str, ...] = ("bob@example.net",)
    content: bytes = MESSAGE
    accepted_before: int = 0

    async def issue(self) -> None:
        request = {"scopes": tuple(Scope), "unlimited": "hourly" not in self.wishes, **self.wishes}
        issued = await self.world.tokens.issue(Request(mailbox=ANN, **request))  # type: ignore[arg-type]  # any field
        self.token = issued.token

    def add(self, field: bytes) -> None:
        self.content = field + b"\r\n" + self.content


Step = Callable[[Try], object]


class _Gone:
    """A database that does not answer."""

    def submit(self, _: object) -> None:
        raise StoreUnavailable("gone")


def _nothing(_: Try) -> None:
    """Spoil nothing."""


async def _revoke(one: Try) -> None:
    for row, _ in await one.world.tokens.list(ANN):
        await one.world.tokens.revoke(row.token_id)


async def _use_key(one: Try) -> None:
    """Accept another message under the key by HTTP first."""
    one.add(b"Idempotency-Key: k")
    answer = await _by_http(dataclasses.replace(one, content=one.content + b"Other.\r\n"))
    assert answer == "accepted"
    one.accepted_before = 1


async def _suppress(one: Try) -> None:
    await one.world.suppressions.add(one.to[0], scope="*", reason="r", source="s")


async def _use_quota(one: Try) -> None:
    assert await _by_http(one) == "accepted"
    one.accepted_before = 1


def _set(name: str, value: object) -> Step:
    return lambda one: setattr(one, name, value)


def _add(field: bytes) -> Step:
    return lambda one: one.add(field)


def _body(octets: bytes) -> Step:
    return lambda one: setattr(one, "content", one.content + octets)


def _add_parts(one: Try) -> None:
    one.add(PARTS)
    one.content += b"--b\r\n\r\nx\r\n" * 9 + b"--b--\r\n"


PARTS = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b"
# AUTH says token_invalid for every token that it refuses; these words are for open sessions.
AFTER_LOGIN = {Code.TOKEN_EXPIRED, Code.TOKEN_REVOKED}
# What the token is asked for, and what is spoiled after it was issued.
RULES: dict[Code, tuple[dict[str, object], Step]] = {
    Code.TOKEN_INVALID: ({}, lambda one: setattr(one, "token", one.token[:-4] + "AAAA")),
    Code.TOKEN_EXPIRED: ({"lifetime_s": 60}, lambda one: one.world.clock.advance(seconds=91)),
    Code.TOKEN_REVOKED: ({}, _revoke),
    Code.SCOPE_MISSING: ({"scopes": (Scope.EVENTS_READ,)}, _nothing),
    Code.IDEMPOTENCY_KEY_INVALID: ({}, _add(b"Idempotency-Key: a b")),
    Code.IDEMPOTENCY_KEY_REUSED: ({}, _use_key),
    Code.SENDER_NOT_ALLOWED: ({}, _add(b"Sender: eve@example.com")),
    Code.MESSAGE_TOO_LARGE: ({}, _body(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 300)),
    Code.SUBJECT_TOO_LONG: (
        {},
        lambda one: setattr(
            one, "content", one.content.replace(b"hello", b"h" + (b"\r\n " + b"x" * 600) * 2)
        ),
    ),
    Code.HEADER_TOO_LARGE: ({}, _add(b"\r\n".join([b"X: y"] * 70))),
    Code.HEADER_INVALID: ({}, _add(b"X: a\x01b")),
    Code.LINE_ENDINGS_INVALID: ({}, _body(b"a\nb\r\n")),
    Code.LINE_TOO_LONG: ({}, _body(b"x" * 999 + b"\r\n")),
    Code.MIME_TOO_COMPLEX: ({}, _add_parts),
    Code.TOO_MANY_HOPS: ({}, _add(b"\r\n".join([b"Received: from x"] * 4))),
    Code.OPTION_INVALID: ({}, _add(b"X-Gatewayd-Tags: a b")),
    Code.TOO_MANY_RECIPIENTS: ({}, _set("to", ("a@x.example", "b@x.example", "c@x.example"))),
    Code.RECIPIENT_INVALID: ({}, _set("to", ("bob@example..net",))),
    Code.RECIPIENT_DOMAIN_NOT_ALLOWED: (
        {"allowed_recipient_domains": ("example.org",)},
        _nothing,
    ),
    Code.RECIPIENT_SUPPRESSED: ({}, _suppress),
    Code.QUOTA_EXCEEDED: ({"hourly": 1}, _use_quota),
    Code.STORAGE_FULL: ({}, lambda one: setattr(one.world.space, "room", False)),
    Code.NO_ROUTE: ({}, lambda one: one.world.intake.use(_without_smarthost(one.world))),
    Code.UNAVAILABLE: ({}, lambda one: setattr(one.world.intake._sets, "_database", _Gone())),
}


def _without_smarthost(world: World) -> Settings:
    return dataclasses.replace(world.intake._settings, has_smarthost=False)


# --- the doors ---


@asynccontextmanager
async def _listening(world: World) -> AsyncIterator[Bind]:
    section = SubmissionListener(
        name="test", bind=Bind("127.0.0.1", 0), tls=ListenerTls.NONE, auth_without_tls=True
    )
    terms = submission_terms(
        section=section, hostname="mail.example.com", limits=LIMITS, timeouts=TimeoutsSection(),
        budget=MemoryBudget(LIMITS.memory_octets),
        throttle=LoginThrottle(clock=world.clock, per_minute=99, per_day=99),
        clock=world.clock, metrics=FakeMetrics(), on_fatal=lambda _: None,
    )  # fmt: skip
    listener = Listener(
        name="test", bind=section.bind, sockets=(), terms=terms, verbs=VERBS,
        make_handler=lambda _: SubmissionHandler(
            tokens=world.tokens, intake=world.intake, bodies=world.spool, clock=world.clock
        ),
        caps=Caps(LIMITS), tls_context=None, is_overloaded=bool,
    )  # fmt: skip
    async with asyncio.TaskGroup() as group:
        ready = asyncio.Event()
        group.create_task(listener.run(ready))
        await ready.wait()
        try:
            yield listener.addresses[0]
        finally:
            await listener.drain(asyncio.get_running_loop().time() + 2)


async def _by_smtp(one: Try, spoil: Step, *, is_late: bool) -> str:
    """The word of the first reply that refuses."""
    async with _listening(one.world) as address, connect(address) as client:
        await client.hello()
        if not is_late:
            await _run(spoil, one)
        answer = await client.log_in("token", one.token)
        if is_late:
            await _run(spoil, one)
        return await _transact(client, one, answer)


async def _run(step: Step, one: Try) -> None:
    done = step(one)
    if asyncio.iscoroutine(done):
        await done


async def _transact(client: SubmissionClient, one: Try, answer: Answer) -> str:
    commands = [f"MAIL FROM:<{ANN}>", *(f"RCPT TO:<{path}>" for path in one.to), "DATA"]
    for command in commands:
        if answer.code >= 400:
            break
        answer = await client.ask(command)
    if answer.code == 354:
        client.send(one.content + b".\r\n")
        answer = await client.read()
    return "accepted" if answer.code == 250 else answer.text.split(" ")[1].rstrip(":")


async def _by_http(one: Try, spoil: Step = _nothing, *, is_late: bool = False) -> str:  # noqa: ARG001 - as by SMTP
    await _run(spoil, one)
    world = one.world
    parts = ApiParts(
        intake=world.intake, tokens=world.tokens, inspector=world.inspector,
        events=Events(world.database), suppressions=world.suppressions,
        suppression_reader=SuppressionReader(world.database),
        readiness=FakeReadiness(), limits=LIMITS,
    )  # fmt: skip
    transport = httpx2.ASGITransport(app=create_api_app(parts))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.post(
            f"/api/v1/messages/raw?{urlencode([('rcpt', path) for path in one.to])}",
            content=one.content,
            headers={"Authorization": f"Bearer {one.token}", "Content-Type": "message/rfc822"},
        )
    return "accepted" if answer.status_code == 202 else str(answer.json()["code"])


DOORS: dict[str, Callable[..., Coroutine[None, None, str]]] = {"smtp": _by_smtp, "http": _by_http}


@pytest.fixture
def one(tmp_path: Path, sqlite_template: Path, clock: ManualClock) -> Iterator[Try]:
    store = stores.sqlite(tmp_path, sqlite_template, clock)
    yield Try(World(store=store, spool_directory=tmp_path / "spool", limits=LIMITS))
    store.close()


@pytest.mark.parametrize("door", DOORS)
async def test_good_submission_is_accepted(door: str, one: Try) -> None:
    await one.world.principal()
    await one.issue()

    assert await DOORS[door](one, _nothing, is_late=False) == "accepted"
    assert await one.world.database.read(messages.count) == 1


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("code", RULES, ids=lambda code: code.word)
async def test_rule_is_the_same_word_by_each_door(door: str, code: Code, one: Try) -> None:
    """And nothing of what is refused is stored."""
    await one.world.principal()
    one.wishes, spoil = RULES[code]
    await one.issue()
    said = await DOORS[door](one, spoil, is_late=code in AFTER_LOGIN)

    assert said == code.word
    assert await one.world.database.read(messages.count) == one.accepted_before
    assert [path for path in one.world.spool_directory.rglob("*") if path.is_file()] == []


def test_every_word_that_smtp_can_say_has_a_rule() -> None:
    """A new rule comes with its row here."""
    assert RULES.keys() | NOT_BY_BOTH.keys() == set(Code) - NEVER_IN_SMTP
