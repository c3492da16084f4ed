"""The operator API: over the control socket while a daemon runs, in this process when none does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from gatewayd.errors import Code, Fault, Refused, StoreUnavailable

R = TypeVar("R")

TIMEOUT_S: Final = 60.0
_CODES: Final = {code.word: code for code in Code}


class Operator:
    """Calls of the operator API.

    Raises of every call:
        Refused: with the words of the daemon.
        StoreUnavailable: the daemon could not answer.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - httpx2 is imported when it is needed
        self._client = client

    async def get(self, path: str, **query: object) -> dict[str, Any]:
        return await self._call("GET", path, query=query)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return await self._call("POST", path, body=body)

    async def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._call("PATCH", path, body=body)

    async def delete(self, path: str, **query: object) -> dict[str, Any]:
        return await self._call("DELETE", path, query=query)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        response = await self._client.request(method, path, params=given, json=body)
        answer = response.json()
        if response.is_success:
            found: dict[str, Any] = answer
            return found
        raise _refused(answer)


def part(text: str) -> str:
    """Text as one segment of a path."""
    return quote(text, safe="@")


def call(config_file: Path, work: Callable[[Operator], Awaitable[R]]) -> R:
    """Run some calls and return what they gave.

    Raises:
        GatewayError: whatever stands in their way.
    """

    async def run() -> R:
        async with _operator(config_file) as operator:
            return await work(operator)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def _operator(config_file: Path) -> AsyncIterator[Operator]:
    import httpx2  # noqa: PLC0415 - costs every command that calls nothing

    from gatewayd.config.load import load  # noqa: PLC0415 - as above

    config = load(config_file)
    over_socket = httpx2.AsyncHTTPTransport(uds=str(config.control_socket))
    async with httpx2.AsyncClient(
        transport=over_socket, base_url="http://localhost", timeout=TIMEOUT_S
    ) as client:
        try:
            await client.get("/status")
        except httpx2.ConnectError:
            pass
        except httpx2.HTTPError as error:
            raise StoreUnavailable(f"the daemon does not answer: {error}") from error
        else:
            yield Operator(client)
            return
    # Nobody listens: this process may own the state directory for a moment.
    from gatewayd import log  # noqa: PLC0415 - as above
    from gatewayd.config.process import LogSection  # noqa: PLC0415 - as above
    from gatewayd.daemon.admin import operator_parts  # noqa: PLC0415 - a daemon's worth of imports
    from gatewayd.web.admin.app import create_admin_app  # noqa: PLC0415 - as above

    log.setup(LogSection(level="error", format="console"))  # errors are ours to show
    async with operator_parts(config) as parts:
        inside = httpx2.ASGITransport(create_admin_app(parts))
        async with httpx2.AsyncClient(
            transport=inside, base_url="http://localhost", timeout=TIMEOUT_S
        ) as client:
            yield Operator(client)


def _refused(problem: Mapping[str, Any]) -> Refused | StoreUnavailable:
    code = _CODES.get(str(problem.get("code")), Code.VALIDATION_FAILED)
    detail = str(problem.get("detail", "the daemon refused, and did not say why"))
    if code is Code.UNAVAILABLE:
        return StoreUnavailable(detail)
    return Refused(
        code,
        detail,
        faults=[
            Fault(pointer=str(one.get("pointer")), detail=_fault(one), code=code)
            for one in problem.get("errors") or ()
        ],
    )


def _fault(one: Mapping[str, Any]) -> str:
    pointer = str(one.get("pointer", "")).lstrip("/")
    return f"{pointer}: {one.get('detail')}" if pointer else str(one.get("detail"))
