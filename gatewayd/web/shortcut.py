"""One request that programs send by thousands, answered before the routers.

| request                  | goes                                                              |
|--------------------------|-------------------------------------------------------------------|
| this method at this path | to the function that the route would call, and to no router       |
| any other                | on, so that a wrong method is told 405 by those who know the rest |

Mount, router, exception layers and dependencies of FastAPI and Starlette cost more than reading,
composing and examining the message: 70 of 184 microseconds. The route stands there all the same:
it is what the OpenAPI document says of it, and answers the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gatewayd.errors import GatewayError
from gatewayd.web.problems import HttpRefused

Answer = Callable[[Scope, Receive], Awaitable[Response]]
Refuse = Callable[[Scope, Exception], Response]


class Shortcut:
    """Answers one kind of request, and passes on all others.

    Args:
        app: for all others.
        method: of the requests that are answered here.
        path: of them, exactly.
        answer: what the route calls. It may raise GatewayError and HttpRefused; what nobody
            expected is for the layers around.
        refuse: the answer for what it raised.
    """

    def __init__(
        self, app: ASGIApp, *, method: str, path: str, answer: Answer, refuse: Refuse
    ) -> None:
        self._app = app
        self._method = method
        self._path = path
        self._answer = answer
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["path"] != self._path
            or scope["method"] != self._method
        ):
            await self._app(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except (GatewayError, HttpRefused) as error:
            response = self._refuse(scope, error)
        await response(scope, receive, send)
