"""EHLO HELO MAIL RCPT RSET NOOP VRFY HELP QUIT: one function each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gatewayd.errors import Code, Refused
from gatewayd.smtpd import commands, replies
from gatewayd.smtpd.session import Session, Transaction, Verb
from gatewayd.smtpd.terms import Goodbye

_TRIES_PER_RECIPIENT = (
    10  # RCPT of one transaction, refused ones too, for each that may be accepted
)


async def ehlo(session: Session, argument: str) -> None:
    """Begin, or begin again: what was open is forgotten (RFC 5321 4.1.4)."""
    if _hello(session, argument):
        session.say(session.terms.hello_tls if session.wire.tls else session.terms.hello_plain)


async def helo(session: Session, argument: str) -> None:
    """EHLO of old; nothing is offered then, AUTH included (RFC 5321 4.1.1.1)."""
    if _hello(session, argument):
        session.say(f"250 {session.terms.hostname}\r\n".encode("ascii"))


async def mail(session: Session, argument: str) -> None:
    """Open a transaction."""
    if not session.helo:
        session.say_wrong(replies.HELLO_FIRST)
        return
    if session.terms.requires_login and not session.is_logged_in:
        safe = session.is_secret_safe
        session.say_wrong(replies.LOGIN_FIRST if safe else replies.TLS_THEN_LOGIN_FIRST)
        return
    if session.transaction is not None:
        session.say_wrong(replies.MAIL_TWICE)
        return
    command = commands.parse_mail(argument)
    await session.handler.sender(command)
    limit = session.terms.limits.message_octets
    if command.size_octets is not None and command.size_octets > limit:
        raise Refused(
            Code.MESSAGE_TOO_LARGE, f"the message is over {limit} octets, the SIZE of EHLO"
        )
    session.transaction = Transaction(command)
    session.say(replies.SENDER_OK)


async def rcpt(session: Session, argument: str) -> None:
    """Add a recipient; each is refused alone, and the decision at the end of data is final."""
    transaction = session.transaction
    if transaction is None:
        session.say_wrong(replies.MAIL_FIRST)
        return
    if transaction.reader is not None:
        session.say_wrong(replies.RECIPIENT_AFTER_BDAT)
        return
    limit = session.terms.limits.recipients
    transaction.attempts += 1
    if transaction.attempts > limit * _TRIES_PER_RECIPIENT:
        raise Goodbye(replies.TOO_MANY_ERRORS)
    recipient = commands.parse_rcpt(argument, smtputf8=transaction.mail.smtputf8)
    already = len(transaction.recipients)
    if already >= limit:
        raise Refused(
            Code.TOO_MANY_RECIPIENTS,
            f"a message has at most {limit} recipients; send the others in another one",
        )
    await session.handler.recipient(recipient, already=already)
    transaction.recipients.append(recipient)
    session.say(replies.RECIPIENT_OK)


async def rset(session: Session, argument: str) -> None:
    """Close the transaction with nothing done."""
    if argument:
        session.say_wrong(replies.NO_ARGUMENT)
        return
    session.count_idle()
    session.reset()
    session.say(replies.RESET)


async def noop(session: Session, argument: str) -> None:  # noqa: ARG001 - it may have any
    """Do nothing."""
    session.count_idle()
    session.must_be_last()
    session.say(replies.NOTHING_DONE)


async def vrfy(session: Session, argument: str) -> None:  # noqa: ARG001 - it may have any
    """Tell nobody who has a mailbox (RFC 5321 3.5.3)."""
    session.count_idle()
    session.must_be_last()
    session.say(replies.VERIFY)


async def show_help(session: Session, argument: str) -> None:  # noqa: ARG001 - it may have any
    """Say what there is."""
    session.count_idle()
    session.must_be_last()
    session.say(replies.HELP)


async def quit_(session: Session, argument: str) -> None:
    """Part as friends."""
    if argument:
        session.say_wrong(replies.NO_ARGUMENT)
        return
    raise Goodbye(replies.BYE)


def _hello(session: Session, argument: str) -> bool:
    if not commands.is_hello_name(argument):
        session.say_wrong(replies.BAD_HELLO)
        return False
    if session.helo:  # the first one is no idling
        session.count_idle()
    session.must_be_last()
    session.reset()
    session.helo = argument
    return True


EVERYWHERE: Final[Mapping[bytes, Verb]] = MappingProxyType(
    {
        b"EHLO": ehlo,
        b"HELO": helo,
        b"MAIL": mail,
        b"RCPT": rcpt,
        b"RSET": rset,
        b"NOOP": noop,
        b"VRFY": vrfy,
        b"HELP": show_help,
        b"QUIT": quit_,
    }
)
