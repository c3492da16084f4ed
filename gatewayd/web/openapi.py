"""The OpenAPI 3.1 document: FastAPI's, with the request bodies and problems that routes name.

Routes read their bodies themselves, once, from octets. They declare them here by model, and the
models' schemas are added to the components.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gatewayd.web.problems import MEDIA_TYPE

_REF: Final = "#/components/schemas/{model}"
_STATUSES: Final = {
    400: "Not valid HTTP",
    401: "No token, or one that is not valid",
    403: "The token may not do this",
    404: "Nothing of yours has this id",
    408: "The request came too slowly",
    409: "The same request is being worked on, or the state does not allow this",
    413: "Too large",
    415: "Another media type or encoding than the one asked for",
    422: "The request is not valid, a recipient is suppressed, or the key was used before",
    429: "The quota is used up",
    431: "The header of the request is too large",
    503: "Not available now",
    507: "No space left",
}
_READ: Final = (400, 401, 403, 408, 413, 415, 422, 431, 503)
READ_STATUSES: Final = _READ
READ_ONE_STATUSES: Final = (*_READ, 404)
SEND_STATUSES: Final = (*_READ, 409, 429, 507)

IDEMPOTENCY_KEY: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same request gives the stored answer for at least 24 h. "
    'Quoted ("...") or bare.',
    "schema": {
        "type": "string",
        "pattern": r"^([!#-~][!-~]{0,255}|\"([!#-\[\]-~]|\\[\"\\]){1,256}\")$",
    },
}
SENT_HEADERS: Final[dict[str, Any]] = {
    "Idempotency-Replayed": {
        "description": "`true` when this is the stored answer to an earlier request.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RateLimit-Policy": {
        "description": "The token's quotas, in recipients.",
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": "What is left of them.",
        "schema": {"type": "string"},
    },
}
_CHALLENGE: Final = {
    "WWW-Authenticate": {"description": "RFC 6750 3", "schema": {"type": "string"}},
}
_RETRY_AFTER: Final = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
}


def problem_responses(statuses: tuple[int, ...]) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for FastAPI's `responses`."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted(statuses):
        response: dict[str, Any] = {
            "description": _STATUSES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
        }
        if status in {401, 403}:
            response["headers"] = _CHALLENGE
        elif status in {409, 429, 503, 507}:
            response["headers"] = _RETRY_AFTER
        responses[status] = response
    return responses


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `requestBody` of a route that reads this model from JSON."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def octets_body(media_type: str) -> dict[str, Any]:
    """The `requestBody` of a route that takes octets as they are."""
    return {"required": True, "content": {media_type: {"schema": {"type": "string"}}}}


def document(app: FastAPI, *, path: str, models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """The whole document.

    Args:
        app: whose routes are described.
        path: where it is mounted.
        models: what routes refer to by name.
    """
    whole: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=app.description,
        routes=app.routes,
        servers=[{"url": path}],
    )
    components = whole.setdefault("components", {})
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REF
    )
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    whole["security"] = [{"token": []}]
    return whole
