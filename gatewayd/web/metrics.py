"""Prometheus text: `/metrics`."""

from __future__ import annotations

from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Protocol):
    """All metrics of the process, as text of the Prometheus exposition format 0.0.4."""

    def render(self) -> bytes: ...


def route(metrics: Metrics) -> Route:
    """The route `/metrics`."""

    async def show(_: Request) -> Response:
        return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    return Route("/metrics", show)
