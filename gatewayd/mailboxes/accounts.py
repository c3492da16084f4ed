"""Mailboxes: create, update, destroy, list; and the next hop of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gatewayd import ids
from gatewayd.clock import Clock
from gatewayd.config.delivery import NextHop, TlsMode
from gatewayd.errors import Code, Fault, Refused
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId
from gatewayd.keys.sealed import Sealer
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.mail.mailbox_list import HeaderSyntaxError, format_originator
from gatewayd.store import mailboxes, recipients, tokens
from gatewayd.store.database import Database, Tx
from gatewayd.store.mailboxes import MailboxRow
from gatewayd.tokens.service import find_mailbox

FRESH_S = 1.0  # how long a next hop is used before the database is asked again

TRACKING: Final = ("all", "clicks", "opens", "off")
ON_IN_DOUBT: Final = ("retry", "hold")
_OF_HOST: Final = (
    "next_hop_port", "next_hop_tls_mode", "next_hop_user", "next_hop_password", "next_hop_ca_file",
)  # fmt: skip
DEFAULT_PORTS: Final = {
    TlsMode.IMPLICIT: 465,
    TlsMode.STARTTLS_REQUIRED: 587,
    TlsMode.NONE_ON_LOOPBACK: 25,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an operator sets. None leaves a setting as it is; an empty text clears it.

    next_hop_password: clear text here, sealed in the database.
    """

    display_name: str | None = None
    next_hop_host: str | None = None
    next_hop_port: int | None = None
    next_hop_tls_mode: str | None = None
    next_hop_user: str | None = None
    next_hop_password: str | None = None
    next_hop_ca_file: str | None = None
    tracking: str | None = None
    track_smtp: bool | None = None
    unsubscribe: bool | None = None
    on_in_doubt: str | None = None


class Mailboxes:
    """Mailboxes from the outside."""

    def __init__(
        self, database: Database, sealer: Sealer, *, smarthost: NextHop | None, clock: Clock
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._smarthost = smarthost
        self._clock = clock
        self._known: dict[MailboxId, tuple[float, NextHop | None]] = {}

    def use(self, sealer: Sealer) -> None:
        """Take other sealing keys, after a rotation."""
        self._sealer = sealer
        self._known.clear()

    def use_smarthost(self, smarthost: NextHop | None) -> None:
        """Take another smarthost, after a reload."""
        self._smarthost = smarthost
        self._known.clear()

    async def create(self, address: str, change: Change) -> MailboxRow:
        """Make a mailbox.

        Raises:
            Refused: validation_failed for a bad value, conflict when the address has one.
        """
        parsed = _parse(address)
        now = self._clock.now()
        bare = MailboxRow(
            mailbox_id=ids.mailbox_id(now), address=str(parsed), address_key=parsed.key,
            display_name=None, next_hop_host=None, next_hop_port=None, next_hop_tls_mode=None,
            next_hop_user=None, next_hop_password=None, next_hop_ca_file=None,
            tracking="all", track_smtp=False, on_in_doubt="retry", created_at=now, updated_at=now,
        )  # fmt: skip
        row = self._changed(bare, change)

        def work(tx: Tx) -> None:
            if mailboxes.by_address_key(tx, parsed.key) is not None:
                raise Refused(
                    Code.CONFLICT, f"there is a mailbox {parsed}; see `gatewayd mailboxes update`"
                )
            mailboxes.add(tx, row)
            record.append(tx, [_event(EventType.MAILBOX_CREATED, row)])

        await self._database.write(work)
        return row

    async def update(self, address: str, change: Change) -> MailboxRow:
        """Change settings of a mailbox.

        Raises:
            Refused: not_found, validation_failed.
        """

        def work(tx: Tx) -> MailboxRow:
            before = find_mailbox(tx, address)
            row = replace(self._changed(before, change), updated_at=tx.now)
            values = _differences(before, row)
            if values:
                mailboxes.change(tx, row.mailbox_id, values)
                changed = sorted(values.keys() - {"updated_at"})
                record.append(tx, [_event(EventType.MAILBOX_UPDATED, row, changed=changed)])
            return row

        row = await self._database.write(work)
        self._known.clear()
        return row

    async def destroy(self, address: str) -> int:
        """Remove a mailbox, and end its tokens; how many they were.

        Raises:
            Refused: not_found; conflict while mail of it is still owed.
        """

        def work(tx: Tx) -> int:
            row = find_mailbox(tx, address)
            owed = recipients.owed_by(tx, row.mailbox_id)
            if owed:
                raise Refused(
                    Code.CONFLICT,
                    f"{owed} recipients of this mailbox are still owed; wait, or give them up "
                    f"with `gatewayd messages cancel --mailbox {row.address}`",
                )
            ended = tokens.revoke_of_mailbox(tx, row.mailbox_id)
            mailboxes.remove(tx, row.mailbox_id)
            record.append(tx, [_event(EventType.MAILBOX_DESTROYED, row)])
            return ended

        ended = await self._database.write(work)
        self._known.clear()
        return ended

    async def list(self) -> list[MailboxRow]:
        return await self._database.read(mailboxes.in_order)

    async def get(self, address: str) -> MailboxRow:
        """The mailbox of an address; raises Refused (not_found)."""
        return await self._database.read(lambda tx: find_mailbox(tx, address))

    async def next_hop(self, mailbox_id: MailboxId) -> NextHop | None:
        """Where mail of this mailbox goes: its own next hop, or the smarthost, or nowhere yet."""
        known = self._known.get(mailbox_id)
        now = self._clock.monotonic()
        if known is not None and now - known[0] < FRESH_S:
            return known[1]
        rows = await self._database.read(lambda tx: mailboxes.by_ids(tx, [mailbox_id]))
        row = rows.get(mailbox_id)
        found = self.next_hop_of(row) if row is not None else self._smarthost
        if len(self._known) > 10_000:
            self._known.clear()
        self._known[mailbox_id] = (now, found)
        return found

    def next_hop_of(self, row: MailboxRow) -> NextHop | None:
        """The next hop that a row stands for."""
        if row.next_hop_host is None:
            return self._smarthost
        mode = TlsMode(row.next_hop_tls_mode or TlsMode.STARTTLS_REQUIRED)
        password = row.next_hop_password
        return NextHop(
            host=row.next_hop_host,
            port=row.next_hop_port or DEFAULT_PORTS[mode],
            tls_mode=mode,
            user=row.next_hop_user,
            password=self._sealer.open(password) if password is not None else None,
            ca_file=Path(row.next_hop_ca_file) if row.next_hop_ca_file else None,
        )

    def _changed(self, row: MailboxRow, change: Change) -> MailboxRow:
        """The row with the change, checked as a whole."""
        values: dict[str, Any] = {
            name: value or None
            for name in (
                "display_name", "next_hop_host", "next_hop_port", "next_hop_tls_mode",
                "next_hop_user", "next_hop_ca_file",
            )
            if (value := getattr(change, name)) is not None
        }  # fmt: skip
        for name in ("tracking", "track_smtp", "unsubscribe", "on_in_doubt"):
            if (value := getattr(change, name)) is not None:
                values[name] = value
        if change.next_hop_password is not None:
            secret = change.next_hop_password
            values["next_hop_password"] = self._sealer.seal(secret) if secret else None
        if values.get("next_hop_host", row.next_hop_host) is None:
            for name in _OF_HOST:
                if values.get(name) is not None:
                    raise _invalid(name, f"{name} needs next_hop_host")
                values[name] = None
        changed = replace(row, **values)
        self._check(changed)
        return changed

    def _check(self, row: MailboxRow) -> None:
        for name in ("next_hop_host", "next_hop_user", "next_hop_ca_file"):
            if not (getattr(row, name) or "").isprintable():
                raise _invalid(name, f"{name} is one line of text")
        if (row.next_hop_user is None) != (row.next_hop_password is None):
            raise _invalid("next_hop_user", "next_hop_user and next_hop_password go together")
        _one_of("tracking", row.tracking, TRACKING)
        _one_of("on_in_doubt", row.on_in_doubt, ON_IN_DOUBT)
        if row.next_hop_tls_mode is not None:
            _one_of("next_hop_tls_mode", row.next_hop_tls_mode, tuple(TlsMode))
        if row.next_hop_port is not None and not 0 < row.next_hop_port < 65536:
            raise _invalid("next_hop_port", "a port is 1 to 65535")
        try:
            format_originator(row.display_name or "", Address.parse(row.address))
        except HeaderSyntaxError as error:
            raise _invalid("display_name", str(error)) from error
        try:
            self.next_hop_of(row)
        except ValueError as error:
            raise _invalid("next_hop_tls_mode", str(error)) from error


def _differences(before: MailboxRow, after: MailboxRow) -> dict[str, Any]:
    changed = {
        name: getattr(after, name)
        for name in MailboxRow.__slots__
        if getattr(after, name) != getattr(before, name)
    }
    return changed if changed.keys() - {"updated_at"} else {}


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _invalid(name, f"{name} is one of {', '.join(allowed)}")


def _invalid(name: str, detail: str) -> Refused:
    fault = Fault(pointer=f"/{name}", detail=detail, code=Code.VALIDATION_FAILED)
    return Refused(Code.VALIDATION_FAILED, detail, faults=[fault])


def _parse(address: str) -> Address:
    try:
        return Address.parse(address)
    except AddressSyntaxError as error:
        raise _invalid("address", f"{address!r} is no mail address: {error}") from error


def _event(kind: EventType, row: MailboxRow, **more: object) -> Event:
    return Event(type=kind, mailbox_id=row.mailbox_id, data={"address": row.address, **more})
