"""web.openapi: the document is valid, and every answer is one that it declares."""

from __future__ import annotations

from typing import Any

import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from gatewayd.web import openapi
from gatewayd.web.app import create_api_app
from gatewayd.web.problems import TABLE
from tests.fakes.http_api import FakeApi

APP = create_api_app(FakeApi().parts)
AUTHORIZATION = {"Authorization": "Bearer good"}
# What an address is, no JSON schema can say: data that fits the schema may be refused.
EXCLUDED: list[Any] = [positive_data_acceptance]


@schemathesis.serializer("message/rfc822")
def serialize_octets(_: Any, value: Any) -> bytes:  # noqa: ANN401 - whatever was generated
    """Schemathesis has no way of its own to write this media type."""
    return value if isinstance(value, bytes) else str(value).encode()


SCHEMA = schemathesis.openapi.from_asgi("/api/v1/openapi.json", APP)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """As a client gets it."""
    with TestClient(APP) as client:
        whole: dict[str, Any] = client.get("/api/v1/openapi.json").json()
    return whole


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    """Generators of clients can read it."""
    openapi_spec_validator.validate(document)

    assert document["openapi"].startswith("3.1")


def test_every_refusal_is_declared_as_a_problem(document: dict[str, Any]) -> None:
    """No route answers an error in another form than problem+json."""
    for path in document["paths"].values():
        for operation in path.values():
            refusals = {
                status: response
                for status, response in operation["responses"].items()
                if int(status) >= 400
            }
            assert set(map(str, openapi.READ_STATUSES)) <= set(refusals)
            for response in refusals.values():
                assert list(response["content"]) == ["application/problem+json"]


def test_every_status_of_the_table_is_declared_by_a_route() -> None:
    """A code cannot get a status that no client was told of."""
    declared = {*openapi.SEND_STATUSES, *openapi.READ_ONE_STATUSES}

    assert {row.status for row in TABLE.values()} <= declared


@pytest.mark.slow
@SCHEMA.parametrize()
@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_outside_the_document(case: schemathesis.Case[Any]) -> None:
    """Whatever is sent: no 5xx, no status, media type, header or body that is not declared."""
    case.call_and_validate(headers=AUTHORIZATION, excluded_checks=EXCLUDED)
