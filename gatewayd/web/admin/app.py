"""Routes of the operator API.

| resource                              | verbs                                            |
|---------------------------------------|--------------------------------------------------|
| /status /reload                       | GET; POST                                        |
| /mailboxes /mailboxes/{address}       | GET POST; GET PATCH DELETE; POST .../validate    |
| /tokens /tokens/{token_id}            | GET POST; DELETE                                 |
| /messages /messages/{queue_id}        | GET; GET; GET .../explain; POST .../{verb}       |
| /suppressions                         | GET POST DELETE; GET .../test; POST .../import   |
| /domains /domains/{domain}            | GET POST; GET (its DNS records) DELETE           |
| /keys /keys/{purpose}/{phase}         | GET; POST                                        |
| /bounces                              | POST of a raw message                            |

Who asks here owns the machine, so a failure of ours is told in full: `detail` is its text and
`exit_code` what a command exits with.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

import gatewayd
from gatewayd import log
from gatewayd.errors import ConfigError, KeyFileError, StoreError, StoreUnavailable
from gatewayd.web import problems
from gatewayd.web.admin import bounces, keeping, messages, senders, suppressions
from gatewayd.web.admin.parts import AdminParts
from gatewayd.web.app import exception_handlers
from gatewayd.web.edge import Edge
from gatewayd.web.limits import BodyLimit

BODY_OCTETS: Final = 1_048_576


_OURS: Final = (ConfigError, KeyFileError, StoreError)

_log = log.get_logger(__name__)


def create_admin_app(parts: AdminParts) -> ASGIApp:
    """The application of the control socket."""
    app = FastAPI(
        title="gatewayd operators",
        version=gatewayd.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={**exception_handlers(), **dict.fromkeys(_OURS, _tell)},
    )
    app.include_router(senders.router(parts))
    app.include_router(messages.router(parts))
    app.include_router(suppressions.router(parts))
    app.include_router(bounces.router(parts))
    app.include_router(keeping.router(parts))

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return await parts.status()

    reports = BodyLimit(app, octets=max(BODY_OCTETS, parts.report_octets))
    others = BodyLimit(app, octets=BODY_OCTETS)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        limited = reports if scope.get("path") == bounces.PATH else others
        await limited(scope, receive, send)

    return Edge(dispatch)


async def _tell(request: Request, error: Exception) -> Response:
    """A failure in its own words."""
    problem = replace(problems.from_exception(error), detail=str(error))
    _log.error("operator_request_failed", code=problem.code, error=str(error))
    request_id = problems.request_id(request.scope)
    members = problem.members(instance=problems.instance(request.scope), request_id=request_id)
    members["exit_code"] = getattr(error, "exit_code", StoreUnavailable.exit_code)
    return JSONResponse(members, status_code=problem.status, media_type=problems.MEDIA_TYPE)
