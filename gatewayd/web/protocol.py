"""Deadlines and sizes of one HTTP connection, which uvicorn does not have.

| while                                | at most                        | then             |
|--------------------------------------|--------------------------------|------------------|
| the header of a request comes        | header_s, from its first octet | 408, closed      |
| the first request is waited for      | header_s                       | closed           |
| a body comes                         | body_s, from the header's end  | 408, closed      |
| nothing comes between two requests   | keep_alive_s                   | closed           |
| an answer, or the end, is not read   | flush_s                        | aborted          |
| octets that are not body             | 64 KiB, and 8 for each of body | 431, closed      |
| connections are open                 | connections                    | 503, closed      |
| and even more                        | twice as many                  | aborted          |

All times are absolute: a client that sends an octet now and then gains nothing. Octets that are
not body are header, sizes and extensions of chunks, and trailers; trailers are dropped. What is in
memory for a connection is those, and the two blocks that uvicorn reads ahead of the application.

An answer to a request whose body still comes, such as a 413, does not close the connection: the
rest is dropped until its deadline, so that a client which does not look while it sends gets it.
For the same reason what a client goes on to send after 400, 408 and 431 is dropped for a moment
before the connection is closed: closing with octets unread would reset it, answer and all.
"""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

import httptools
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gatewayd.errors import Code
from gatewayd.web import problems
from gatewayd.web.exchange import Exchange
from gatewayd.web.problems import TABLE, HttpFault, Problem

OVERHEAD_OCTETS: Final = 65_536
OVERHEAD_PER_BODY_OCTET: Final = 8  # a chunk of one octet has five others
LINGER_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTerms:
    """What one connection may take, in seconds, and how many there may be.

    is_overloaded: whether new ones are turned away, however few they are.
    """

    header_s: float
    body_s: float
    keep_alive_s: float
    flush_s: float
    connections: int
    is_overloaded: Callable[[], bool]


class _Phase(enum.Enum):
    IDLE = "between two requests"
    HEADER = "a header comes"
    BODY = "a body comes"
    ANSWER = "the request is whole"
    REFUSED = "nothing more is read, only dropped"


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the table of this module."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        terms: ConnectionTerms,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(config, server_state, {}, loop)
        self.timeout_keep_alive = terms.keep_alive_s  # type: ignore[assignment]  # for call_later
        self._terms = terms
        self._phase = _Phase.IDLE
        self._deadline: asyncio.TimerHandle | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._is_reading = False
        self._entered = self._timed = 0  # phases so far, and the one whose time runs
        self._tls = ""
        self._is_last = False
        self._requests = 0
        self._octets = 0  # of this request so far
        self._body_octets = 0

    # --- asyncio

    def connection_made(  # type: ignore[override]  # uvicorn narrows it, too
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        if len(self.connections) > 2 * self._terms.connections:
            transport.abort()
            return
        if len(self.connections) > self._terms.connections or self._terms.is_overloaded():
            self.app = _turn_away
        self._tls = _describe_tls(transport)
        self._enter(_Phase.HEADER)

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.REFUSED:
            return
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.HEADER)
        requests = self._requests
        self._is_reading = True
        try:
            super().data_received(data)
        finally:
            self._is_reading = False
        if self.transport.is_closing():
            return
        self._set_deadline()
        if requests == self._requests:
            self._octets += len(data)
        overhead = self._octets - self._body_octets
        if overhead > OVERHEAD_OCTETS + OVERHEAD_PER_BODY_OCTET * self._body_octets:
            self._refuse(HttpFault.REQUEST_HEADER_TOO_LARGE, "The header has too many octets.")

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel(self._deadline)
        self._cancel(self._flush)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._abort_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._cancel(self._flush)
            self._flush = None

    # --- httptools

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"]["tls"] = self._tls
        self._requests += 1
        self._octets = self._body_octets = 0
        if self._phase is not _Phase.HEADER:
            self._enter(_Phase.HEADER)

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer comes here, too. Nobody asked for it, and the application has the list already.
        if self._phase is _Phase.HEADER:
            key = name.lower()
            if key == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((key, value))

    def on_headers_complete(self) -> None:
        """As uvicorn's, with `Exchange` in place of its cycle, and without what is never asked."""
        parser, scope, earlier = self.parser, self.scope, self.cycle
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        self.cycle = Exchange(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:  # pipelined
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self._enter(_Phase.BODY)

    def on_body(self, body: bytes) -> None:
        self._body_octets += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._enter(_Phase.ANSWER)
        if self.cycle.response_complete and not self.transport.is_closing():
            # It was answered before it was whole; uvicorn's own timer ended with the last octets.
            self._enter(_Phase.IDLE)
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # --- uvicorn

    def on_response_complete(self) -> None:
        pipelined = bool(self.pipeline)
        super().on_response_complete()
        if self._is_last or self.transport.is_closing():
            self._close()
        elif self._phase is _Phase.ANSWER and not pipelined:
            self._enter(_Phase.IDLE)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - it is for uvicorn's log
        self._refuse(HttpFault.REQUEST_MALFORMED, "This is not HTTP/1.1 as RFC 9112 has it.")

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.is_closing():
            self._abort_later()

    # --- inside

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self._entered += 1
        if not self._is_reading:
            self._set_deadline()

    def _set_deadline(self) -> None:
        """Have the time of this phase run; it goes on if it does already.

        Not while octets are read: a request that comes whole passes its phases without a timer.
        """
        if self._timed == self._entered:
            return
        self._timed = self._entered
        self._cancel(self._deadline)
        self._deadline = None
        phase = self._phase
        if phase is _Phase.HEADER:
            self._deadline = self.loop.call_later(self._terms.header_s, self._expire)
        elif phase is _Phase.BODY:
            self._deadline = self.loop.call_later(self._terms.body_s, self._expire)
        elif phase is _Phase.REFUSED:
            self._deadline = self.loop.call_later(LINGER_S, self._close)

    def _expire(self) -> None:
        if self._phase is _Phase.HEADER and not self._requests:
            self._close()  # it never began a request
        else:
            self._refuse(HttpFault.REQUEST_TIMEOUT, "The request did not come whole in time.")

    def _refuse(self, fault: HttpFault, detail: str) -> None:
        """Answer in place of the application if nothing was answered yet, and close."""
        if self.transport.is_closing():
            return
        if self._is_answering:
            # A pipelined request is at fault. The one before it gets its answer first.
            self._is_last = True
            self.pipeline.clear()
            self.flow.pause_reading()
            return
        cycle = self.cycle
        in_body = self._phase is _Phase.BODY
        if not (in_body and cycle.response_started):
            self.transport.write(_render(fault, detail))
        if in_body:
            # Whatever the application still says is for nobody.
            cycle.disconnected = True
            cycle.message_event.set()
        self._unset_keepalive_if_required()
        self._enter(_Phase.REFUSED)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    @property
    def _is_answering(self) -> bool:
        """Whether an earlier request than the one that comes is still being worked on."""
        if self._phase is _Phase.BODY:
            return bool(self.pipeline)
        return self.cycle is not None and not self.cycle.response_complete

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        """Closing waits until all is written, which a client can keep from happening."""
        self._cancel(self._flush)
        self._flush = self.loop.call_later(self._terms.flush_s, self.transport.abort)

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def _describe_tls(transport: asyncio.Transport) -> str:
    """Version and cipher as `Received` names them; empty without TLS."""
    version_of: Any = transport.get_extra_info("ssl_object")
    cipher = transport.get_extra_info("cipher")
    return f"{version_of.version()} {cipher[0]}" if version_of and cipher else ""


def _render(fault: HttpFault, detail: str) -> bytes:
    """A whole response, for a request that no application sees."""
    problem = Problem(code=fault.word, status=fault.status, title=fault.title, detail=detail)
    body = json.dumps(problem.members(instance="/", request_id="")).encode()
    head = (
        f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}\r\n"
        f"content-type: {problems.MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\n"
        "cache-control: no-store\r\n"
        "x-content-type-options: nosniff\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    """The application for a connection too many."""
    row = TABLE[Code.UNAVAILABLE]
    problem = Problem(
        code=Code.UNAVAILABLE.word,
        status=row.status,
        title=row.title,
        detail="Too much is being done here at the moment; try again later.",
        retry_after_s=row.retry_after_s,
        headers=(("Connection", "close"),),
    )
    await problems.response(problem, scope)(scope, receive, send)
