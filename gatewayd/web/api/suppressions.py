"""`/suppressions`: the addresses that get no mail of the token's mailbox.

| request                        | scope              | answer                                     |
|--------------------------------|--------------------|--------------------------------------------|
| GET /suppressions              | suppressions:read  | a page, by address                         |
| GET /suppressions/test         | suppressions:read  | whether mail would be refused now, and why |
| GET /suppressions/{address}    | suppressions:read  | the entry; 404 when there is none          |
| POST /suppressions             | suppressions:write | 201: no mail goes there from now on        |
| DELETE /suppressions/{address} | suppressions:write | 204: mail may go there again; 403 when     |
|                                |                    | others than an agent said it should not    |

What holds for every mailbox is an operator's: it is not listed and cannot be removed here, but
`test` tells of it, as the refusal of a message would. What a bounce, a complaint, an unsubscription
or an operator put on the mailbox's own list is shown, and stays: `suppression/rules.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from starlette.responses import Response

from gatewayd.suppression.reading import SuppressionFilter
from gatewayd.suppression.rules import AGENT
from gatewayd.tokens.claims import Scope
from gatewayd.web import body, openapi, paging, validation
from gatewayd.web.api import views
from gatewayd.web.api.answer import JSON, json_response, principal
from gatewayd.web.api.queries import INSTANT, AddressQuery, SuppressionQuery
from gatewayd.web.auth import Gate

ALL: Final = "*"


def _instant(value: object) -> object:
    """JSON has no instants: a text with date, time and offset is one."""
    if not isinstance(value, str):
        return value
    if not INSTANT.match(value):
        raise ValueError("must be a date-time with offset, such as 2026-11-21T08:00:00Z")
    try:
        return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("must be in the years 1 to 9999, UTC") from error


class NewSuppression(BaseModel):
    """An address to write to no more."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: str = Field(max_length=254, description="A forward-path.")
    reason: str = Field(
        default="requested",
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="For you, in lists.",
    )
    expires_at: Annotated[
        dt.datetime | None,
        BeforeValidator(_instant),
        WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
    ] = Field(default=None, description="It has no effect then; never, if absent.")


class Row(Protocol):
    """One row, as `views.SuppressionView` reads it."""

    @property
    def scope(self) -> str: ...
    @property
    def address_key(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def first_seen_at(self) -> dt.datetime: ...
    @property
    def expires_at(self) -> dt.datetime | None: ...


class Suppressions(Protocol):
    """The list; `suppression.lists.Suppressions`."""

    async def add(
        self,
        address: str,
        *,
        scope: str,
        reason: str,
        source: str,
        expires_at: dt.datetime | None = None,
    ) -> Row:
        """Write there no more; the row as it stands. Raises Refused(VALIDATION_FAILED)."""
        ...

    async def take_back(self, address: str, *, scope: str) -> None:
        """Let mail go there again; raises Refused(NOT_FOUND, SUPPRESSION_PROTECTED)."""
        ...

    async def test(self, address: str, *, scope: str) -> Row | None:
        """The row that keeps mail of this scope from the address."""
        ...


class Reader(Protocol):
    """Pages of it; `suppression.reading.SuppressionReader`."""

    async def page(
        self, scope: str, wanted: SuppressionFilter, *, after: str | None, limit: int
    ) -> Sequence[Row]:
        """Rows of a scope by address."""
        ...

    async def entry(self, address: str, *, scope: str) -> Row:
        """The row of an address; raises Refused(NOT_FOUND)."""
        ...


InPath = Annotated[str, Path(max_length=254, description="A forward-path, percent-encoded.")]


class SuppressionsApi:
    """The resource `/suppressions`."""

    def __init__(self, *, gate: Gate, suppressions: Suppressions, reader: Reader) -> None:
        self._gate = gate
        self._suppressions = suppressions
        self._reader = reader

    def router(self) -> APIRouter:
        """The routes, with what the OpenAPI document says of them."""
        router = APIRouter(tags=["suppressions"], redirect_slashes=False)
        reads, writes = [Depends(self._may_read)], [Depends(self._may_write)]
        some = openapi.problem_responses(openapi.READ_STATUSES)
        one = openapi.problem_responses(openapi.READ_ONE_STATUSES)
        router.add_api_route(
            "/suppressions",
            self.list,
            methods=["GET"],
            response_model=views.SuppressionPage,
            responses=some,
            dependencies=reads,
        )
        router.add_api_route(
            "/suppressions",
            self.add,
            methods=["POST"],
            status_code=201,
            response_model=views.SuppressionView,
            responses=some,
            dependencies=writes,
            openapi_extra={"requestBody": openapi.json_body(NewSuppression)},
        )
        router.add_api_route(
            "/suppressions/test",
            self.test,
            methods=["GET"],
            response_model=views.SuppressionTest,
            responses=some,
            dependencies=reads,
        )
        router.add_api_route(
            "/suppressions/{address:path}",
            self.show,
            methods=["GET"],
            response_model=views.SuppressionView,
            responses=one,
            dependencies=reads,
        )
        router.add_api_route(
            "/suppressions/{address:path}",
            self.remove,
            methods=["DELETE"],
            status_code=204,
            responses=one,
            dependencies=writes,
        )
        return router

    async def list(self, request: Request, query: Annotated[SuppressionQuery, Query()]) -> Response:
        """Suppressions of the mailbox by address, also those that are over."""
        scope = principal(request).mailbox_id
        after = paging.decode_row(query.cursor)
        rows = await self._reader.page(
            scope, query.wanted, after=after[0] if after else None, limit=query.limit + 1
        )
        shown = rows[: query.limit]
        more = len(rows) > query.limit
        view = views.SuppressionPage(
            items=[views.SuppressionView.model_validate(row) for row in shown],
            next_cursor=paging.encode_row(shown[-1].address_key, scope) if more else None,
        )
        return json_response(view, 200)

    async def add(self, request: Request) -> Response:
        """Write to an address no more; what is there is never weakened by it."""
        body.require_media_type(request.scope, JSON)
        document = body.parse_json(await request.body())
        try:
            new = NewSuppression.model_validate(document)
        except ValidationError as error:
            raise validation.from_pydantic(error, document, NewSuppression) from None
        row = await self._suppressions.add(
            new.address,
            scope=principal(request).mailbox_id,
            reason=new.reason,
            source=AGENT,
            expires_at=new.expires_at,
        )
        return json_response(views.SuppressionView.model_validate(row), 201)

    async def test(self, request: Request, query: Annotated[AddressQuery, Query()]) -> Response:
        """Whether mail of the mailbox to an address would be refused now, and why."""
        row = await self._suppressions.test(query.address, scope=principal(request).mailbox_id)
        is_ours = row is not None and row.scope != ALL
        view = views.SuppressionTest(
            address=query.address,
            suppressed=row is not None,
            scope=None if row is None else "mailbox" if is_ours else "all",
            reason=row.reason if row is not None and is_ours else None,
            since=row.first_seen_at if row is not None else None,
            until=row.expires_at if row is not None else None,
        )
        return json_response(view, 200)

    async def show(self, request: Request, address: InPath) -> Response:
        """The entry of one address, though it may be over."""
        row = await self._reader.entry(address, scope=principal(request).mailbox_id)
        return json_response(views.SuppressionView.model_validate(row), 200)

    async def remove(self, request: Request, address: InPath) -> Response:
        """Let mail of the mailbox go to an address again, if an agent put it on the list."""
        await self._suppressions.take_back(address, scope=principal(request).mailbox_id)
        return Response(status_code=204)

    async def _may_read(self, request: Request) -> None:
        request.state.principal = await self._gate.admit(request.scope, Scope.SUPPRESSIONS_READ)

    async def _may_write(self, request: Request) -> None:
        request.state.principal = await self._gate.admit(request.scope, Scope.SUPPRESSIONS_WRITE)
