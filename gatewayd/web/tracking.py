"""/track/ open and click: what recipients' programs fetch. No database on the request path.

| request                                        | answer                                        |
|------------------------------------------------|-----------------------------------------------|
| GET, HEAD /track/open/{token}.gif              | 200, one transparent pixel                    |
| GET, HEAD /track/click/{token}?url=...&sig=... | 302 to exactly the URL that was signed        |
| a token or signature that we did not make, a   | 404, no Location                              |
| parameter twice, a URL that is not http(s)     |                                               |
| another method                                 | 405                                           |
| over `tracking.requests_per_minute`            | 429 with Retry-After                          |

A bare ASGI application in front of the API, whose layers would cost half as much again as all this.
"""

from __future__ import annotations

from typing import Final, Protocol
from urllib.parse import quote, unquote_to_bytes

from starlette.types import Receive, Scope, Send

from gatewayd.ids import RecipientId
from gatewayd.tracking import opens
from gatewayd.web import problems
from gatewayd.web.limits import RateLimit, network
from gatewayd.web.pages import Page, Pages
from gatewayd.web.problems import HttpFault, HttpRefused

PREFIX: Final = "/track/"
PIXEL: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)

_OPEN: Final = f"{PREFIX}open/"
_CLICK: Final = f"{PREFIX}click/"
_GIF: Final = ".gif"
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_PIXEL_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"image/gif"), (b"content-length", b"%d" % len(PIXEL))],
}
_PIXEL_BODY: Final = {"type": "http.response.body", "body": PIXEL}
_NO_BODY: Final = {"type": "http.response.body", "body": b""}


class Links(Protocol):
    """Reads what was signed; `tracking/links.py`."""

    def read_open(self, token: str) -> RecipientId | None: ...

    def read_click(self, token: str, url: str, sig: str) -> RecipientId | None: ...


class Recorder(Protocol):
    """Takes what was seen, into memory; `tracking/recorder.py`."""

    def opened(self, recipient_id: RecipientId, request: opens.Request) -> None: ...

    def clicked(self, recipient_id: RecipientId, request: opens.Request, url: str) -> None: ...


class Metrics(Protocol):
    """What is counted of the URLs of recipients."""

    def tracking_refused(self, kind: str) -> None:
        """A request was over its rate: `track` or `unsubscribe`."""
        ...


class Tracking:
    """The application of the table."""

    def __init__(
        self, links: Links, recorder: Recorder, *, rate: RateLimit, pages: Pages, metrics: Metrics
    ) -> None:
        self._links = links
        self._recorder = recorder
        self._rate = rate
        self._pages = pages
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if method not in {"GET", "HEAD"}:
            await refuse_method(scope, receive, send, allowed="GET, HEAD")
            return
        wait_s = self._rate.take(network(scope))
        if wait_s:
            self._metrics.tracking_refused("track")
            await self._pages.send(Page.TOO_MANY, send, retry_after_s=wait_s)
            return
        path: str = scope["path"]
        if path.startswith(_CLICK):
            await self._click(path[len(_CLICK) :], scope, send)
        elif path.startswith(_OPEN) and path.endswith(_GIF):
            await self._open(path[len(_OPEN) : -len(_GIF)], scope, send)
        else:
            await self._pages.send(Page.UNKNOWN, send)

    async def _open(self, token: str, scope: Scope, send: Send) -> None:
        recipient_id = self._links.read_open(token)
        if recipient_id is None:
            await self._pages.send(Page.UNKNOWN, send)
            return
        self._recorder.opened(recipient_id, opens.Request.read(scope["method"], scope["headers"]))
        await send(_PIXEL_START)
        await send(_PIXEL_BODY)

    async def _click(self, token: str, scope: Scope, send: Send) -> None:
        asked = _parameters(scope["query_string"])
        recipient_id = self._links.read_click(token, *asked) if asked else None
        if asked is None or recipient_id is None:
            await self._pages.send(Page.UNKNOWN, send)
            return
        url = asked[0]
        request = opens.Request.read(scope["method"], scope["headers"])
        self._recorder.clicked(recipient_id, request, url)
        headers = [(b"location", _location(url)), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send(_NO_BODY)


async def refuse_method(scope: Scope, receive: Receive, send: Send, *, allowed: str) -> None:
    """Answer 405 (RFC 9110 15.5.6)."""
    refused = HttpRefused(HttpFault.METHOD_NOT_ALLOWED, f"Allowed here: {allowed}.")
    answer = problems.response(problems.from_exception(refused), scope)
    answer.headers["Allow"] = allowed
    await answer(scope, receive, send)


def _parameters(query: bytes) -> tuple[str, str] | None:
    """`url` and `sig`, each there once; what else a program has added does not matter."""
    found: dict[bytes, bytes] = {}
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name in {b"url", b"sig"}:
            if name in found:
                return None
            found[name] = value
    try:
        url = unquote_to_bytes(found[b"url"]).decode("utf-8")
        return url, found[b"sig"].decode("ascii")
    except (KeyError, UnicodeDecodeError):
        return None


def _location(url: str) -> bytes:
    """The URL as a field value: what cannot stand there is escaped, as a browser does (URL 4.4)."""
    return quote(url, safe=_VISIBLE).encode("ascii")
