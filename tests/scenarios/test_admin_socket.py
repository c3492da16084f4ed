"""The operator API on its socket: real services, the real server, and commands as its clients."""

from __future__ import annotations

import asyncio
import json
import stat
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from gatewayd import log
from gatewayd.cli.main import main
from gatewayd.clock import SystemClock
from gatewayd.config import load
from gatewayd.config.delivery import NextHop
from gatewayd.config.process import LogSection
from gatewayd.daemon.admin import operator_parts
from gatewayd.daemon.tools import DatabaseTools
from gatewayd.errors import Code, Refused
from gatewayd.store.database import Database
from gatewayd.web.admin.app import BODY_OCTETS, create_admin_app
from gatewayd.web.admin.parts import AdminParts
from tests.fakes import rows
from tests.fakes.clock import NOW
from tests.fakes.http_host import serving
from tests.peers.command import Said, config_text

pytestmark = pytest.mark.slow

ANN = "ann@example.com"
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b1m\u202etxt.exe"
OBEYED = set("\x1b\x07\x9b\u202e\r")


class NextHops:
    """Trial connections that end as they are told."""

    def __init__(self) -> None:
        self.refused: Refused | None = None
        self.asked: list[str] = []

    async def check(self, next_hop: NextHop) -> str:
        self.asked.append(str(next_hop))
        if self.refused is not None:
            raise self.refused
        return "TLSv1.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who answers, and commands for it. The lock is taken: no command could do without."""

    config_file: Path
    socket: Path
    parts: AdminParts
    next_hops: NextHops
    capsys: pytest.CaptureFixture[str]

    @property
    def database(self) -> Database:
        return self.parts.inspector._database

    async def command(self, *words: str, code: int = 0) -> Said:
        """Run a command in a thread, as it would run in another process."""
        self.capsys.readouterr()
        found = await asyncio.to_thread(main, [*words, "-c", str(self.config_file)])
        out, err = self.capsys.readouterr()
        assert code == found, err
        return Said(out=out, err=err)

    async def json(self, *words: str) -> Any:  # noqa: ANN401 - it is JSON
        return json.loads((await self.command(*words, "--json")).out)

    async def request(self, method: str, path: str, **given: Any) -> httpx2.Response:  # noqa: ANN401 - as httpx2 has them
        transport = httpx2.AsyncHTTPTransport(uds=str(self.socket))
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://localhost", trust_env=False
        ) as client:
            return await client.request(method, path, **given)

    async def keep(self, queue_id: str, *state: str, **changed: Any) -> str:  # noqa: ANN401 - any column
        """A message of Ann's with a recipient in each state."""
        owner = (await self.parts.mailboxes.get(ANN)).mailbox_id
        given = [rows.recipient(queue_id, at, state=one) for at, one in enumerate(state)]
        changed.setdefault("mailbox_id", owner)
        await rows.keep_message(self.database, queue_id, *given, **changed)
        return queue_id


@pytest_asyncio.fixture
async def served(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Served]:
    """With Ann's mailbox. The path is short: that of a socket may have 107 octets."""
    with tempfile.TemporaryDirectory(prefix="gatewayd-") as name:
        file = Path(name) / "gatewayd.toml"
        file.write_text(config_text(Path(name)))
        config = load.load(file)
        DatabaseTools(config, SystemClock()).init()
        config.control_socket.parent.mkdir()
        logging = log.setup(LogSection(level="error", format="console"))
        next_hops = NextHops()
        async with operator_parts(config) as real:
            parts = replace(real, check_next_hop=next_hops.check, reload=lambda: {"changed": []})
            async with serving(create_admin_app(parts), at=config.control_socket):
                made = Served(
                    config_file=file,
                    socket=config.control_socket,
                    parts=parts,
                    next_hops=next_hops,
                    capsys=capsys,
                )
                await made.command("mailboxes", "create", ANN)
                yield made
        logging.close()


# Commands.


async def test_socket_is_for_its_owner_only(served: Served) -> None:
    """Whoever may open it may do everything."""
    assert stat.S_IMODE(served.socket.stat().st_mode) == 0o600


async def test_commands_say_over_the_socket_what_the_daemon_has(served: Served) -> None:
    """One of every room, each by the daemon: the command could not take the lock itself."""
    issued = await served.json("tokens", "issue", ANN, "--sandbox")
    await served.json("domains", "add", "example.com")
    await served.json("suppressions", "add", "bob@example.net", "--mailbox", ANN)
    listed = {
        room: (await served.json(room, "list"))["items"]
        for room in ("mailboxes", "tokens", "domains", "suppressions", "keys", "messages")
    }

    counts = {room: len(items) for room, items in listed.items()}
    assert counts == {
        "mailboxes": 1, "tokens": 1, "domains": 2, "suppressions": 1, "keys": 4, "messages": 0,
    }  # fmt: skip
    assert listed["tokens"][0]["token_id"] == issued["token_id"]
    assert await served.json("reload") == {"changed": []}
    assert (await served.json("tokens", "revoke", issued["token_id"]))["was_live"] is True


async def test_validate_says_what_the_trial_found(served: Served) -> None:
    """Its facts and exit 0, or its words and exit 69."""
    await served.command("mailboxes", "update", ANN, "--next-hop-host", "mx.example.com")
    found = await served.json("mailboxes", "validate", ANN)
    served.next_hops.refused = Refused(Code.CONFLICT, "failed when we tried to log in")
    said = await served.command("mailboxes", "validate", ANN, code=69)

    assert served.next_hops.asked == [found["next_hop"]] * 2
    assert (found["tls"], found["logged_in"]) == ("TLSv1.3", False)
    assert said.err == "gatewayd: failed when we tried to log in\n"


# Messages.


async def test_hostile_mail_does_not_reach_the_terminal(served: Served) -> None:
    """Subject, address, reply and tag come from strangers; JSON gives them back unchanged."""
    queue_id = "0193-1"
    given = rows.recipient(queue_id, 0, forward_path=f"{HOSTILE}@example.net", reason=HOSTILE)
    owner = (await served.parts.mailboxes.get(ANN)).mailbox_id
    told = {"subject": HOSTILE, "tags": [HOSTILE], "metadata": {HOSTILE: HOSTILE}}
    await rows.keep_message(
        served.database, queue_id, given, mailbox_id=owner, message_id=HOSTILE, **told
    )
    for words in (("list",), ("show", queue_id), ("explain", queue_id), ("hold", queue_id)):
        said = await served.command("messages", *words)
        assert not OBEYED & set(said.out + said.err), words
    shown = await served.command("messages", "show", queue_id, "--json")

    assert shown.out.isascii()
    assert {name: json.loads(shown.out)[name] for name in told} == told


@pytest.mark.parametrize(
    ("track", "shown"), [("clicks,opens", ["clicks", "opens"]), ("opens", ["opens"]), ("", [])]
)
async def test_show_says_what_is_tracked(served: Served, track: str, shown: list[str]) -> None:
    """As it was decided at acceptance, for people and for programs."""
    queue_id = "0193-1"
    owner = (await served.parts.mailboxes.get(ANN)).mailbox_id
    given = rows.recipient(queue_id, 0)
    await rows.keep_message(served.database, queue_id, given, mailbox_id=owner, track=track)
    said = await served.command("messages", "show", queue_id)
    found = await served.json("messages", "show", queue_id)

    assert found["track"] == shown
    (line,) = [line for line in said.out.splitlines() if line.startswith("track ")]
    assert line.split(maxsplit=1)[1] == (", ".join(shown) or "-")


async def test_verbs_move_what_they_may_and_say_why_not(served: Served) -> None:
    """Held, released, cancelled; the one that was delivered is left, and named."""
    queue_id = await served.keep("0193-1", "queued", "delivered")
    states = []
    for verb in ("hold", "release", "cancel", "retry"):
        code = 69 if verb == "retry" else 0  # neither cancelled nor delivered mail is sent again
        said = await served.command("messages", verb, queue_id, code=code)
        found = await served.json("messages", "show", queue_id)
        states.append([one["state"] for one in found["recipients"]])
        assert "r1@example.net is delivered" in said.err

    assert states == [
        ["held", "delivered"],
        ["queued", "delivered"],
        ["cancelled", "delivered"],
        ["cancelled", "delivered"],
    ]


async def test_claimed_message_is_left_to_its_worker(served: Served) -> None:
    """Its outcome comes first."""
    queue_id = await served.keep("0193-1", "queued")
    await rows.lease(served.database, queue_id, [f"{queue_id}-r0"], until=NOW.replace(year=2999))
    said = await served.command("messages", "cancel", queue_id, code=69)

    assert said.err == ("gatewayd: r0@example.net is being delivered at this moment; try again\n")


async def test_one_of_several_does_not_stop_the_others(served: Served) -> None:
    """The middle one is not there; a hostile id is shown without what a terminal obeys."""
    first, last = await served.keep("0193-1", "queued"), await served.keep("0193-2", "queued")
    found = await served.json("messages", "hold", first, HOSTILE, last)
    said = await served.command("messages", "release", first, HOSTILE, last)

    assert [item["moved"] for item in found["items"]] == [1, 0, 1]
    assert not OBEYED & set(said.out + said.err)


async def test_filter_of_a_verb_finds_every_page_and_nothing_else(served: Served) -> None:
    """More messages than a page has, of this mailbox and in this state only."""
    await served.command("mailboxes", "create", "bea@example.com")
    other = (await served.parts.mailboxes.get("bea@example.com")).mailbox_id
    wanted = [await served.keep(f"0193-{at:03}", "failed") for at in range(101)]
    await served.keep("0193-a", "held")
    await served.keep("0193-b", "failed", mailbox_id=other)
    found = await served.json("messages", "retry", "--mailbox", ANN, "--state", "failed")

    assert sorted(item["queue_id"] for item in found["items"]) == wanted
    assert {item["moved"] for item in found["items"]} == {1}
    left = await served.json("messages", "list", "--state", "failed")
    assert [item["queue_id"] for item in left["items"]] == ["0193-b"]


# Pages.


async def pages(served: Served, *words: str) -> list[dict[str, Any]]:
    """Every item of a list, read two at a time."""
    items: list[dict[str, Any]] = []
    cursor: list[str] = []
    for _ in range(20):
        page = await served.json(*words, "--limit", "2", *cursor)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = ["--cursor", page["next_cursor"]]
    raise AssertionError("the pages have no end")


async def test_pages_of_messages_have_each_once(served: Served) -> None:
    """The newest first."""
    wanted = [await served.keep(f"0193-{at}", "queued") for at in range(5)]

    assert wanted[::-1] == [item["queue_id"] for item in await pages(served, "messages", "list")]


async def test_pages_of_suppressions_have_each_once(served: Served) -> None:
    """Of addresses in any script (RFC 6531), in two scopes, and as long as they may be."""
    domain = ".".join([*["d" * 60] * 3, "net"])
    wanted = ["bob@example.net", "zoë@example.net", "用户@example.net", f"{'用' * 21}@{domain}"]
    for address in wanted:
        await served.command("suppressions", "add", address, "--all")
        await served.command("suppressions", "add", address, "--mailbox", ANN)
    items = await pages(served, "suppressions", "list")

    assert sorted([*wanted, *wanted]) == sorted(item["address"] for item in items)
    assert len({(item["scope"], item["address"]) for item in items}) == 8


# Problems.


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not_found"),
        ("PUT", "/mailboxes", None, 405, "method_not_allowed"),
        ("GET", "/mailboxes/nobody@example.com", None, 404, "not_found"),
        ("POST", "/mailboxes", {"address": "b@example.com", "more": 1}, 422, "validation_failed"),
        ("POST", "/mailboxes", {"address": ANN}, 409, "conflict"),
        ("POST", "/mailboxes", [], 422, "validation_failed"),
        ("POST", "/tokens", {"mailbox": ANN, "hourly": "many"}, 422, "validation_failed"),
        ("POST", "/tokens", {"mailbox": ANN, "scopes": ["all"]}, 422, "validation_failed"),
        ("POST", "/tokens", {"mailbox": "x" * BODY_OCTETS}, 413, "message_too_large"),
        ("GET", "/messages?more=1", None, 422, "validation_failed"),
        ("GET", "/messages?limit=0", None, 422, "validation_failed"),
        ("GET", "/messages?cursor=!", None, 422, "validation_failed"),
        ("GET", "/suppressions?cursor=%FF", None, 422, "validation_failed"),
        ("GET", "/suppressions?cursor=YWJj", None, 422, "validation_failed"),
        ("GET", "/suppressions?cursor=", None, 422, "validation_failed"),
        ("POST", "/messages/x/explode", None, 422, "validation_failed"),
        ("POST", "/keys/tls/begin", None, 422, "validation_failed"),
        ("POST", "/keys/jwt/finish", None, 409, "conflict"),
    ],
)
async def test_every_refusal_is_a_problem(
    served: Served, method: str, path: str, body: object, status: int, code: str
) -> None:
    """The same object that every other door of HTTP gives (RFC 9457)."""
    response = await served.request(method, path, json=body)
    problem = response.json()

    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    assert problem["request_id"]


async def test_answers_hold_no_password(served: Served) -> None:
    """It is sealed when it is set, and no answer has it again."""
    await served.request(
        "PATCH",
        f"/mailboxes/{ANN}",
        json={"next_hop_host": "mx.example.com", "next_hop_user": "u", "next_hop_password": "s3c"},
    )
    for path in ("/mailboxes", f"/mailboxes/{ANN}", "/status"):
        assert "s3c" not in (await served.request("GET", path)).text
