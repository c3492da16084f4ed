"""One request and its answer on a connection; a whole answer is written at once.

uvicorn looks at each field of an answer with two regular expressions, and writes head and body
apart: more work than composing a message is. Here one look goes over the whole head.

| an answer                                             | is written by          |
|-------------------------------------------------------|------------------------|
| whole, with its length, on a connection to be kept    | this file              |
| in pieces, without a length, to HEAD, the last one    | uvicorn                |
| with a field that no line can hold                    | nobody: uvicorn raises |

Nothing is written before the first of the body is here (ASGI 3.0, Response Start).
"""

from __future__ import annotations

from typing import Final

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_IN_LINES: Final = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
_UVICORNS: Final = frozenset((b"connection", b"transfer-encoding"))


class Exchange(RequestResponseCycle):
    """uvicorn's cycle with the table of this module."""

    _start: Message | None = None  # the head, until the first of the body is here

    async def send(self, message: Message) -> None:  # type: ignore[override]  # any ASGI message
        """Take a message of the application."""
        if not self.response_started and message["type"] == "http.response.start":
            self._start = message
            self.waiting_for_100_continue = False
            return
        start, self._start = self._start, None
        if start is not None:
            octets = self._whole(start, message)
            if octets is not None:
                self._write(octets)
                return
            await super().send(start)  # type: ignore[arg-type]  # any ASGI message
        await super().send(message)  # type: ignore[arg-type]  # any ASGI message

    def _whole(self, start: Message, message: Message) -> bytes | None:
        """All octets of an answer, if it is one that is written here."""
        if (
            message.get("more_body", False)
            or message["type"] != "http.response.body"
            or not self.keep_alive
            or self.disconnected
            or self.flow.write_paused
            or self.scope["method"] == "HEAD"
        ):
            return None
        body: bytes = message.get("body", b"")
        fields = [*self.default_headers, *start.get("headers", ())]
        given = dict(fields)
        lines = [b": ".join(field) for field in fields]
        if (
            given.get(b"content-length") != b"%d" % len(body)
            or not given.keys().isdisjoint(_UVICORNS)
            or b"".join(lines).translate(None, _IN_LINES)
        ):
            return None
        return b"%b%b\r\n\r\n%b" % (STATUS_LINE[start["status"]], b"\r\n".join(lines), body)

    def _write(self, octets: bytes) -> None:
        self.response_started = self.response_complete = True
        self.transport.write(octets)
        self.message_event.set()
        self.on_response()
