"""web.shortcut: one kind of request goes to its function, all others go on."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gatewayd.errors import Code, Refused
from gatewayd.web import app as apps
from gatewayd.web.api.messages import MessagesApi
from gatewayd.web.auth import Gate
from gatewayd.web.problems import HttpFault, HttpRefused
from gatewayd.web.shortcut import Shortcut
from tests.fakes.http_api import FakeApi

HELLO: dict[str, Any] = {"to": ["ann@example.com"], "subject": "Hi", "text": "Hello"}
GOOD = {"Authorization": "Bearer good"}


async def behind(scope: Scope, receive: Receive, send: Send) -> None:
    """The routers."""
    await PlainTextResponse("routed")(scope, receive, send)


def refusal(_: Scope, error: Exception) -> Response:
    return PlainTextResponse(f"refused: {error}", 422)


def shortcut(error: Exception | None = None) -> Shortcut:
    async def answer(_: Scope, __: Receive) -> Response:
        if error is not None:
            raise error
        return PlainTextResponse("at once")

    return Shortcut(behind, method="POST", path="/send", answer=answer, refuse=refusal)


async def asked(app: ASGIApp, method: str, path: str, **given: Any) -> httpx2.Response:  # noqa: ANN401 - of httpx
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return await client.request(method, path, **given)


@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("POST", "/send", "at once"),
        ("GET", "/send", "routed"),
        ("HEAD", "/send", ""),
        ("POST", "/send/", "routed"),
        ("POST", "/sen%64", "at once"),
        ("POST", "/", "routed"),
    ],
)
async def test_only_this_method_at_this_path_is_answered(method: str, path: str, text: str) -> None:
    """Who asks wrongly is answered by the routers, which know what is right."""
    answer = await asked(shortcut(), method, path)

    assert (200, text) == (answer.status_code, answer.text)


@pytest.mark.parametrize(
    "error",
    [
        Refused(Code.QUOTA_EXCEEDED, "No."),
        HttpRefused(HttpFault.MEDIA_TYPE_UNSUPPORTED, "No."),
    ],
)
async def test_a_refusal_is_an_answer(error: Exception) -> None:
    """As the handlers of the routers make it."""
    answer = await asked(shortcut(error), "POST", "/send")

    assert answer.status_code == 422
    assert answer.text.startswith("refused:")


async def test_what_nobody_expected_is_for_the_layers_around() -> None:
    """The edge logs it, once, and answers."""
    with pytest.raises(ZeroDivisionError):
        await asked(shortcut(ZeroDivisionError()), "POST", "/send")


async def test_a_send_does_not_pass_the_routers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would cost more than the message."""
    monkeypatch.setattr(apps, "_starlette", lambda _: None)

    answer = await asked(
        apps.create_api_app(FakeApi().parts), "POST", "/api/v1/messages/send", json=HELLO,
        headers=GOOD,
    )  # fmt: skip

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        (GOOD, HELLO, 202),
        ({}, HELLO, 401),
        (GOOD, HELLO | {"more": 1}, 422),
        (GOOD, HELLO | {"to": "a@suppressed.example"}, 422),
        (GOOD | {"Content-Type": "text/plain"}, HELLO, 415),
    ],
)
async def test_the_route_that_is_documented_answers_the_same(
    headers: dict[str, str], body: dict[str, Any], status: int
) -> None:
    """Both go to one function."""
    parts = FakeApi().parts
    gate = Gate(parts.tokens, token_octets=parts.limits.token_octets)
    messages = MessagesApi(
        gate=gate, intake=parts.intake, inspector=parts.inspector, limits=parts.limits
    )

    routed = await asked(
        apps._api(parts, gate, messages), "POST", "/messages/send", json=body, headers=headers
    )
    short = await asked(
        apps.create_api_app(parts), "POST", "/api/v1/messages/send", json=body, headers=headers
    )

    varying = {"queue_id", "recipients", "instance", "request_id"}
    assert status == routed.status_code == short.status_code
    assert {k: v for k, v in routed.json().items() if k not in varying} == {
        k: v for k, v in short.json().items() if k not in varying
    }
