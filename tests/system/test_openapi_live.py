"""The API of a running daemon: no answer outside its own document, and no 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.fakes.smtp_sink import SmtpSink
from tests.peers.gateway import Gateway

pytestmark = [pytest.mark.slow]

# What an address is, no JSON schema can say: data that fits the schema may be refused.
EXCLUDED: list[Any] = [positive_data_acceptance]


@schemathesis.serializer("message/rfc822")
def serialize_octets(_: Any, value: Any) -> bytes:  # noqa: ANN401 - whatever was generated
    """Schemathesis has no way of its own to write this media type."""
    return value if isinstance(value, bytes) else str(value).encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory: Path = tmp_path_factory.mktemp("live")
    with (
        SmtpSink() as sink,
        Gateway(
            directory,
            smarthost=f'host = "127.0.0.1"\nport = {sink.port}\ntls_mode = "none-on-loopback"\n',
        ) as running,
    ):
        running.prepare()
        running.start()
        yield running


@pytest.fixture
def api(gateway: Gateway) -> Any:  # noqa: ANN401 - schemathesis has no public name for it
    return schemathesis.openapi.from_url(f"{gateway.http_url}/api/v1/openapi.json")


def test_the_document_of_a_running_daemon_is_valid(api: Any) -> None:  # noqa: ANN401 - as above
    """What a generator of clients downloads is OpenAPI 3.1."""
    openapi_spec_validator.validate(api.raw_schema)

    assert api.raw_schema["openapi"].startswith("3.1")


def test_no_answer_of_a_running_daemon_is_outside_its_document(
    gateway: Gateway,
    api: Any,  # noqa: ANN401 - as above
) -> None:
    """The whole way: real sockets, real token, real database, real queue; and no 5xx."""
    headers = {"Authorization": f"Bearer {gateway.token}"}
    operations = [found.ok() for found in api.get_all_operations()]

    for operation in operations:
        _walk(operation.as_strategy(), headers)

    assert len(operations) >= 5
    assert gateway.is_alive()


def _walk(cases: SearchStrategy[Any], headers: dict[str, str]) -> None:
    @given(case=cases)
    @settings(
        max_examples=20,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def walk(case: Any) -> None:  # noqa: ANN401 - as above
        case.call_and_validate(headers=headers, excluded_checks=EXCLUDED)

    walk()
