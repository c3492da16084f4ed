"""Octets of a request body: refused by Content-Length, else counted as they come.

A compressed body is refused: what it unpacks to cannot be known from its size.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gatewayd.errors import Code, Refused
from gatewayd.web import problems
from gatewayd.web.problems import HttpFault, HttpRefused


class BodyLimit:
    """Gives the application no body of more than `octets`.

    What is announced as too large is answered here, before any of it is read. What turns out too
    large raises Refused from `receive`, in whoever reads the body.
    """

    def __init__(self, app: ASGIApp, *, octets: int) -> None:
        self._app = app
        self._octets = octets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            problem = problems.from_exception(refusal)
            await problems.response(problem, scope)(scope, receive, send)
            return
        count = 0

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                if count > self._octets:
                    raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _refusal(self, scope: Scope) -> Exception | None:
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value) > self._octets):
                return self._too_large()
            if name == b"content-encoding" and value.strip().lower() != b"identity":
                return HttpRefused(
                    HttpFault.MEDIA_TYPE_UNSUPPORTED,
                    "Send the body as it is, without Content-Encoding.",
                )
        return None

    def _too_large(self) -> Refused:
        return Refused(
            Code.MESSAGE_TOO_LARGE, f"The body may have at most {self._octets} octets over HTTP."
        )
