"""The outermost layer: a request id, safe headers on every answer, and nothing escapes.

An answer that sets one of those headers itself keeps its own.

Written on bare ASGI: Starlette's BaseHTTPMiddleware costs a task and two queues per request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatewayd import ids, log
from gatewayd.web import problems
from gatewayd.web.problems import HttpFault, HttpRefused

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")

SAFE_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

_SAFE_NAMES: Final = frozenset(name for name, _ in SAFE_HEADERS)

_log = log.get_logger(__name__)


class Edge:
    """Wraps an application so that each request gets an id and an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, hosts = _look(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        own = (b"x-request-id", request_id.encode())
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                given = message.get("headers", ())
                message = {**message, "headers": [*given, *_missing(given), own]}
            await send(message)

        try:
            if hosts != 1:
                _refuse_hosts(hosts, scope)
            await self._app(scope, receive, answer)
        except HttpRefused as error:
            await problems.response(problems.from_exception(error), scope)(scope, receive, answer)
        except ClientDisconnect:
            # Whoever would read the answer has gone.
            _log.debug("http_client_gone", request_id=request_id)
        except Exception as error:  # noqa: BLE001 - the last layer: a client gets an answer
            _log.exception("http_request_failed", request_id=request_id, method=scope["method"])
            if not started:
                problem = problems.from_exception(error)
                await problems.response(problem, scope)(scope, receive, answer)


def _missing(given: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    """The safe headers that an answer does not set itself: two policies would both hold."""
    names = dict(given)
    if _SAFE_NAMES.isdisjoint(names):
        return SAFE_HEADERS
    return [field for field in SAFE_HEADERS if field[0] not in names]


def _look(scope: Scope) -> tuple[str, int]:
    """The client's X-Request-Id if it is harmless, else a new one; and how many Host fields."""
    request_id, hosts = "", 0
    for name, value in scope["headers"]:
        if name == b"host":
            hosts += 1
        elif name == b"x-request-id" and not request_id and _REQUEST_ID.match(value):
            request_id = str(value, "ascii")
    return request_id or ids.request_id(), hosts


def _refuse_hosts(count: int, scope: Scope) -> None:
    """Two readers of a request with two Host fields see two requests (RFC 9112 3.2)."""
    if count > 1 or scope.get("http_version") == "1.1":
        raise HttpRefused(HttpFault.REQUEST_MALFORMED, "Send one Host field.")
