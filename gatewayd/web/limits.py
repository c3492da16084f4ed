"""What a client may cost: octets of a body, and requests in a minute.

A body is refused by Content-Length, else counted as it comes. A compressed one is refused, by
whichever of two fields says so: what it unpacks to cannot be known from its size.
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections import OrderedDict
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatewayd.clock import Clock
from gatewayd.errors import Code, Refused
from gatewayd.web import problems
from gatewayd.web.problems import HttpFault, HttpRefused

COUNTED: Final = 50_000  # keys in memory: some 10 MiB
WINDOW_S: Final = 60.0


class BodyLimit:
    """Gives the application no body of more than `octets`.

    What is announced as too large is answered here, before any of it is read. What turns out too
    large raises Refused from `receive`, in whoever reads the body.
    """

    def __init__(self, app: ASGIApp, *, octets: int) -> None:
        self._app = app
        self._octets = octets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            problem = problems.from_exception(refusal)
            await problems.response(problem, scope)(scope, receive, send)
            return
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                if count > self._octets:
                    raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _refusal(self, scope: Scope) -> Exception | None:
        given = dict(scope["headers"])  # the last of each name; most requests need no more
        if b"transfer-encoding" in given and not _is_chunked(scope):
            # A coding below the chunks, or chunks in chunks (RFC 9112 6.1, 7.1).
            return HttpRefused(
                HttpFault.REQUEST_MALFORMED, "The one Transfer-Encoding known here is chunked."
            )
        length = given.get(b"content-length")
        if length is not None and (not length.isdigit() or int(length) > self._octets):
            return self._too_large()
        if b"content-encoding" in given and not _is_identity(scope):
            return HttpRefused(
                HttpFault.MEDIA_TYPE_UNSUPPORTED,
                "Send the body as it is, without Content-Encoding.",
            )
        return None

    def _too_large(self) -> Refused:
        return Refused(
            Code.MESSAGE_TOO_LARGE, f"The body may have at most {self._octets} octets over HTTP."
        )


def _is_chunked(scope: Scope) -> bool:
    return _codings(scope, b"transfer-encoding") == [b"chunked"]


def _is_identity(scope: Scope) -> bool:
    return set(_codings(scope, b"content-encoding")) == {b"identity"}


def _codings(scope: Scope, name: bytes) -> list[bytes]:
    return [value.strip().lower() for key, value in scope["headers"] if key == name]


class RateLimit:
    """Requests by key in a minute, which begins with the first of them.

    All minutes are equally long, so the oldest end first: they are forgotten in that order. When
    there are more keys than are counted, the oldest goes although it has not ended.
    """

    def __init__(self, *, per_minute: int, clock: Clock) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # end, requests

    def take(self, key: str) -> int:
        """Count one request. 0: it may go on; else the seconds after which one may.

        An empty key is not counted: a client of a unix socket has no address.
        """
        if not key:
            return 0
        now = self._clock.monotonic()
        end, count = self._counts.get(key, (0.0, 0))
        if end <= now:
            self._begin(key, now)
            return 0
        if count >= self._per_minute:
            return max(1, math.ceil(end - now))
        self._counts[key] = (end, count + 1)
        return 0

    def _begin(self, key: str, now: float) -> None:
        counts = self._counts
        counts.pop(key, None)
        while counts and (len(counts) >= COUNTED or next(iter(counts.values()))[0] <= now):
            counts.popitem(last=False)
        counts[key] = (now + WINDOW_S, 1)


def network(scope: Scope) -> str:
    """Who sent a request, as far as limits go: an IPv4 address or an IPv6 /64; "" if unknown.

    Behind proxies that are trusted uvicorn has put the address that they forward in its place.
    """
    client = scope.get("client")
    if not client:
        return ""
    host: str = client[0]
    return _prefix(host) if ":" in host else host


@functools.lru_cache(maxsize=4096)
def _prefix(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:8].hex()
