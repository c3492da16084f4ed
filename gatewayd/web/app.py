"""Routes and layers: one list for each listener.

```
uvicorn ─> Edge ─┬─ /track/       Tracking
                 ├─ /unsubscribe/ Unsubscribe
                 └─> BodyLimit ─┬─ POST /api/v1/messages/send
                                └─> Starlette ─┬─ /healthz /readyz
                                               ├─ /caught            (localserve)
                                               └─ /api/v1 ─ FastAPI ─┬─ /openapi.json
                                                                     ├─ /messages... /events
                                                                     └─ /suppressions...
```

What comes by thousands stands before the routers, and needs none of them: what recipients ask for,
which saves 7 of 25 microseconds, and one message to be sent (`shortcut.py`), 70 of 184.

The operators' application, on the unix socket, is `web/admin/`: `create_admin_app` there stands on
`protect` and `exception_handlers` of this file.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

import gatewayd
from gatewayd import log
from gatewayd.clock import Clock
from gatewayd.config.limits import LimitsSection
from gatewayd.errors import GatewayError, Refused
from gatewayd.web import (
    caught,
    health,
    metrics,
    openapi,
    problems,
    tracking,
    unsubscribe,
    validation,
)
from gatewayd.web.api import events as stories
from gatewayd.web.api.events import Events, EventsApi
from gatewayd.web.api.messages import SEND_PATH, Inspector, MessagesApi
from gatewayd.web.api.models import SendBatch, SendMessage
from gatewayd.web.api.submissions import Intake
from gatewayd.web.api.suppressions import (
    NewSuppression,
    Reader,
    Suppressions,
    SuppressionsApi,
)
from gatewayd.web.api.views import Problem
from gatewayd.web.auth import Gate, Tokens
from gatewayd.web.edge import Edge
from gatewayd.web.limits import BodyLimit, RateLimit
from gatewayd.web.pages import Pages
from gatewayd.web.problems import HttpRefused
from gatewayd.web.shortcut import Shortcut

API_PATH: Final = "/api/v1"
_LEAVING_PER_MINUTE: Final = 5  # POSTs of one recipient; each costs a transaction
_DESCRIPTION: Final = (
    "Hand over mail to be signed and delivered. Every error is problem+json (RFC 9457) with a "
    "stable `code`."
)

Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]

_log = log.get_logger(__name__)


class Stories(Inspector, stories.Inspector, Protocol):
    """All that is known of accepted messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """What the API stands on."""

    intake: Intake
    tokens: Tokens
    inspector: Stories
    events: Events
    suppressions: Suppressions
    suppression_reader: Reader
    readiness: health.Readiness
    limits: LimitsSection


class Links(tracking.Links, unsubscribe.Links, Protocol):
    """Reads every URL that a recipient gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientParts:
    """What the URLs of recipients stand on. requests_per_minute: of one network, or recipient."""

    links: Links
    recorder: tracking.Recorder
    unsubscribes: unsubscribe.Unsubscribes
    requests_per_minute: int
    clock: Clock
    metrics: tracking.Metrics


def create_api_app(
    parts: ApiParts,
    *,
    recipients: RecipientParts | None = None,
    caught_mail: caught.CaughtMail | None = None,
) -> ASGIApp:
    """The application of the API's listener.

    Args:
        parts: of the API itself.
        recipients: of the URLs in mail; None serves none of them.
        caught_mail: of the simulator, to be read back; None shows none.
    """
    gate = Gate(parts.tokens, token_octets=parts.limits.token_octets)
    messages = MessagesApi(
        gate=gate, intake=parts.intake, inspector=parts.inspector, limits=parts.limits
    )
    routes: list[BaseRoute] = [
        *health.routes(parts.readiness, with_detail=False),
        Mount(API_PATH, app=_api(parts, gate, messages)),
    ]
    if caught_mail is not None:
        routes += caught.routes(caught_mail)
    sending = Shortcut(
        _starlette(routes),
        method="POST",
        path=API_PATH + SEND_PATH,
        answer=messages.answer_send,
        refuse=_refusal,
    )
    api = BodyLimit(sending, octets=parts.limits.http_body_octets)
    return Edge(api if recipients is None else _before(api, recipients))


def create_metrics_app(shown: metrics.Metrics, readiness: health.Readiness) -> ASGIApp:
    """The application of the metrics listener."""
    routes = [metrics.route(shown), *health.routes(readiness, with_detail=True)]
    return protect(_starlette(routes), body_octets=0)


def protect(app: ASGIApp, *, body_octets: int) -> ASGIApp:
    """The layers that every application has around it."""
    return Edge(BodyLimit(app, octets=body_octets))


def exception_handlers() -> dict[int | type[Exception], Handler]:
    """Every exception to its problem; what nobody expected is logged by `Edge`, once."""
    return {
        GatewayError: _refuse,
        HttpRefused: _refuse,
        HTTPException: _refuse,
        RequestValidationError: _refuse_parameters,
        Exception: _refuse_silently,
    }


def _before(api: ASGIApp, parts: RecipientParts) -> ASGIApp:
    """The URLs of recipients, then all others.

    Opens and clicks keep nobody from leaving: who leaves is counted apart, by recipient.
    """
    pages, metrics = Pages(), parts.metrics
    rate = RateLimit(per_minute=parts.requests_per_minute, clock=parts.clock)
    tracked = tracking.Tracking(
        parts.links, parts.recorder, rate=rate, pages=pages, metrics=metrics
    )
    leaving = unsubscribe.Unsubscribe(
        parts.links,
        parts.unsubscribes,
        limits=unsubscribe.Limits(
            strangers=rate,
            looking=RateLimit(per_minute=parts.requests_per_minute, clock=parts.clock),
            leaving=RateLimit(per_minute=_LEAVING_PER_MINUTE, clock=parts.clock),
        ),
        pages=pages,
        metrics=metrics,
    )

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"] if scope["type"] == "http" else ""
        if path.startswith(tracking.PREFIX):
            await tracked(scope, receive, send)
        elif path.startswith(unsubscribe.PREFIX):
            await leaving(scope, receive, send)
        else:
            await api(scope, receive, send)

    return dispatch


def _starlette(routes: Sequence[BaseRoute]) -> Starlette:
    app = Starlette(routes=list(routes), exception_handlers=exception_handlers())
    app.router.redirect_slashes = False
    return app


def _api(parts: ApiParts, gate: Gate, messages: MessagesApi) -> FastAPI:
    app = FastAPI(
        title="gatewayd",
        version=gatewayd.__version__,
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=exception_handlers(),
    )
    happened = EventsApi(gate=gate, events=parts.events, inspector=parts.inspector)
    listed = SuppressionsApi(
        gate=gate, suppressions=parts.suppressions, reader=parts.suppression_reader
    )
    routers = (messages.router(), happened.router(), listed.router())
    for router in routers:
        app.include_router(router)
    routes = [route for router in routers for route in router.routes]
    app.add_exception_handler(HTTPException, _refuse_method(routes))
    octets = b""

    def render() -> bytes:
        models = (SendMessage, SendBatch, NewSuppression, Problem)
        whole = openapi.document(app, path=API_PATH, models=models)
        return json.dumps(whole).encode()

    async def show_openapi(_: Request) -> Response:
        nonlocal octets
        if not octets:  # a tenth of a second, which is too long for the loop
            octets = await asyncio.to_thread(render)
        return Response(octets, media_type="application/json")

    app.router.routes.append(Route("/openapi.json", show_openapi))
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    return _refusal(request.scope, error)


def _refusal(scope: Scope, error: Exception) -> Response:
    problem = problems.from_exception(error)
    bound = _log.bind(
        request_id=problems.request_id(scope), code=problem.code, status=problem.status
    )
    if isinstance(error, GatewayError) and not isinstance(error, Refused):
        bound.error("http_request_failed", error=str(error))
    elif isinstance(error, Refused):
        bound.info("http_request_refused", reason=error.reason or error.public)
    else:
        bound.debug("http_request_refused", reason=problem.detail)
    return problems.response(problem, scope)


def _refuse_method(routes: Sequence[BaseRoute]) -> Handler:
    """As `_refuse`. The router names the methods of one route, where a path may have several."""

    async def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            matching = [
                route
                for route in routes
                if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
            ]
            same = [route for route in matching if route.path == matching[0].path]
            methods = {method for route in same for method in route.methods or ()}
            if methods:
                headers = {"Allow": ", ".join(sorted(methods))}
                error = HTTPException(error.status_code, headers=headers)
        return await _refuse(request, error)

    return refuse


async def _refuse_parameters(request: Request, error: RequestValidationError) -> Response:
    return await _refuse(request, validation.from_query(error.errors()))


async def _refuse_silently(request: Request, error: Exception) -> Response:
    return problems.response(problems.from_exception(error), request.scope)
