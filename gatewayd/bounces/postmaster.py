"""Postmaster: mail for postmaster@ of the bounce domain, sent on to the operator (RFC 5321 4.5.1).

It goes into the queue like other mail, by the next hop of the mailbox that has the operator's
address, or by the smarthost. Anybody could have written it: so its reverse-path is null, that
nobody is sent a bounce for it, and it is not signed by the domain of that mailbox, which its From
may name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gatewayd import ids
from gatewayd.ids import MailboxId, TokenId
from gatewayd.mail import encoded_word, received
from gatewayd.mail.address import Address, ForwardPath, ReversePath
from gatewayd.mail.envelope import BodyType, Envelope, Recipient
from gatewayd.mail.message import RawMessage
from gatewayd.queue import enqueue
from gatewayd.queue.claim import POSTMASTER_DOOR
from gatewayd.queue.enqueue import Entry
from gatewayd.store import mailboxes
from gatewayd.store.database import Database, Tx

LANE: Final = MailboxId("postmaster")  # no mailbox has this id, so it goes by the smarthost
SUBJECT_SHOWN: Final = 200


class Trace(Protocol):
    """Where a message came from."""

    @property
    def peer(self) -> str: ...

    @property
    def helo(self) -> str: ...

    @property
    def protocol(self) -> str: ...

    @property
    def tls(self) -> str: ...


class Postmaster:
    """Sends an operator's mail on.

    Args:
        database: where the queue is.
        address: of the operator.
        hostname: for Received.
        on_queued: called when something was put into the queue.
    """

    def __init__(
        self, database: Database, *, address: str, hostname: str, on_queued: Callable[[], None]
    ) -> None:
        self._database = database
        self._address = Address.parse(address)
        self._hostname = hostname
        self._on_queued = on_queued

    async def forward(self, message: RawMessage, *, trace: Trace) -> None:
        """Put a message into the queue; durable when this returns.

        Raises:
            StoreError: nothing was stored, as far as we know.
        """
        await self._database.write(lambda tx: self._keep(tx, message, trace))
        self._on_queued()

    def _keep(self, tx: Tx, message: RawMessage, trace: Trace) -> None:
        now = tx.now
        queue_id = ids.queue_id(now)
        mailbox = mailboxes.by_address_key(tx, self._address.key)
        field = received.write(
            by=self._hostname,
            helo=trace.helo,
            peer=trace.peer,
            protocol=trace.protocol,
            tls=trace.tls,
            queue_id=queue_id,
            for_=None,
            at=now,
        )
        utf8 = message.needs_smtputf8 or not self._address.is_ascii
        header = message.header
        entry = Entry(
            queue_id=queue_id,
            recipient_ids=(ids.recipient_id(now),),
            mailbox_id=mailbox.mailbox_id if mailbox is not None else LANE,
            token_id=TokenId(""),
            door=POSTMASTER_DOOR,
            envelope=Envelope(
                ReversePath(None),
                (Recipient(ForwardPath(self._address)),),
                BodyType.EIGHT_BIT if message.has_8bit else BodyType.SEVEN_BIT,
                smtputf8=utf8,
            ),
            message=RawMessage(header.prepend("Received", field, smtputf8=utf8), message.body),
            message_id=(header.first("Message-ID") or b"").decode("utf-8", "replace")[:998],
            subject=encoded_word.decode(header.first("Subject") or b"")[:SUBJECT_SHOWN],
            sandbox=False,
            tags=(),
            metadata=(),
            request_id=ids.uuid7(now),
            accepted_at=now,
        )
        enqueue.add(tx, [entry])
