"""smtpd.data: one message as it comes in, in any pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Refused, StoreFull
from gatewayd.mail.message import RawMessage
from gatewayd.smtpd.data import MemoryBudget, MessageReader
from gatewayd.smtpd.simulator import MemoryBody

_LIMITS = LimitsSection(message_octets=10_000, header_octets=200)


class _FullDisk(MemoryBody):
    """A body that nothing more can be written to."""

    def write(self, block: bytes) -> None:  # noqa: ARG002 - it is as good as another
        raise StoreFull("no space")


def _reader(
    budget: MemoryBudget | None = None, body: type[MemoryBody] = MemoryBody
) -> MessageReader:
    return MessageReader(limits=_LIMITS, budget=budget or MemoryBudget(1_000_000), open_body=body)


async def _read(*blocks: bytes) -> RawMessage:
    reader = _reader()
    try:
        for block in blocks:
            reader.feed(block)
        return await reader.finish()
    finally:
        reader.close()


async def _refusal(*blocks: bytes) -> Code:
    with pytest.raises(Refused) as caught:
        await _read(*blocks)
    return caught.value.kind


async def test_message_is_split_at_the_first_blank_line() -> None:
    """The blank line is in neither part."""
    message = await _read(b"A: 1\r\n\r\nbody\r\n\r\nmore\r\n")

    assert message.header.octets == b"A: 1\r\n"
    assert message.body == b"body\r\n\r\nmore\r\n"
    assert message.is_checked


@given(st.data())
async def test_split_does_not_depend_on_the_pieces(data: st.DataObject) -> None:
    """TCP cuts where it likes."""
    octets = b"A: 1\r\nB: 2\r\n\r\n\r\nbody\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=8)))
    blocks = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]

    message = await _read(*blocks)

    assert message.header.octets == b"A: 1\r\nB: 2\r\n"
    assert message.body == b"\r\nbody\r\n"


@pytest.mark.parametrize(
    ("octets", "header", "body"),
    [
        (b"", b"", b""),
        (b"\r\n", b"", b""),
        (b"\r\nbody\r\n", b"", b"body\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n", b""),
        (b"A: 1\r\n\r\n", b"A: 1\r\n", b""),
    ],
)
async def test_message_without_one_of_its_parts_is_read(
    octets: bytes, header: bytes, body: bytes
) -> None:
    """Header section and body may each be empty (RFC 5322 2.1)."""
    message = await _read(octets)

    assert header == message.header.octets
    assert body == message.body


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"A: 1\r\n\r\na\nb\r\n", Code.LINE_ENDINGS_INVALID),
        (b"A: 1\r\n\r\na\rb\r\n", Code.LINE_ENDINGS_INVALID),
        (b"A: 1\r\n\r\na\0b\r\n", Code.LINE_ENDINGS_INVALID),
        (b"A: 1\nB: 2\r\n\r\nx\r\n", Code.LINE_ENDINGS_INVALID),
        (b"A: 1\r\n\r\nends in cr\r", Code.LINE_ENDINGS_INVALID),
        (b"A: 1\r\n\r\n" + b"x" * 999 + b"\r\n", Code.LINE_TOO_LONG),
        (b"A: 1\r\n" + b"B: 2\r\n" * 40 + b"\r\n", Code.HEADER_TOO_LARGE),
        (b"A: 1\r\n" + b"B: 2\r\n" * 40, Code.HEADER_TOO_LARGE),
        (b"A: 1\r\n\r\n" + b"x\r\n" * 5000, Code.MESSAGE_TOO_LARGE),
        (b"A: no end", Code.HEADER_INVALID),
    ],
)
async def test_what_may_not_pass_is_refused_at_the_end(octets: bytes, code: Code) -> None:
    """In one piece and octet by octet."""
    assert code is await _refusal(octets)
    assert code is await _refusal(*(octets[i : i + 1] for i in range(len(octets))))


async def test_header_section_of_the_limit_passes() -> None:
    """The limit is the largest that is allowed."""
    header = b"A: " + b"x" * 195 + b"\r\n"

    assert header == (await _read(header + b"\r\nbody\r\n")).header.octets
    assert Code.HEADER_TOO_LARGE is await _refusal(b"A" + header + b"\r\nbody\r\n")


async def test_budget_is_held_while_a_message_is_read_and_given_back() -> None:
    """What is counted once is taken back once, however it ends."""
    budget = MemoryBudget(1000)
    reader = _reader(budget)

    reader.feed(b"A: 1\r\n\r\nbody\r\n")
    assert budget.used_octets == 12
    await reader.finish()
    assert budget.used_octets == 12
    reader.close()
    reader.close()
    assert budget.used_octets == 0


async def test_message_over_the_budget_is_refused_and_forgotten() -> None:
    """The others keep theirs."""
    budget = MemoryBudget(100)
    first, second = _reader(budget), _reader(budget)

    first.feed(b"A: 1\r\n\r\n" + b"x" * 60)
    second.feed(b"A: 1\r\n\r\n" + b"x" * 60)
    second.feed(b"x" * 60 + b"\r\n")

    with pytest.raises(StoreFull):
        await second.finish()
    assert budget.used_octets == 66
    first.close()
    second.close()
    assert budget.used_octets == 0


async def test_full_disk_is_told_after_the_end() -> None:
    """`feed` never raises: a reply in the middle would let the rest be read as commands."""
    reader = _reader(body=_FullDisk)

    reader.feed(b"A: 1\r\n\r\nbody\r\n")
    reader.feed(b"more\r\n")

    with pytest.raises(StoreFull):
        await reader.finish()
    reader.close()


async def test_dropped_message_holds_nothing() -> None:
    """What will be refused needs no memory."""
    budget = MemoryBudget(1_000_000)
    reader = _reader(budget)

    reader.feed(b"A: 1\r\n\r\n" + b"x" * 500)
    reader.feed(b"\n" + b"x" * 5000)

    assert budget.used_octets == 0
    assert reader.fault is not None
    reader.close()


async def test_body_with_too_many_parts_is_refused_before_it_is_in_the_spool() -> None:
    """Limits hold for bodies of any size: once in a file, nobody looks inside."""
    head = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    parts = b"--b\r\n\r\nx\r\n" * (_LIMITS.mime_parts // 2 + 1)
    roomy = LimitsSection(mime_parts=_LIMITS.mime_parts // 2)
    reader = MessageReader(limits=roomy, budget=MemoryBudget(1_000_000), open_body=MemoryBody)

    for at in range(0, len(parts), 999):
        reader.feed((head if at == 0 else b"") + parts[at : at + 999])
    with pytest.raises(Refused) as caught:
        await reader.finish()
    reader.close()

    assert caught.value.kind is Code.MIME_TOO_COMPLEX
