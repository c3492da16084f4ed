"""ImapServer: folders in memory behind a socket, as much of IMAP as reading a mailbox needs.

Options make it a lesser server: without MOVE, without UIDPLUS, one that refuses a login, that hangs
up at a command, or never answers it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

USER, PASSWORD = "reports", 'pass"word'

_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"|(\([^)]*\))|(\S+)')
_PARTIAL = re.compile(rb"BODY\.PEEK\[\]<0\.(\d+)>")


@dataclass
class Mail:
    """One message of a folder."""

    octets: bytes
    is_deleted: bool = False


@dataclass
class ImapServer:
    """A server with its folders.

    capabilities: beside IMAP4rev1.
    hangs_up_at, is_silent_at: a command, such as `UID FETCH`.
    refuses: a command and a UID to which it says NO.
    on_command: called before a command is answered.
    """

    capabilities: tuple[str, ...] = ("UIDPLUS", "MOVE")
    hangs_up_at: str = ""
    is_silent_at: str = ""
    refuses: tuple[str, int] = ("", 0)
    on_command: Callable[[], object] = lambda: None
    folders: dict[str, dict[int, Mail]] = field(default_factory=lambda: {"INBOX": {}})
    commands: list[str] = field(default_factory=list)
    port: int = 0
    _uid: int = 0
    _selected: str = ""

    def put(self, octets: bytes, folder: str = "INBOX") -> int:
        """Deliver a message; its UID."""
        self._uid += 1
        self.folders.setdefault(folder, {})[self._uid] = Mail(octets)
        return self._uid

    def held(self, folder: str) -> list[bytes]:
        """What is in a folder and not marked as deleted, in its order."""
        mails = self.folders.get(folder, {}).values()
        return [mail.octets for mail in mails if not mail.is_deleted]

    @asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[ImapServer]:
        """Listen on loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        try:
            while line := await reader.readline():
                tag, *words = [_text(match) for match in _WORD.finditer(line)]
                if not await self._obey(tag, words, writer):
                    break
                if self.commands[-1] == self.is_silent_at:
                    await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _obey(self, tag: bytes, words: list[bytes], writer: asyncio.StreamWriter) -> bool:
        """Answer a command; False when the session ends."""
        size = 2 if words[0].upper() == b"UID" else 1
        name = b" ".join(words[:size]).upper().decode()
        self.commands.append(name)
        self.on_command()
        if name == self.hangs_up_at:
            return False
        if name == self.is_silent_at:
            return True
        command, uid = self.refuses
        if (name, words[size:][:1]) == (command, [b"%d" % uid]):
            untagged, said = list[bytes](), "NO not this one"
        else:
            untagged, said = self._answer(name, words[size:])
        writer.write(b"".join(b"* %b\r\n" % one for one in untagged))
        writer.write(b"%b %b\r\n" % (tag, said.encode()))
        await writer.drain()
        return name != "LOGOUT"

    def _answer(self, name: str, words: list[bytes]) -> tuple[list[bytes], str]:  # noqa: C901, PLR0911 - a list of commands
        inside = self.folders.get(self._selected, {})
        match name:
            case "CAPABILITY":
                return [" ".join(("CAPABILITY", "IMAP4rev1", *self.capabilities)).encode()], "OK"
            case "LOGIN":
                good = words == [USER.encode(), PASSWORD.encode()]
                return [], "OK logged in" if good else "NO [AUTHENTICATIONFAILED] wrong password"
            case "SELECT":
                self._selected = words[0].decode()
                if self._selected not in self.folders:
                    return [], "NO [NONEXISTENT] no such folder"
                return [b"%d EXISTS" % len(self.folders[self._selected])], "OK [READ-WRITE]"
            case "UID SEARCH":
                uids = [uid for uid, mail in inside.items() if not mail.is_deleted]
                return [b"SEARCH " + " ".join(map(str, reversed(uids))).encode()], "OK"
            case "UID FETCH":
                return self._fetch(inside, int(words[0]), words[1])
            case "UID STORE":
                inside[int(words[0])].is_deleted = words[2] == rb"(\Deleted)"
                return [], "OK"
            case "UID EXPUNGE":
                return self._expunge({int(words[0])})
            case "EXPUNGE":
                return self._expunge(set(inside))
            case "UID COPY" | "UID MOVE":
                return self._copy(int(words[0]), words[1].decode(), moves=name == "UID MOVE")
            case "CREATE":
                self.folders[words[0].decode()] = {}
                return [], "OK"
            case "LOGOUT":
                return [b"BYE"], "OK"
        return [], "BAD no such command"

    def _fetch(self, inside: dict[int, Mail], uid: int, what: bytes) -> tuple[list[bytes], str]:
        partial = _PARTIAL.search(what)
        if partial is None:
            return [], "BAD write BODY.PEEK[]<0.n>"
        if uid not in inside:
            return [], "OK nothing there"
        octets = inside[uid].octets[: int(partial[1])]
        head = b"%d FETCH (UID %d BODY[]<0> {%d}\r\n" % (
            list(inside).index(uid) + 1,
            uid,
            len(octets),
        )
        return [head + octets + b")"], "OK"

    def _expunge(self, uids: set[int]) -> tuple[list[bytes], str]:
        inside = self.folders[self._selected]
        gone = [uid for uid in uids if inside[uid].is_deleted]
        for uid in gone:
            del inside[uid]
        return [b"1 EXPUNGE"] * len(gone), "OK"

    def _copy(self, uid: int, folder: str, *, moves: bool) -> tuple[list[bytes], str]:
        if folder not in self.folders:
            return [], "NO [TRYCREATE] no such folder"
        inside = self.folders[self._selected]
        self.put(inside[uid].octets, folder)
        if moves:
            del inside[uid]
        return [b"1 EXPUNGE"] if moves else [], "OK"


def _text(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return re.sub(rb"\\(.)", rb"\1", match[1])
    return match[2] or match[3]
