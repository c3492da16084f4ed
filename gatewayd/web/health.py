"""Live and ready: `/healthz` and `/readyz`.

`/healthz` answers as long as the event loop turns. `/readyz` is 200 when every fact that the
daemon gathers says ready, 503 otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Whether one service can do its work; `detail` is for the operator."""

    name: str
    is_ready: bool
    detail: str = ""


class Readiness(Protocol):
    """What every service of the daemon says of itself; the daemon gathers it."""

    def facts(self) -> Sequence[Fact]: ...


def routes(readiness: Readiness, *, with_detail: bool) -> list[Route]:
    """The two routes.

    Args:
        readiness: asked at each request, so it must answer from memory.
        with_detail: whether the answer tells why; only where no stranger asks.
    """

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(_: Request) -> Response:
        facts = readiness.facts()
        is_ready = all(fact.is_ready for fact in facts)
        members: dict[str, object] = {"status": "ready" if is_ready else "not_ready"}
        if with_detail:
            members["facts"] = [
                {"name": fact.name, "ready": fact.is_ready, "detail": fact.detail} for fact in facts
            ]
        return JSONResponse(members, status_code=200 if is_ready else 503)

    return [Route("/healthz", live), Route("/readyz", ready)]
