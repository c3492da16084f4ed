"""smtpd.replies: the table is whole, and every reply is well formed."""

from __future__ import annotations

import re

import pytest

from gatewayd.errors import Code, Refused, StoreBroken, StoreFull, StoreUnavailable
from gatewayd.smtpd import replies
from gatewayd.smtpd.replies import NEVER_IN_SMTP, TABLE, Rejected, for_error

_WITH_STATUS = re.compile(rb"([2-5])[0-9]{2}[ -]([245])\.[0-9]{1,3}\.[0-9]{1,3} [ -~]+")
_FIXED = {
    name: value
    for name, value in vars(replies).items()
    if name.isupper() and isinstance(value, bytes)
}


def test_table_has_every_code_that_can_reach_smtp() -> None:
    """A new code must be given its reply, or be named as one that SMTP never sees."""
    assert set(Code) == set(TABLE) | NEVER_IN_SMTP
    assert not set(TABLE) & NEVER_IN_SMTP


@pytest.mark.parametrize("code", TABLE, ids=lambda code: code.word)
def test_refusal_is_rendered_with_its_word_first(code: Code) -> None:
    """The word after the status is the one that HTTP clients get."""
    reply, status = TABLE[code]

    rendered = for_error(Refused(code, "what to do")).render()

    assert f"{reply} {status} {code.word}: what to do\r\n".encode() == rendered


@pytest.mark.parametrize("code", TABLE, ids=lambda code: code.word)
def test_class_of_status_is_that_of_the_reply(code: Code) -> None:
    """A 4yz with a 5.y.z would be read as either (RFC 2034 4)."""
    reply, status = TABLE[code]

    assert str(reply)[0] == status[0]


@pytest.mark.parametrize(
    "code", [code for code in TABLE if code not in replies.LOGIN_LAPSED], ids=lambda code: code.word
)
def test_status_is_the_one_of_the_code(code: Code) -> None:
    """Only a lapsed login gets another status than errors.py says."""
    assert code.status == TABLE[code][1]


@pytest.mark.parametrize("name", _FIXED)
def test_fixed_reply_has_a_status_of_its_class_and_text(name: str) -> None:
    """Every reply but 3yz, the greeting and EHLO has an enhanced status (RFC 2034 4)."""
    for line in _FIXED[name].removesuffix(b"\r\n").split(b"\r\n"):
        assert len(line) <= 510
        if line.startswith(b"3"):
            continue
        match = _WITH_STATUS.fullmatch(line)
        assert match is not None, line
        # 252 and the like are positive; 2.y.z goes with 2yz, 4 with 4, 5 with 5.
        assert match[1] == match[2]


@pytest.mark.parametrize("error", [StoreUnavailable("busy"), RuntimeError("/path"), KeyError("x")])
def test_fault_of_ours_is_451_and_tells_nothing(error: Exception) -> None:
    """A client whose mail we cannot take now must not bounce it."""
    reply = for_error(error).render()

    assert reply.startswith(b"451 4.3.0 unavailable: ")
    assert b"/path" not in reply
    assert b"busy" not in reply


def test_full_store_is_452() -> None:
    """No space is a passing fault (RFC 5321 4.5.3.1.10)."""
    assert for_error(StoreFull("disk")).render().startswith(b"452 4.3.1 storage_full: ")


def test_broken_store_is_451() -> None:
    """The daemon stops, and the client tries again."""
    assert for_error(StoreBroken("fsync")).code == 451


def test_code_that_smtp_never_sees_is_451() -> None:
    """Our mistake, so nobody's mail bounces for it."""
    assert for_error(Refused(Code.NOT_FOUND, "no")).code == 451


def test_rejected_carries_its_reply() -> None:
    """Grammar answers with a reply of its own."""
    assert for_error(Rejected(501, "5.5.4", "no")).render() == b"501 5.5.4 no\r\n"
