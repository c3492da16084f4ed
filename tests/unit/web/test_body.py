"""web.body: one test per row of the table in its docstring."""

from __future__ import annotations

import pytest

from gatewayd.errors import Refused
from gatewayd.web import body
from gatewayd.web.problems import HttpRefused


@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (b'{"a": "\xff"}', "not UTF-8 from octet 7 on"),
        (b"\xef\xbb\xbf{}", "not JSON at line 1 column 1"),
        (b"", "not JSON at line 1 column 1"),
        (b'{"a": 1} x', "not JSON at line 1 column 10"),
        (b"{'a': 1}", "not JSON at line 1 column 2"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b'[{"a": 1, "b": 2, "a": 3}]', "the name 'a' stands twice in one object"),
        (b'{"a": 1, "\\u0061": 2}', "the name 'a' stands twice in one object"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b"1" * 10_000, "a number has too many digits"),
        (b'"a\nb"', "not JSON at line 1 column 3"),
        (rb'{"\ud800": 1}', "an escape is half of a surrogate pair"),
        (rb'["\uDFFF\ud800"]', "an escape is half of a surrogate pair"),
    ],
)
def test_what_readers_disagree_about_is_refused(octets: bytes, detail: str) -> None:
    """A strict reader takes one meaning or none (RFC 8259, RFC 7493)."""
    with pytest.raises(Refused) as caught:
        body.parse_json(octets)

    assert [("", detail)] == [(each.pointer, each.detail) for each in caught.value.faults]


def test_json_is_read() -> None:
    """Whole pairs of surrogates are characters."""
    assert body.parse_json('{"a": [1, null, "ä"]}'.encode()) == {"a": [1, None, "ä"]}
    assert body.parse_json(rb'"\ud83d\ude00"') == "😀"


def test_many_names_are_compared_in_linear_time() -> None:
    """A MiB of names costs milliseconds, also when the last is a repetition."""
    names = ",".join(f'"{number}":0' for number in range(100_000))

    with pytest.raises(Refused):
        body.parse_json(f'{{{names},"0":0}}'.encode())


@pytest.mark.parametrize("value", [b"application/json", b"Application/JSON; charset=utf-8"])
def test_the_media_type_is_compared_without_case_and_parameters(value: bytes) -> None:
    """(RFC 9110 8.3.1)."""
    body.require_media_type({"headers": [(b"content-type", value)]}, "application/json")


@pytest.mark.parametrize(
    "values",
    [[], [b"text/plain"], [b"application/json", b"application/json"], [b"application/jsonp"]],
)
def test_another_media_type_is_refused(values: list[bytes]) -> None:
    """A form that a foreign page may post is not taken for JSON."""
    with pytest.raises(HttpRefused):
        body.require_media_type(
            {"headers": [(b"content-type", value) for value in values]}, "application/json"
        )
