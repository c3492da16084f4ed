"""Accepted messages: list, show, explain, and the verbs that move them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from gatewayd.ids import QueueId
from gatewayd.queue.views import MessageView
from gatewayd.web import paging
from gatewayd.web.admin.parts import AdminParts
from gatewayd.web.api import views
from gatewayd.web.api.queries import MessageQuery

Verb = Literal["hold", "release", "retry", "cancel"]


class OperatorQuery(MessageQuery):
    """Parameters of the list: of all mailboxes, or of one."""

    mailbox: str | None = None


def router(parts: AdminParts) -> APIRouter:
    routes = APIRouter(prefix="/messages")
    inspector = parts.inspector

    @routes.get("")
    async def show_all(query: Annotated[OperatorQuery, Query()]) -> dict[str, Any]:
        mailbox = query.mailbox
        owner = None if mailbox is None else (await parts.mailboxes.get(mailbox)).mailbox_id
        page = await inspector.messages(
            query.wanted,
            mailbox_id=owner,
            cursor=paging.decode(query.cursor),
            limit=query.limit,
        )
        return {
            "items": [_shown(item) for item in page.items],
            "next_cursor": paging.encode(page.next_cursor),
        }

    @routes.get("/{queue_id:path}/explain")
    async def explain(queue_id: str) -> dict[str, Any]:
        """The same answer as that of the API."""
        found = await inspector.explain(QueueId(queue_id), None)
        return views.Explanation.model_validate(found).model_dump(mode="json")

    @routes.get("/{queue_id:path}")
    async def show(queue_id: str) -> dict[str, Any]:
        return _shown(await inspector.message(QueueId(queue_id), None), with_transcripts=True)

    @routes.post("/{queue_id:path}/{verb}")
    async def move(queue_id: str, verb: Verb) -> dict[str, Any]:
        moved = await getattr(inspector, verb)(QueueId(queue_id), by="operator")
        return {"queue_id": queue_id, "moved": moved.moved, "left": list(moved.left)}

    return routes


def _shown(item: MessageView, *, with_transcripts: bool = False) -> dict[str, Any]:
    shown = views.MessageView.model_validate(item).model_dump(mode="json")
    if with_transcripts:
        for view, attempt in zip(shown["attempts"], item.attempts, strict=True):
            view["transcript"] = attempt.transcript
    return shown
