"""/unsubscribe/{token}: a page with a button, and the one-click POST of RFC 8058.

| request                                                   | answer                              |
|-----------------------------------------------------------|-------------------------------------|
| GET, HEAD                                                 | 200, the page; nothing changes      |
| POST `List-Unsubscribe=One-Click`, as either kind of form | 200, unsubscribed (again: the same) |
| POST of anything else                                     | 400                                 |
| a token that we did not make                              | 404, without a look at the database |
| a recipient that is not there any more                    | 404                                 |
| another method                                            | 405                                 |
| too often                                                 | 429 with Retry-After                |
| the store does not answer                                 | 503 with Retry-After                |

No login, no cookie, no redirect (RFC 8058 3.2): the token says who it is. Scanners follow links, so
GET changes nothing.

| too often                    | counted by                                                        |
|------------------------------|-------------------------------------------------------------------|
| POST with a token of ours    | recipient: a mail provider sends those of all its users from few  |
| GET, HEAD with one           | addresses, and many people share one; nobody is kept from leaving |
| a token that we did not make | network, together with `/track/`: guessing is what it is against  |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gatewayd import log
from gatewayd.errors import StoreError
from gatewayd.ids import RecipientId
from gatewayd.mail import unsubscribe
from gatewayd.tracking.unsubscribe import How
from gatewayd.web.limits import RateLimit, network
from gatewayd.web.pages import BY_PAGE, Page, Pages
from gatewayd.web.problems import request_id
from gatewayd.web.tracking import Metrics, refuse_method

PREFIX: Final = "/unsubscribe/"
FORM_OCTETS: Final = 8192
RETRY_S: Final = 30

_log = log.get_logger(__name__)


class Links(Protocol):
    """Reads what was signed; `tracking/links.py`."""

    def read_unsubscribe(self, token: str) -> RecipientId | None: ...


class Unsubscribes(Protocol):
    """Takes recipients off; `tracking/unsubscribe.py`."""

    async def leave(self, recipient_id: RecipientId, how: How) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Who may ask how often.

    strangers: by network, for a token that we did not make.
    looking, leaving: by recipient, for GET and for POST.
    """

    strangers: RateLimit
    looking: RateLimit
    leaving: RateLimit


class Unsubscribe:
    """The application of the table.

    Args:
        links: who a token was made for.
        unsubscribes: does it.
        limits: how often.
        pages: what is answered.
        metrics: counts what was too often.
    """

    def __init__(
        self,
        links: Links,
        unsubscribes: Unsubscribes,
        *,
        limits: Limits,
        pages: Pages,
        metrics: Metrics,
    ) -> None:
        self._links = links
        self._unsubscribes = unsubscribes
        self._limits = limits
        self._pages = pages
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method not in {"GET", "HEAD", "POST"}:
            await refuse_method(scope, receive, send, allowed="GET, HEAD, POST")
            return
        recipient_id = self._links.read_unsubscribe(scope["path"][len(PREFIX) :])
        limits = self._limits
        if recipient_id is None:
            wait_s = limits.strangers.take(network(scope))
        else:
            wait_s = (limits.leaving if method == "POST" else limits.looking).take(recipient_id)
        if wait_s:
            self._metrics.tracking_refused("unsubscribe")
            await self._pages.send(Page.TOO_MANY, send, retry_after_s=wait_s)
        elif recipient_id is None:
            await self._pages.send(Page.UNKNOWN, send)
        elif method != "POST":
            await self._pages.send(Page.ASK, send)
        else:
            await self._leave(recipient_id, Request(scope, receive), send)

    async def _leave(self, recipient_id: RecipientId, request: Request, send: Send) -> None:
        octets = await _read(request)
        if octets is None:
            await self._pages.send(Page.TOO_LARGE, send)
            return
        content_type = request.headers.get("content-type", "").encode("latin-1")
        form = unsubscribe.read_form(content_type, octets)
        if not unsubscribe.is_one_click(form):
            await self._pages.send(Page.UNCLEAR, send)
            return
        name, value = BY_PAGE
        how = How.PAGE if form.get(name) == value else How.ONE_CLICK
        try:
            is_known = await self._unsubscribes.leave(recipient_id, how)
        except StoreError as error:
            _log.error("unsubscribe_failed", request_id=request_id(request.scope), error=str(error))
            await self._pages.send(Page.LATER, send, retry_after_s=RETRY_S)
            return
        await self._pages.send(Page.DONE if is_known else Page.UNKNOWN, send)


async def _read(request: Request) -> bytes | None:
    """The body; None if it is too large for a form."""
    octets = b""
    async for some in request.stream():
        octets += some
        if len(octets) > FORM_OCTETS:
            return None
    return octets
