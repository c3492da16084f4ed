"""`/messages`: send one, a batch, or raw octets; read one, list them.

| request                 | scope         | answer                                               |
|-------------------------|---------------|------------------------------------------------------|
| POST /messages/send     | messages:send | 202 when the message is on stable storage            |
| POST /messages/batch    | messages:send | 202, each message accepted or refused by itself      |
| POST /messages/raw      | messages:send | 202, for message/rfc822                              |
| GET /messages/{queue_id}| messages:read | recipients with states, attempts; else's mail is 404 |
| GET /messages           | messages:read | a page, newest first                                 |

Reports of ours (DSNs) to the mailbox stand among its messages: `is_dsn`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Receive
from starlette.types import Scope as RequestScope

from gatewayd import log
from gatewayd.config.limits import LimitsSection
from gatewayd.errors import GatewayError
from gatewayd.ids import MailboxId, QueueId
from gatewayd.policy.submission import Accepted, Options, QuotaState
from gatewayd.tokens.claims import Scope
from gatewayd.web import body, idempotency, openapi, paging, problems, validation
from gatewayd.web.api import octets, submissions, views
from gatewayd.web.api.answer import JSON, JsonOctets, json_response, principal
from gatewayd.web.api.models import SendBatch, SendMessage
from gatewayd.web.api.queries import MessageFilter, MessageQuery, RawQuery
from gatewayd.web.api.submissions import Draft, Intake
from gatewayd.web.auth import Gate

RAW: Final = "message/rfc822"
SEND_PATH: Final = "/messages/send"
LARGE_OCTETS: Final = 65_536  # a body that may take seconds to validate: not on the loop
_WINDOWS_S: Final = {"hour": 3600, "day": 86400}

_log = log.get_logger(__name__)


class Page(Protocol):
    """Messages as `views.MessageView` reads them, and where the next page begins."""

    @property
    def items(self) -> Sequence[object]: ...
    @property
    def next_cursor(self) -> str | None: ...


class Inspector(Protocol):
    """What is known of accepted messages."""

    async def message(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> object:
        """One message of a mailbox; raises Refused(NOT_FOUND)."""
        ...

    async def messages(
        self,
        wanted: MessageFilter,
        *,
        mailbox_id: MailboxId | None,
        cursor: str | None,
        limit: int,
    ) -> Page:
        """A page, newest first; `cursor` is the `next_cursor` of the page before."""
        ...


class MessagesApi:
    """The resource `/messages`."""

    def __init__(
        self, *, gate: Gate, intake: Intake, inspector: Inspector, limits: LimitsSection
    ) -> None:
        self._gate = gate
        self._intake = intake
        self._inspector = inspector
        self._limits = limits

    def router(self) -> APIRouter:
        """The routes, with what the OpenAPI document says of them."""
        router = APIRouter(tags=["messages"], redirect_slashes=False)
        sends = [Depends(self._may_send)]
        reads = [Depends(self._may_read)]
        accepted: dict[int | str, dict[str, Any]] = {202: {"headers": openapi.SENT_HEADERS}}
        refused = openapi.problem_responses(openapi.SEND_STATUSES)
        for path, endpoint, model, request_body, gates in (
            (SEND_PATH, self.send, views.Sent, openapi.json_body(SendMessage), []),
            ("/messages/batch", self.batch, views.Batch, openapi.json_body(SendBatch), sends),
            ("/messages/raw", self.raw, views.Sent, openapi.octets_body(RAW), sends),
        ):
            router.add_api_route(
                path,
                endpoint,
                methods=["POST"],
                status_code=202,
                response_model=model,
                response_description="On stable storage",
                responses={**accepted, **refused},
                dependencies=gates,
                openapi_extra={
                    "requestBody": request_body,
                    "parameters": [openapi.IDEMPOTENCY_KEY],
                },
            )
        router.add_api_route(
            "/messages/{queue_id:uuid}",
            self.show,
            methods=["GET"],
            response_model=views.MessageView,
            responses=openapi.problem_responses(openapi.READ_ONE_STATUSES),
            dependencies=reads,
        )
        router.add_api_route(
            "/messages",
            self.list,
            methods=["GET"],
            response_model=views.MessagePage,
            responses=openapi.problem_responses(openapi.READ_STATUSES),
            dependencies=reads,
        )
        return router

    async def send(self, request: Request) -> Response:
        """Send one message from the mailbox of the token."""
        return await self.answer_send(request.scope, request.receive)

    async def answer_send(self, request: RequestScope, receive: Receive) -> Response:
        """The answer to POST /messages/send, which needs nothing of the framework's.

        Raises:
            GatewayError: nothing was stored.
            HttpRefused: as above.
        """
        sender = await self._gate.admit(request, Scope.MESSAGES_SEND)
        document, octets_ = await _json(request, receive)
        message = await _read_message(document, len(octets_))
        draft = submissions.from_fields(
            message,
            document,
            sender,
            options=_options(request, octets_),
            trace=submissions.trace(request),
        )
        return _accepted(await draft.hand_to(self._intake))

    async def raw(self, request: Request, query: Annotated[RawQuery, Query()]) -> Response:
        """Send a whole message (RFC 5322) from the mailbox of the token.

        Its From must be that mailbox, or absent. Bcc is removed.
        """
        body.require_media_type(request.scope, RAW)
        content = await request.body()
        draft = submissions.from_octets(
            octets.parse(content, header_octets=self._limits.header_octets),
            query.rcpt,
            principal(request),
            options=_options(request.scope, content),
            trace=submissions.trace(request.scope),
        )
        return _accepted(await draft.hand_to(self._intake))

    async def batch(self, request: Request) -> Response:
        """Send up to 100 messages; each is accepted or refused by itself."""
        document, octets_ = await _json(request.scope, request.receive)
        try:
            messages = SendBatch.model_validate(document).messages
        except ValidationError as error:
            raise validation.from_pydantic(error, document, SendBatch) from None
        most = self._limits.batch_messages
        if len(messages) > most:
            raise validation.refuse(
                [validation.fault(f"may have at most {most} entries", "messages")]
            )
        batch_key = idempotency.key(request.scope)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._accept_item(request, index, item, batch_key, len(octets_)))
                for index, item in enumerate(messages)
            ]
        answers = [task.result() for task in tasks]
        quotas = [answer.quota for answer in answers if isinstance(answer, Accepted)]
        results = [_result(request, index, answer) for index, answer in enumerate(answers)]
        view = views.Batch(results=results)
        headers = _rate_limit(min(quotas, key=_left, default=()))
        return json_response(view, 202, headers, exclude_none=True)

    async def show(self, request: Request, queue_id: UUID) -> Response:
        """One message, with its recipients and attempts."""
        found = await self._inspector.message(QueueId(str(queue_id)), principal(request).mailbox_id)
        return json_response(views.MessageView.model_validate(found), 200)

    async def list(self, request: Request, query: Annotated[MessageQuery, Query()]) -> Response:
        """Messages of the mailbox, newest first."""
        page = await self._inspector.messages(
            query.wanted,
            mailbox_id=principal(request).mailbox_id,
            cursor=paging.decode(query.cursor),
            limit=query.limit,
        )
        view = views.MessagePage(
            items=[views.MessageView.model_validate(item) for item in page.items],
            next_cursor=paging.encode(page.next_cursor),
        )
        return json_response(view, 200)

    async def _may_send(self, request: Request) -> None:
        request.state.principal = await self._gate.admit(request.scope, Scope.MESSAGES_SEND)

    async def _may_read(self, request: Request) -> None:
        request.state.principal = await self._gate.admit(request.scope, Scope.MESSAGES_READ)

    async def _accept_item(
        self, request: Request, index: int, item: object, batch_key: str | None, size_octets: int
    ) -> Accepted | Exception:
        """One message of a batch. A failure is a value here, so that it stops no other.

        size_octets: of the whole batch.
        """
        try:
            message = await _read_message(item, size_octets, "messages", index)
            draft = self._item(request, index, message, item, batch_key)
            return await draft.hand_to(self._intake)
        except GatewayError as error:
            return error
        except Exception as error:  # noqa: BLE001 - its neighbours are to be answered
            _log.exception("http_batch_item_failed", index=index)
            return error

    @staticmethod
    def _item(
        request: Request, index: int, message: SendMessage, item: object, batch_key: str | None
    ) -> Draft:
        options = Options()
        if batch_key is not None:
            canonical = json.dumps(item, sort_keys=True, separators=(",", ":")).encode()
            options = Options(
                idempotency_key=idempotency.item_key(batch_key, index),
                fingerprint=idempotency.fingerprint(request.scope, canonical),
            )
        assert isinstance(item, dict)  # noqa: S101 - or the model had refused it
        return submissions.from_fields(
            message,
            item,
            principal(request),
            options=options,
            trace=submissions.trace(request.scope),
            prefix=validation.pointer("messages", index),
        )


async def _json(request: RequestScope, receive: Receive) -> tuple[Any, bytes]:
    """The body as a value and as octets."""
    if request["query_string"]:
        raise validation.refuse([validation.fault("no parameters are known here", "query")])
    body.require_media_type(request, JSON)
    content = await body.read(receive)
    return body.parse_json(content), content


async def _read_message(document: object, size_octets: int, *place: str | int) -> SendMessage:
    """The message that a document is; `size_octets` of the body that it stood in."""
    if size_octets > LARGE_OCTETS:
        return await asyncio.to_thread(_validated, document, *place)
    return _validated(document, *place)


def _validated(document: object, *place: str | int) -> SendMessage:
    try:
        return SendMessage.model_validate(document)
    except ValidationError as error:
        raise validation.from_pydantic(error, document, SendMessage, *place) from None


def _options(request: RequestScope, content: bytes) -> Options:
    key = idempotency.key(request)
    if key is None:
        return Options()
    return Options(idempotency_key=key, fingerprint=idempotency.fingerprint(request, content))


def _result(request: Request, index: int, answer: Accepted | Exception) -> views.BatchResult:
    if isinstance(answer, Accepted):
        return views.BatchResult(
            index=index, status=202, replayed=answer.replayed, result=views.sent(answer)
        )
    problem = problems.from_exception(answer)
    members = problem.members(
        instance=problems.instance(request.scope), request_id=problems.request_id(request.scope)
    )
    return views.BatchResult(
        index=index, status=problem.status, problem=views.Problem.model_validate(members)
    )


def _accepted(accepted: Accepted) -> Response:
    fields = [(n.lower().encode(), v.encode()) for n, v in _rate_limit(accepted.quota).items()]
    if accepted.replayed:
        fields.append((b"idempotency-replayed", b"true"))
    return JsonOctets(views.sent_octets(accepted), 202, fields)


def _rate_limit(quota: tuple[QuotaState, ...]) -> dict[str, str]:
    """The fields of draft-ietf-httpapi-ratelimit-headers-10; one unit is one recipient."""
    if not quota:
        return {}
    return {
        "RateLimit-Policy": ", ".join(
            f'"{each.window}";q={each.limit};w={_WINDOWS_S[each.window]}' for each in quota
        ),
        "RateLimit": ", ".join(
            f'"{each.window}";r={max(each.remaining, 0)};t={each.reset_s}' for each in quota
        ),
    }


def _left(quota: tuple[QuotaState, ...]) -> int:
    return min((each.remaining for each in quota), default=0)
