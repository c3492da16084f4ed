"""Ledger: what clients were told about each message, held against what arrived.

| class        | what                                                      | allowed               |
|--------------|-----------------------------------------------------------|-----------------------|
| lost         | 250 or 202 was seen, and no copy arrived                  | never                 |
| duplicate    | one acceptance (one Message-ID) arrived more than once    | what is in doubt      |
| resubmitted  | no answer came, the client sent it again, both were taken | without a key         |

A message goes in by SMTP or HTTP, with or without an idempotency key, under a number of its own
that it carries in `X-Ledger`. The daemon gives each acceptance a Message-ID. What arrived is
counted by a Tally, at once or, in long runs, as it comes.
"""

from __future__ import annotations

import http.client
import smtplib
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.fakes.smtp_sink import Copy
from tests.peers.gateway import Gateway

DOORS = ("smtp", "http", "smtp-key", "http-key")
FIELD = "X-Ledger"


@dataclass(slots=True)
class Entry:
    """One message of a client."""

    number: int
    door: str
    text: str = "Hello"
    is_acked: bool = False
    tries: int = 0

    @property
    def key(self) -> str:
        return f"ledger-{self.number}" if self.door.endswith("-key") else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Both ends compared. duplicates: extra copies of an acceptance, by Message-ID."""

    lost: tuple[int, ...]
    duplicates: dict[str, int]
    resubmitted: tuple[int, ...]
    twice_by_key: tuple[int, ...]
    unknown: int


@dataclass(slots=True)
class Tally:
    """The other side: copies by number and Message-ID, without their octets.

    Most numbers arrive once, so `first` alone is kept for them.
    """

    first: dict[int, str] = field(default_factory=dict)
    more: dict[int, Counter[str]] = field(default_factory=dict)
    unknown: int = 0

    def add(self, copies: Iterable[Copy]) -> None:
        for copy in copies:
            text, message_id = copy.field(FIELD), copy.field("Message-ID")
            number = int(text) if text.isdigit() else -1
            if number < 0:
                self.unknown += 1
            elif number not in self.first:
                self.first[number] = message_id
            else:
                self.more.setdefault(number, Counter([self.first[number]]))[message_id] += 1


@dataclass(slots=True)
class Ledger:
    """The clients' side."""

    entries: list[Entry] = field(default_factory=list)
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, text: str = "Hello") -> Entry:
        """One more message, for the door whose turn it is."""
        with self._one_at_a_time:
            number = len(self.entries)
            entry = Entry(number, DOORS[number % len(DOORS)], text)
            self.entries.append(entry)
        return entry

    def submit(
        self, gateway: Gateway, count: int, *, clients: int = 4, text: str = "Hello"
    ) -> None:
        """Send so many new messages from several clients at once, until the daemon is gone."""
        first = len(self.entries)
        fresh = [Entry(first + index, DOORS[index % len(DOORS)], text) for index in range(count)]
        self.entries += fresh
        _send_all(gateway, [fresh[start::clients] for start in range(clients)])

    def resubmit(self, gateway: Gateway) -> None:
        """Send again whatever was never answered."""
        _send_all(gateway, [[entry for entry in self.entries if not entry.is_acked]])
        open_entries = [entry for entry in self.entries if not entry.is_acked]
        assert not open_entries, f"refused: {open_entries}\n{gateway.tail()}"

    def compare(self, copies: Iterable[Copy]) -> Verdict:
        """Hold what arrived against what clients know."""
        tally = Tally()
        tally.add(copies)
        return self.judge(tally)

    def judge(self, tally: Tally) -> Verdict:
        """Hold what was counted against what clients know."""
        strange = sum(number >= len(self.entries) for number in tally.first)
        several = [
            self.entries[number]
            for number, counter in sorted(tally.more.items())
            if len(counter) > 1 and number < len(self.entries)
        ]
        return Verdict(
            lost=tuple(
                e.number for e in self.entries if e.is_acked and e.number not in tally.first
            ),
            duplicates={
                message_id: count - 1
                for counter in tally.more.values()
                for message_id, count in counter.items()
                if count > 1
            },
            resubmitted=tuple(entry.number for entry in several if not entry.key),
            twice_by_key=tuple(entry.number for entry in several if entry.key),
            unknown=tally.unknown + strange,
        )


def _send_all(gateway: Gateway, shares: Sequence[Sequence[Entry]]) -> None:
    with ThreadPoolExecutor(len(shares)) as pool:
        for future in [pool.submit(_send_share, gateway, share) for share in shares]:
            future.result()


def _send_share(gateway: Gateway, share: Sequence[Entry]) -> None:
    for entry in share:
        entry.tries += 1
        try:
            entry.is_acked = send(gateway, entry)
        except ConnectionRefusedError:
            continue  # the daemon is gone


def send(gateway: Gateway, entry: Entry) -> bool:
    """Whether it was accepted, as far as the client knows: no answer, or `later`, is no.

    Raises:
        ConnectionRefusedError: nobody listens.
        smtplib.SMTPResponseException: it was refused for good.
    """
    try:
        return _send(gateway, entry)
    except ConnectionRefusedError:
        raise
    except smtplib.SMTPResponseException as refusal:
        if not 400 <= refusal.smtp_code < 500:
            raise
    except (OSError, smtplib.SMTPServerDisconnected, http.client.HTTPException):
        pass  # the daemon went away in the middle: nothing is known
    return False


def _send(gateway: Gateway, entry: Entry) -> bool:
    recipient = f"r{entry.number}@rcpt.test"
    if entry.door.startswith("http"):
        body = {
            "to": recipient,
            "subject": f"number {entry.number}",
            "text": entry.text,
            "headers": {FIELD: str(entry.number)},
        }
        status, answer = gateway.post(
            "/api/v1/messages/send", body, **({"Idempotency_Key": entry.key} if entry.key else {})
        )
        # 409: another node has not let go of the key.
        assert status in (202, 503) or (status == 409 and entry.key), answer
        return status == 202
    lines = [f"{FIELD}: {entry.number}", f"Subject: number {entry.number}"]
    if entry.key:
        lines.append(f"Idempotency-Key: {entry.key}")
    octets = "\r\n".join([*lines, "", entry.text, ""]).encode()
    with smtplib.SMTP("127.0.0.1", gateway.ports.plain, timeout=30) as client:
        client.login(gateway.mailbox, gateway.token)
        client.sendmail(gateway.mailbox, [recipient], octets)
        return True
