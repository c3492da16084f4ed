"""The operator API: over the control socket while a daemon runs, in this process when none does."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import pwd
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from gatewayd.errors import (
    Code,
    Fault,
    GatewayError,
    KeyFileError,
    Refused,
    StoreUnavailable,
)

R = TypeVar("R")

TIMEOUT_S: Final = 60.0
EX_NOPERM: Final = 77
_CODES: Final = {code.word: code for code in Code}
_PLACE: Final = re.compile(r"\A/(?:body|query|path)/")  # of a field; a person sees its name alone


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

    async def post_octets(self, path: str, octets: bytes, **query: object) -> dict[str, Any]:
        return await self._call("POST", path, query=query, octets=octets)

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
        octets: bytes | None = None,
    ) -> dict[str, Any]:
        import httpx2  # noqa: PLC0415 - costs every command that calls nothing

        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = await self._client.request(
                method, path, params=given, json=body, content=octets
            )
            answer: dict[str, Any] = response.json()
        except (httpx2.HTTPError, json.JSONDecodeError) as error:
            why = str(error) or type(error).__name__
            raise StoreUnavailable(
                f"the daemon broke off ({why}): look whether the work was done, then try again"
            ) from error
        except UnicodeEncodeError as error:
            raise _not_text() from error
        if response.is_success:
            return answer
        raise _refused(answer)


def part(text: str) -> str:
    """Text as one segment of a path.

    Raises:
        Refused: it cannot be one.
    """
    if text in ("", ".", ".."):
        raise Refused(Code.VALIDATION_FAILED, f"{text!r} names nothing")
    try:
        return quote(text, safe="@")
    except UnicodeEncodeError as error:
        raise _not_text() from error


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
    if _is_answering(config.control_socket):
        over_socket = httpx2.AsyncHTTPTransport(uds=str(config.control_socket))
        async with _client(over_socket) as client:
            yield Operator(client)
        return
    # Nobody listens: this process may own the state directory for a moment.
    from gatewayd import log  # noqa: PLC0415 - as above
    from gatewayd.config.process import LogSection  # noqa: PLC0415 - as above
    from gatewayd.daemon.admin import operator_parts  # noqa: PLC0415 - a daemon's worth of imports
    from gatewayd.web.admin.app import create_admin_app  # noqa: PLC0415 - as above

    log.setup(LogSection(level="error", format="console"))  # errors are ours to show
    async with (
        operator_parts(config) as parts,
        _client(httpx2.ASGITransport(create_admin_app(parts))) as client,
    ):
        yield Operator(client)


def _client(transport: Any) -> Any:  # noqa: ANN401 - as in Operator
    import httpx2  # noqa: PLC0415 - as above

    return httpx2.AsyncClient(
        transport=transport, base_url="http://localhost", timeout=TIMEOUT_S, trust_env=False
    )


def _is_answering(control_socket: Path) -> bool:
    """Whether a daemon listens there.

    Raises:
        KeyFileError: one may, and this user may not ask it.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(TIMEOUT_S)
        try:
            probe.connect(str(control_socket))
        except PermissionError as error:
            raise KeyFileError(_who_may(control_socket), exit_code=EX_NOPERM) from error
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise StoreUnavailable(
                f"{control_socket}: the daemon does not answer: {error}"
            ) from error
    return True


def _who_may(control_socket: Path) -> str:
    """Whose the socket is, or the directory before it that we may not even enter."""
    for path in (control_socket, *control_socket.parents):
        try:
            found = path.stat()
        except OSError:
            continue
        owner, group = _name_of(pwd.getpwuid, found.st_uid), _name_of(grp.getgrgid, found.st_gid)
        me = _name_of(pwd.getpwuid, os.geteuid())
        return (
            f"{control_socket}: user {me} may not use it; {path} belongs to user {owner} and "
            f"group {group}. Run this as the user of the daemon: sudo -u {owner} gatewayd ..."
        )
    return f"{control_socket}: this user may not use it; run this as the user of the daemon"


def _name_of(lookup: Callable[[int], Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def _not_text() -> Refused:
    return Refused(Code.VALIDATION_FAILED, "an argument is not UTF-8 text")


def _refused(problem: Mapping[str, Any]) -> GatewayError:
    code = _CODES.get(str(problem.get("code")), Code.VALIDATION_FAILED)
    detail = _PLACE.sub("", str(problem.get("detail", "the daemon refused, and did not say why")))
    exit_code = problem.get("exit_code")  # where it is not the caller who must act
    if isinstance(exit_code, int) and exit_code != StoreUnavailable.exit_code:
        return KeyFileError(detail, exit_code=exit_code)
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
    pointer = _PLACE.sub("", str(one.get("pointer", ""))).lstrip("/")
    return f"{pointer}: {one.get('detail')}" if pointer else str(one.get("detail"))
