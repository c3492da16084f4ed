"""Forward-paths: how many, to which domains, suppressed or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Code, Fault, Refused
from gatewayd.mail.envelope import Recipient
from gatewayd.tokens.claims import Principal


def check_count(count: int, limits: LimitsSection) -> None:
    """Refuse none and too many (RFC 5321 4.5.3.1.8; LIMITS of RFC 9422).

    Raises:
        Refused: recipient_missing, too_many_recipients.
    """
    if count == 0:
        raise Refused(Code.RECIPIENT_MISSING, "a message needs at least one recipient")
    if count > limits.recipients:
        raise Refused(
            Code.TOO_MANY_RECIPIENTS,
            f"at most {limits.recipients} recipients at once; send the rest separately",
        )


def check_utf8(recipient: Recipient, *, smtputf8: bool) -> None:
    """Refuse an address that needs SMTPUTF8 where that was not asked for (RFC 6531 3.4).

    Raises:
        Refused: smtputf8_required.
    """
    if not smtputf8 and not recipient.forward_path.address.is_ascii:
        raise Refused(Code.SMTPUTF8_REQUIRED, "this address is not ASCII: say SMTPUTF8 in MAIL")


def check_domains(principal: Principal, recipients: Sequence[Recipient]) -> None:
    """Refuse recipients outside the domains of the token.

    Raises:
        Refused: recipient_domain_not_allowed, with a fault for each.
    """
    allowed = principal.allowed_recipient_domains
    if allowed is None:
        return
    _refuse_each(
        recipients,
        lambda recipient: recipient.forward_path.address.ascii_domain not in allowed,
        Code.RECIPIENT_DOMAIN_NOT_ALLOWED,
        "this token may not send to this domain",
    )


def check_suppressed(
    recipients: Sequence[Recipient], is_suppressed: Callable[[Recipient], bool]
) -> None:
    """Refuse recipients that get no mail any more.

    Raises:
        Refused: recipient_suppressed, with a fault for each.
    """
    _refuse_each(
        recipients,
        is_suppressed,
        Code.RECIPIENT_SUPPRESSED,
        "this address is suppressed; see `suppressions test`",
    )


def _refuse_each(
    recipients: Sequence[Recipient], is_bad: Callable[[Recipient], bool], code: Code, why: str
) -> None:
    faults = [
        Fault(
            pointer=f"/recipients/{position}", detail=f"{recipient.forward_path}: {why}", code=code
        )
        for position, recipient in enumerate(recipients)
        if is_bad(recipient)
    ]
    if faults:
        raise Refused(
            code,
            faults[0].detail if len(faults) == 1 else f"{len(faults)} recipients: {why}",
            faults=faults,
        )
