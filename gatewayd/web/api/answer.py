"""What routes share: who is asking, and JSON as a response."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from gatewayd.tokens.claims import Principal

JSON: Final = "application/json"

Fields = Iterable[tuple[bytes, bytes]]


def principal(request: Request) -> Principal:
    """Who is asking, as the route's gate let them in."""
    found: Principal = request.state.principal
    return found


class JsonOctets(Response):
    """JSON that is octets already, with header fields that are, too."""

    def __init__(self, octets: bytes, status: int, fields: Fields) -> None:
        self.body = octets
        self.status_code = status
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(octets)),
            (b"content-type", JSON.encode()),
            *fields,
        ]


def json_response(
    view: BaseModel,
    status: int,
    headers: dict[str, str] | None = None,
    *,
    exclude_none: bool = False,
) -> Response:
    text = view.model_dump_json(exclude_none=exclude_none)
    return Response(text.encode(), status_code=status, headers=headers, media_type=JSON)
