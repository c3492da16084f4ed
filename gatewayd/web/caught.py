"""Mail that the built-in simulator took, to be read back.

| request                  | answer                                                          |
|--------------------------|-----------------------------------------------------------------|
| GET /caught              | a page, newest first: `?limit=&cursor=`                         |
| GET /caught/{mail_id}    | header fields, text, HTML and attachments as a reader finds them |
| GET /caught/{mail_id}.eml | the octets                                                     |

For `localserve`: there is no token, so only host names of this machine are answered. A page of
another site that has its name point to us (DNS rebinding) is told 421.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import email.parser
import email.policy
from collections.abc import Sequence
from email.message import EmailMessage
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gatewayd.errors import Code, Refused
from gatewayd.mail import header
from gatewayd.mail.message import RawMessage
from gatewayd.web import paging, validation
from gatewayd.web.problems import HttpFault, HttpRefused

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Caught(Protocol):
    """One message as it arrived; the simulator's value."""

    @property
    def mail_id(self) -> str: ...
    @property
    def caught_at(self) -> dt.datetime: ...
    @property
    def reverse_path(self) -> str: ...
    @property
    def recipients(self) -> tuple[str, ...]: ...
    @property
    def octets(self) -> bytes: ...


class CaughtMail(Protocol):
    """What the simulator keeps."""

    def newest(self, limit: int, *, before: str | None = None) -> Sequence[Caught]:
        """At most `limit`, newest first; only those older than the id `before`."""
        ...

    def find(self, mail_id: str) -> Caught | None: ...


def routes(kept: CaughtMail) -> list[Route]:
    """The three routes."""

    async def page(request: Request) -> Response:
        _require_local_host(request)
        limit = _limit(request)
        found = kept.newest(limit + 1, before=paging.decode(request.query_params.get("cursor")))
        shown = found[:limit]
        more = shown[-1].mail_id if len(found) > limit else None
        return JSONResponse(
            {"items": [_summary(mail) for mail in shown], "next_cursor": paging.encode(more)}
        )

    async def show(request: Request) -> Response:
        mail = _find(kept, request)
        # A hostile message may take a while to read; the loop has other things to do.
        return JSONResponse(_summary(mail) | await asyncio.to_thread(_content, mail.octets))

    async def download(request: Request) -> Response:
        mail = _find(kept, request)
        disposition = f'attachment; filename="{mail.mail_id}.eml"'
        return Response(
            mail.octets, media_type="message/rfc822", headers={"Content-Disposition": disposition}
        )

    return [
        Route("/caught", page),
        Route("/caught/{mail_id}.eml", download),
        Route("/caught/{mail_id}", show),
    ]


def _require_local_host(request: Request) -> None:
    host = request.headers.get("host", "")
    name, colon, port = host.rpartition(":")
    if not (colon and port.isdigit()):
        name = host
    if name.lower() not in LOCAL_HOSTS:
        raise HttpRefused(
            HttpFault.HOST_NOT_ALLOWED, "Caught mail is shown at http://127.0.0.1 only."
        )


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(paging.DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= paging.MAX_LIMIT):
        detail = f"must be a number from 1 to {paging.MAX_LIMIT}"
        raise validation.refuse([validation.fault(detail, "query", "limit")])
    return int(text)


def _find(kept: CaughtMail, request: Request) -> Caught:
    _require_local_host(request)
    mail = kept.find(request.path_params["mail_id"])
    if mail is None:
        raise Refused(Code.NOT_FOUND, "No caught mail has this id; the oldest are forgotten.")
    return mail


def _summary(mail: Caught) -> dict[str, Any]:
    subject = RawMessage.parse(mail.octets).header.first("Subject")
    return {
        "mail_id": mail.mail_id,
        "caught_at": mail.caught_at.isoformat(),
        "reverse_path": mail.reverse_path,
        "recipients": list(mail.recipients),
        "subject": header.decode(subject or b""),
        "size_octets": len(mail.octets),
    }


def _content(octets: bytes) -> dict[str, Any]:
    """What a mail reader shows. Read only: nothing is ever written from this parse."""
    fields = RawMessage.parse(octets).header.fields
    message = email.parser.BytesParser(policy=email.policy.default).parsebytes(octets)
    assert isinstance(message, EmailMessage)  # noqa: S101 - the policy makes these
    return {
        "headers": [
            {"name": field.name.decode("ascii", "replace"), "value": header.decode(field.value)}
            for field in fields
        ],
        "text": _body(message, "plain"),
        "html": _body(message, "html"),
        "attachments": [
            {
                "filename": part.get_filename(),
                "content_type": part.get_content_type(),
                "size_octets": len(part.get_payload(decode=True) or b""),
            }
            for part in message.walk()
            if part.get_filename() is not None
        ],
    }


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body(preferencelist=(kind,))
    if part is None:
        return None
    octets = part.get_payload(decode=True)
    charset = part.get_content_charset("utf-8")
    if not isinstance(octets, bytes):
        return None
    try:
        return octets.decode(charset, "replace")
    except LookupError:
        return octets.decode("utf-8", "replace")
