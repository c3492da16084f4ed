"""Candidate: a submission that was examined as far as that needs no database."""

from __future__ import annotations

from dataclasses import dataclass

from gatewayd.config.limits import LimitsSection
from gatewayd.errors import Refused
from gatewayd.mail.envelope import Envelope
from gatewayd.mail.message import RawMessage
from gatewayd.policy import content, identity, recipients
from gatewayd.policy.submission import Options, Submission
from gatewayd.tokens.claims import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is decided about.

    message: as submitted; the stored copy is made of it when it was accepted.
    fault: the first rule that the submission breaks by itself, whatever the database says. It is
        kept here, not raised, so that a rule that stands before it in the order still speaks first.
    """

    principal: Principal
    envelope: Envelope
    message: RawMessage
    options: Options
    submission: Submission
    fault: Refused | None


def fault_of(
    principal: Principal, envelope: Envelope, message: RawMessage, limits: LimitsSection
) -> Refused | None:
    """The first of sender binding, limits and recipient syntax that is broken.

    message: its header section can be read in one way only (`content.check_header_form`).
    """
    try:
        identity.check_reverse_path(envelope.reverse_path, principal.mailbox)
        identity.check_header(message.header, principal.mailbox)
        recipients.check_count(len(envelope.recipients), limits)
        content.check(message, limits)
        for recipient in envelope.recipients:
            recipients.check_utf8(recipient, smtputf8=envelope.smtputf8)
        content.check_utf8(message, smtputf8=envelope.smtputf8)
    except Refused as refused:
        return refused
    return None
