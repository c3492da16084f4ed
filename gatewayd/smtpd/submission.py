"""The submission listener, 587 and 465: who is asking, then intake (RFC 6409, RFC 8314 3.3).

| when        | asked of  | what                                                                |
|-------------|-----------|---------------------------------------------------------------------|
| AUTH        | Tokens    | is this token good, and for this user                               |
| MAIL        | Intake    | is the token still good; scope, reverse-path, SIZE, space           |
| RCPT        | Intake    | count, domain, suppression: advice, for this recipient alone        |
| end of data | Intake    | everything, and finally: on return the message is on stable storage |
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from gatewayd import ids
from gatewayd.clock import Clock
from gatewayd.errors import Code, Refused
from gatewayd.mail import received
from gatewayd.mail.address import ReversePath
from gatewayd.mail.envelope import Envelope, Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.policy import options
from gatewayd.policy.submission import Accepted, Door, Submission, Trace
from gatewayd.smtpd import auth, login, transfer, verbs
from gatewayd.smtpd.auth import Credentials
from gatewayd.smtpd.commands import MailCommand
from gatewayd.smtpd.data import BodyWriter
from gatewayd.smtpd.session import Verb
from gatewayd.smtpd.terms import Facts
from gatewayd.tokens.claims import Principal

VERBS: Final[Mapping[bytes, Verb]] = MappingProxyType(
    {
        **verbs.EVERYWHERE,
        b"DATA": transfer.data,
        b"BDAT": transfer.bdat,
        b"STARTTLS": login.starttls,
        b"AUTH": login.log_in,
    }
)


class Tokens(Protocol):
    """Who is behind a token; the tokens room answers."""

    async def authenticate(self, token: str, *, user: str | None) -> Principal:
        """The principal of a token; user: the mailbox address, or `token` for any.

        Raises:
            Refused: TOKEN_INVALID, TOKEN_EXPIRED or TOKEN_REVOKED.
        """
        ...


class Intake(Protocol):
    """Takes submissions; the intake room does."""

    async def screen_sender(
        self, principal: Principal, *, reverse_path: ReversePath, size_octets: int | None
    ) -> None:
        """Refuse at MAIL what would be refused at the end of data in any case."""
        ...

    async def screen_recipient(
        self, principal: Principal, recipient: Recipient, *, already: int
    ) -> None:
        """Refuse at RCPT what would be refused at the end of data in any case."""
        ...

    async def accept(self, submission: Submission) -> Accepted:
        """Take responsibility; cancelling the caller does not cancel the commit."""
        ...


class Bodies(Protocol):
    """Where bodies are kept; the spool room does."""

    def incoming(self) -> BodyWriter: ...


class SubmissionHandler:
    """One session's way to Tokens and Intake."""

    def __init__(self, *, tokens: Tokens, intake: Intake, bodies: Bodies, clock: Clock) -> None:
        self._tokens = tokens
        self._intake = intake
        self._bodies = bodies
        self._clock = clock
        self._principal: Principal | None = None

    async def authenticate(self, credentials: Credentials) -> str:
        user = credentials.user
        if user.lower() == auth.TOKEN_USER:
            user = auth.TOKEN_USER
        principal = await self._tokens.authenticate(credentials.token, user=user)
        self._principal = principal
        return principal.token_id

    async def sender(self, mail: MailCommand) -> None:
        await self._intake.screen_sender(
            self._who(), reverse_path=mail.reverse_path, size_octets=mail.size_octets
        )

    async def recipient(self, recipient: Recipient, *, already: int) -> None:
        await self._intake.screen_recipient(self._who(), recipient, already=already)

    async def accept(self, envelope: Envelope, message: RawMessage, facts: Facts) -> str:
        accepted = await self._intake.accept(
            Submission(
                principal=self._who(),
                envelope=envelope,
                content=message,
                options=options.NONE,
                trace=Trace(
                    door=Door.SMTP,
                    peer=facts.peer,
                    helo=facts.helo,
                    protocol=received.protocol(
                        is_smtputf8=envelope.smtputf8,
                        is_tls=bool(facts.tls),
                        is_authenticated=facts.is_logged_in,
                    ),
                    tls=facts.tls,
                    request_id=ids.uuid7(self._clock.now()),
                ),
            )
        )
        count = len(accepted.recipients)
        return f"{accepted.queue_id} accepted for {count} recipient{'s' if count != 1 else ''}"

    def open_body(self) -> BodyWriter:
        return self._bodies.incoming()

    def log_out(self) -> None:
        self._principal = None

    def _who(self) -> Principal:
        if self._principal is None:
            raise Refused(Code.TOKEN_MISSING, "log in with AUTH first; the password is your token")
        return self._principal
