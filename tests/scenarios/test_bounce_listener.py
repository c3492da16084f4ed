"""The world brings mail back: whom the bounce listener answers for, and what it does with it."""

from __future__ import annotations

import asyncio
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from gatewayd.bounces.postmaster import LANE, Postmaster
from gatewayd.config.limits import LimitsSection, TimeoutsSection
from gatewayd.config.types import Bind
from gatewayd.errors import StoreUnavailable
from gatewayd.mail.message import Body, RawMessage, SpooledBody
from gatewayd.mailboxes.accounts import Change
from gatewayd.queue.claim import Claim
from gatewayd.queue.states import State
from gatewayd.smtpd.auth import LoginThrottle
from gatewayd.smtpd.bounces import READINGS, BounceHandler, BounceParts, Trace, verbs_for
from gatewayd.smtpd.data import BodyWriter, MemoryBudget
from gatewayd.smtpd.server import Caps, Listener, bounce_terms
from gatewayd.spool.directory import Spool
from tests.fakes import stores
from tests.fakes.clock import ManualClock
from tests.fakes.returning import DOMAIN, Returning, arf, dsn, group
from tests.fakes.stores import Store
from tests.fakes.submission_client import Answer, SubmissionClient, connect
from tests.fakes.submission_host import HOSTNAME, Number, client_context, server_context
from tests.fakes.world import ANN, World

PEER = "192.0.2.9"
OPERATOR = "op@example.com"
WRONG_ONES = 3  # that a peer may name in a minute
PARSED = 20_000
GONE = dsn(group())


class WatchedSpool:
    """A real spool that counts what is read of it."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.read_octets = 0

    def incoming(self) -> BodyWriter:
        return self._spool.incoming()

    def blocks(self, body: Body) -> Iterator[bytes]:
        for block in self._spool.blocks(body, 4096):
            self.read_octets += len(block)
            yield block

    def delete(self, key: str) -> None:
        self._spool.delete(key)


@dataclass(kw_only=True)
class Door:
    """A bounce listener before a real kernel. peer: whom the handlers take clients for."""

    returning: Returning
    peer: str = PEER
    has_tls: bool = False
    rejected: Number = field(default_factory=Number)

    def __post_init__(self) -> None:
        world = self.world
        self.bodies = WatchedSpool(world.spool)
        self.queued = 0
        self.parts = BounceParts(
            bounces=self.returning.bounces,
            reverse_paths=self.returning.reverse_paths,
            postmaster=Postmaster(
                world.database, address=OPERATOR, hostname=HOSTNAME, on_queued=self._note_queued
            ),
            bodies=self.bodies,
            has_room=self.world.space.has_room,
            reading=asyncio.Semaphore(READINGS),
            blame=LoginThrottle(clock=world.clock, per_minute=WRONG_ONES, per_day=1000),
            rejected=self.rejected,
            parse_octets=PARSED,
            received_hops=5,
        )

    @property
    def world(self) -> World:
        return self.returning.world

    def verp(self, ident: str) -> str:
        return str(self.returning.reverse_paths.make(ident))

    def spooled(self) -> list[Path]:
        """Files of bodies, finished or not."""
        return [file for file in self.world.spool_directory.rglob("*") if file.is_file()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bind]:
        listener = self._listener()
        async with asyncio.TaskGroup() as tasks:
            ready = asyncio.Event()
            tasks.create_task(listener.run(ready))
            await ready.wait()
            try:
                yield listener.addresses[0]
            finally:
                await listener.drain(asyncio.get_running_loop().time() + 2)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SubmissionClient]:
        """A client that has said EHLO."""
        async with self.running() as address, connect(address) as client:
            await client.hello()
            yield client

    def _note_queued(self) -> None:
        self.queued += 1

    def _listener(self) -> Listener:
        world, limits = self.world, LimitsSection()
        terms = bounce_terms(
            hostname=HOSTNAME,
            has_tls=self.has_tls,
            limits=limits,
            timeouts=TimeoutsSection(),
            budget=MemoryBudget(limits.memory_octets),
            throttle=LoginThrottle(clock=world.clock, per_minute=1, per_day=1),
            clock=world.clock,
            metrics=world.metrics,
            on_fatal=world.store.broken.append,
        )
        return Listener(
            name="bounces",
            bind=Bind("127.0.0.1", 0),
            sockets=(),
            terms=terms,
            verbs=verbs_for(DOMAIN),
            make_handler=lambda _: BounceHandler(self.parts, self.peer),
            caps=Caps(limits),
            tls_context=server_context() if self.has_tls else None,
            is_overloaded=bool,
        )


@pytest.fixture
def store(tmp_path: Path, sqlite_template: Path, clock: ManualClock) -> Iterator[Store]:
    """SQLite: what the databases differ in is tested in tests/store."""
    found = stores.sqlite(tmp_path, sqlite_template, clock)
    yield found
    found.close()


@pytest.fixture
def door(world: World) -> Door:
    return Door(returning=Returning(world=world))


async def _brought(
    client: SubmissionClient, octets: bytes, *to: str, reverse_path: str = ""
) -> Answer:
    """One transaction that comes to the dot; the reply to it."""
    before = [f"MAIL FROM:<{reverse_path}>", *(f"RCPT TO:<{one}>" for one in to), "DATA"]
    assert [answer.code for answer in await client.ask_all(before)][-1] == 354
    client.send(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    return await client.read()


# --- RCPT


async def test_verp_address_of_a_recipient_or_a_message_is_ours(door: Door) -> None:
    """Recipients that share the octets share the address, which is of their message."""
    queue_id = await door.returning.sent("bob@example.net", "eve@example.net")
    row = (await door.returning.rows(queue_id))[0]

    async with door.client() as client:
        answers = await client.ask_all(
            [
                "MAIL FROM:<>",
                f"RCPT TO:<{door.verp(row.recipient_id)}>",
                f"RCPT TO:<{door.verp(queue_id)}>",
            ]
        )

    assert [answer.code for answer in answers] == [250, 250, 250]
    assert door.rejected.value == 0


async def test_verp_address_with_its_case_folded_is_ours(door: Door) -> None:
    """Relays fold local-parts, whatever RFC 5321 2.4 says; domains have no case."""
    queue_id = await door.returning.sent()
    recipient_id = (await door.returning.row(queue_id)).recipient_id
    verp = door.verp(recipient_id)

    async with door.client() as client:
        for spelled in (verp.upper(), verp.capitalize(), verp.lower()):
            answer = await _brought(client, GONE, spelled)
            assert answer.code == 250

    assert (await door.returning.row(queue_id)).state == State.BOUNCED


async def test_forged_verp_address_is_refused_without_the_database(door: Door) -> None:
    """Every octet of it counts. A closed database would make it 451."""
    queue_id = await door.returning.sent()
    local_part, _, domain = door.verp((await door.returning.row(queue_id)).recipient_id).partition(
        "@"
    )
    forged = [
        f"{local_part[:at]}{'b' if local_part[at] == 'a' else 'a'}{local_part[at + 1 :]}@{domain}"
        for at in range(len("bounce+"), len(local_part))
        if local_part[at] != "."
    ]
    door.peer = "127.0.0.1"  # whose wrong ones are not counted
    door.world.database.close()

    async with door.client() as client:
        await client.ask("MAIL FROM:<>")
        answers = await client.ask_all([f"RCPT TO:<{one}>" for one in forged])

    assert {(answer.code, answer.status) for answer in answers} == {(550, "5.1.1")}
    assert len(answers) == 47
    assert door.rejected.value == 47


async def test_expired_verp_address_is_refused_from_the_day_after(door: Door) -> None:
    """It is believed for 14 days, that day included."""
    queue_id = await door.returning.sent()
    rcpt = f"RCPT TO:<{door.verp(queue_id)}>"

    async with door.client() as client:
        await client.ask("MAIL FROM:<>")
        door.world.clock.advance(days=14)
        on_time = await client.ask(rcpt)
        door.world.clock.advance(days=1)
        late = await client.ask(rcpt)

    assert on_time.code == 250
    assert str(late).startswith("550 5.1.1 recipient_unknown: there is no such address here")


async def test_id_that_nobody_has_is_refused_though_its_mac_is_ours(door: Door) -> None:
    """Its message was deleted since."""
    verp = door.verp("0193a7f2-0000-7000-8000-000000000000")

    async with door.client() as client:
        await client.ask("MAIL FROM:<>")
        answer = await client.ask(f"RCPT TO:<{verp}>")

    assert (answer.code, answer.status) == (550, "5.1.1")


@pytest.mark.parametrize(
    ("forward_path", "answer"),
    [
        (f"complaints@{DOMAIN}", "250 2.1.5"),
        (f"Complaints@{DOMAIN.upper()}", "250 2.1.5"),
        (f"postmaster@{DOMAIN}", "250 2.1.5"),
        (f"PostMaster@{DOMAIN}", "250 2.1.5"),
        (f'"postmaster"@{DOMAIN}', "250 2.1.5"),
        ("postmaster", "250 2.1.5"),
        ("POSTMASTER", "250 2.1.5"),
        (f"nobody@{DOMAIN}", "550 5.1.1"),
        (f"bounce+@{DOMAIN}", "550 5.1.1"),
        (f"bounce+{'a' * 26}.{'a' * 21}@{DOMAIN}", "550 5.1.1"),
        (f"complaints+x@{DOMAIN}", "550 5.1.1"),
        (f"bob%example.net@{DOMAIN}", "550 5.1.1"),
        (f"example.net!bob@{DOMAIN}", "550 5.1.1"),
        (f'"bob@example.net"@{DOMAIN}', "550 5.1.1"),
        (f"bob@{DOMAIN}@example.net", "553 5.1.3"),
        (f"@{DOMAIN}:bob@example.net", "553 5.1.3"),
        (f"@example.net:postmaster@{DOMAIN}", "553 5.1.3"),
        ("bob@example.net", "550 5.7.1"),
        ("postmaster@example.net", "550 5.7.1"),
        (f"postmaster@sub.{DOMAIN}", "550 5.7.1"),
        ("postmaster@[127.0.0.1]", "550 5.7.1"),
        (ANN, "550 5.7.1"),
        ("", "553 5.1.3"),
        ("nobody", "553 5.1.3"),
    ],
)
async def test_rcpt_answers_for_these_and_no_others(
    door: Door, forward_path: str, answer: str
) -> None:
    """The table of smtpd/bounces.py: no relay, by no trick."""
    await door.world.principal()

    async with door.client() as client:
        await client.ask("MAIL FROM:<eve@example.net>")
        said = await client.ask(f"RCPT TO:<{forward_path}>")

    assert str(said)[:9] == answer


async def test_wrong_recipient_costs_no_data(door: Door) -> None:
    """Whoever sent it makes no DSN of ours, and nothing is taken without a valid recipient."""
    async with door.client() as client:
        await client.ask_all(["MAIL FROM:<eve@example.net>", f"RCPT TO:<nobody@{DOMAIN}>"])
        answer = await client.ask("DATA")

    assert (answer.code, answer.status) == (554, "5.5.1")
    assert await door.world.queue.lanes() == {}


async def test_peer_that_guesses_is_turned_away_for_a_minute(door: Door) -> None:
    """Also on its next connection; a right address does not help it then."""
    async with door.running() as address:
        async with connect(address) as client:
            await client.hello()
            await client.ask("MAIL FROM:<>")
            codes = [
                (await client.ask(f"RCPT TO:<nobody{number}@{DOMAIN}>")).code
                for number in range(WRONG_ONES)
            ]
            assert await client.is_closed()
        async with connect(address) as client:
            await client.hello()
            blocked = await client.ask("MAIL FROM:<>")
            assert await client.is_closed()
        door.world.clock.advance(seconds=60)
        async with connect(address) as client:
            await client.hello()
            forgiven = await client.ask("MAIL FROM:<>")

    assert codes == [550, 550, 421]
    assert (blocked.code, blocked.status) == (421, "4.7.0")
    assert forgiven.code == 250
    assert door.rejected.value == WRONG_ONES


@pytest.mark.parametrize(
    ("peers", "last"),
    [
        ([f"198.51.100.{number}" for number in range(1, 6)], 421),
        ([f"198.51.{number}.1" for number in range(1, 6)], 550),
        (["127.0.0.1"] * 5, 550),
    ],
    ids=["one /26", "five /26", "loopback"],
)
async def test_neighbours_share_three_times_as_many(
    door: Door, peers: list[str], last: int
) -> None:
    """Two wrong ones each: the /26 has nine, so the ninth is turned away; loopback has no limit."""
    codes: list[int] = []
    for door.peer in peers:
        async with door.client() as client:
            await client.ask("MAIL FROM:<>")
            for number in range(WRONG_ONES - 1):
                codes.append((await client.ask(f"RCPT TO:<nobody{number}@{DOMAIN}>")).code)
                if codes[-1] == 421:
                    break

    assert codes == ([550] * 8 + [421] if last == 421 else [550] * 10)


# --- the session


async def test_starttls_is_offered_with_a_certificate_only(door: Door) -> None:
    """And never twice; AUTH is not offered at all."""
    async with door.client() as client:
        without = await client.ask("EHLO mx.example.net")
        refused = await client.ask("STARTTLS")
    door.has_tls = True
    async with door.client() as client:
        plain = await client.ask("EHLO mx.example.net")
        await client.start_tls(client_context())
        inner = await client.ask("EHLO mx.example.net")

    assert "STARTTLS" not in without.lines
    assert (refused.code, refused.status) == (502, "5.5.1")
    assert "STARTTLS" in plain.lines
    assert "STARTTLS" not in inner.lines
    assert not any("AUTH" in line for line in (*without.lines, *plain.lines, *inner.lines))


async def test_client_that_wants_to_log_in_is_told_where(door: Door) -> None:
    """Somebody has written the wrong port into a program."""
    async with door.client() as client:
        answer = await client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=")
        help_ = await client.ask("HELP")

    assert (answer.code, answer.status) == (502, "5.5.1")
    assert "587" in answer.text
    assert "AUTH" not in " ".join(help_.lines)
    assert DOMAIN in " ".join(help_.lines)


async def test_stranger_may_make_few_mistakes(door: Door) -> None:
    """Nobody logs in here, so everybody is one; wrong recipients are counted apart."""
    async with door.client() as client:
        answers = [await client.ask("NONSENSE") for _ in range(9)]
        last = await client.ask_all(["NONSENSE"])
        final = await client.read()
        assert await client.is_closed()

    assert {answer.code for answer in (*answers, *last)} == {500}
    assert (final.code, final.status) == (421, "4.7.0")


async def test_stranger_waits_for_the_reply_to_ehlo(door: Door) -> None:
    """Who does not is no mail server (RFC 2920 3.1)."""
    async with door.running() as address, connect(address) as client:
        await client.read()
        client.send(b"EHLO mx.example.net\r\nMAIL FROM:<>\r\n")
        answer = await client.read()
        assert await client.is_closed()

    assert (answer.code, answer.status) == (503, "5.5.1")


async def test_full_disk_makes_the_remote_come_again(door: Door) -> None:
    """While outcomes can still be recorded."""
    async with door.client() as client:
        door.world.space.room = False
        refused = await client.ask("MAIL FROM:<>")
        door.world.space.room = True
        accepted = await client.ask("MAIL FROM:<>")

    assert (refused.code, refused.status) == (452, "4.3.1")
    assert accepted.code == 250


async def test_connection_costs_little_memory_whatever_it_sends(door: Door) -> None:
    """Endless lines, tiny lines, a header without an end: at most 2 MiB (F1, F2)."""
    pieces = (
        b"x" * 1_000_000,
        b"\r\n" * 500_000,
        b"Subject: x\r\n\r\n" + b"\r\n.." * 400_000,
        b"A: b\r\n" * 100_000,
    )
    async with door.running() as address:
        for piece in pieces:
            async with connect(address) as client:
                await client.hello()
                await client.ask_all(["MAIL FROM:<>", f"RCPT TO:<complaints@{DOMAIN}>", "DATA"])
                tracemalloc.start()
                for _ in range(8):
                    client.send(piece)
                    await client.writer.drain()
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                # The client's own buffers are in this process, too.
                assert peak < 2_097_152 + len(piece)


# --- what is taken


async def test_one_dsn_a_hundred_times_changes_one_row_once(door: Door) -> None:
    """By several sessions at once."""
    queue_id = await door.returning.sent()
    verp = door.verp((await door.returning.row(queue_id)).recipient_id)

    async def bring(address: Bind) -> set[str]:
        async with connect(address) as client:
            await client.hello()
            return {str(await _brought(client, GONE, verp)) for _ in range(20)}

    async with door.running() as address:
        said = await asyncio.gather(*(bring(address) for _ in range(5)))

    assert set().union(*said) == {"250 2.0.0 report taken"}
    assert (await door.returning.row(queue_id)).state == State.BOUNCED
    assert await door.returning.words(queue_id) == [
        "recipient.delivered", "recipient.bounced", "suppression.added",
    ]  # fmt: skip
    assert await door.returning.suppressed() == [("bob@example.net", "hard_bounce", "dsn")]


async def test_report_in_chunks_is_taken(door: Door) -> None:
    """RFC 3030: Exchange Online brings its reports so."""
    queue_id = await door.returning.sent()

    async with door.client() as client:
        await client.ask_all(["MAIL FROM:<>", f"RCPT TO:<{door.verp(queue_id)}>"])
        client.send(b"BDAT 100\r\n" + GONE[:100])
        await client.read()
        client.send(b"BDAT %d LAST\r\n" % len(GONE[100:]) + GONE[100:])
        answer = await client.read()

    assert str(answer) == "250 2.0.0 report taken"
    assert (await door.returning.row(queue_id)).state == State.BOUNCED


async def test_non_null_reverse_path_changes_nothing(door: Door) -> None:
    """A report has the null one (RFC 3464 2); this is recorded, and that is all."""
    queue_id = await door.returning.sent()
    before = await door.returning.row(queue_id)

    async with door.client() as client:
        answer = await _brought(client, GONE, door.verp(queue_id), reverse_path="eve@example.net")

    assert str(answer) == "250 2.0.0 taken, and not recognised as a report"
    assert await door.returning.row(queue_id) == before
    assert await door.returning.suppressed() == []
    assert await door.returning.words(queue_id) == ["recipient.delivered", "return.unrecognised"]


async def test_complaint_is_taken_from_any_reverse_path(door: Door) -> None:
    """Its recipient is whose MAC stands in the reported message."""
    queue_id = await door.returning.sent()
    verp = door.verp((await door.returning.row(queue_id)).recipient_id)
    original = f"Return-Path: <{verp}>\r\nFrom: {ANN}\r\n\r\nHello.\r\n".encode()

    async with door.client() as client:
        answer = await _brought(
            client, arf(original), f"complaints@{DOMAIN}", reverse_path="fbl@provider.example"
        )

    assert str(answer) == "250 2.0.0 complaint taken"
    assert (await door.returning.row(queue_id)).complained_at is not None
    assert await door.returning.suppressed() == [("bob@example.net", "complaint", "complaint")]


async def test_report_before_the_outcome_is_to_come_again(door: Door) -> None:
    """The next hop was faster than our commit."""
    queue_id = await door.returning.queued()
    await door.returning.claim()

    async with door.client() as client:
        answer = await _brought(client, GONE, door.verp(queue_id))

    assert (answer.code, answer.status) == (451, "4.5.0")
    assert (await door.returning.row(queue_id)).state == State.CLAIMED


@pytest.mark.slow
async def test_locked_database_makes_the_remote_come_again(door: Door) -> None:
    """451: nobody loses a report because we are busy; and its file does not stay."""
    queue_id = await door.returning.sent()
    door.world.store.busy = stores.HASTY
    hasty = Returning(world=door.world.second())
    hasty.reverse_paths = door.returning.reverse_paths
    door.parts = replace(door.parts, bounces=hasty.bounces)
    assert door.world.store.file is not None

    async with door.client() as client:
        with closing(sqlite3.connect(door.world.store.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            busy = await _brought(client, GONE + b"x\r\n" * 100_000, door.verp(queue_id))
        assert door.spooled() == []
        again = await _brought(client, GONE, door.verp(queue_id))

    assert (busy.code, busy.status) == (451, "4.3.0")
    assert again.code == 250


async def test_large_report_is_read_from_its_beginning_only(door: Door) -> None:
    """It is in the spool while it comes in, and nowhere afterwards."""
    queue_id = await door.returning.sent()
    octets = GONE.replace(b"--b--\r\n", b"") + b"original\r\n" * 500_000

    async with door.client() as client:
        answer = await _brought(client, octets, door.verp(queue_id))

    assert str(answer) == "250 2.0.0 report taken"
    assert (await door.returning.row(queue_id)).state == State.BOUNCED
    assert 0 < door.bodies.read_octets < PARSED + 4096
    assert door.spooled() == []


async def test_report_that_says_it_too_late_is_not_recognised(door: Door) -> None:
    """What stands behind parse_octets is not there."""
    queue_id = await door.returning.sent()
    octets = GONE.replace(b"could not be delivered", b"is late\r\n" * 10_000)

    async with door.client() as client:
        answer = await _brought(client, octets, door.verp(queue_id))

    assert answer.code == 250
    assert (await door.returning.row(queue_id)).state == State.DELIVERED
    assert door.spooled() == []


async def test_message_in_a_loop_is_refused(door: Door) -> None:
    """By its Received fields (RFC 5321 6.3); one fewer is taken."""
    queue_id = await door.returning.sent()
    hop = b"Received: from a.example by b.example; Sat, 21 Nov 2026 12:00:00 +0000\r\n"
    large = b"x\r\n" * 100_000

    async with door.client() as client:
        looped = await _brought(client, hop * 6 + GONE + large, f"postmaster@{DOMAIN}")
        assert door.spooled() == []
        taken = await _brought(client, hop * 5 + GONE, door.verp(queue_id))

    assert (looped.code, looped.status) == (554, "5.4.6")
    assert taken.code == 250
    assert door.queued == 0


# --- postmaster


async def _only_claim(world: World) -> Claim:
    (claim,) = await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 10))
    return claim


async def test_mail_for_postmaster_goes_on_to_the_operator(door: Door) -> None:
    """With a null reverse-path, whatever its own was: nobody is sent a bounce for it."""
    async with door.client() as client:
        answer = await _brought(
            client, b"Subject: help\r\n\r\nhi\r\n", "postmaster", reverse_path="eve@example.net"
        )

    claim = await _only_claim(door.world)
    assert str(answer) == "250 2.0.0 sent on to postmaster"
    assert door.queued == 1
    assert claim.reverse_path.is_null
    assert [str(one.forward_path) for one in claim.recipients] == [OPERATOR]
    assert claim.mailbox_id == LANE
    assert claim.message.body == b"hi\r\n"
    received = claim.message.header.first("Received") or b""
    assert f"from client.example ([127.0.0.1]) by {HOSTNAME} with ESMTP".encode() in received


async def test_mail_for_postmaster_is_not_signed_in_the_operators_name(door: Door) -> None:
    """It goes by the next hop of the operator's mailbox, but anybody may have written it."""
    row = await door.world.mailboxes.create(OPERATOR, Change())

    async with door.client() as client:
        forged = f"From: {OPERATOR}\r\nSubject: pay\r\n\r\nhi\r\n".encode()
        await _brought(client, forged, "postmaster")

    claim = await _only_claim(door.world)
    assert claim.mailbox_id == row.mailbox_id
    assert claim.mailbox == ""  # whose domain's keys sign


async def test_large_mail_for_postmaster_keeps_its_file(door: Door) -> None:
    """The queue has it from then on."""
    body = b"log line\r\n" * 50_000

    async with door.client() as client:
        await _brought(client, b"Subject: log\r\n\r\n" + body, f"postmaster@{DOMAIN}")

    claim = await _only_claim(door.world)
    assert isinstance(claim.message.body, SpooledBody)
    assert b"".join(door.world.spool.blocks(claim.message.body)) == body


async def test_mail_for_both_is_a_report_and_is_sent_on(door: Door) -> None:
    """One transaction of the remote, two recipients, one reply."""
    queue_id = await door.returning.sent()

    async with door.client() as client:
        answer = await _brought(client, GONE, f"postmaster@{DOMAIN}", door.verp(queue_id))

    assert str(answer) == "250 2.0.0 report taken; sent on to postmaster"
    assert (await door.returning.row(queue_id)).state == State.BOUNCED
    assert door.queued == 1


async def test_file_stays_when_nobody_knows_whether_it_was_queued(door: Door) -> None:
    """A commit may have failed on its way back: the sweep of the spool finds out."""

    class Lost:
        async def forward(self, message: RawMessage, *, trace: Trace) -> None:
            raise StoreUnavailable(f"{len(message.header.octets)} octets from {trace.peer}")

    door.parts = replace(door.parts, postmaster=Lost())

    async with door.client() as client:
        answer = await _brought(
            client, b"A: b\r\n\r\n" + b"x\r\n" * 100_000, "postmaster@" + DOMAIN
        )

    assert (answer.code, answer.status) == (451, "4.3.0")
    assert len(door.spooled()) == 1
