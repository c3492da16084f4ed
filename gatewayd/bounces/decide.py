"""What a report does to a recipient: the two tables of this room. Pure.

Whom a report means. The VERP address proves that the report belongs to one recipient, or to one
message; what the report itself says proves nothing, because whoever had the mail can write it.

| the group names, as Final- or Original-Recipient     | means                | may suppress      |
|------------------------------------------------------|----------------------|-------------------|
| our forward-path, as Final-Recipient                 | that recipient       | yes               |
| it, or the ORCPT that we passed on, as the original  | the same; rewritten  | yes               |
|                                                      | on the way: noted    |                   |
| nobody, and only one recipient can be meant          | that one             | yes               |
| another address, and only one can be meant           | that one: noted      | no                |
| nobody or another address, and several can be meant  | none                 | -                 |

Equal are two addresses whose domains are, and whose local-parts differ at most in the case of ASCII
letters: relays fold it. "Noted" is `reported_address` in the event. The fourth row is an alias: the
copy for this recipient did come back, the MAC says so, hence it is `bounced`; but the mailbox that
died is another one, and an alias with one dead target may have living ones. So it is never a reason
to stop writing to the address. Of several groups for one recipient the one that names it best
counts, then the mildest: mail that reached one of an alias' targets is not returned.

Several recipients can be meant where they share the octets, and so the VERP address. Each of them
knows it from its copy, and could report another: that price of sharing is bounded by the message.

What is done then. "Handed over" is an attempt of the message that had come to the final dot.

| state                            | handed over | failed        | delayed     | others      |
|----------------------------------|-------------|---------------|-------------|-------------|
| delivered                        | -           | BOUNCED       | DELAYED     | TOLD        |
| in_doubt                         | -           | BOUNCED       | PROVED,     | PROVED,     |
|                                  |             |               | DELAYED     | TOLD        |
| queued, claimed                  | yes         | BOUNCED       | DELAYED     | TOLD        |
| queued, claimed                  | no          | EARLY         | EARLY       | EARLY       |
| held, failed, expired, cancelled | yes         | NOTED         | nothing     | nothing     |
| held, failed, expired, cancelled | no          | IMPOSSIBLE    | IMPOSSIBLE  | IMPOSSIBLE  |
| bounced                          | -           | nothing       | nothing     | nothing     |

Others are delivered, relayed and expanded (RFC 3464 2.3.3). Each happens once: with `bounced_at`
only the delivered and those in doubt are BOUNCED, who were sent again since; with `delayed_at`
nobody is DELAYED. TOLD and PROVED are of use to a submitter who asked for NOTIFY=SUCCESS; PROVED
also saves a second copy: the next hop has it, so it is `delivered` by the meaning of that word.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from gatewayd.ids import RecipientId
from gatewayd.mail.address import Address, AddressSyntaxError
from gatewayd.queue.states import State
from gatewayd.reports import addresses
from gatewayd.reports.report import Action, ReportedRecipient


class Effect(enum.Enum):
    """What is done about a recipient."""

    BOUNCED = "bounced"  # the state, the facts, the suppression where the table says so
    NOTED = "noted"  # the same without the state: an operator, or an outcome, has the last word
    DELAYED = "delayed"
    PROVED = "proved"  # in doubt no more: delivered
    TOLD = "told"  # the submitter, if it asked; nothing else
    EARLY = "early"  # come again: the outcome is not known yet
    IMPOSSIBLE = "impossible"  # it never left this machine


class Agreement(enum.IntEnum):
    """How well a group names a recipient: the rows of the first table, the best last."""

    OTHER = 0
    UNTOLD = 1
    ORIGINAL = 2
    FINAL = 3

    @property
    def may_suppress(self) -> bool:
        return self is not Agreement.OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A recipient that a report may mean. orcpt: as it was submitted, in xtext."""

    recipient_id: RecipientId
    forward_path: str
    orcpt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """A recipient that a report means, and what it says of it."""

    told: ReportedRecipient
    agreement: Agreement


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a recipient before the report."""

    state: State
    is_handed_over: bool
    is_bounced: bool
    is_delayed: bool


_MILDNESS: Final = {Action.FAILED: 0, Action.DELAYED: 1}  # the others: 2


def decide(known: Known, action: Action) -> tuple[Effect, ...]:
    """The second table."""
    match known.state:
        case State.BOUNCED:
            return ()
        case State.DELIVERED | State.IN_DOUBT:
            return _sent(known, action, is_news=True)
        case State.QUEUED | State.CLAIMED:
            if not known.is_handed_over:
                return (Effect.EARLY,)
            return _sent(known, action, is_news=not known.is_bounced)
        case State.HELD | State.FAILED | State.EXPIRED | State.CANCELLED:
            if not known.is_handed_over:
                return (Effect.IMPOSSIBLE,)
            is_news = action is Action.FAILED and not known.is_bounced
            return (Effect.NOTED,) if is_news else ()
        case _:
            assert_never(known.state)


def _sent(known: Known, action: Action, *, is_news: bool) -> tuple[Effect, ...]:
    """What the report does where the next hop has the mail. is_news: a failure would be."""
    if action is Action.FAILED:
        return (Effect.BOUNCED,) if is_news else ()
    proved = (Effect.PROVED,) if known.state is State.IN_DOUBT else ()
    if action is Action.DELAYED:
        return proved if known.is_delayed else (*proved, Effect.DELAYED)
    return (*proved, Effect.TOLD)


def meant(
    candidates: Sequence[Candidate], groups: Collection[ReportedRecipient]
) -> Mapping[RecipientId, Meant]:
    """The first table: whom of these recipients the groups of a report mean."""
    by_final: dict[str, list[ReportedRecipient]] = {}
    by_original: dict[str, list[ReportedRecipient]] = {}
    for told in groups:
        by_final.setdefault(same(told.address), []).append(told)
        by_original.setdefault(same(told.original_address), []).append(told)
    found: dict[RecipientId, Meant] = {}
    for one in candidates:
        own = same(one.forward_path)
        if named := by_final.get(own):
            found[one.recipient_id] = _mildest(named, Agreement.FINAL)
            continue
        originals = {own, same(addresses.typed(one.orcpt or ""))} - {""}
        if named := [told for key in sorted(originals) for told in by_original.get(key, ())]:
            found[one.recipient_id] = _mildest(named, Agreement.ORIGINAL)
    if not found and len(candidates) == 1 and groups:
        only = _mildest(groups, Agreement.OTHER)
        if not any(told.address or told.original_address for told in groups):
            only = _mildest(groups, Agreement.UNTOLD)
        found[candidates[0].recipient_id] = only
    return found


def same(address: str) -> str:
    """A key, equal for addresses that are one and the same by the rule above; "" for none."""
    try:
        return Address.parse(address).key if address else ""
    except AddressSyntaxError:
        return address.lower()  # a report may write what our grammar does not allow


def _mildest(groups: Collection[ReportedRecipient], agreement: Agreement) -> Meant:
    told = max(groups, key=lambda one: _MILDNESS.get(one.action, 2))
    return Meant(told=told, agreement=agreement)
