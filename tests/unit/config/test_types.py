"""config.types: the forms of single values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.types import Bind, is_loopback


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:587", Bind("127.0.0.1", 587)),
        ("[::1]:465", Bind("::1", 465)),
        ("localhost:0", Bind("localhost", 0)),
        ("[::]:65535", Bind("::", 65535)),
    ],
)
def test_bind_is_read_and_written_the_same(text: str, expected: Bind) -> None:
    """host:port, IPv6 in brackets."""
    assert expected == Bind.parse(text)
    assert text == str(expected)


@pytest.mark.parametrize(
    "text",
    ["", "587", ":587", "127.0.0.1", "127.0.0.1:", "a:65536", "a:-1", "a:1²", "::1:5", "[x]:1"],
)
def test_bind_of_another_form_is_refused(text: str) -> None:
    """No form is guessed at."""
    with pytest.raises(ValueError, match=r"host:port|in brackets|before the port"):
        Bind.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_bind_or_a_value_error(text: str) -> None:
    """Reading raises nothing else, and what was read is written the same but for zeros."""
    try:
        bind = Bind.parse(text)
    except ValueError:
        return
    assert bind == Bind.parse(str(bind))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"]
)
def test_loopback_is_this_machine_only(host: str) -> None:
    """127/8, ::1 and localhost."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104 - as text
        "::",
        "10.0.0.1",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "",
    ],
)
def test_what_may_be_reached_from_elsewhere_is_no_loopback(host: str) -> None:
    """A wildcard is every address of the machine, and a name may be anybody's."""
    assert not is_loopback(host)
