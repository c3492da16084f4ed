"""What routes share: who is asking, and JSON as a response."""

from __future__ import annotations

from typing import Final

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from gatewayd.tokens.claims import Principal

JSON: Final = "application/json"


def principal(request: Request) -> Principal:
    """Who is asking, as the route's gate let them in."""
    found: Principal = request.state.principal
    return found


def json_response(
    view: BaseModel,
    status: int,
    headers: dict[str, str] | None = None,
    *,
    exclude_none: bool = False,
) -> Response:
    text = view.model_dump_json(exclude_none=exclude_none)
    return Response(text.encode(), status_code=status, headers=headers, media_type=JSON)
