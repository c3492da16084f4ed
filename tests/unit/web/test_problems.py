"""web.problems: one test per promise of its table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Scope

from gatewayd.errors import Code, Fault, Refused, StoreBroken, StoreFull, StoreUnavailable
from gatewayd.web import problems
from gatewayd.web.api.views import Problem
from gatewayd.web.problems import TABLE, HttpFault, HttpRefused


def scope(path: str = "/api/v1/messages/send") -> Scope:
    """A request."""
    return {"type": "http", "path": path, "state": {"request_id": "r-1"}}


def members(error: Exception) -> dict[str, Any]:
    """The JSON that a client gets for an exception."""
    problem = problems.from_exception(error)
    whole: dict[str, Any] = json.loads(bytes(problems.response(problem, scope()).body))
    return whole


def test_every_code_has_a_row() -> None:
    """A refusal always has a status: the table is total."""
    assert set(Code) == set(TABLE)


def test_no_word_of_http_is_a_word_of_the_other_doors() -> None:
    """One word never means two things."""
    words = [fault.word for fault in HttpFault] + [code.word for code in Code]

    assert len(set(words)) == len(words)


@pytest.mark.parametrize("code", list(Code))
def test_a_refusal_is_the_row_of_its_code(code: Code) -> None:
    """Status, title and code come from the table, the sentence from the refusal (RFC 9457 3)."""
    shown = members(Refused(code, "Do something else.", reason="secret"))

    Problem.model_validate(shown)
    assert {
        "type": f"urn:gatewayd:problem:{code.word}",
        "title": TABLE[code].title,
        "status": TABLE[code].status,
        "detail": "Do something else.",
        "instance": "/api/v1/messages/send",
        "code": code.word,
        "request_id": "r-1",
    } == {name: value for name, value in shown.items() if name != "retry_after"}


def test_faults_are_shown_with_their_pointers() -> None:
    """A client can tell which field to mend (RFC 9457 3.2)."""
    fault = Fault(pointer="/to/2", detail="no @", code=Code.RECIPIENT_INVALID)

    shown = members(Refused(Code.RECIPIENT_INVALID, "No.", faults=[fault]))

    assert shown["errors"] == [{"pointer": "/to/2", "detail": "no @", "code": "recipient_invalid"}]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFull("/var/lib is full"), 507, "storage_full"),
        (StoreUnavailable("locked: /var/lib"), 503, "unavailable"),
        (StoreBroken("fsync of /var/lib"), 503, "unavailable"),
        (ValueError("a secret of /var/lib"), 503, "unavailable"),
        (HTTPException(404), 404, "not_found"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "method_not_allowed"),
        (HTTPException(400, "secret of /var/lib"), 400, "request_malformed"),
        (HttpRefused(HttpFault.MEDIA_TYPE_UNSUPPORTED, "No."), 415, "media_type_unsupported"),
    ],
)
def test_any_exception_has_a_problem_and_tells_nothing(
    error: Exception, status: int, code: str
) -> None:
    """Texts of other exceptions than refusals, and class names, stay inside."""
    shown = members(error)

    assert (status, code) == (shown["status"], shown["code"])
    assert "/var/lib" not in json.dumps(shown)
    assert type(error).__name__ not in json.dumps(shown)


def test_retry_after_is_what_the_refusal_says() -> None:
    """A quota knows when its window ends."""
    refused = Refused(Code.QUOTA_EXCEEDED, "Used up.", retry_after_s=1234)

    answer = problems.response(problems.from_exception(refused), scope())

    assert answer.headers["retry-after"] == "1234"


@pytest.mark.parametrize("error", [StoreUnavailable("x"), Refused(Code.NO_ROUTE, "x")])
def test_every_503_says_when_to_try_again(error: Exception) -> None:
    """Clients that obey Retry-After come back by themselves (RFC 9110 10.2.3)."""
    answer = problems.response(problems.from_exception(error), scope())

    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("code", "challenge"),
    [
        (Code.TOKEN_MISSING, 'Bearer realm="gatewayd"'),
        (Code.TOKEN_INVALID, 'Bearer realm="gatewayd", error="invalid_token"'),
        (Code.TOKEN_EXPIRED, 'Bearer realm="gatewayd", error="invalid_token"'),
        (Code.TOKEN_REVOKED, 'Bearer realm="gatewayd", error="invalid_token"'),
        (Code.SCOPE_MISSING, 'Bearer realm="gatewayd", error="insufficient_scope"'),
    ],
)
def test_a_refused_token_is_challenged(code: Code, challenge: str) -> None:
    """WWW-Authenticate tells a missing token from a bad one (RFC 6750 3)."""
    answer = problems.response(problems.from_refused(Refused(code, "x")), scope())

    assert challenge == answer.headers["www-authenticate"]


def test_instance_is_a_uri_reference() -> None:
    """A path that is no URI is written as one (RFC 9457 3.1.5)."""
    assert problems.instance(scope('/a "ä"')) == "/a%20%22%C3%A4%22"
