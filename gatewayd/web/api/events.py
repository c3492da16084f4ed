"""What happened: the log of a mailbox, and the story of one message.

| request                          | scope         | answer                                        |
|----------------------------------|---------------|-----------------------------------------------|
| GET /events                      | events:read   | a page, oldest first, and where to go on      |
| GET /messages/{queue_id}/events  | messages:read | the same of one message, as it is now         |
| GET /messages/{queue_id}/attempts | messages:read | each try: next hop, TLS, time, what was said |
| GET /messages/{queue_id}/explain | messages:read | one answer in plain words                     |

Who may read a message may read what happened to it. The whole log is a scope of its own: it tells
of other tokens of the mailbox, too. Another mailbox's message is 404.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from gatewayd.events.read import EventFilter
from gatewayd.ids import MailboxId, QueueId
from gatewayd.tokens.claims import Scope
from gatewayd.web import openapi, paging
from gatewayd.web.api import views
from gatewayd.web.api.answer import json_response, principal
from gatewayd.web.api.queries import EventQuery, PageQuery
from gatewayd.web.auth import Gate


class Page(Protocol):
    """Events as `views.EventView` reads them, and where to go on."""

    @property
    def items(self) -> Sequence[object]: ...
    @property
    def position(self) -> int: ...
    @property
    def has_more(self) -> bool: ...


class Events(Protocol):
    """The log; `events.read.Events`."""

    async def of_mailbox(
        self, mailbox_id: MailboxId, wanted: EventFilter, *, position: int | None, limit: int
    ) -> Page:
        """What happened to a mailbox and its mail."""
        ...

    async def of_message(
        self, queue_id: QueueId, mailbox_id: MailboxId, *, position: int | None, limit: int
    ) -> Page:
        """What happened to one message of it; raises Refused(NOT_FOUND)."""
        ...


class Inspector(Protocol):
    """What is known of accepted messages."""

    async def attempts(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> Sequence[object]:
        """The tries of a message, in order; raises Refused(NOT_FOUND)."""
        ...

    async def explain(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> object:
        """The answer about a message; raises Refused(NOT_FOUND)."""
        ...


class EventsApi:
    """The resource `/events`, and what belongs to it under `/messages`."""

    def __init__(self, *, gate: Gate, events: Events, inspector: Inspector) -> None:
        self._gate = gate
        self._events = events
        self._inspector = inspector

    def router(self) -> APIRouter:
        """The routes, with what the OpenAPI document says of them."""
        router = APIRouter(redirect_slashes=False)
        router.add_api_route(
            "/events",
            self.log,
            methods=["GET"],
            tags=["events"],
            response_model=views.EventPage,
            responses=openapi.problem_responses(openapi.READ_STATUSES),
            dependencies=[Depends(self._may_read_all)],
        )
        for name, endpoint, model in (
            ("events", self.of_message, views.EventPage),
            ("attempts", self.attempts, views.Attempts),
            ("explain", self.explain, views.Explanation),
        ):
            router.add_api_route(
                f"/messages/{{queue_id:uuid}}/{name}",
                endpoint,
                methods=["GET"],
                tags=["messages"],
                response_model=model,
                responses=openapi.problem_responses(openapi.READ_ONE_STATUSES),
                dependencies=[Depends(self._may_read)],
            )
        return router

    async def log(self, request: Request, query: Annotated[EventQuery, Query()]) -> Response:
        """What happened to the mailbox and its mail, oldest first, each event once.

        Ask again with `next_cursor`: at once while `has_more`, later when not. Where several nodes
        write, an event is shown 5 seconds after it happened, so that none is passed over.
        """
        page = await self._events.of_mailbox(
            principal(request).mailbox_id,
            query.wanted,
            position=paging.decode_number(query.cursor),
            limit=query.limit,
        )
        return json_response(_page(page), 200)

    async def of_message(
        self, request: Request, queue_id: UUID, query: Annotated[PageQuery, Query()]
    ) -> Response:
        """What happened to one message, oldest first, as it is known at this moment."""
        page = await self._events.of_message(
            QueueId(str(queue_id)),
            principal(request).mailbox_id,
            position=paging.decode_number(query.cursor),
            limit=query.limit,
        )
        return json_response(_page(page), 200)

    async def attempts(self, request: Request, queue_id: UUID) -> Response:
        """Each try to deliver one message: with whom, over which TLS, what was said, for whom."""
        made = await self._inspector.attempts(QueueId(str(queue_id)), principal(request).mailbox_id)
        items = [views.AttemptDetail.model_validate(one) for one in made]
        return json_response(views.Attempts(items=items), 200)

    async def explain(self, request: Request, queue_id: UUID) -> Response:
        """Where one message is, what decided that, the facts, the next attempt, what to do."""
        found = await self._inspector.explain(QueueId(str(queue_id)), principal(request).mailbox_id)
        return json_response(views.Explanation.model_validate(found), 200)

    async def _may_read_all(self, request: Request) -> None:
        request.state.principal = await self._gate.admit(request.scope, Scope.EVENTS_READ)

    async def _may_read(self, request: Request) -> None:
        request.state.principal = await self._gate.admit(request.scope, Scope.MESSAGES_READ)


def _page(page: Page) -> views.EventPage:
    return views.EventPage(
        items=[views.EventView.model_validate(item) for item in page.items],
        next_cursor=paging.encode_number(page.position),
        has_more=page.has_more,
    )
