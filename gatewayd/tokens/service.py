"""Tokens: issue, list, revoke; and who is asking, at most a second behind a revocation."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import jwt

from gatewayd import ids
from gatewayd.clock import Clock
from gatewayd.config.security import TokensSection
from gatewayd.errors import Code, Refused
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId, TokenId
from gatewayd.keys.ring import KeyRing
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.store import mailboxes, tokens
from gatewayd.store.database import Database, Tx
from gatewayd.store.mailboxes import MailboxRow
from gatewayd.store.tokens import TokenRow
from gatewayd.tokens.claims import Principal, Scope
from gatewayd.tokens.verify import (
    ALGORITHM,
    Verified,
    Verifier,
    expired,
    invalid,
    revoked,
    signing_key,
)

ANY_MAILBOX = "token"  # the user name of a client that does not know its mailbox
FRESH_S = 1.0  # how long a look at the database is good for


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an operator asks of a new token. None takes the configured default.

    hourly, daily: recipients; "unlimited" by `unlimited_*`.
    allowed_recipient_domains: empty for any.
    """

    mailbox: str
    name: str = ""
    scopes: tuple[Scope, ...] = (Scope.MESSAGES_SEND, Scope.MESSAGES_READ)
    lifetime_s: int | None = None
    hourly: int | None = None
    daily: int | None = None
    unlimited: bool = False
    allowed_recipient_domains: tuple[str, ...] = ()
    sandbox: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A new token: shown once, never stored."""

    token: str
    row: TokenRow
    mailbox: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A token and its mailbox, as the database had them a moment ago."""

    token: TokenRow
    mailbox: MailboxRow


class Tokens:
    """Tokens from the outside."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        *,
        section: TokensSection,
        token_octets: int,
        clock: Clock,
    ) -> None:
        self._database = database
        self._ring = ring
        self._section = section
        self._clock = clock
        self._verifier = Verifier(ring, section=section, token_octets=token_octets, clock=clock)
        self._seen: dict[TokenId, tuple[float, Standing | None]] = {}
        self._principals: dict[TokenId, tuple[Verified, Principal]] = {}

    def use(self, ring: KeyRing) -> None:
        """Take other keys, after a rotation."""
        self._ring = ring
        self._verifier.use(ring)

    async def authenticate(self, token: str, *, user: str | None) -> Principal:
        """Who holds this token.

        Args:
            token: as the client sent it.
            user: the SMTP user name: the mailbox's address or the word `token`; None over HTTP.

        Raises:
            Refused: token_invalid, token_expired or token_revoked.
        """
        said = self._verifier.verify(token)
        standing = await self._standing(said.token_id)
        if standing is None or standing.mailbox.address_key != said.mailbox.key:
            raise invalid("no such token, or its mailbox is another one")
        _refuse_revoked(standing)
        if user is not None and not _is_user(user, said.mailbox):
            raise invalid("the user name is another mailbox")
        return self._principal(said, standing.mailbox.mailbox_id)

    def _principal(self, said: Verified, mailbox_id: MailboxId) -> Principal:
        """The same value for every request with the same token."""
        known = self._principals.get(said.token_id)
        if known is not None and known[0] is said and known[1].mailbox_id == mailbox_id:
            return known[1]
        principal = Principal(
            token_id=said.token_id,
            mailbox_id=mailbox_id,
            mailbox=said.mailbox,
            scopes=said.scopes,
            hourly=said.hourly,
            daily=said.daily,
            allowed_recipient_domains=said.allowed_recipient_domains,
            sandbox=said.sandbox,
            expires_at=said.expires_at,
        )
        if len(self._principals) > 10_000:
            self._principals.clear()
        self._principals[said.token_id] = (said, principal)
        return principal

    async def check(self, principal: Principal) -> Standing:
        """Whether this principal may still do anything, at most a second behind.

        Raises:
            Refused: token_expired or token_revoked.
        """
        leeway = dt.timedelta(seconds=self._section.leeway_s)
        if principal.expires_at + leeway <= self._clock.now():
            raise expired()
        standing = await self._standing(principal.token_id)
        if standing is None:
            raise revoked()
        _refuse_revoked(standing)
        return standing

    async def issue(self, request: Request) -> Issued:
        """Make a token.

        Raises:
            Refused: not_found for the mailbox, validation_failed for a wish that cannot be met.
        """
        asked_s = request.lifetime_s
        lifetime_s = int(self._section.lifetime_s) if asked_s is None else asked_s
        if not 0 < lifetime_s <= self._section.max_lifetime_s:
            raise Refused(
                Code.VALIDATION_FAILED,
                f"a token lives 1 to {int(self._section.max_lifetime_s)} seconds "
                "(tokens.max_lifetime_s)",
            )
        _check_wishes(request)
        now = self._clock.now().replace(microsecond=0)
        row, mailbox = await self._database.write(
            lambda tx: self._add(tx, request, now, now + dt.timedelta(seconds=lifetime_s))
        )
        self._seen.pop(row.token_id, None)
        return Issued(token=self._sign(row, mailbox), row=row, mailbox=mailbox)

    async def list(self, mailbox: str | None = None) -> list[tuple[TokenRow, str]]:
        """Every token, or those of one mailbox, each with its mailbox's address."""

        def work(tx: Tx) -> list[tuple[TokenRow, str]]:
            owner = None if mailbox is None else find_mailbox(tx, mailbox).mailbox_id
            rows = tokens.in_order(tx, owner)
            names = mailboxes.by_ids(tx, {row.mailbox_id for row in rows})
            return [
                (row, names[row.mailbox_id].address if row.mailbox_id in names else "")
                for row in rows
            ]

        return await self._database.read(work)

    async def revoke(self, token_id: TokenId) -> bool:
        """End a token at once. False: it was ended before.

        Raises:
            Refused: not_found.
        """

        def work(tx: Tx) -> bool:
            row = tokens.by_ids(tx, [token_id]).get(token_id)
            if row is None:
                raise Refused(Code.NOT_FOUND, "there is no such token; see `gatewayd tokens list`")
            if not tokens.revoke(tx, token_id):
                return False
            told = {"token_id": token_id}
            record.append(
                tx, [Event(type=EventType.TOKEN_REVOKED, mailbox_id=row.mailbox_id, data=told)]
            )
            return True

        done = await self._database.write(work)
        self.forget()
        return done

    def forget(self) -> None:
        """Look into the database again before anybody is let in."""
        self._seen.clear()

    async def _standing(self, token_id: TokenId) -> Standing | None:
        seen = self._seen.get(token_id)
        now = self._clock.monotonic()
        if seen is not None and now - seen[0] < FRESH_S:
            return seen[1]
        standing = await self._database.read(lambda tx: _load(tx, token_id))
        if len(self._seen) > 10_000:
            self._seen.clear()
        self._seen[token_id] = (now, standing)
        return standing

    def _add(
        self, tx: Tx, request: Request, now: dt.datetime, expires_at: dt.datetime
    ) -> tuple[TokenRow, str]:
        mailbox = find_mailbox(tx, request.mailbox)
        section = self._section
        row = TokenRow(
            token_id=ids.token_id(now),
            mailbox_id=mailbox.mailbox_id,
            key_id=self._ring.active.kid,
            name=request.name,
            scopes=[scope.value for scope in request.scopes],
            hourly=_limit(request.hourly, section.default_hourly, unlimited=request.unlimited),
            daily=_limit(request.daily, section.default_daily, unlimited=request.unlimited),
            allowed_recipient_domains=_domains(request.allowed_recipient_domains),
            sandbox=request.sandbox,
            issued_at=now,
            expires_at=expires_at,
            revoked_at=None,
        )
        tokens.add(tx, row)
        told = {"token_id": row.token_id, "name": row.name, "scopes": row.scopes}
        record.append(
            tx, [Event(type=EventType.TOKEN_ISSUED, mailbox_id=mailbox.mailbox_id, data=told)]
        )
        return row, mailbox.address

    def _sign(self, row: TokenRow, mailbox: str) -> str:
        claims: dict[str, object] = {
            "iss": self._section.issuer,
            "aud": self._section.audience,
            "sub": mailbox,
            "jti": row.token_id,
            "iat": int(row.issued_at.timestamp()),
            "exp": int(row.expires_at.timestamp()),
            "scope": " ".join(row.scopes),
        }
        limits = {"hourly": row.hourly, "daily": row.daily}
        if any(limit is not None for limit in limits.values()):
            claims["send_limits"] = {k: v for k, v in limits.items() if v is not None}
        if row.allowed_recipient_domains is not None:
            claims["allowed_recipient_domains"] = row.allowed_recipient_domains
        if row.sandbox:
            claims["sandbox"] = True
        return jwt.encode(
            claims,
            signing_key(self._ring, row.key_id),
            algorithm=ALGORITHM,
            headers={"kid": row.key_id},
        )


def find_mailbox(tx: Tx, address: str) -> MailboxRow:
    """The mailbox of an address as an operator writes it.

    Raises:
        Refused: validation_failed or not_found.
    """
    try:
        key = Address.parse(address).key
    except AddressSyntaxError as error:
        raise Refused(Code.VALIDATION_FAILED, f"{address!r} is no mail address: {error}") from error
    row = mailboxes.by_address_key(tx, key)
    if row is None:
        raise Refused(
            Code.NOT_FOUND,
            f"there is no mailbox {address}; make it with `gatewayd mailboxes create {address}`",
        )
    return row


def _load(tx: Tx, token_id: TokenId) -> Standing | None:
    token = tokens.by_ids(tx, [token_id]).get(token_id)
    if token is None:
        return None
    mailbox = mailboxes.by_ids(tx, [token.mailbox_id]).get(token.mailbox_id)
    return None if mailbox is None else Standing(token, mailbox)


def _refuse_revoked(standing: Standing) -> None:
    if standing.token.revoked_at is not None:
        raise revoked()


def _is_user(user: str, mailbox: Address) -> bool:
    if user.lower() == ANY_MAILBOX:
        return True
    try:
        return Address.parse(user).key == mailbox.key
    except AddressSyntaxError:
        return False


def _check_wishes(request: Request) -> None:
    """Refuse what a token could not say, so that none is issued that nobody can use."""
    if any(limit is not None and limit < 0 for limit in (request.hourly, request.daily)):
        raise Refused(Code.VALIDATION_FAILED, "a limit is a number of recipients, 0 or more")
    if not request.name.isprintable():
        raise Refused(Code.VALIDATION_FAILED, "the name of a token is one line of text")


def _limit(asked: int | None, default: int | str | None, *, unlimited: bool) -> int | None:
    if unlimited:
        return None
    if asked is not None:
        return asked
    return default if isinstance(default, int) else None


def _domains(asked: tuple[str, ...]) -> list[str] | None:
    """Domains as A-labels in lower case, as forward-paths are compared."""
    if not asked:
        return None
    try:
        return sorted({Address.parse(f"x@{domain}").ascii_domain for domain in asked})
    except AddressSyntaxError as error:
        raise Refused(
            Code.VALIDATION_FAILED, f"an allowed recipient domain is no domain: {error}"
        ) from error
