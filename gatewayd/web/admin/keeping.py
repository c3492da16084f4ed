"""Keys, reload."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter

from gatewayd.errors import Code, Refused
from gatewayd.keys.ring import Purpose
from gatewayd.web.admin.parts import AdminParts


def router(parts: AdminParts) -> APIRouter:
    routes = APIRouter()

    @routes.get("/keys")
    async def keys() -> dict[str, Any]:
        return {
            "items": [
                {
                    "purpose": ring.purpose.value,
                    "key_id": key.kid,
                    "state": key.state.value,
                    "created_at": key.created_at.isoformat(),
                }
                for ring in await parts.keys.list()
                for key in ring.keys
            ]
        }

    @routes.post("/keys/{purpose}/{phase}")
    async def rotate(
        purpose: Purpose, phase: Literal["begin", "switch", "finish"]
    ) -> dict[str, Any]:
        done = await parts.keys.rotate(purpose, phase)
        return {
            "purpose": purpose.value,
            "phase": phase,
            "resealed": done.resealed,
            "keys": [{"key_id": kid, "state": state} for kid, state in done.keys],
            "hint": done.hint,
        }

    @routes.post("/reload")
    async def reload() -> dict[str, Any]:
        if parts.reload is None:
            raise Refused(Code.CONFLICT, "no daemon runs, so there is nothing to reload")
        return parts.reload()

    return routes
