"""`python -m tests.bench.bare PORT`: two routes that do as little as such a route can.

| route              | does                                                            | beside |
|--------------------|-----------------------------------------------------------------|--------|
| POST /send         | reads a `SendMessage` with FastAPI, answers 202 with a `Sent`    | W5     |
| GET /track/click/. | one HMAC over token and URL, answers 302 with Starlette          | W7     |

No token is looked at, and nothing is stored: what is left is the price of the frameworks. uvicorn
picks uvloop and httptools where they are installed, as the daemon does.
"""

from __future__ import annotations

import hashlib
import hmac
import sys

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

from gatewayd.clock import SystemClock
from gatewayd.ids import queue_id, recipient_id
from gatewayd.queue.states import State
from gatewayd.web.api.models import SendMessage
from gatewayd.web.api.views import Sent, SentRecipient

KEY = b"k" * 32

_clock = SystemClock()


async def send(message: SendMessage) -> Sent:
    now = _clock.now()
    recipients = [
        SentRecipient(
            recipient_id=recipient_id(now), address=str(each.address), status=State.QUEUED
        )
        for each in message.mailboxes("to")
    ]
    return Sent(queue_id=queue_id(now), recipients=recipients)


async def click(request: Request) -> RedirectResponse:
    url = request.query_params["url"]
    signed = f"{request.path_params['token']}{url}".encode()
    hmac.new(KEY, signed, hashlib.sha256).digest()
    return RedirectResponse(url, 302)


def main() -> None:
    app = FastAPI(routes=[Route("/track/click/{token}", click)])
    app.add_api_route("/send", send, methods=["POST"], status_code=202)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
