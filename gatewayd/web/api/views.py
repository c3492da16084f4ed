"""The JSON that a client gets: what was accepted, what became of it, who is off, and problems."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

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
    bounced_at: dt.datetime | None = Field(description="A report said that it failed after all.")
    bounce_class: str | None = Field(description="permanent, transient or unknown.")
    bounce_reason: str | None = Field(description="Such as user_unknown or mailbox_full.")
    delayed_at: dt.datetime | None = Field(description="A report said that it takes time.")
    complained_at: dt.datetime | None = Field(description="The recipient took it for spam.")
    unsubscribed_at: dt.datetime | None
    opened_at: dt.datetime | None = Field(description="First opened by a person.")
    clicked_at: dt.datetime | None = Field(description="First link followed by a person.")
    machine_opened_at: dt.datetime | None = Field(description="By a proxy or a scanner.")
    machine_clicked_at: dt.datetime | None = Field(description="By a scanner.")


class AttemptView(View):
    """One try at one next hop."""

    attempt_id: str
    next_hop: str
    phase: str = Field(description="How far the transaction had come.")
    tls: str
    started_at: dt.datetime
    ended_at: dt.datetime | None
    marked: bool = Field(description="The final dot may have been written.")


class AttemptedView(View):
    """A recipient that an attempt was for."""

    recipient_id: str
    address: str
    outcome: str | None = Field(
        description="delivered, deferred, failed, in_doubt or expired; null while it goes on."
    )


class AttemptDetail(AttemptView):
    """One try, with what was said and for whom."""

    tls_version: str | None = Field(description="Such as TLSv1.3; null for plaintext.")
    tls_cipher: str | None
    duration_ms: int | None
    transcript: str = Field(
        description="`C:` is us, `S:` the next hop. Addresses and secrets are redacted."
    )
    recipients: list[AttemptedView]


class Attempts(View):
    """The tries of one message, in order; the last 100."""

    items: list[AttemptDetail]


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
    track: list[str] = Field(
        description="What is tracked of it, `opens`, `clicks`: as it or its mailbox says.",
        examples=[["clicks", "opens"]],
    )
    reverse_path: str
    is_dsn: bool = Field(description="A report of ours to the mailbox, about another message.")
    recipients: list[RecipientView]
    attempts: list[AttemptView]


class MessagePage(View):
    """Messages, newest first."""

    items: list[MessageView]
    next_cursor: str | None = Field(description="For `?cursor=`; null on the last page.")


class EventView(View):
    """One thing that happened."""

    event_id: str
    type: str = Field(description="A word of docs/events.md.", examples=["recipient.delivered"])
    at: dt.datetime
    queue_id: str | None
    recipient_id: str | None
    data: dict[str, Any] = Field(description="What else is known; depends on the type.")


class EventPage(View):
    """Events, the oldest first."""

    items: list[EventView]
    next_cursor: str = Field(
        description="For `?cursor=`, now or when more has happened: it does not get old."
    )
    has_more: bool = Field(description="There is more already. `items` may be empty all the same.")


class FactView(View):
    """One thing that happened beside the state."""

    what: str = Field(examples=["clicked"])
    at: dt.datetime | None
    text: str


class RecipientAnswer(View):
    """The answer about one recipient."""

    recipient_id: str
    address: str
    state: State
    where: str = Field(description="What follows the address in a sentence.")
    decided_by: str = Field(description="The reply, report, rule or person; empty if none did.")
    facts: list[FactView] = Field(description="In the order of their time.")
    next_attempt_at: dt.datetime | None
    advice: str = Field(description="What to do; `nothing`, if nothing.")


class Explanation(View):
    """What happened to a message, in plain words."""

    queue_id: str
    summary: str
    lines: list[str] = Field(description="One sentence for each recipient.")
    recipients: list[RecipientAnswer]
    events: list[EventView] = Field(description="The latest 1000.")
    message: MessageView


class SuppressionView(View):
    """An address that gets no mail of the mailbox."""

    address: str
    reason: str = Field(examples=["hard_bounce"])
    source: str = Field(description="How it is known, such as `smtp`, `dsn` or `api`.")
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime
    expires_at: dt.datetime | None = Field(description="It has no effect then; null for never.")


class SuppressionPage(View):
    """Suppressions by address."""

    items: list[SuppressionView]
    next_cursor: str | None = Field(description="For `?cursor=`; null on the last page.")


class SuppressionTest(View):
    """Whether mail of the mailbox to an address would be refused now."""

    address: str
    suppressed: bool
    scope: Literal["mailbox", "all"] | None = Field(
        description="`all`: an operator's, for every mailbox; its reason is not told."
    )
    reason: str | None
    since: dt.datetime | None
    until: dt.datetime | None = Field(description="Null for ever, or when it is not suppressed.")


def sent(accepted: Accepted) -> Sent:
    """What the client is told of an acceptance."""
    return Sent.model_validate(accepted)


def sent_octets(accepted: Accepted) -> bytes:
    """The same as JSON, without the model: there is nothing to be checked."""
    return to_json(
        {
            "queue_id": accepted.queue_id,
            "recipients": [
                {
                    "recipient_id": each.recipient_id,
                    "address": each.address,
                    "status": each.status,
                }
                for each in accepted.recipients
            ],
        }
    )
