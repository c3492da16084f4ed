"""Read a folder over IMAP, for those whose reports come to a mailbox elsewhere (RFC 3501).

| what became of a message  | the message                                                        |
|---------------------------|--------------------------------------------------------------------|
| taken                     | is deleted, or moved to `processed`                                |
| rejected: no report of    | is moved to `Rejected-Bounces`, which is made when it is missing   |
| ours                      |                                                                    |
| to be shown again later   | stays where it is, and does not count against the limit of a run   |
| refused, by us or by the  | stays where it is, and is told; the run goes on                    |
| server                    |                                                                    |

One message at a time: read, judged, put away; so a run that breaks off is gone on with by the next.
A message that was taken, and could not be put away, is taken again: that changes nothing.

A server without UIDPLUS can only expunge all that is marked as deleted, what another program has
marked too (RFC 4315 2.1). There a message is marked, and stays until somebody expunges the folder;
what is marked is not looked at again.

It is the one file that knows aioimaplib, which is licensed GPL-3.0-only and hence an extra of its
own: nothing but `bounces poll-once` imports this file. The library has no STARTTLS and knows no
deadline for most commands, so TLS is implicit and the deadlines are here. It reads responses by
recursion, some thousand lines deep, so nothing is asked of the server that has many of them.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aioimaplib import AioImapException, aioimaplib

from gatewayd.bounces.ingest import RawFile
from gatewayd.config.types import is_loopback
from gatewayd.errors import Code, Refused

REJECTED: Final = "Rejected-Bounces"
STEP_S: Final = 60.0  # for the reply to any command

_DELETED: Final = r"(\Deleted)"


class Fate(enum.Enum):
    """What became of a message: the rows of the table."""

    TAKEN = "taken"
    REJECTED = "rejected"
    LATER = "later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where to look, and what to do with it.

    is_plaintext: without TLS, which is for loopback only.
    ca_file: PEM file of the authorities to trust instead of the system's.
    processed: folder for what was taken; None deletes it.
    most_octets: of one message, from its beginning.
    most_messages: of one run.

    Raises:
        Refused: validation_failed, for what could not work.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    folder: str
    processed: str | None
    is_plaintext: bool
    ca_file: Path | None
    most_octets: int
    most_messages: int

    def __post_init__(self) -> None:
        if self.is_plaintext and not is_loopback(self.host):
            raise _invalid("a password is sent in plaintext to loopback only")
        for text in (self.folder, self.processed or REJECTED, self.user, self.password):
            if not text or any(ord(character) < 0x20 for character in text):
                raise _invalid("folders, user and password are not empty and have one line")
        for folder in (self.folder, self.processed or REJECTED):
            if not folder.isascii():
                raise _invalid("write a folder as IMAP does, in modified UTF-7 (RFC 3501 5.1.3)")
        if self.folder in (self.processed, REJECTED):
            raise _invalid("a message cannot be put away into the folder that it is read from")


@dataclass(frozen=True, slots=True)
class Left:
    """A message that stays because somebody refused it."""

    name: str
    why: str


@dataclass(slots=True)
class Polled:
    """How many messages had which fate, and which were refused."""

    taken: int = 0
    rejected: int = 0
    later: int = 0
    refused: list[Left] = field(default_factory=list)

    @property
    def counted(self) -> int:
        """Messages that count against the limit: those that the next run does not find again."""
        return self.taken + self.rejected + len(self.refused)


async def poll(account: Account, judge: Callable[[RawFile], Awaitable[Fate]]) -> Polled:
    """Show the messages of a folder to `judge`, the oldest first, and put each away.

    Raises:
        Refused: unavailable, with the step that failed; what was put away before stays so. Or as
            `judge` raised it, if it is not about the message (enhanced status 4.y.z).
        GatewayError: as `judge` raised it; the message stays where it is.
    """
    session = _Session(account)
    polled = Polled()
    try:
        await session.open()
        for uid in await session.waiting():
            if polled.counted >= account.most_messages:
                break
            name = f"{account.folder}:{uid}"
            try:
                fate = await _one(session, uid, name, judge)
            except Refused as refused:
                is_temporary = refused.status.startswith("4")
                if is_temporary and not isinstance(refused, _SaidNo):
                    raise
                polled.refused.append(Left(name, refused.public))
                continue
            match fate:
                case Fate.TAKEN:
                    polled.taken += 1
                case Fate.REJECTED:
                    polled.rejected += 1
                case Fate.LATER:
                    polled.later += 1
                case None:
                    pass
    finally:
        await session.close()
    return polled


async def _one(
    session: _Session, uid: str, name: str, judge: Callable[[RawFile], Awaitable[Fate]]
) -> Fate | None:
    """Read, judge and put away one message; None when another program was faster."""
    octets = await session.read(uid)
    if octets is None:
        return None
    fate = await judge(RawFile(name, octets))
    await session.put_away(uid, fate)
    return fate


class _SaidNo(Refused):
    """The server would not do one thing; the session is well."""


class _Session:
    """One session with the server; every step has its deadline."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client: Any = None  # aioimaplib has no types

    async def open(self) -> None:
        account = self._account
        where = {"host": account.host, "port": account.port, "timeout": STEP_S}
        if account.is_plaintext:
            self._client = aioimaplib.IMAP4(**where)
        else:
            context = await asyncio.to_thread(_context, account.ca_file)
            self._client = aioimaplib.IMAP4_SSL(**where, ssl_context=context)
        client = self._client
        # Its task that reads the greeting holds the lock on which our cancelled wait would wait.
        giving_up = asyncio.get_running_loop().call_later(STEP_S, self._give_up)
        try:
            await self._step("connect", client.wait_hello_from_server())
        finally:
            giving_up.cancel()
        # It quotes the password and not the user.
        user, password = aioimaplib.quoted(account.user), account.password
        await self._ok("log in", client.login(user, password))
        await self._step("ask for capabilities", client.protocol.capability())
        await self._ok(f"open {account.folder}", client.select(_quoted(account.folder)))

    async def waiting(self) -> list[str]:
        """The UIDs of what is there, the oldest first."""
        found = await self._ok("search", self._client.uid_search("UNDELETED", charset=None))
        uids = [word for line in found.lines[:-1] for word in bytes(line).split() if word.isdigit()]
        return [str(uid) for uid in sorted(map(int, uids))]

    async def read(self, uid: str) -> bytes | None:
        """The beginning of a message; None when it is not there any more."""
        what = f"(BODY.PEEK[]<0.{self._account.most_octets}>)"
        found = await self._ok(f"read message {uid}", self._client.uid("fetch", uid, what))
        literals = (line for line in found.lines if isinstance(line, bytearray))
        octets = next(literals, None)
        return None if octets is None else bytes(octets)

    async def put_away(self, uid: str, fate: Fate) -> None:
        processed = self._account.processed
        match fate:
            case Fate.LATER:
                return
            case Fate.REJECTED:
                await self._move(uid, REJECTED)
            case Fate.TAKEN if processed is not None:
                await self._move(uid, processed)
            case Fate.TAKEN:
                await self._delete(uid)

    async def close(self) -> None:
        """Part, as far as the server still listens."""
        client = self._client
        if client is None:
            return
        protocol = client.protocol
        if protocol.transport is None:
            # It never cancels what connects.
            client._client_task.cancel()  # noqa: SLF001 - there is no other way to it
            return
        try:
            if protocol.state in (aioimaplib.AUTH, aioimaplib.SELECTED):
                async with asyncio.timeout(STEP_S):
                    await client.logout()
        except (AioImapException, OSError, TimeoutError):
            pass  # everything is done
        finally:
            protocol.transport.abort()

    def _give_up(self) -> None:
        for task in tuple(self._client.protocol.tasks):
            task.cancel()

    async def _move(self, uid: str, folder: str) -> None:
        """Move a message (RFC 6851); into a folder that is made when the first try fails."""
        has_move = self._client.has_capability("MOVE")
        verb, name = "move" if has_move else "copy", _quoted(folder)
        moved = await self._step(f"move to {folder}", self._client.uid(verb, uid, name))
        if moved.result != "OK":
            await self._ok(f"make {folder}", self._client.create(name))
            await self._ok(f"move to {folder}", self._client.uid(verb, uid, name))
        if not has_move:
            await self._delete(uid)

    async def _delete(self, uid: str) -> None:
        """Mark it and, where no other can be meant, remove it."""
        client = self._client
        await self._ok("delete", client.uid("store", uid, "+FLAGS.SILENT", _DELETED))
        if client.has_capability("UIDPLUS"):
            await self._ok("expunge", client.uid("expunge", uid))

    async def _ok(self, step: str, doing: Awaitable[Any]) -> Any:  # noqa: ANN401 - aioimaplib's
        """A reply of OK.

        Raises:
            Refused: unavailable; _SaidNo when there was a reply.
        """
        response = await self._step(step, doing)
        if response.result != "OK":
            said = bytes(response.lines[-1]).decode("utf-8", "replace") if response.lines else ""
            why = f"the server said {response.result} {said}"[:300]
            raise _SaidNo(Code.UNAVAILABLE, self._failed(step, why).public)
        return response

    async def _step(self, step: str, doing: Awaitable[Any]) -> Any:  # noqa: ANN401 - as above
        try:
            async with asyncio.timeout(STEP_S):
                return await doing
        except (TimeoutError, aioimaplib.CommandTimeout) as error:
            raise self._failed(step, f"no answer in {STEP_S:g} seconds") from error
        except (AioImapException, OSError, ValueError) as error:
            raise self._failed(step, str(error) or type(error).__name__) from error

    def _failed(self, step: str, why: str) -> Refused:
        account = self._account
        return Refused(Code.UNAVAILABLE, f"{account.host}:{account.port}: could not {step}: {why}")


def _context(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)


def _quoted(folder: str) -> str:
    text: str = aioimaplib.quoted(folder)
    return text


def _invalid(text: str) -> Refused:
    return Refused(Code.VALIDATION_FAILED, text)
