"""The one MetaData: every table, and the revision that this code reads and writes.

| table          | one row for                                            | read by               |
|----------------|--------------------------------------------------------|-----------------------|
| mailboxes      | an address that may send, with its next hop            | policy, delivery      |
| tokens         | a token that was issued                                | policy                |
| quotas         | a token's use in one UTC hour or day                   | policy                |
| suppressions   | an address that gets no mail, from one mailbox or any  | policy                |
| idempotency    | an acceptance that must not happen twice               | policy                |
| messages       | an accepted message: envelope and facts                | delivery, doors       |
| message_octets | its octets, but for bodies in the spool                | delivery              |
| recipients     | a forward-path: the queue itself                       | delivery, doors       |
| attempts       | a try of one batch at one next hop                     | recovery, doors       |
| events         | a thing that happened                                  | every reader          |
| dkim_keys      | a signing key of a domain                              | delivery              |
| notices        | a DSN that is owed to a submitter                      | delivery              |
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    literal_column,
    text,
    true,
)

from gatewayd.store.columns import Instant, Json, Sequence

REVISION: Final = "0002"

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s",
        "pk": "%(table_name)s_pkey",
        "ck": "%(table_name)s_%(constraint_name)s",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
    }
)

mailboxes = Table(
    "mailboxes",
    metadata,
    Column("mailbox_id", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("address_key", Text, nullable=False, unique=True),
    Column("display_name", Text),
    Column("next_hop_host", Text),
    Column("next_hop_port", Integer),
    Column("next_hop_tls_mode", Text),
    Column("next_hop_user", Text),
    Column("next_hop_password", Text),  # sealed
    Column("next_hop_ca_file", Text),
    Column("tracking", Text, nullable=False),
    Column("track_smtp", Boolean, nullable=False),
    Column("on_in_doubt", Text, nullable=False),
    Column("unsubscribe", Boolean, nullable=False, server_default=true()),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("mailbox_id", Text, nullable=False, index=True),
    Column("key_id", Text, nullable=False),  # which key signed it
    Column("name", Text, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("hourly", BigInteger),
    Column("daily", BigInteger),
    Column("allowed_recipient_domains", Json),
    Column("sandbox", Boolean, nullable=False),
    Column("issued_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

quotas = Table(
    "quotas",
    metadata,
    Column("token_id", Text, primary_key=True),
    Column("window", Text, primary_key=True),
    Column("starts_at", Instant, primary_key=True),
    Column("used", BigInteger, nullable=False),
    CheckConstraint("\"window\" IN ('hour', 'day')", name="window"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("scope", Text, primary_key=True),  # a mailbox_id, or * for all
    Column("address_key", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("first_seen_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("expires_at", Instant),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("mailbox_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("queue_id", Text, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
)

messages = Table(
    "messages",
    metadata,
    Column("queue_id", Text, primary_key=True),
    Column("mailbox_id", Text, nullable=False),
    Column("token_id", Text, nullable=False),
    Column("door", Text, nullable=False),
    Column("reverse_path", Text, nullable=False),
    Column("body_type", Text, nullable=False),
    Column("smtputf8", Boolean, nullable=False),
    Column("envid", Text),
    Column("ret", Text),
    Column("message_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("sandbox", Boolean, nullable=False),
    Column("tags", Json, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("spool_key", Text),
    Column("spool_sha256", Text),
    Column("accepted_at", Instant, nullable=False),
    # What is made for each recipient alone: `opens`, `clicks`, both joined by a comma, or nothing.
    Column("track", Text, nullable=False, server_default=""),
    Column("unsubscribe", Boolean, nullable=False, server_default=false()),
    Index("messages_mailbox_id_queue_id", "mailbox_id", "queue_id"),
    Index(
        "messages_spool_key",
        "spool_key",
        sqlite_where=text("spool_key IS NOT NULL"),
        postgresql_where=text("spool_key IS NOT NULL"),
    ),
)

message_octets = Table(
    "message_octets",
    metadata,
    Column("queue_id", Text, primary_key=True),
    Column("header", LargeBinary, nullable=False),
    Column("body", LargeBinary),  # null: the body is in the spool
    Column("body_octets", BigInteger, nullable=False),
    Column("body_has_8bit", Boolean, nullable=False),
)

_STATES = [
    "queued",
    "claimed",
    "delivered",
    "failed",
    "in_doubt",
    "expired",
    "held",
    "cancelled",
    "bounced",
]

# Written out in statements, not bound: only then is a partial index seen to fit at once.
QUEUED: Final = literal_column("'queued'", Text)
CLAIMED: Final = literal_column("'claimed'", Text)
IN_DOUBT: Final = literal_column("'in_doubt'", Text)

recipients = Table(
    "recipients",
    metadata,
    Column("recipient_id", Text, primary_key=True),
    Column("queue_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    # Whose turn it is: work is claimed by lane, so that no mailbox waits behind another's next hop.
    Column("lane", Text, nullable=False),
    Column("forward_path", Text, nullable=False),
    Column("notify", Text, nullable=False),
    Column("orcpt", Text),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant),  # null: not by itself
    # The attempt that holds, or last held, the claim: no other may write the outcome.
    Column("attempt_id", Text),
    Column("reply_code", Integer),
    Column("reply_status", Text),
    Column("reason", Text, nullable=False),
    Column("delivered_at", Instant),
    Column("updated_at", Instant, nullable=False),
    # Facts that came back, each with the time it was first known.
    Column("bounced_at", Instant),
    Column("bounce_class", Text),  # permanent, transient, unknown
    Column("bounce_reason", Text),  # a word of reports/bounce_class.py
    Column("delayed_at", Instant),  # a report said so, or the submitter was told so
    Column("complained_at", Instant),
    Column("unsubscribed_at", Instant),
    Column("opened_at", Instant),  # by a person, as far as one can tell
    Column("clicked_at", Instant),
    Column("machine_opened_at", Instant),  # by a proxy or a scanner
    Column("machine_clicked_at", Instant),
    CheckConstraint(
        "state IN ({})".format(", ".join(f"'{state}'" for state in _STATES)), name="state"
    ),
    Index("recipients_queue_id_position", "queue_id", "position"),
    Index(
        "recipients_due",
        "lane",
        "due_at",
        "recipient_id",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "recipients_in_doubt",
        "due_at",
        sqlite_where=text("state = 'in_doubt'"),
        postgresql_where=text("state = 'in_doubt'"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("attempt_id", Text, primary_key=True),
    Column("queue_id", Text, nullable=False, index=True),
    Column("started_at", Instant, nullable=False),
    Column("lease_until", Instant, nullable=False),
    Column("marker_at", Instant),  # the final dot may have been written from then on
    Column("ended_at", Instant),
    Column("next_hop", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("tls", Text, nullable=False),
    Column("transcript", Text, nullable=False),
    Index(
        "attempts_open",
        "lease_until",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("mailbox_id", Text),
    Column("queue_id", Text),
    Column("recipient_id", Text),
    Column("data", Json, nullable=False),
    Index("events_queue_id_seq", "queue_id", "seq"),
    Index("events_mailbox_id_seq", "mailbox_id", "seq"),
    sqlite_autoincrement=True,  # a number is never given twice, even after the last row was deleted
)

dkim_keys = Table(
    "dkim_keys",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("selector", Text, primary_key=True),
    Column("algorithm", Text, nullable=False),
    Column("private_key", Text, nullable=False),  # sealed
    Column("created_at", Instant, nullable=False),
)

# Written with the outcome that the submitter wants to hear of, taken when the DSN is in the queue.
notices = Table(
    "notices",
    metadata,
    Column("notice_id", Text, primary_key=True),
    Column("queue_id", Text, nullable=False),
    Column("recipient_id", Text, nullable=False),
    Column("action", Text, nullable=False),  # RFC 3464 2.3.3
    Column("data", Json, nullable=False),  # of the event that is told
    Column("created_at", Instant, nullable=False),
)
