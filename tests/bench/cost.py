"""`python -m tests.bench.cost`: what a message costs the interpreter in each part of its way.

| part    | is                                                                                   |
|---------|--------------------------------------------------------------------------------------|
| session | MAIL, RCPT, DATA, 4 KiB and the dot, through `smtpd`, replies written to nowhere      |
| send    | a POST of 3 KB, from the socket to the writer and back: read, composed, examined     |
| intake  | examined, then decided and stored with 19 others in one transaction                  |
| queue   | claimed, marked and settled with 19 others                                           |
| deliver | one transaction with a next hop that answers at once                                 |
| attempt | a claim to its settled outcome, signed elsewhere; queue and next hop answer at once  |
| render  | both signatures over 4 KiB                                                           |
| yard    | a fixed piece of work that is nobody's: what the others are compared with            |

Two figures for each: microseconds of processor time, the least of many runs; and instructions of
the interpreter (opcodes), which are the same on every machine and at every load, so that a test can
hold them (`tests/system/test_cost.py`). Both are of one thread: the order of things is not left to
a scheduler.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import datetime as dt
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, TextIO, TypeVar

from sqlalchemy import Connection as SqlConnection

from gatewayd import log
from gatewayd.clock import SystemClock
from gatewayd.config.delivery import DeliverySection, NextHop, TlsMode
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.listeners import HttpSection, ListenerTls, SubmissionListener
from gatewayd.config.process import LogSection
from gatewayd.config.types import Bind
from gatewayd.delivery.attempt import Attempts, Running
from gatewayd.delivery.rendering import Renderer, as_accepted
from gatewayd.delivery.signing import Rendered, Signer
from gatewayd.delivery.smtp.capabilities import Capabilities
from gatewayd.delivery.smtp.channel import Channel
from gatewayd.delivery.smtp.connection import Connection as Hop
from gatewayd.delivery.smtp.connection import Connector
from gatewayd.delivery.smtp.pool import Pool
from gatewayd.delivery.smtp.transaction import Limits, Transaction
from gatewayd.delivery.smtp.transcript import Transcript
from gatewayd.dkim.key import generate_ed25519, generate_rsa
from gatewayd.dkim.sign import sign
from gatewayd.ids import MailboxId, RecipientId, recipient_id
from gatewayd.intake.pipeline import Intake
from gatewayd.keys.ring import Purpose, new_ring
from gatewayd.keys.verp import ReversePaths
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.mail.outcome import Delivered, Outcome
from gatewayd.mail.reply import Reply
from gatewayd.mailboxes.accounts import Change
from gatewayd.metrics import Metrics
from gatewayd.policy.submission import Accepted, AcceptedRecipient, Submission
from gatewayd.queue import claim as claiming
from gatewayd.queue.outcome import AttemptRecord, Settlement
from gatewayd.queue.service import Queue
from gatewayd.queue.states import State
from gatewayd.smtpd import MemoryBudget, SubmissionHandler
from gatewayd.smtpd.auth import LoginThrottle
from gatewayd.smtpd.connection import Connection
from gatewayd.smtpd.server import submission_terms
from gatewayd.smtpd.session import Session
from gatewayd.smtpd.submission import VERBS
from gatewayd.spool import Spool
from gatewayd.store import migrate
from gatewayd.store.database import Tx
from gatewayd.tokens.service import Request as Asked
from gatewayd.web.app import create_api_app
from gatewayd.web.server import HttpServer
from tests.bench import sending
from tests.fakes import stores
from tests.fakes.clock import ManualClock
from tests.fakes.delivery import FakeKeys, FakeQueue, FakeSpool, claim_of
from tests.fakes.http_api import FakeApi
from tests.fakes.submission_host import MAILBOX, TOKEN, FakeIntake, FakeMetrics, FakeTokens
from tests.fakes.world import World, submission

SET: Final = 20
BODY: Final = b"0123456789012345678901234567890123456789012345678901234567890123456789\r\n" * 57
HEADER: Final = (
    b"From: ann@example.com\r\nTo: bob@example.net\r\nSubject: hello\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n"
)

R = TypeVar("R")
Run = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One piece of work for so many messages; `prepare` comes before each run, and is free."""

    name: str
    messages: int
    run: Run
    prepare: Run


async def nothing() -> None:
    """What most parts have to prepare."""


class Nowhere(asyncio.Transport):
    """A transport that takes everything; `on_write` hears of it."""

    def __init__(self, on_write: Callable[[bytes], None]) -> None:
        super().__init__()
        self._on_write = on_write

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        self._on_write(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name == "peername" else default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None: ...

    def close(self) -> None: ...


class Admitting:
    """A listener that lets everybody in."""

    tls_context = None
    is_stressed = False

    def admit_token(self, token_id: str) -> bool:  # noqa: ARG002 - anybody
        return True

    def release_token(self, token_id: str) -> None: ...


@asynccontextmanager
async def session() -> AsyncIterator[Part]:
    """A client that is logged in, and sends one message after the other."""
    loop, clock, limits = asyncio.get_running_loop(), SystemClock(), LimitsSection()
    tokens = FakeTokens()
    with tempfile.TemporaryDirectory() as directory:
        terms = submission_terms(
            section=SubmissionListener(
                name="cost", bind=Bind("127.0.0.1", 0), tls=ListenerTls.NONE, auth_without_tls=True
            ),
            hostname="mail.example.com",
            limits=limits,
            timeouts=TimeoutsSection(),
            budget=MemoryBudget(limits.memory_octets),
            throttle=LoginThrottle(clock=clock, per_minute=10, per_day=50),
            clock=clock,
            metrics=FakeMetrics(),
            on_fatal=print,
        )
        handler = SubmissionHandler(
            tokens=tokens, intake=FakeIntake(tokens), bodies=Spool(Path(directory)), clock=clock
        )
        replied = asyncio.Event()
        said: list[bytes] = []

        def hear(octets: bytes) -> None:
            said.append(octets)
            replied.set()

        wire = Connection(loop)
        wire.connection_made(Nowhere(hear))
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(
                Session(wire, terms=terms, verbs=VERBS, handler=handler, listener=Admitting()).run()
            )

            async def say(octets: bytes, code: bytes) -> None:
                replied.clear()
                wire.data_received(octets)
                await replied.wait()
                if not said[-1].split(b"\r\n")[-2].startswith(code):
                    raise AssertionError(said[-1])
                said.clear()

            await replied.wait()
            await say(b"EHLO client.example\r\n", b"250")
            await say(b"AUTH PLAIN " + _plain(MAILBOX, TOKEN) + b"\r\n", b"235")
            envelope = f"MAIL FROM:<{MAILBOX}> SIZE=4096\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"

            async def run() -> None:
                await say(envelope.encode(), b"354")
                await say(HEADER + BODY + b".\r\n", b"250")

            yield Part(name="session", messages=1, run=run, prepare=nothing)
            serving.cancel()


def _plain(user: str, password: str) -> bytes:
    return base64.b64encode(f"\0{user}\0{password}".encode())


@dataclass(frozen=True, slots=True)
class Examining:
    """An intake whose writer answers at once, and stores nothing."""

    intake: Intake
    at: dt.datetime

    async def accept(self, submission: Submission) -> Accepted:
        waiting = self.intake._examine(submission)
        return Accepted(
            queue_id=waiting.queue_id,
            recipients=tuple(
                AcceptedRecipient(
                    recipient_id=recipient_id(self.at),
                    address=str(each.forward_path),
                    status=State.QUEUED.value,
                )
                for each in waiting.candidate.envelope.recipients
            ),
            accepted_at=self.at,
        )


@asynccontextmanager
async def send() -> AsyncIterator[Part]:
    """A client of the API on one connection, with a token that was seen before."""
    loop = asyncio.get_running_loop()
    async with _kernel() as kernel:
        world = kernel.world
        await world.mailboxes.create(MAILBOX, Change())
        issued = await world.tokens.issue(Asked(mailbox=MAILBOX, unlimited=True))
        parts = dataclasses.replace(
            FakeApi().parts,
            intake=Examining(world.intake, world.clock.now()),
            tokens=world.tokens,
            limits=world.limits,
        )
        server = HttpServer(
            name="cost", app=create_api_app(parts), at=Bind("127.0.0.1", 0), section=HttpSection()
        )
        replied = asyncio.Event()
        said: list[bytes] = []

        def hear(octets: bytes) -> None:
            said.append(octets)
            if b"".join(said).endswith(b"}"):
                replied.set()

        wire = server._server.connection(loop)
        wire.connection_made(Nowhere(hear))
        octets = sending.request(
            path="/api/v1/messages/send", token=issued.token, document=sending.message(1)
        )

        async def run() -> None:
            replied.clear()
            said.clear()
            wire.data_received(octets)
            await replied.wait()
            if not said[0].startswith(b"HTTP/1.1 202 "):
                raise AssertionError(said)

        yield Part(name="send", messages=1, run=run, prepare=nothing)
        wire.connection_lost(None)


@asynccontextmanager
async def intake() -> AsyncIterator[Part]:
    """Submissions that wait together."""
    async with _kernel() as kernel:
        world = kernel.world
        principal = await world.principal()
        given = [submission(principal, content=HEADER + BODY) for _ in range(SET)]

        async def run() -> None:
            waiting = [world.intake._examine(one) for one in given]
            kernel.write(lambda tx: world.intake._decide(tx, waiting))

        yield Part(name="intake", messages=SET, run=run, prepare=nothing)


@asynccontextmanager
async def queue() -> AsyncIterator[Part]:
    """Messages of one mailbox that are due together, and are taken by their next hop."""
    async with _kernel() as kernel:
        world = kernel.world
        principal = await world.principal()
        given = [submission(principal, content=HEADER + BODY) for _ in range(SET)]
        lanes = {principal.mailbox_id: SET}
        reply = Delivered(Reply.parse([b"250 2.0.0 Ok: queued as 4F8A2C0311\r\n"]))

        async def prepare() -> None:
            waiting = [world.intake._examine(one) for one in given]
            kernel.write(lambda tx: world.intake._decide(tx, waiting))

        async def run() -> None:
            claims = kernel.write(lambda tx: _claim(world.queue, tx, lanes))
            kernel.write(lambda tx: world.queue._mark(tx, claims))
            settled = [_settlement(one, reply, world.clock) for one in claims]
            kernel.write(lambda tx: world.queue._settle(tx, settled))

        yield Part(name="queue", messages=SET, run=run, prepare=prepare)


def _claim(queue: Queue, tx: Tx, lanes: dict[MailboxId, int]) -> list[claiming.Claim]:
    return claiming.take(tx, lanes, lease=queue._lease).claims


def _settlement(one: claiming.Claim, reply: Delivered, clock: ManualClock) -> Settlement:
    record = AttemptRecord(
        next_hop="127.0.0.1:25",
        phase="dot",
        tls="",
        transcript="C: MAIL\nS: 250 ok\n" * 6,
        started_at=clock.now(),
        ended_at=clock.now(),
    )
    return Settlement(
        claim=one, outcomes={each.recipient_id: reply for each in one.recipients}, attempt=record
    )


@dataclass(frozen=True, slots=True)
class OneThread:
    """A kernel whose transactions run on this thread, where their instructions are counted."""

    world: World
    connection: SqlConnection

    def write(self, work: Callable[[Tx], R]) -> R:
        with self.connection.begin():
            return work(Tx(self.connection, self.world.database.dialect))


@asynccontextmanager
async def _kernel() -> AsyncIterator[OneThread]:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        store = stores.sqlite(root, None, ManualClock())
        migrate.upgrade(store.make_dialect())
        world = World(store=store, spool_directory=root / "spool")
        try:
            with world.database.engine.connect() as connection:
                yield OneThread(world, connection)
        finally:
            store.close()


def _prompt_hop() -> Hop:
    """A session with a next hop that answers in time."""
    loop = asyncio.get_running_loop()
    channels: list[Channel] = []

    def answer(octets: bytes) -> None:
        if octets.startswith(b"MAIL"):
            replies = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n"
        elif octets.endswith(b"\r\n.\r\n") or octets == b".\r\n":
            replies = b"250 2.0.0 Ok: queued as 4F8A2C0311\r\n"
        else:
            return
        loop.call_soon(channels[0].data_received, replies)

    channels.append(Channel(Nowhere(answer)))
    return Hop(
        channel=channels[0],
        next_hop=NextHop(
            host="127.0.0.1", port=25, tls_mode=TlsMode.NONE_ON_LOOPBACK, user=None,
            password=None, ca_file=None,
        ),
        capabilities=Capabilities.parse(["PIPELINING", "SIZE 10240000", "8BITMIME"]),
        tls="",
        opening=(),
    )  # fmt: skip


@asynccontextmanager
async def deliver() -> AsyncIterator[Part]:
    """One transaction."""
    loop, section, hop = asyncio.get_running_loop(), DeliverySection(), _prompt_hop()
    claim = claim_of(message=HEADER + BODY)
    envelope = Envelope(
        claim.reverse_path, tuple(Recipient(each.forward_path) for each in claim.recipients)
    )
    content = Rendered(
        signatures=b"",
        content=as_accepted(claim.message),
        spool=FakeSpool(),
        executor=None,  # type: ignore[arg-type]  # nothing is in a spool
    )

    async def before_dot() -> None: ...

    async def run() -> None:
        limits = Limits(section=section, attempt_until=loop.time() + 900)
        outcomes = await Transaction(
            hop, envelope, content, limits=limits, before_dot=before_dot,
            transcript=Transcript(str),
        ).run()  # fmt: skip
        if not all(isinstance(one, Delivered) for one in outcomes):
            raise AssertionError(outcomes)

    yield Part(name="deliver", messages=1, run=run, prepare=nothing)


class PromptQueue(FakeQueue):
    """A queue that keeps nothing, at once."""

    async def mark(self, one: claiming.Claim) -> None: ...

    async def settle(
        self,
        one: claiming.Claim,  # noqa: ARG002 - nor this
        outcomes: Mapping[RecipientId, Outcome],
        attempt: AttemptRecord,  # noqa: ARG002 - nor this
    ) -> None:
        if not all(isinstance(each, Delivered) for each in outcomes.values()):
            raise AssertionError(outcomes)


@asynccontextmanager
async def attempt() -> AsyncIterator[Part]:
    """What a claim costs the loop beside the queue: twenty that begin together, and are logged."""
    nowhere = _nowhere()
    metrics, running = Metrics(), log.setup(LogSection(), stream=nowhere)
    logger = log.get_logger("gatewayd.delivery")
    clock, section = SystemClock(), DeliverySection()
    keys = (generate_rsa("example.com", "r"), generate_ed25519("example.com", "e"))
    signer = Signer(
        keys=FakeKeys({"example.com": keys}),
        spool=FakeSpool(),
        renderer=Renderer(spool=FakeSpool(), links=None),
        threads=1,
        metrics=metrics,
        log=logger,
    )
    pool = Pool(Connector(hostname="gateway.test", section=section), section=section, clock=clock)
    attempts = Attempts(
        queue=PromptQueue(),
        pool=pool,
        signer=signer,
        section=section,
        clock=clock,
        metrics=metrics,
        log=logger,
        redact=log.address,
        reverse_paths=_reverse_paths(clock),
    )
    hops = [_prompt_hop() for _ in range(SET)]
    for hop in hops:
        pool.put_back(hop)
    claims = [claim_of(message=HEADER + BODY) for _ in range(SET)]

    async def prepare() -> None:
        for hop in hops:
            hop.mails = 1  # as if it had just begun: none of them is used up

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for claim in claims:
                group.create_task(attempts.run(Running(claim), hops[0].next_hop))

    yield Part(name="attempt", messages=SET, run=run, prepare=prepare)
    signer.close()
    running.close()
    nowhere.close()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w")


def _reverse_paths(clock: SystemClock) -> ReversePaths:
    return ReversePaths(
        new_ring(Purpose.VERP, created_at=clock.now()),
        domain="bounces.example.com",
        lifetime=dt.timedelta(days=30),
        clock=clock,
    )


@asynccontextmanager
async def render() -> AsyncIterator[Part]:
    """What the signing threads do."""
    async with _kernel() as kernel:
        world = kernel.world
        await world.domains.add("example.com")
        keys = await world.domains.signing_keys("example.com")
        message, at = RawMessage.parse(HEADER + BODY), world.clock.now()

        async def run() -> None:
            content = as_accepted(message)
            sign(content.header, content.body_hash, keys, at)

        yield Part(name="render", messages=1, run=run, prepare=nothing)


@asynccontextmanager
async def yard() -> AsyncIterator[Part]:
    """Work of the same kind as ours, that never changes."""

    async def run() -> None:
        seen: dict[str, list[int]] = {}
        for line in (HEADER + BODY).decode().splitlines():
            for word in line.replace(":", " ").split():
                seen.setdefault(word.lower(), []).append(len(word))
        if sum(len(each) for each in seen.values()) < SET:
            raise AssertionError(seen)

    yield Part(name="yard", messages=1, run=run, prepare=nothing)


PARTS: Final = (session, send, intake, queue, deliver, attempt, render, yard)


async def microseconds(part: Part, *, runs: int) -> float:
    """The least processor time of this thread for one message."""
    best = float("inf")
    for _ in range(runs):
        await part.prepare()
        began = time.thread_time()
        await part.run()
        best = min(best, time.thread_time() - began)
    return best * 1e6 / part.messages


async def opcodes(part: Part) -> int:
    """Instructions of the interpreter for one message, when everything is warm."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401 - itself
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    for _ in range(3):
        await part.prepare()
        await part.run()
    await part.prepare()
    # The frames below this one were entered before, and are not counted.
    sys.settrace(trace)
    try:
        await part.run()
    finally:
        sys.settrace(None)
    return count // part.messages


async def counted(name: str) -> int:
    """Instructions of the interpreter for one message in the part of this name."""
    async with {make.__name__: make for make in PARTS}[name]() as part:
        return await opcodes(part)


async def measure(*, runs: int) -> dict[str, tuple[float, int]]:
    """Both figures of each part, by name."""
    found: dict[str, tuple[float, int]] = {}
    for make in PARTS:
        async with make() as part:
            found[part.name] = (await microseconds(part, runs=runs), await opcodes(part))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    print("| part | us | opcodes |\n|---|---|---|")  # noqa: T201 - its purpose
    for name, (us, count) in asyncio.run(measure(runs=parser.parse_args().runs)).items():
        print(f"| {name} | {us:.0f} | {count} |")  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
