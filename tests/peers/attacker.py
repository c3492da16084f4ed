"""Attacker: SMTP as octets over one socket, for what no client library would send.

And what a target must do and hold afterwards. A source address of its own (127.0.0.0/8) keeps one
attacker's connections from being another's.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import select
import socket
import sqlite3
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.peers.target import Target

HOME = "127.0.0.1"
MAILBOX = "agent@sender.test"
WITHIN_S = 60.0
DRIP_S = 0.02
COST_S = 5.0  # of a processor, for one message of up to 4 MB; 0.35 was measured
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}").match


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply. text: its lines without code, joined by LF."""

    code: int
    text: str

    @property
    def status(self) -> str:
        """The enhanced status; empty when there is none."""
        found = _STATUS(self.text)
        return found[0] if found else ""

    @property
    def both(self) -> tuple[int, str]:
        return self.code, self.status


class Cut(Exception):
    """The daemon closed the connection where a reply was due."""


class Attacker:
    """One connection; `with` closes it. Nothing is read before `read`, not even the greeting."""

    def __init__(
        self,
        port: int,
        *,
        source: str = HOME,
        to: str = HOME,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._socket = socket.create_connection((to, port), WITHIN_S, (source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._inbox = b""
        if tls is not None:
            self.wrap(tls)

    def wrap(self, tls: ssl.SSLContext) -> None:
        """Do the handshake; what is left of the plaintext is forgotten."""
        self._socket = tls.wrap_socket(self._socket, server_hostname=HOME)
        self._inbox = b""

    def send(self, octets: bytes) -> None:
        """In one segment or TLS record, as far as it fits."""
        self._socket.sendall(octets)

    def send_each(self, octets: bytes) -> None:
        """Each octet in a segment or TLS record of its own."""
        for octet in octets:
            self._socket.sendall(bytes([octet]))

    def flood(self, block: bytes, octets: int) -> int:
        """Send until it is all sent or nobody listens any more; how much was taken."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < octets:
                self._socket.sendall(block)
                sent += len(block)
        return sent

    def drip(self) -> bool:
        """Send one octet after a little while; False if the daemon has said something or gone."""
        if select.select([self._socket], [], [], DRIP_S)[0]:
            return False
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(b"x")
        return True

    def raw(self, limit: int) -> bytes:
        """The octets that come next; none when the daemon closes."""
        try:
            return self._socket.recv(limit)
        except ConnectionError:
            return b""

    def read(self) -> Reply:
        """The next reply.

        Raises:
            Cut: the connection ended before it was whole.
        """
        lines = []
        while True:
            line = self._line().decode()
            lines.append(line[4:])
            if line[3:4] != "-":
                return Reply(int(line[:3]), "\n".join(lines))

    def ask(self, line: str | bytes) -> Reply:
        """Send one command; its reply."""
        self.send((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return self.read()

    def ask_all(self, *lines: str) -> list[Reply]:
        """Send commands in one segment; their replies."""
        self.send("".join(f"{line}\r\n" for line in lines).encode())
        return [self.read() for _ in lines]

    def rest(self) -> list[Reply]:
        """The replies that still come, until the daemon closes."""
        found = []
        with contextlib.suppress(Cut):
            while True:
                found.append(self.read())
        return found

    def hello(self) -> Reply:
        """Read the greeting and say EHLO."""
        assert self.read().code == 220
        return self.ask("EHLO attacker.test")

    def log_in(self, user: str, token: str) -> Reply:
        """AUTH PLAIN, with its initial response."""
        secret = base64.b64encode(f"\0{user}\0{token}".encode())
        return self.ask(b"AUTH PLAIN " + secret)

    def begin(self, to: str = "ann@rcpt.test", *, by: str = MAILBOX) -> None:
        """Open a transaction that waits for its message."""
        answers = self.ask_all(f"MAIL FROM:<{by}>", f"RCPT TO:<{to}>", "DATA")
        assert [answer.code for answer in answers] == [250, 250, 354], answers

    def hand_in(self, octets: bytes, to: str = "ann@rcpt.test", *, by: str = MAILBOX) -> Reply:
        """A whole transaction: what is answered to the message, which ends with CRLF."""
        self.begin(to, by=by)
        self.send(octets + b".\r\n")
        return self.read()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _line(self) -> bytes:
        while b"\r\n" not in self._inbox:
            try:
                block = self._socket.recv(65_536)
            except (ConnectionError, ssl.SSLError) as error:
                raise Cut from error
            if not block:
                raise Cut
            self._inbox += block
        line, _, self._inbox = self._inbox.partition(b"\r\n")
        return line


def trusting() -> ssl.SSLContext:
    """TLS to whoever answers: certificates are not what is attacked."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def logged_in(attacked: Target, door: str = "plain", *, source: str = HOME) -> Attacker:
    """A connection that may send mail; door: plain, or submissions."""
    tls = trusting() if door == "submissions" else None
    client = Attacker(getattr(attacked.gateway.ports, door), source=source, tls=tls)
    client.hello()
    assert client.log_in(MAILBOX, attacked.gateway.token).code == 235
    return client


def assert_goes_on(attacked: Target) -> None:
    """It takes a plain message by SMTP and delivers it, and nothing broke inside."""
    assert attacked.gateway.is_alive(), attacked.gateway.tail()
    subject = attacked.mark()
    with logged_in(attacked) as client:
        answer = client.hand_in(f"Subject: {subject}\r\n\r\nHello\r\n".encode())
        assert answer.both == (250, "2.0.0")
    attacked.copy(subject)
    assert attacked.faults() == []


def stored(attacked: Target, query: str, *values: str) -> list[tuple[str | int | None, ...]]:
    """What the daemon's database holds."""
    file = f"file:{attacked.gateway.state_dir / 'gatewayd.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(file, uri=True, timeout=WITHIN_S)) as connection:
        return connection.execute(query, values).fetchall()


def count(attacked: Target, query: str, *values: str) -> int:
    """A number that the daemon's database holds."""
    ((number,),) = stored(attacked, query, *values)
    assert isinstance(number, int)
    return number


def cpu_s(attacked: Target) -> float:
    """What the daemon has used of the processor; waiting for others does not count."""
    assert attacked.gateway.process is not None
    text = Path(f"/proc/{attacked.gateway.process.pid}/stat").read_text()
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
