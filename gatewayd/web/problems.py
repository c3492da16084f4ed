"""The one table: why a request was refused, as HTTP status and problem+json (RFC 9457).

`TABLE` gives each word of `errors.Code` its status, title and, where trying again may help, the
seconds for Retry-After when the refusal itself names none. `HttpFault` holds what only HTTP knows.

| exception                    | answer                                   |
|------------------------------|------------------------------------------|
| Refused                      | its row of `TABLE`                       |
| StoreFull                    | the row of storage_full, 507             |
| HTTPException of the router  | 404 not_found, 405 method_not_allowed    |
| any other                    | the row of unavailable, 503              |

Nothing of another exception than Refused reaches the client: no text, no class name.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from gatewayd.errors import Code, Fault, Refused, StoreFull

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:gatewayd:problem:"


@dataclass(frozen=True, slots=True)
class Row:
    """What a client is told for one code."""

    status: int
    title: str
    retry_after_s: int | None = None


TABLE: Final[Mapping[Code, Row]] = {
    # Who is asking
    Code.TOKEN_MISSING: Row(401, "A token is needed"),
    Code.TOKEN_INVALID: Row(401, "The token is not valid"),
    Code.TOKEN_EXPIRED: Row(401, "The token has expired"),
    Code.TOKEN_REVOKED: Row(401, "The token was revoked"),
    Code.SCOPE_MISSING: Row(403, "The token lacks a scope"),
    # The same request again
    Code.IDEMPOTENCY_KEY_INVALID: Row(422, "The idempotency key is not valid"),
    Code.IDEMPOTENCY_KEY_REUSED: Row(422, "The idempotency key was used for another request"),
    Code.IDEMPOTENCY_IN_FLIGHT: Row(409, "The same request is being worked on", 1),
    # Sender binding
    Code.SENDER_NOT_ALLOWED: Row(403, "The sender is not this mailbox"),
    # The message
    Code.MESSAGE_TOO_LARGE: Row(413, "The message is too large"),
    Code.SUBJECT_TOO_LONG: Row(422, "The subject is too long"),
    Code.HEADER_TOO_LARGE: Row(422, "The header section is too large"),
    Code.HEADER_INVALID: Row(422, "A header field is not valid"),
    Code.LINE_ENDINGS_INVALID: Row(422, "Lines must end with CRLF"),
    Code.LINE_TOO_LONG: Row(422, "A line is too long"),
    Code.MIME_TOO_COMPLEX: Row(422, "The message has too many parts"),
    Code.TOO_MANY_HOPS: Row(422, "The message was relayed too often"),
    Code.SMTPUTF8_REQUIRED: Row(422, "The message needs SMTPUTF8"),
    Code.OPTION_INVALID: Row(422, "An option is not valid"),
    # Recipients
    Code.RECIPIENT_MISSING: Row(422, "No recipient"),
    Code.TOO_MANY_RECIPIENTS: Row(422, "Too many recipients"),
    Code.RECIPIENT_INVALID: Row(422, "A recipient is not a mail address"),
    Code.RECIPIENT_DOMAIN_NOT_ALLOWED: Row(403, "The token may not write to this domain"),
    Code.RECIPIENT_SUPPRESSED: Row(422, "A recipient is suppressed"),
    # Room
    Code.QUOTA_EXCEEDED: Row(429, "The quota is used up", 60),
    Code.STORAGE_FULL: Row(507, "No space left", 60),
    Code.NO_ROUTE: Row(503, "No way to deliver is configured", 60),
    Code.UNAVAILABLE: Row(503, "Not available now", 5),
    # What comes back
    Code.RECIPIENT_UNKNOWN: Row(404, "There is no such recipient"),
    Code.RELAYING_DENIED: Row(403, "Mail is not relayed"),
    Code.REPORT_TOO_EARLY: Row(409, "The outcome is not known yet", 300),
    # Operators and readers of resources
    Code.NOT_FOUND: Row(404, "Not found"),
    Code.CONFLICT: Row(409, "Not possible in this state"),
    Code.SUPPRESSION_PROTECTED: Row(403, "An operator's to remove"),
    Code.VALIDATION_FAILED: Row(422, "The request is not valid"),
}


class HttpFault(enum.Enum):
    """What no other door knows: word, status, title."""

    REQUEST_MALFORMED = ("request_malformed", 400, "The request is not valid HTTP")
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405, "The method is not allowed here")
    REQUEST_TIMEOUT = ("request_timeout", 408, "The request came too slowly")
    HOST_NOT_ALLOWED = ("host_not_allowed", 421, "Not served under this host name")
    MEDIA_TYPE_UNSUPPORTED = ("media_type_unsupported", 415, "The media type is not supported")
    REQUEST_HEADER_TOO_LARGE = ("request_header_too_large", 431, "The request header is too large")

    def __init__(self, word: str, status: int, title: str) -> None:
        self.word = word
        self.status = status
        self.title = title


class HttpRefused(Exception):
    """A request was refused for a reason that only HTTP has."""

    def __init__(self, fault: HttpFault, public: str) -> None:
        super().__init__(f"{fault.word}: {public}")
        self.fault = fault
        self.public = public


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One refusal as HTTP shows it."""

    code: str
    status: int
    title: str
    detail: str
    faults: tuple[Fault, ...] = ()
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def members(self, *, instance: str, request_id: str) -> dict[str, Any]:
        """The JSON object of RFC 9457 3, with our extension members."""
        members: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
        }
        if self.faults:
            members["errors"] = [
                {"pointer": fault.pointer, "detail": fault.detail, "code": fault.code.word}
                for fault in self.faults
            ]
        if self.retry_after_s is not None:
            members["retry_after"] = self.retry_after_s
        return members


def from_exception(error: Exception) -> Problem:
    """The problem for any exception whatever."""
    match error:
        case Refused():
            return from_refused(error)
        case StoreFull():
            return _plain(Code.STORAGE_FULL, "There is no space left to take messages.")
        case HttpRefused():
            return _http(error.fault, error.public)
        case HTTPException():
            return _from_router(error)
        case _:
            return _plain(
                Code.UNAVAILABLE, "The request could not be carried out now; try again later."
            )


def from_refused(refused: Refused) -> Problem:
    """The problem for a refusal: its row, and what it says itself."""
    row = TABLE[refused.kind]
    retry_after_s = refused.retry_after_s
    return Problem(
        code=refused.kind.word,
        status=row.status,
        title=row.title,
        detail=refused.public,
        faults=refused.faults,
        retry_after_s=row.retry_after_s if retry_after_s is None else max(retry_after_s, 1),
        headers=_challenge(refused.kind),
    )


def response(problem: Problem, scope: Scope) -> Response:
    """The answer to the request of `scope`."""
    members = problem.members(instance=instance(scope), request_id=request_id(scope))
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    return Response(
        json.dumps(members, ensure_ascii=False).encode(),
        status_code=problem.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def instance(scope: Scope) -> str:
    """The path of the request, as a URI reference (RFC 9457 3.1.5)."""
    return quote(scope["path"], safe="/!$&'()*+,;=:@-._~", errors="replace")


def request_id(scope: Scope) -> str:
    """The id that `edge.py` gave to this request."""
    return str(scope.get("state", {}).get("request_id", ""))


def _plain(code: Code, detail: str) -> Problem:
    row = TABLE[code]
    return Problem(
        code=code.word,
        status=row.status,
        title=row.title,
        detail=detail,
        retry_after_s=row.retry_after_s,
    )


def _http(fault: HttpFault, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    return Problem(
        code=fault.word,
        status=fault.status,
        title=fault.title,
        detail=detail,
        headers=tuple((headers or {}).items()),
    )


def _from_router(error: HTTPException) -> Problem:
    """What Starlette's own routing refuses."""
    if error.status_code == 404:
        return _plain(Code.NOT_FOUND, "There is nothing at this address.")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return _http(
            HttpFault.METHOD_NOT_ALLOWED, f"Allowed here: {allowed or 'none'}.", error.headers
        )
    return _http(HttpFault.REQUEST_MALFORMED, "The request cannot be understood.")


def _challenge(code: Code) -> tuple[tuple[str, str], ...]:
    """The WWW-Authenticate field where the token is at fault (RFC 6750 3)."""
    match code:
        case Code.TOKEN_MISSING:
            value = 'Bearer realm="gatewayd"'
        case Code.TOKEN_INVALID | Code.TOKEN_EXPIRED | Code.TOKEN_REVOKED:
            value = 'Bearer realm="gatewayd", error="invalid_token"'
        case Code.SCOPE_MISSING:
            value = 'Bearer realm="gatewayd", error="insufficient_scope"'
        case _:
            return ()
    return (("WWW-Authenticate", value),)
