"""policy.check: one order of rules; the first that is broken speaks, whatever else is wrong."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable

import pytest

from gatewayd.errors import Code, Refused
from gatewayd.ids import MailboxId, QueueId, RecipientId, TokenId
from gatewayd.mail.address import Address
from gatewayd.policy import check
from gatewayd.policy.candidate import Candidate, fault_of
from gatewayd.policy.check import Accept, Replay
from gatewayd.policy.facts import Facts
from gatewayd.policy.submission import Options
from gatewayd.quotas.windows import Meter
from gatewayd.store.idempotency import IdempotencyRow
from gatewayd.store.suppressions import ALL
from gatewayd.tokens.claims import Principal, Scope
from tests.fakes import rows
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, LIMITS, MESSAGE, submission

M, T = MailboxId("m1"), TokenId("t1")
PRINCIPAL = Principal(
    token_id=T, mailbox_id=M, mailbox=Address.parse(ANN), scopes=frozenset(Scope), hourly=2,
    daily=None, allowed_recipient_domains=None, sandbox=False,
    expires_at=NOW + dt.timedelta(hours=1),
)  # fmt: skip


@dataclasses.dataclass
class Case:
    """A submission that is good, and what the database says of it."""

    principal: Principal = PRINCIPAL
    content: bytes = MESSAGE
    to: tuple[str, ...] = ("bob@example.net",)
    options: Options = dataclasses.field(default_factory=Options)
    facts: Facts = dataclasses.field(
        default_factory=lambda: Facts(
            now=NOW, tokens={T: rows.token("t1")}, mailboxes={M: rows.mailbox("m1", ANN)},
            earlier={}, earlier_recipients={}, expired_keys=set(), suppressed=frozenset(),
            meter=Meter({}), has_room=True, has_smarthost=True,
            token_leeway=dt.timedelta(seconds=30),
        )
    )  # fmt: skip

    def decide(self) -> check.Verdict:
        given = submission(self.principal, *self.to, content=self.content, options=self.options)
        message = given.content
        assert message is not None
        candidate = Candidate(
            principal=self.principal, envelope=given.envelope, message=message,  # type: ignore[arg-type]  # octets were given
            options=self.options, submission=given,
            fault=fault_of(self.principal, given.envelope, message, LIMITS),  # type: ignore[arg-type]  # as above
        )  # fmt: skip
        return check.decide(candidate, self.facts)


def _expire(case: Case) -> None:
    gone = NOW - dt.timedelta(seconds=30)
    case.principal = dataclasses.replace(case.principal, expires_at=gone)


def _revoke(case: Case) -> None:
    case.facts.tokens = {T: rows.token("t1", revoked_at=NOW)}


def _take_scope(case: Case) -> None:
    scopes = frozenset({Scope.MESSAGES_READ})
    case.principal = dataclasses.replace(case.principal, scopes=scopes)


def _reuse_key(case: Case) -> None:
    case.options = Options(idempotency_key="k", fingerprint=b"new")
    case.facts.earlier[M, "k"] = IdempotencyRow(
        mailbox_id=M, key="k", fingerprint=b"old", queue_id=QueueId("q"), expires_at=NOW
    )


def _forge(case: Case) -> None:
    case.content = case.content.replace(b"From: ann@", b"From: eve@")


def _lengthen_subject(case: Case) -> None:
    case.content = case.content.replace(
        b"Subject: hello", b"Subject: s" + (b"\r\n " + b"x" * 500) * 2
    )


def _widen_line(case: Case) -> None:
    case.content += b"x" * 999 + b"\r\n"


def _bare_lf(case: Case) -> None:
    case.content += b"a\nb\r\n"


def _utf8_recipient(case: Case) -> None:
    case.to = (*case.to, "j\u00fcrgen@example.net")


def _close_domains(case: Case) -> None:
    allowed = frozenset({"example.org"})
    case.principal = dataclasses.replace(case.principal, allowed_recipient_domains=allowed)


def _suppress(case: Case) -> None:
    case.facts.suppressed = frozenset({(ALL, "bob@example.net")})


def _take_route(case: Case) -> None:
    case.facts.mailboxes = {M: rows.mailbox("m1", ANN, next_hop_host=None)}
    case.facts.has_smarthost = False


def _use_quota(case: Case) -> None:
    case.facts.meter = Meter({(T, "hour", NOW): 2})


def _fill_disk(case: Case) -> None:
    case.facts.has_room = False


# In the order of the policy: each row beats every row below it.
ORDER: list[tuple[Code, Callable[[Case], None]]] = [
    (Code.TOKEN_EXPIRED, _expire),
    (Code.TOKEN_REVOKED, _revoke),
    (Code.SCOPE_MISSING, _take_scope),
    (Code.IDEMPOTENCY_KEY_REUSED, _reuse_key),
    (Code.SENDER_NOT_ALLOWED, _forge),
    (Code.SUBJECT_TOO_LONG, _lengthen_subject),
    (Code.SMTPUTF8_REQUIRED, _utf8_recipient),
    (Code.RECIPIENT_DOMAIN_NOT_ALLOWED, _close_domains),
    (Code.RECIPIENT_SUPPRESSED, _suppress),
    (Code.NO_ROUTE, _take_route),
    (Code.QUOTA_EXCEEDED, _use_quota),
    (Code.STORAGE_FULL, _fill_disk),
]
PAIRS = [(first, second) for n, first in enumerate(ORDER) for second in ORDER[n + 1 :]]


def _code(case: Case) -> Code | None:
    verdict = case.decide()
    return verdict.kind if isinstance(verdict, Refused) else None


def test_good_submission_is_accepted_and_debited() -> None:
    case = Case()

    verdict = case.decide()

    assert isinstance(verdict, Accept)
    assert verdict.display_name == "Ann \u00c5"
    assert [(q.window, q.limit, q.remaining) for q in verdict.quota] == [("hour", 2, 1)]
    assert case.facts.meter.changed == {(T, "hour", NOW): 1}


@pytest.mark.parametrize(("code", "spoil"), ORDER, ids=[code.word for code, _ in ORDER])
def test_rule_refuses_and_debits_nothing(code: Code, spoil: Callable[[Case], None]) -> None:
    case = Case()
    spoil(case)

    assert _code(case) is code
    assert case.facts.meter.changed == {}


@pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=[f"{a[0].word}-{b[0].word}" for a, b in PAIRS]
)
def test_rule_speaks_before_those_below_it(
    first: tuple[Code, Callable[[Case], None]], second: tuple[Code, Callable[[Case], None]]
) -> None:
    """A revoked token beats a foreign From, a foreign From beats an empty quota."""
    case = Case()
    second[1](case)
    first[1](case)

    assert _code(case) is first[0]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [(_widen_line, Code.LINE_TOO_LONG), (_bare_lf, Code.LINE_ENDINGS_INVALID)],
)
def test_line_that_could_not_be_sent_on_is_refused(
    spoil: Callable[[Case], None], code: Code
) -> None:
    case = Case()
    spoil(case)

    assert _code(case) is code


def test_token_that_is_not_there_is_revoked() -> None:
    """Also when its mailbox is gone."""
    for name in ("tokens", "mailboxes"):
        case = Case()
        setattr(case.facts, name, {})
        assert _code(case) is Code.TOKEN_REVOKED


def test_token_counts_until_the_leeway_is_over() -> None:
    case = Case()
    almost = NOW - dt.timedelta(seconds=29)
    case.principal = dataclasses.replace(PRINCIPAL, expires_at=almost)

    assert isinstance(case.decide(), Accept)


def test_same_key_and_fingerprint_is_a_replay_before_any_later_rule() -> None:
    """A repeated request gets the old answer, though quota and space are gone now."""
    case = Case()
    for spoil in (_reuse_key, _forge, _suppress, _use_quota, _fill_disk):
        spoil(case)
    case.options = Options(idempotency_key="k", fingerprint=b"old")
    to = ((RecipientId("r"), "bob@example.net"),)
    case.facts.earlier_recipients = {QueueId("q"): to}

    assert case.decide() == Replay(queue_id=QueueId("q"), recipients=to)


def test_each_bad_recipient_is_named() -> None:
    case = Case(to=("a@example.net", "b@example.org", "c@example.net"))
    case.principal = dataclasses.replace(
        PRINCIPAL, allowed_recipient_domains=frozenset({"example.org"})
    )
    verdict = case.decide()

    assert isinstance(verdict, Refused)
    assert [fault.pointer for fault in verdict.faults] == ["/recipients/0", "/recipients/2"]
    assert {fault.code for fault in verdict.faults} == {Code.RECIPIENT_DOMAIN_NOT_ALLOWED}


def test_sandbox_needs_no_route() -> None:
    """It never leaves the machine."""
    case = Case()
    _take_route(case)
    case.principal = dataclasses.replace(PRINCIPAL, sandbox=True)

    assert isinstance(case.decide(), Accept)


def test_quota_is_all_or_nothing() -> None:
    """Three recipients do not fit into two that are left, and nothing of them is sent."""
    case = Case(to=("a@example.net", "b@example.net", "c@example.net"))
    verdict = case.decide()

    assert isinstance(verdict, Refused)
    assert (verdict.kind, verdict.retry_after_s) == (Code.QUOTA_EXCEEDED, 3600)
    assert "2 are left" in verdict.public
