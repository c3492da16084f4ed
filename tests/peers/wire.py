"""Wire: HTTP as octets over one socket, for what no client library would send.

`request` makes the octets of a tidy request; anything else is written by hand. A source address
of its own (127.0.0.0/8) keeps one attacker's rate from being another's.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WITHIN_S = 30.0
HOME = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def field(self, name: str) -> str:
        """A header field's value; empty when it is absent."""
        return self.all(name)[0] if self.all(name) else ""

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def json(self) -> Any:  # noqa: ANN401 - it is JSON
        return json.loads(self.body)


CUT = Answer(status=0, fields=(), body=b"")


class Wire:
    """One connection; `with` closes it."""

    def __init__(self, at: int | Path, *, source: str = HOME, within_s: float = WITHIN_S) -> None:
        """Connect to a port of this machine, or to a unix socket."""
        if isinstance(at, Path):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(str(at))  # waits while the backlog is full; a deadline would not
            self._socket.settimeout(within_s)
            return
        self._socket = socket.create_connection((HOME, at), within_s, (source, 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer; nothing may be pipelined behind it."""
        found = http.client.HTTPResponse(self._socket, method=method)
        try:
            found.begin()
            body = found.read()
            return Answer(status=found.status, fields=tuple(found.getheaders()), body=body)
        finally:
            found.close()

    def ask(self, octets: bytes, method: str = "GET") -> Answer:
        """What is answered; CUT if the other side closes without a word.

        It may answer before all was sent, and close before all was read.
        """
        with contextlib.suppress(ConnectionError):
            self.send(octets)
        try:
            return self.answer(method)
        except ConnectionError:
            return CUT

    def rest(self) -> bytes:
        """All that still comes, until the other side closes."""
        found = b""
        try:
            while block := self._socket.recv(65_536):
                found += block
        except ConnectionError:
            pass  # it was cut, which is an end, too
        return found

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


def request(
    method: str,
    target: str | bytes,
    *,
    token: str = "",
    body: bytes | None = None,
    fields: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A tidy request; `fields` may replace Host and Content-Type."""
    own = dict(fields)
    head = {"Host": "gateway.test"}
    if token:
        head["Authorization"] = f"Bearer {token}"
    if body is not None:
        head |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in (head | own).items()]
    path = target if isinstance(target, bytes) else target.encode()
    first = method.encode() + b" " + path + b" HTTP/1.1\r\n"
    return first + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + (body or b"")
