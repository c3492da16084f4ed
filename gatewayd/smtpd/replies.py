"""What an SMTP client is told: the one table, and the fixed replies of the protocol.

| code of the refusal            | reply     | because                                            |
|--------------------------------|-----------|----------------------------------------------------|
| token_*                        | 530 5.7.0 | log in again; at AUTH it is 535 5.7.8 (RFC 4954 6) |
| scope_missing                  | 550 5.7.1 | the token may not do it                            |
| idempotency_key_*              | 550 5.5.4 |                                                    |
| idempotency_in_flight          | 451 4.5.0 | the first one will be settled soon                 |
| sender_not_allowed             | 550 5.7.1 | RFC 6409 6.1                                       |
| message_too_large              | 552 5.3.4 | RFC 1870 6.1, RFC 3463 3.4                         |
| header, lines, MIME, subject   | 550 5.6.0 | 550 5.5.2 for line endings                         |
| too_many_hops                  | 554 5.4.6 | RFC 5321 6.3                                       |
| smtputf8_required              | 553 5.6.7 | RFC 6531 3.5                                       |
| option_invalid                 | 550 5.5.4 |                                                    |
| recipient_missing              | 554 5.5.1 | RFC 5321 3.3                                       |
| too_many_recipients            | 452 4.5.3 | the rest in another transaction (4.5.3.1.10)       |
| recipient_invalid              | 553 5.1.3 | RFC 5321 3.3                                       |
| recipient_*                    | 550 5.7.1 |                                                    |
| quota_exceeded                 | 451 4.7.1 | later                                              |
| storage_full                   | 452 4.3.1 | RFC 5321 4.5.3.1.10                                |
| no_route                       | 451 4.3.5 | the operator must act                              |
| unavailable, any fault of ours | 451 4.3.0 | nobody's mail bounces because we are broken        |
| recipient_unknown              | 550 5.1.1 | of the bounce listener: not ours, or not any more  |
| relaying_denied                | 550 5.7.1 | of the bounce listener: another domain             |
| report_too_early               | 451 4.5.0 | the outcome will be known when it comes again      |

The first word of the text is the code, the same word that HTTP clients get. Every reply has an
enhanced status but the greeting, EHLO and 3yz (RFC 2034 4). No reply repeats what a client sent
but addresses: it may have sent a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gatewayd.errors import Code, Refused, StoreFull
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus

# A status of its own where the one of the code would not fit the reply.
TABLE: Final[Mapping[Code, tuple[int, str]]] = MappingProxyType(
    {
        Code.TOKEN_MISSING: (530, "5.7.0"),
        Code.TOKEN_INVALID: (530, "5.7.0"),
        Code.TOKEN_EXPIRED: (530, "5.7.0"),
        Code.TOKEN_REVOKED: (530, "5.7.0"),
        Code.SCOPE_MISSING: (550, "5.7.1"),
        Code.IDEMPOTENCY_KEY_INVALID: (550, "5.5.4"),
        Code.IDEMPOTENCY_KEY_REUSED: (550, "5.5.4"),
        Code.IDEMPOTENCY_IN_FLIGHT: (451, "4.5.0"),
        Code.SENDER_NOT_ALLOWED: (550, "5.7.1"),
        Code.MESSAGE_TOO_LARGE: (552, "5.3.4"),
        Code.SUBJECT_TOO_LONG: (550, "5.6.0"),
        Code.HEADER_TOO_LARGE: (550, "5.6.0"),
        Code.HEADER_INVALID: (550, "5.6.0"),
        Code.LINE_ENDINGS_INVALID: (550, "5.5.2"),
        Code.LINE_TOO_LONG: (550, "5.6.0"),
        Code.MIME_TOO_COMPLEX: (550, "5.6.0"),
        Code.TOO_MANY_HOPS: (554, "5.4.6"),
        Code.SMTPUTF8_REQUIRED: (553, "5.6.7"),
        Code.OPTION_INVALID: (550, "5.5.4"),
        Code.RECIPIENT_MISSING: (554, "5.5.1"),
        Code.TOO_MANY_RECIPIENTS: (452, "4.5.3"),
        Code.RECIPIENT_INVALID: (553, "5.1.3"),
        Code.RECIPIENT_DOMAIN_NOT_ALLOWED: (550, "5.7.1"),
        Code.RECIPIENT_SUPPRESSED: (550, "5.7.1"),
        Code.QUOTA_EXCEEDED: (451, "4.7.1"),
        Code.STORAGE_FULL: (452, "4.3.1"),
        Code.NO_ROUTE: (451, "4.3.5"),
        Code.UNAVAILABLE: (451, "4.3.0"),
        Code.RECIPIENT_UNKNOWN: (550, "5.1.1"),
        Code.RELAYING_DENIED: (550, "5.7.1"),
        Code.REPORT_TOO_EARLY: (451, "4.5.0"),
    }
)
# Refusals of operators' and readers' requests, which have no SMTP.
NEVER_IN_SMTP: Final = frozenset(
    {Code.NOT_FOUND, Code.CONFLICT, Code.SUPPRESSION_PROTECTED, Code.VALIDATION_FAILED}
)
LOGIN_LAPSED: Final = frozenset(
    {Code.TOKEN_MISSING, Code.TOKEN_INVALID, Code.TOKEN_EXPIRED, Code.TOKEN_REVOKED}
)


class Rejected(Exception):
    """A command was answered with this reply, and had no effect."""

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(f"{code} {status}")
        self.reply = reply(code, status, text)


def reply(code: int, status: str, text: str) -> Reply:
    """A Reply from its parts, the status as text."""
    return Reply(code, EnhancedStatus.parse(status), text)


def for_error(error: Exception) -> Reply:
    """The reply to a command that ended in `error`: the table of this module."""
    if isinstance(error, Rejected):
        return error.reply
    if isinstance(error, Refused) and error.kind in TABLE:
        return reply(*TABLE[error.kind], f"{error.code}: {error.public}")
    if isinstance(error, StoreFull):
        return _STORAGE_FULL
    return _UNAVAILABLE


def _from_table(code: Code, public: str) -> Reply:
    return reply(*TABLE[code], f"{code.word}: {public}")


def _fixed(code: int, status: str, text: str) -> bytes:
    return reply(code, status, text).render()


_STORAGE_FULL = _from_table(
    Code.STORAGE_FULL, "no space is left for new mail; nothing was stored, try again later"
)
_UNAVAILABLE = _from_table(
    Code.UNAVAILABLE, "a fault on our side; nothing was stored, try again in a minute"
)

# What nearly every transaction is told; octets, so that they cost nothing.
SENDER_OK: Final = _fixed(250, "2.1.0", "sender ok")
RECIPIENT_OK: Final = _fixed(250, "2.1.5", "recipient ok")
SEND_CONTENT: Final = b"354 send the message; end with <CRLF>.<CRLF>\r\n"

RESET: Final = _fixed(250, "2.0.0", "reset: start again with MAIL FROM")
NOTHING_DONE: Final = _fixed(250, "2.0.0", "ok")
BYE: Final = _fixed(221, "2.0.0", "closing the connection")
VERIFY: Final = _fixed(252, "2.5.0", "addresses are not looked up; send RCPT TO and see")
START_TLS: Final = _fixed(220, "2.0.0", "go ahead with the TLS handshake")
LOGGED_IN: Final = _fixed(235, "2.7.0", "logged in")
LOGIN_FAILED: Final = _fixed(
    535,
    "5.7.8",
    "token_invalid: wrong user or token, or the token has expired or was revoked; "
    "the user is the mailbox address, the password is its token",
)
LOGIN_UNAVAILABLE: Final = _fixed(
    454, "4.7.0", "unavailable: logins cannot be checked now, try again in a minute"
)

# What ends the connection.
STOPPING: Final = _fixed(421, "4.3.2", "the server is stopping; connect again in a minute")
TOO_MANY_CONNECTIONS: Final = _fixed(
    421, "4.3.2", "too many connections; reuse open ones, or connect again later"
)
TOO_MANY_FOR_TOKEN: Final = _fixed(
    421, "4.3.2", "too many connections are logged in with this token; reuse open ones"
)
TOO_SLOW: Final = _fixed(421, "4.4.2", "timed out waiting for you; connect again")
SESSION_TOO_LONG: Final = _fixed(421, "4.4.2", "this connection was open for long; connect again")
TOO_MANY_LOGINS: Final = _fixed(
    421, "4.7.0", "too many failed logins from your network; try again later"
)
LOGINS_USED_UP: Final = _fixed(421, "4.7.0", "too many failed logins; closing the connection")
TOO_MANY_ERRORS: Final = _fixed(421, "4.7.0", "too many errors; closing the connection")
TOO_MANY_IDLE: Final = _fixed(
    421, "4.7.0", "too many commands without a message; closing the connection"
)
TOO_BIG_TO_READ: Final = _fixed(
    552, "5.3.4", "message_too_large: far over the SIZE of EHLO; closing the connection"
)
FAULT: Final = _fixed(421, "4.3.0", "a fault on our side; connect again in a minute")
NOT_SMTP: Final = _fixed(554, "5.5.1", "this is an SMTP server; closing the connection")
SPOKE_TOO_SOON: Final = _fixed(
    554, "5.5.1", "wait for the greeting before you send (RFC 5321 3.1); closing the connection"
)
PIPELINED_TOO_SOON: Final = _fixed(
    503, "5.5.1", "wait for the reply to this command (RFC 2920 3.1); closing the connection"
)
TEXT_AFTER_STARTTLS: Final = _fixed(
    503, "5.5.1", "nothing may follow STARTTLS before the handshake; closing the connection"
)
CHUNK_UNREADABLE: Final = _fixed(
    501, "5.5.4", "write BDAT, a space, the number of octets, and LAST if it is the last chunk; "
    "closing the connection, as the chunk's end is unknown",
)  # fmt: skip

# Wrong order or form.
HELLO_FIRST: Final = _fixed(503, "5.5.1", "say EHLO first")
LOGIN_FIRST: Final = _fixed(
    530, "5.7.0", "token_missing: log in with AUTH first; the password is your token"
)
TLS_THEN_LOGIN_FIRST: Final = _fixed(
    530, "5.7.0", "token_missing: say STARTTLS, then log in with AUTH; the password is your token"
)
AUTH_NEEDS_TLS: Final = _fixed(
    538, "5.7.11", "a token is not sent in plaintext: say STARTTLS first"
)
AUTH_NEVER_HERE: Final = _fixed(
    538, "5.7.11", "a token is not sent in plaintext, and this port has no TLS: use another port"
)
AUTH_DONE: Final = _fixed(503, "5.5.1", "already logged in")
AUTH_IN_TRANSACTION: Final = _fixed(503, "5.5.1", "not between MAIL and its end; send RSET first")
AUTH_CANCELLED: Final = _fixed(501, "5.7.0", "login cancelled")
AUTH_NOT_BASE64: Final = _fixed(501, "5.5.2", "that was not base64 (RFC 4954 4); login ended")
AUTH_NOT_SASL: Final = _fixed(
    501, "5.5.2", "that is not what this mechanism sends; check user and password, login ended"
)
MAIL_TWICE: Final = _fixed(503, "5.5.1", "a transaction is open: go on, or send RSET first")
MAIL_FIRST: Final = _fixed(503, "5.5.1", "send MAIL FROM first, and have it accepted")
RECIPIENT_FIRST: Final = _fixed(503, "5.5.1", "send RCPT TO first")
NO_VALID_RECIPIENTS: Final = _fixed(
    554, "5.5.1", "recipient_missing: no valid recipients, every RCPT TO was refused"
)
DATA_AFTER_BDAT: Final = _fixed(503, "5.5.1", "the message began with BDAT: go on so, or RSET")
RECIPIENT_AFTER_BDAT: Final = _fixed(503, "5.5.1", "no RCPT TO after the first BDAT")
TLS_ALREADY: Final = _fixed(503, "5.5.1", "TLS is on already")
TLS_NOT_HERE: Final = _fixed(502, "5.5.1", "STARTTLS is not offered here; see EHLO")
TLS_UNAVAILABLE: Final = _fixed(454, "4.7.0", "TLS is not available now; try again later")
NOT_OFFERED: Final = _fixed(502, "5.5.1", "not offered here; see EHLO")
UNKNOWN_COMMAND: Final = _fixed(500, "5.5.1", "no such command; HELP lists them")
NO_ARGUMENT: Final = _fixed(501, "5.5.4", "this command takes no argument")
BAD_HELLO: Final = _fixed(
    501, "5.5.4", "say EHLO and your host name or [IP address]: letters, digits and . - _ : [ ]"
)
LINE_TOO_LONG: Final = _fixed(
    500, "5.5.2", "line too long: 512 octets for a command (RFC 5321 4.5.3.1.4), 12288 for AUTH"
)
BARE_LINE_END: Final = _fixed(500, "5.5.2", "a command ends with CRLF, and holds no other CR or LF")
CONTROL_CHARACTER: Final = _fixed(501, "5.5.2", "control characters are not allowed in a command")
NOT_UTF8: Final = _fixed(501, "5.5.2", "a command is ASCII, or UTF-8 where SMTPUTF8 allows it")
HELP: Final = _fixed(
    214,
    "2.0.0",
    "EHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT (RFC 5321, RFC 6409)\n"
    "log in with your mailbox address and its token, then send MAIL, RCPT and DATA",
)
