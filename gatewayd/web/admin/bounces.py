"""What came back by another way than our listener: one raw message in each request."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request

from gatewayd.bounces.returned import Returned
from gatewayd.web.admin.parts import AdminParts

PATH: Final = "/bounces"
NAME_OCTETS: Final = 4096


def router(parts: AdminParts) -> APIRouter:
    routes = APIRouter(prefix=PATH)

    @routes.post("")
    async def take(
        request: Request, name: Annotated[str, Query(max_length=NAME_OCTETS)] = ""
    ) -> dict[str, Any]:
        """Take it as what came by SMTP; whom it is about must stand in it, with our MAC."""
        returned = Returned(reverse_path=None, octets=await request.body(), peer=name)
        taken = await parts.bounces.take(returned)
        return {
            "kind": taken.kind.value,
            "why": taken.why.value if taken.why is not None else None,
            "changes": taken.changes,
            "suppressed": taken.suppressed,
        }

    return routes
