"""Who seems to have written a returned message: a mail system, a machine that answers, a person.

| sign                                                        | tells             |
|-------------------------------------------------------------|-------------------|
| From is mailer-daemon, postmaster, "Mail Delivery System"   | system            |
| Return-Path is null, or begins an mbox line of MAILER-DAEMON| null path         |
| Subject as systems write it, without `Re:`                  | bounce or delay   |
| multipart/report of delivery status                         | report            |
| List-Id, List-Post, Mailing-List, Precedence: list          | list              |
| Re:, Fwd:, a tag in brackets                                | correspondence    |

One sign alone proves nothing: people write from postmaster@, and of undeliverable mail. The readers
say how many they want.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gatewayd.reports import addresses
from gatewayd.reports.parts import Part

# Of From, in lower case: display name and address.
SENDERS: Final = (
    "mailer-daemon", "mailer_daemon", "mailer daemon", "mailerdaemon", "mail-daemon", "mdaemon",
    "postmaster", "post_master", "mailmaster", "mail delivery", "maildelivery", "delivery system",
    "delivery subsystem", "delivery service", "mail system", "mailsystem", "mail router",
    "mailrouter", "mail gateway", "mail administrator", "mail server", "mailserver", "mail service",
    "mail agent", "mail_service", "mail transfer", "mail manager", "mailmanager",
    "system administrator", "systemadministrator", "administrador del sistema",
    "administrateur syst", "non-delivery", "nondelivery", "undeliver", "ndr@",
     "bounce-notif", "dsn@", "smtp gateway", "mmdf", " daemon@", "<daemon@",
    "message handling", "microsoft exchange", "microsoftexchange", "jetmail", "amazonses.com",
    "mailnull", "<>", "staff@hotmail", "email system", "e-mail system", "smtp server", "mailgate",
    "mailfoundry", "antivirus_for_smtp",
)  # fmt: skip

# Of Subject, in lower case: the first tuple while a system still tries, the second of both.
DELAYS: Final = (
    "delay", "deferred", "warning: could not send", "warning: message", "still being retried",
    "still trying", "not yet been delivered", "transient", "temporar", "will be retried",
    "delivery warning", "verzöger", "retras", "retard", "遅延",
)  # fmt: skip
SUBJECTS: Final = (
    "undeliver", "non-deliver", "nondeliver", "non deliver", "not deliver", "unable to deliver",
    "unable to be deliver", "unable to send", "returned mail", "returned message", "returned email",
    "returned e-mail", "returned to sender", "returning mail", "returning message",
    "returning to sender", "mail return", "mail fail", "mail error", "mail problem",
    "mail system error", "mail could not", "mail delivery", "mail status", "delivery fail",
    "deliveryfail", "delivery status", "delivery report", "delivery error", "delivery notification",
    "delivery problem", "delivery unsuccessful", "delivery has failed", "delivery incomplete",
    "delivery to ", "failure notice", "failure delivery", "failure notification", "failed mail",
    "failed delivery", "failed message", "failed to deliver", "mail failed", "message failed",
    "message status", "message delivery", "message could not", "message rejected",
    "message refused", "message blocked", "message error", "mail rejected", "mail refused",
    "mail blocked", "mail bounced", "email rejected", "rejected mail", "rejected message",
    "rejected posting", "rejected:", "couldn't be delivered", "couldn't deliver",
    "could not deliver", "could not be delivered", "could not be sent", "cannot be delivered",
    "cannot deliver", "can't be delivered", "was not delivered", "bounced mail", "bounce mail",
    "bounced message", "bounce message", "bounced email", "bounce notif", "permanent error",
    "permanent failure", "permanent fail", "user unknown", "unknown user", "no such user",
    "problem delivering", "delivering your", "mailsystem error", "error sending",
    "error delivering", "processing error", "error during delivery", "mailbox full",
    "mailbox is full", "mailbox unavailable", "over quota", "quota exceed", "nameserver error",
    "your message to", "unzustellbar", "nicht zugestellt", "fehlgeschlagen", "zustellung",
    "fehler bei", "mislukt", "onbestelbaar", "niet bezorgd", "non remis", "non distribu",
    "non-distribution", "n'a pas été", "échec", "impossible de remettre", "mancata consegna",
    "non recapit", "impossibile recapit", "non consegn", "no entregad", "devuelt",
    "fallo en la entrega", "no se puede entreg", "no se pudo entreg", "no se ha podido entreg",
    "imposible de entregar", "error de entrega", "não entreg", "falha na entrega", "devolvid",
    "niedostarcz", "niedoręcz", "nedoruč", "olevererbar", "kunde inte levereras",
    "kan ikke leveres", "ej levererat", "エラー", "配信", "不達", "未配", "不到達",
    "送信でき", "退信", "投递", "传输失败",
    "\u043d\u0435\u0434\u043e\u0441\u0442\u0430\u0432",
    "\u043d\u0435 \u0434\u043e\u0441\u0442\u0430\u0432\u043b",
    "\u0432\u043e\u0437\u0432\u0440\u0430\u0442",
)  # fmt: skip

# What Postfix tells its own postmaster of sessions with others.
_TO_POSTMASTER: Final = ("postfix smtp server", "postfix smtp client")
_ANSWER: Final = re.compile(
    r"\s*+(?:re|fwd?|aw|wg|sv|vs|rv|tr|antw|odp|vl|enc|res|rif)(?:\[\d+\])?\s?:", re.IGNORECASE
)
_TAG: Final = re.compile(
    r"\s*+\[(?!spam|undeliver|auto|bounce|delivery|fail|warn)[^\[\]]{2,60}\]", re.IGNORECASE
)
_LIST: Final = (
    "list-id",
    "list-post",
    "mailing-list",
    "list-unsubscribe",
    "x-mailing-list",
    "list-help",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The signs of the table.

    subject: as a reader would show it.
    to: addresses the returned message was sent to, in lower case: ours, never whom it is about.
    """

    is_system: bool
    is_null: bool
    is_report: bool
    says_bounce: bool
    says_delay: bool
    is_list: bool
    is_answer: bool
    is_in_thread: bool
    subject: str
    sender: str
    to: frozenset[str]

    @property
    def is_bounce_like(self) -> bool:
        """Enough signs to look for the form of a bounce in its text."""
        if self.is_report:
            return True
        if self.subject.lower().startswith(_TO_POSTMASTER):
            return False
        if self.is_list and not self.is_system:
            return False
        if self.is_answer:
            return self.is_system
        return self.is_system or self.says_bounce or self.is_null


def of(message: Part) -> Origin:
    """The signs that a message gives of its origin, by its header."""
    subject = message.shown("subject")[:500]
    sender = message.shown("from")[:500]
    lowered = subject.lower()
    is_system = any(words in sender.lower() for words in SENDERS) or (
        message.has("x-mlserver") and "-admin@" in sender  # fml, a list server
    )
    says_delay = any(words in lowered for words in DELAYS)
    is_answer = _ANSWER.match(subject) is not None or (
        not is_system and _TAG.match(subject) is not None
    )
    precedence = message.find("precedence").strip().lower()
    own = (message.shown("to"), message.shown("delivered-to"), message.shown("x-original-to"))
    return Origin(
        is_system=is_system,
        is_null=_is_null(message),
        is_report=_is_report(message),
        says_bounce=says_delay or any(words in lowered for words in SUBJECTS),
        says_delay=says_delay,
        is_list=precedence == b"list" or any(message.has(name) for name in _LIST),
        is_answer=is_answer,
        is_in_thread=message.has("in-reply-to") or message.has("references"),
        subject=subject,
        sender=sender,
        to=frozenset(address.lower() for text in own for address in addresses.find(text)),
    )


def _is_report(message: Part) -> bool:
    return (
        message.kind == "multipart/report"
        and message.parameters.get("report-type", "").lower() == "delivery-status"
    )


def _is_null(message: Part) -> bool:
    path = message.find("return-path").strip().lower()
    if path in (b"<>", b"<mailer-daemon>") or path.startswith(
        (b"<mailer-daemon@", b"mailer-daemon")
    ):
        return True
    return not path and message.raw[:40].upper().startswith((b"FROM MAILER-DAEMON", b"FROM <>"))
