"""The JSON that a client gets: what was accepted, what became of it, and problems."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gatewayd.policy.submission import Accepted
from gatewayd.queue.states import State


class View(BaseModel):
    """Read from the attributes of a room's value."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class ProblemError(View):
    """One thing that is wrong with the request."""

    pointer: str = Field(
        description="JSON pointer (RFC 6901) into the body; `/query/...` and `/header/...` for "
        "parameters; empty for the whole.",
        examples=["/to/2"],
    )
    detail: str
    code: str


class Problem(View):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(examples=["urn:gatewayd:problem:validation_failed"])
    title: str
    status: int
    detail: str
    instance: str
    code: str = Field(description="Stable word for programs.", examples=["validation_failed"])
    request_id: str
    errors: list[ProblemError] = Field(default_factory=list, description="Each single mistake.")
    retry_after: int | None = Field(
        default=None, description="Seconds after which the same request may be accepted."
    )


class SentRecipient(View):
    """One forward-path that we are now responsible for."""

    recipient_id: str
    address: str
    status: State


class Sent(View):
    """The message is on stable storage."""

    queue_id: str
    recipients: list[SentRecipient]


class BatchResult(View):
    """What became of one message of a batch: `result` or `problem`."""

    index: int = Field(description="Its place in `messages`.")
    status: int = Field(description="The HTTP status it would have had alone.")
    replayed: bool = Field(default=False, description="The same request was accepted before.")
    result: Sent | None = None
    problem: Problem | None = None


class Batch(View):
    """Each message's own answer, in order."""

    results: list[BatchResult]


class RecipientView(View):
    """Where one recipient is."""

    recipient_id: str
    address: str
    state: State
    attempts: int = Field(description="Tries that count.")
    next_attempt_at: dt.datetime | None
    delivered_at: dt.datetime | None
    last_reply: str | None = Field(description="The last thing the next hop said.")
    updated_at: dt.datetime


class AttemptView(View):
    """One try at one next hop."""

    attempt_id: str
    next_hop: str
    phase: str = Field(description="How far the transaction had come.")
    tls: str
    started_at: dt.datetime
    ended_at: dt.datetime | None
    marked: bool = Field(description="The final dot may have been written.")


class MessageView(View):
    """One accepted message, its recipients and the attempts for them."""

    queue_id: str
    mailbox: str
    door: str
    accepted_at: dt.datetime
    subject: str
    message_id: str
    size_octets: int
    tags: list[str]
    metadata: Annotated[dict[str, str], BeforeValidator(dict)]  # pairs come in, too
    reverse_path: str
    recipients: list[RecipientView]
    attempts: list[AttemptView]


class MessagePage(View):
    """Messages, newest first."""

    items: list[MessageView]
    next_cursor: str | None = Field(description="For `?cursor=`; null on the last page.")


def sent(accepted: Accepted) -> Sent:
    """What the client is told of an acceptance."""
    return Sent.model_validate(accepted)
