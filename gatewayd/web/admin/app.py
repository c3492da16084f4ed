"""Routes of the operator API, and its JSON bodies are in `models.py`.

| resource                              | verbs                                            |
|---------------------------------------|--------------------------------------------------|
| /status /reload                       | GET; POST                                        |
| /mailboxes /mailboxes/{address}       | GET POST; GET PATCH DELETE; POST .../validate    |
| /tokens /tokens/{token_id}            | GET POST; DELETE                                 |
| /messages /messages/{queue_id}        | GET; GET; GET .../explain; POST .../{verb}       |
| /suppressions                         | GET POST DELETE; GET /suppressions/test          |
| /domains /domains/{domain}            | GET POST; GET (its DNS records) DELETE           |
| /keys /keys/{purpose}/{phase}         | GET; POST                                        |
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from starlette.types import ASGIApp

import gatewayd
from gatewayd.web.admin import keeping, messages, senders
from gatewayd.web.admin.parts import AdminParts
from gatewayd.web.app import exception_handlers, protect

BODY_OCTETS: Final = 1_048_576


def create_admin_app(parts: AdminParts) -> ASGIApp:
    """The application of the control socket."""
    app = FastAPI(
        title="gatewayd operators",
        version=gatewayd.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=exception_handlers(),
    )
    app.include_router(senders.router(parts))
    app.include_router(messages.router(parts))
    app.include_router(keeping.router(parts))

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return await parts.status()

    return protect(app, body_octets=BODY_OCTETS)
