"""web.api.messages: requests to answers, against fakes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from gatewayd import ids
from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Refused, StoreFull, StoreUnavailable
from gatewayd.mail.message import RawMessage
from gatewayd.policy.submission import Accepted, AcceptedRecipient
from gatewayd.queue.states import State
from gatewayd.web.api import messages, views
from gatewayd.web.api.models import SendMessage
from gatewayd.web.api.queries import MessageFilter
from gatewayd.web.app import create_api_app
from tests.fakes.http_api import NOW, FakeApi, StoredMessage, StoredRecipient

API = "/api/v1"
HELLO: dict[str, Any] = {"to": ["ann@example.com"], "subject": "Hi", "text": "Hello"}
RAW = b"To: ann@example.com\r\n\r\nHello\r\n"
RFC822 = {"Content-Type": "message/rfc822"}


@pytest.fixture
def api() -> FakeApi:
    """Fakes with small limits."""
    return FakeApi(limits=LimitsSection(http_body_octets=4096, batch_messages=3))


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a good token."""
    transport = httpx2.ASGITransport(app=create_api_app(api.parts))
    async with httpx2.AsyncClient(
        transport=transport,
        base_url="http://127.0.0.1",
        headers={"Authorization": "Bearer good"},
    ) as opened:
        yield opened


def stored(count: int) -> list[StoredMessage]:
    """Messages, newest first."""
    return [
        StoredMessage(
            queue_id=ids.queue_id(NOW),
            recipients=(
                StoredRecipient(recipient_id=ids.recipient_id(NOW), address="ann@example.com"),
            ),
        )
        for _ in range(count)
    ][::-1]


# --- send


async def test_send_answers_202_with_ids(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """The answer is what product and clients agreed on."""
    answer = await client.post(f"{API}/messages/send", json=HELLO)

    assert answer.status_code == 202
    assert {"queue_id", "recipients"} == set(answer.json())
    assert [(each["address"], each["status"]) for each in answer.json()["recipients"]] == [
        ("ann@example.com", "queued")
    ]
    assert len(api.intake.submissions) == 1


@pytest.mark.parametrize("path", ["send", "batch"])
async def test_a_large_body_is_validated_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A MiB of JSON can be written so that it takes seconds; others are served meanwhile."""
    threads: list[threading.Thread] = []
    validated = messages._validated

    def noting(*given: Any) -> SendMessage:  # noqa: ANN401 - what it is given
        threads.append(threading.current_thread())
        return validated(*given)

    monkeypatch.setattr(messages, "_validated", noting)
    app = create_api_app(FakeApi(limits=LimitsSection()).parts)
    headers = {"Authorization": "Bearer good"}
    small, large = HELLO, {**HELLO, "text": "a" * messages.LARGE_OCTETS}
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1", headers=headers
    ) as client:
        for message in (small, large):
            body = message if path == "send" else {"messages": [message]}
            assert (await client.post(f"{API}/messages/{path}", json=body)).status_code == 202

    here = threading.current_thread()
    assert [each is here for each in threads] == [True, False]


async def test_send_hands_over_tags_metadata_and_trace(
    api: FakeApi, client: httpx2.AsyncClient
) -> None:
    """What is not in the message goes beside it."""
    await client.post(
        f"{API}/messages/send",
        json=HELLO | {"tags": ["a"], "metadata": {"k": "v"}},
        headers={"X-Request-Id": "req-7"},
    )

    (submission,) = api.intake.submissions
    assert (submission.options.tags, submission.options.metadata) == (("a",), (("k", "v"),))
    assert (
        submission.trace.door,
        submission.trace.protocol,
        submission.trace.request_id,
    ) == ("http", "HTTP", "req-7")


async def test_the_same_request_again_is_answered_again(client: httpx2.AsyncClient) -> None:
    """draft-ietf-httpapi-idempotency-key-header-07 2.6."""
    headers = {"Idempotency-Key": '"k-1"'}

    first = await client.post(f"{API}/messages/send", json=HELLO, headers=headers)
    again = await client.post(
        f"{API}/messages/send", json=HELLO, headers={"Idempotency-Key": "k-1"}
    )
    other = await client.post(f"{API}/messages/send", json=HELLO | {"text": "Bye"}, headers=headers)

    assert first.json() == again.json()
    assert ("idempotency-replayed" in first.headers, "true") == (
        False,
        again.headers["idempotency-replayed"],
    )
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_quotas_are_shown(client: httpx2.AsyncClient) -> None:
    """draft-ietf-httpapi-ratelimit-headers-10."""
    answer = await client.post(f"{API}/messages/send", json=HELLO)

    assert answer.headers["ratelimit-policy"] == '"hour";q=100;w=3600'
    assert answer.headers["ratelimit"] == '"hour";r=99;t=1800'


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, None),
        ({"json": HELLO, "headers": {"Content-Encoding": "gzip"}}, 415, None),
        ({"json": HELLO, "headers": {"Content-Encoding": "identity"}}, 202, None),
        ({"json": HELLO | {"text": "a" * 4096}}, 413, "message_too_large"),
        ({"json": HELLO, "params": {"track": "off"}}, 422, "validation_failed"),
        ({"json": HELLO, "headers": {"Idempotency-Key": "a b"}}, 422, "idempotency_key_invalid"),
        ({"json": HELLO, "headers": {"Authorization": "Bearer no"}}, 401, "token_invalid"),
        ({"json": HELLO, "headers": {"Authorization": "Bearer reader"}}, 403, "scope_missing"),
        ({"json": HELLO | {"to": ["a@suppressed.example"]}}, 422, "recipient_suppressed"),
    ],
)
async def test_send_refuses(
    client: httpx2.AsyncClient, request_: dict[str, Any], status: int, code: str | None
) -> None:
    """Each reason has its status and its code."""
    answer = await client.post(f"{API}/messages/send", **request_)

    assert status == answer.status_code
    if code is not None:
        assert code == answer.json()["code"]


async def test_a_body_without_length_is_counted(client: httpx2.AsyncClient) -> None:
    """A chunked body is refused as soon as it is too large."""

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    answer = await client.post(
        f"{API}/messages/send", content=blocks(), headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "message_too_large")


async def test_the_token_is_judged_before_the_request(client: httpx2.AsyncClient) -> None:
    """A stranger learns nothing of what would be wrong with it."""
    answer = await client.post(
        f"{API}/messages/raw",
        params={"nonsense": "1"},
        content=b"x",
        headers={"Authorization": "Bearer no"},
    )

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused(Code.QUOTA_EXCEEDED, "Used up.", retry_after_s=9), 429),
        (StoreUnavailable("locked"), 503),
        (StoreFull("full"), 507),
        (ZeroDivisionError("inside"), 503),
    ],
)
async def test_what_intake_cannot_do_is_a_problem(
    api: FakeApi, client: httpx2.AsyncClient, error: Exception, status: int
) -> None:
    """A fault of ours is a 503 that tells nothing of it."""
    api.intake.fails_with = lambda _: error

    with capture_logs() as logged:
        answer = await client.post(f"{API}/messages/send", json=HELLO)

    assert len(logged) == 1
    assert (status, "application/problem+json") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert "retry-after" in answer.headers
    assert "inside" not in answer.text
    assert "locked" not in answer.text


# --- raw


async def test_raw_hands_over_the_octets(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """As they came."""
    answer = await client.post(f"{API}/messages/raw", content=RAW, headers=RFC822)

    (submission,) = api.intake.submissions
    assert answer.status_code == 202
    assert RawMessage.parse(RAW) == submission.content


async def test_raw_takes_recipients_from_parameters(client: httpx2.AsyncClient) -> None:
    """Then the header is only content."""
    answer = await client.post(
        f"{API}/messages/raw",
        params={"rcpt": ["b@x.example", "c@x.example"]},
        content=RAW,
        headers=RFC822,
    )

    addresses = [each["address"] for each in answer.json()["recipients"]]
    assert addresses == ["b@x.example", "c@x.example"]


async def test_raw_with_other_recipients_is_another_request(client: httpx2.AsyncClient) -> None:
    """The key holds for the recipients, too."""
    headers = RFC822 | {"Idempotency-Key": "k"}

    await client.post(f"{API}/messages/raw?rcpt=b@x.example", content=RAW, headers=headers)
    answer = await client.post(f"{API}/messages/raw?rcpt=c@x.example", content=RAW, headers=headers)

    assert answer.json()["code"] == "idempotency_key_reused"


# --- batch


async def test_a_batch_answers_for_each_message(client: httpx2.AsyncClient) -> None:
    """One that is refused does not stop its neighbours."""
    answer = await client.post(
        f"{API}/messages/batch",
        json={"messages": [HELLO, {"to": ["x"]}, HELLO | {"to": "a@suppressed.example"}]},
    )

    results = answer.json()["results"]
    assert answer.status_code == 202
    assert [(each["index"], each["status"]) for each in results] == [(0, 202), (1, 422), (2, 422)]
    assert "result" in results[0]
    assert results[1]["problem"]["errors"][0]["pointer"] == "/messages/1/to/0"
    assert results[2]["problem"]["errors"][0]["pointer"] == "/messages/2/to"


async def test_a_batch_again_is_answered_again(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """One key for the batch is one key for each of its messages."""
    batch = {"messages": [HELLO, HELLO | {"text": "Two"}]}
    headers = {"Idempotency-Key": "k"}

    first = await client.post(f"{API}/messages/batch", json=batch, headers=headers)
    again = await client.post(f"{API}/messages/batch", json=batch, headers=headers)

    assert [each["replayed"] for each in again.json()["results"]] == [True, True]
    assert [each["result"] for each in first.json()["results"]] == [
        each["result"] for each in again.json()["results"]
    ]
    assert len(api.intake.submissions) == 2


async def test_a_fault_of_ours_stops_one_message_only(
    api: FakeApi, client: httpx2.AsyncClient
) -> None:
    """Its neighbours are accepted."""
    api.intake.fails_with = lambda submission: (
        ZeroDivisionError("inside")
        if submission.envelope.recipients[0].address.local_part == "bad"
        else None
    )

    with capture_logs():
        answer = await client.post(
            f"{API}/messages/batch",
            json={"messages": [HELLO, HELLO | {"to": "bad@x.example"}, HELLO]},
        )

    assert [each["status"] for each in answer.json()["results"]] == [202, 503, 202]
    assert "inside" not in answer.text


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"messages": [HELLO] * 4}, "/messages"),
        ({"messages": []}, "/messages"),
        ({}, "/messages"),
        ([HELLO], ""),
        ({"messages": [HELLO], "track": "off"}, "/track"),
        ({"messages": HELLO}, "/messages"),
    ],
)
async def test_a_batch_that_is_none_is_refused_whole(
    client: httpx2.AsyncClient, document: object, pointer: str
) -> None:
    """Nothing of it is accepted."""
    answer = await client.post(f"{API}/messages/batch", json=document)

    assert (422, pointer) == (answer.status_code, answer.json()["errors"][0]["pointer"])


# --- read


async def test_show_gives_recipients_and_attempts(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """Where each recipient is, and what was tried."""
    api.inspector.stored = stored(1)

    answer = await client.get(f"{API}/messages/{api.inspector.stored[0].queue_id}")

    shown = answer.json()
    assert answer.status_code == 200
    assert shown["metadata"] == {"run": "17"}
    assert shown["track"] == ["clicks"]
    assert [each["state"] for each in shown["recipients"]] == ["queued"]
    assert [each["next_hop"] for each in shown["attempts"]] == ["smarthost.example:587"]


@pytest.mark.parametrize("queue_id", ["01936f1e-0000-7000-8000-0000000000ff", "x", "send"])
async def test_an_unknown_id_is_not_found(client: httpx2.AsyncClient, queue_id: str) -> None:
    """Another mailbox's, too: the inspector is asked for this mailbox only."""
    answer = await client.get(f"{API}/messages/{queue_id}")

    assert answer.status_code in {404, 405}
    assert answer.json()["code"] in {"not_found", "method_not_allowed"}


async def test_pages_follow_each_other(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """Every message once, newest first."""
    api.inspector.stored = stored(5)
    seen: list[str] = []
    cursor: str | None = None

    for _ in range(3):
        page = await client.get(
            f"{API}/messages", params={"limit": "2"} | ({"cursor": cursor} if cursor else {})
        )
        seen += [item["queue_id"] for item in page.json()["items"]]
        cursor = page.json()["next_cursor"]

    assert [each.queue_id for each in api.inspector.stored] == seen
    assert cursor is None


async def test_filters_are_handed_on(api: FakeApi, client: httpx2.AsyncClient) -> None:
    """As values, instants in UTC."""
    await client.get(
        f"{API}/messages",
        params={
            "state": "in_doubt",
            "recipient": "ann@example.com",
            "tag": "a",
            "since": "2026-11-21T08:00:00Z",
            "until": "2026-11-21T09:00:00+01:00",
        },
    )

    assert [
        MessageFilter(
            state="in_doubt",  # type: ignore[arg-type]  # equal to State.IN_DOUBT
            recipient="ann@example.com",
            tag="a",
            since=NOW,
            until=NOW,
        )
    ] == api.inspector.asked


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"limit": "0"}, "/query/limit"),
        ({"limit": "201"}, "/query/limit"),
        ({"limit": "x"}, "/query/limit"),
        ({"state": "lost"}, "/query/state"),
        ({"since": "1700000000"}, "/query/since"),
        ({"since": "2026-11-21T08:00:00"}, "/query/since"),
        ({"since": "2026-13-21T08:00:00Z"}, "/query/since"),
        ({"cursor": "x"}, "/query/cursor"),
        ({"order": "asc"}, "/query/order"),
    ],
)
async def test_a_parameter_that_is_not_known_is_named(
    client: httpx2.AsyncClient, params: dict[str, str], pointer: str
) -> None:
    """Nothing is ignored silently."""
    answer = await client.get(f"{API}/messages", params=params)

    assert answer.status_code == 422
    assert [pointer] == [each["pointer"] for each in answer.json()["errors"]]


async def test_reading_needs_its_scope(client: httpx2.AsyncClient) -> None:
    """A token that may send may not read."""
    answer = await client.get(f"{API}/messages", headers={"Authorization": "Bearer sender"})

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("address", ["ann@example.com", '"a\\"b"@example.com', "ä@exämple.com"])
def test_what_was_sent_is_told_as_its_view_says(address: str) -> None:
    """The octets are made without the model, which the OpenAPI document shows."""
    recipients = tuple(
        AcceptedRecipient(recipient_id=ids.recipient_id(NOW), address=address, status=State.QUEUED)
        for _ in range(2)
    )
    accepted = Accepted(queue_id=ids.queue_id(NOW), recipients=recipients, accepted_at=NOW)

    assert views.sent(accepted).model_dump_json().encode() == views.sent_octets(accepted)
