"""DATA and BDAT: the octets of a message, from the wire to the end of data and its reply.

The end of data is CRLF.CRLF and nothing else, or the last octet of the last chunk. What follows it
in the buffer is the next command. A refused chunk is read to its end and dropped, so that nothing
of it is taken for a command (RFC 3030 3).
"""

from __future__ import annotations

import asyncio

from gatewayd.errors import StoreFull
from gatewayd.mail.lines import DotReader
from gatewayd.smtpd import commands, replies
from gatewayd.smtpd.connection import READ_OCTETS
from gatewayd.smtpd.data import MessageReader
from gatewayd.smtpd.session import Session, Transaction
from gatewayd.smtpd.terms import Goodbye

_ABORT_FACTOR = 2  # times the limit, and a client that still goes on is not waited for


async def data(session: Session, argument: str) -> None:
    """Take a message line by line, as the client sees it."""
    if argument:
        session.say_wrong(replies.NO_ARGUMENT)
        return
    transaction = session.transaction
    problem = _out_of_order(transaction)
    if problem is not None or transaction is None:
        session.say_wrong(problem or replies.MAIL_FIRST)
        return
    if transaction.reader is not None:
        session.say_wrong(replies.DATA_AFTER_BDAT)
        return
    reader = transaction.reader = _open(session)
    session.say(replies.SEND_CONTENT)
    await _read_to_dot(session, reader)
    await _end(session, reader)


async def bdat(session: Session, argument: str) -> None:
    """Take a chunk (RFC 3030 2)."""
    chunk = commands.parse_chunk(argument)
    if chunk is None:
        raise Goodbye(replies.CHUNK_UNREADABLE)
    size_octets, is_last = chunk
    if size_octets > session.terms.limits.message_octets * _ABORT_FACTOR:
        raise Goodbye(replies.TOO_BIG_TO_READ)
    transaction = session.transaction
    problem = _out_of_order(transaction)
    if problem is not None or transaction is None:
        await _read_chunk(session, size_octets, None)
        session.say_wrong(problem or replies.MAIL_FIRST)
        return
    if transaction.reader is None:
        try:
            transaction.reader = _open(session)
        except StoreFull:
            await _read_chunk(session, size_octets, None)
            session.reset()
            raise
    reader = transaction.reader
    await _read_chunk(session, size_octets, reader)
    if is_last:
        await _end(session, reader)
    elif reader.fault is not None:
        fault = reader.fault
        session.reset()  # what follows is 503, until the next MAIL
        raise fault
    else:
        session.say(b"250 2.0.0 %d octets received\r\n" % size_octets)


def _out_of_order(transaction: Transaction | None) -> bytes | None:
    if transaction is None:
        return replies.MAIL_FIRST
    if transaction.recipients:
        return None
    return replies.NO_VALID_RECIPIENTS if transaction.attempts else replies.RECIPIENT_FIRST


def _open(session: Session) -> MessageReader:
    terms = session.terms
    if terms.budget.is_spent:
        raise StoreFull("no memory is left for messages being received")
    return MessageReader(
        limits=terms.limits, budget=terms.budget, open_body=session.handler.open_body
    )


async def _end(session: Session, reader: MessageReader) -> None:
    """The end of data: take responsibility, or refuse."""
    transaction = session.take_transaction()
    try:
        message = await reader.finish()
        text = await session.handler.accept(transaction.envelope(), message, session.facts)
    finally:
        reader.close()
    session.message_ended()
    session.say(b"250 2.0.0 %b\r\n" % text.encode("ascii"))
    if session.wire.has_ended:
        session.terms.metrics.smtp_unacked_commit.inc()


async def _read_to_dot(session: Session, reader: MessageReader) -> None:
    dots = DotReader()
    wire = session.wire
    pace = _Pace(session)
    while True:
        block = wire.take(READ_OCTETS)
        if not block:
            await wire.more(pace.deadline())
            continue
        content = dots.feed(block)
        if content:
            reader.feed(content)
        if dots.ended:
            wire.put_back(dots.rest)
            return
        pace.count(len(block))
        await _let_others_go_on()


async def _read_chunk(session: Session, size_octets: int, reader: MessageReader | None) -> None:
    """Read exactly so many octets, into `reader` or nowhere."""
    wire = session.wire
    pace = _Pace(session, reader.size_octets if reader is not None else 0)
    while size_octets:
        block = wire.take(min(size_octets, READ_OCTETS))
        if not block:
            await wire.more(pace.deadline())
            continue
        size_octets -= len(block)
        if reader is not None:
            reader.feed(block)
        pace.count(len(block))
        await _let_others_go_on()


async def _let_others_go_on() -> None:
    """Between two blocks: a loop that has read many at once would hold everybody else."""
    await asyncio.sleep(0)


class _Pace:
    """How long a client may take for a message, and how much it may send.

    already: octets of the same message in chunks before.
    """

    __slots__ = ("_before", "_began_at", "_octets", "_session")

    def __init__(self, session: Session, already: int = 0) -> None:
        self._session = session
        self._began_at = session.wire.loop.time()
        self._before = already
        self._octets = 0

    def count(self, octets: int) -> None:
        """Count what came; far over the limit, the connection ends."""
        self._octets += octets
        limit = self._session.terms.limits.message_octets * _ABORT_FACTOR
        if self._before + self._octets > limit:
            raise Goodbye(replies.TOO_BIG_TO_READ)

    def deadline(self) -> float:
        """For the next octets: a block in time, the mean rate, and the whole session."""
        timeouts = self._session.terms.timeouts
        now = self._session.wire.loop.time()
        at_rate = self._began_at + self._octets / timeouts.data_min_octets_per_s
        return (
            min(now, at_rate, self._session.ends_at - timeouts.data_block_s) + timeouts.data_block_s
        )
