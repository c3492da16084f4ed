"""What is made for each recipient alone: tracked links and pixel, a link to leave by.

| asked by                | opens and clicks                                                    |
|-------------------------|---------------------------------------------------------------------|
| the message itself      | as it says; refused where this daemon has no public address         |
| nobody, it came by HTTP | as the mailbox says (`tracking`)                                    |
| nobody, it came by SMTP | as the mailbox says if it has `track_smtp`, else none               |

Without HTML that could hold a link there is nothing to track. A link to leave by is added where the
mailbox says so (`unsubscribe`), unless the submitter gave one of its own: with a second field of
either name nobody could say which counts (RFC 8058 3.1). Neither is made without a public address
of this daemon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatewayd.errors import Code, Refused
from gatewayd.mail import unsubscribe
from gatewayd.mail.message import RawMessage
from gatewayd.policy.options import TRACKED
from gatewayd.policy.submission import Door, Options
from gatewayd.store.mailboxes import MailboxRow

_SETTINGS: Final = {
    "all": TRACKED,
    "opens": frozenset({"opens"}),
    "clicks": frozenset({"clicks"}),
    "off": frozenset[str](),
}
_CLOSED: Final = (b"multipart/signed", b"multipart/encrypted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Individual:
    """track: `opens`, `clicks`, both joined by a comma, or nothing."""

    track: str
    unsubscribe: bool


def decide(
    message: RawMessage, options: Options, mailbox: MailboxRow, *, door: Door, has_links: bool
) -> Individual:
    """The table above. Pure."""
    if not has_links:
        return Individual(track="", unsubscribe=False)
    wanted = options.track
    if wanted is None:
        asks = door is Door.HTTP or mailbox.track_smtp
        wanted = _SETTINGS[mailbox.tracking] if asks else frozenset()
    if wanted and not may_hold_html(message):
        wanted = frozenset()
    return Individual(
        track=",".join(sorted(wanted)),
        unsubscribe=mailbox.unsubscribe and not _has_own_way_out(message),
    )


def check_wish(options: Options, *, has_links: bool) -> None:
    """Refuse a message that asks for what cannot be done here.

    Raises:
        Refused: option_invalid.
    """
    if options.track and not has_links:
        raise Refused(
            Code.OPTION_INVALID,
            "tracking needs http.public_url, which the operator of this gateway has not set; "
            "leave track out",
        )


def may_hold_html(message: RawMessage) -> bool:
    """Whether a look at the type and the body cannot rule out HTML that may be changed."""
    kind = (message.header.first("Content-Type") or b"").strip().lower()
    if kind.startswith(b"text/html"):
        return True
    if not kind.startswith(b"multipart/") or kind.startswith(_CLOSED):
        return False
    body = message.body
    # Eight times as fast as a pattern without case; the writer's thread waits for this.
    return not isinstance(body, bytes) or b"text/html" in body.lower()


def _has_own_way_out(message: RawMessage) -> bool:
    by_name = message.header.by_name
    return any(
        name.lower().encode() in by_name for name in (unsubscribe.FIELD, unsubscribe.POST_FIELD)
    )
