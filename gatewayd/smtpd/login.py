"""STARTTLS and AUTH: from a stranger in plaintext to a client that is known.

| AUTH is answered                                   | with        | source          |
|----------------------------------------------------|-------------|-----------------|
| before EHLO, twice, in a transaction               | 503 5.5.1   | RFC 4954 4      |
| in plaintext, where that is not allowed            | 538 5.7.11  | RFC 4954 6      |
| unknown mechanism                                  | 504 5.5.4   | RFC 4954 4      |
| not base64, or not what the mechanism says         | 501 5.5.2   | RFC 4954 4      |
| `*`                                                | 501 5.7.0   | RFC 4954 4      |
| wrong, for whatever reason                         | 535 5.7.8   | RFC 4954 6      |
| the third time wrong                               | and 421, closed               | |
| too many failures from that network                | 421 4.7.0, closed             | |
| cannot be checked now                              | 454 4.7.0   | RFC 4954 6      |

All reasons for 535 have one text, and take FAILURE_S from the credentials on, which is longer than
any of them needs. Nothing that comes after AUTH is logged or said back.
"""

from __future__ import annotations

import asyncio
import base64

from gatewayd import log
from gatewayd.errors import Refused, StoreBroken
from gatewayd.smtpd import auth, replies
from gatewayd.smtpd.auth import Credentials, NotBase64, SaslError
from gatewayd.smtpd.replies import Rejected
from gatewayd.smtpd.session import Session
from gatewayd.smtpd.terms import Goodbye

_log = log.get_logger(__name__)


class _Cancelled(SaslError):
    """The client sent `*`."""


async def starttls(session: Session, argument: str) -> None:
    """Begin TLS; what was said before does not count any more (RFC 3207 4.2)."""
    wire = session.wire
    if argument:
        session.say_wrong(replies.NO_ARGUMENT)
    elif wire.tls:
        session.say_wrong(replies.TLS_ALREADY)
    elif not session.terms.starttls:
        session.say_wrong(replies.TLS_NOT_HERE)
    elif not session.helo:
        session.say_wrong(replies.HELLO_FIRST)
    elif wire.has_input:
        raise Goodbye(replies.TEXT_AFTER_STARTTLS)
    elif (context := session.listener.tls_context) is None:
        session.say(replies.TLS_UNAVAILABLE)
    else:
        session.reset()
        session.log_out()
        session.helo = ""
        session.say(replies.START_TLS)
        await wire.start_tls(context, session.terms.timeouts.tls_handshake_s)


async def log_in(session: Session, argument: str) -> None:
    """Log a client in by a token (RFC 4954)."""
    problem = _out_of_order(session)
    if problem is not None:
        session.say_wrong(problem)
        return
    name, _, initial = argument.partition(" ")
    mechanism = name.upper()
    if mechanism not in auth.MECHANISMS:
        known = " ".join(auth.MECHANISMS)
        raise Rejected(504, "5.5.4", f"write AUTH and one of {known}, with the token as password")
    session.must_be_last()
    if session.terms.throttle.is_blocked(session.wire.peer):
        raise Goodbye(replies.TOO_MANY_LOGINS)
    session.count_idle()
    try:
        credentials = await _converse(session, mechanism, initial.strip())
    except _Cancelled:
        session.say_wrong(replies.AUTH_CANCELLED)
    except NotBase64:
        session.say_wrong(replies.AUTH_NOT_BASE64)
    except SaslError:
        session.say_wrong(replies.AUTH_NOT_SASL)
    else:
        await _check(session, mechanism, credentials)


def _out_of_order(session: Session) -> bytes | None:
    if not session.helo:
        return replies.HELLO_FIRST
    if session.is_logged_in:
        return replies.AUTH_DONE
    if session.transaction is not None:
        return replies.AUTH_IN_TRANSACTION
    if not session.is_secret_safe:
        return replies.AUTH_NEEDS_TLS if session.terms.starttls else replies.AUTH_NEVER_HERE
    return None


async def _converse(session: Session, mechanism: str, initial: str) -> Credentials:
    """Run a mechanism to its end."""
    # "=" is an initial response of no octets (RFC 4954 4).
    first = None if not initial else b"" if initial == "=" else auth.decode_base64(initial.encode())
    exchange = auth.MECHANISMS[mechanism](first)
    try:
        challenge = next(exchange)
        while True:
            challenge = exchange.send(await _ask(session, challenge))
    except StopIteration as end:
        credentials: Credentials = end.value
        return credentials


async def _ask(session: Session, challenge: bytes) -> bytes:
    session.say(b"334 %b\r\n" % base64.b64encode(challenge))
    line = await session.line(auth.LINE_OCTETS)
    if not line.endswith(b"\r\n"):
        raise Goodbye(replies.BARE_LINE_END)
    if len(line) > auth.LINE_OCTETS:
        raise Rejected(500, "5.5.6", f"a line of AUTH has at most {auth.LINE_OCTETS} octets")
    response = line[:-2]
    if response == b"*":
        raise _Cancelled
    return auth.decode_base64(response)


async def _check(session: Session, mechanism: str, credentials: Credentials) -> None:
    loop = session.wire.loop
    answer_at = loop.time() + auth.FAILURE_S
    try:
        if len(credentials.token) > session.terms.limits.token_octets:
            token_id = ""
        else:
            token_id = await session.handler.authenticate(credentials)
    except Refused as refused:
        _log.info("smtp_login_refused", peer=session.wire.peer, code=refused.code)
        token_id = ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the client may try again
        # No traceback: one of a token library may hold the token.
        _log.error("smtp_login_failed", peer=session.wire.peer, error=type(error).__name__)
        if isinstance(error, StoreBroken):
            session.terms.on_fatal(error)
        session.say(replies.LOGIN_UNAVAILABLE)
        return
    if not token_id:
        await _refuse(session, mechanism, answer_at)
    elif not session.log_in(token_id):
        raise Goodbye(replies.TOO_MANY_FOR_TOKEN)
    else:
        session.say(replies.LOGGED_IN)


async def _refuse(session: Session, mechanism: str, answer_at: float) -> None:
    session.terms.metrics.smtp_auth_failures.inc()
    session.terms.throttle.count_failure(session.wire.peer)
    session.login_failures += 1
    await asyncio.sleep(answer_at - session.wire.loop.time())
    if mechanism in auth.BEARER_MECHANISMS:
        # The client is told why in JSON, answers with anything, then is refused (RFC 7628 3.2.3).
        session.say(b"334 %b\r\n" % base64.b64encode(auth.BEARER_ERROR))
        await session.line(auth.LINE_OCTETS)
    session.say(replies.LOGIN_FAILED)
    if session.login_failures >= session.terms.limits.auth_failures_per_connection:
        raise Goodbye(replies.LOGINS_USED_UP)
