"""The table of free-form bounces: whose each is, how it begins, where its recipient stands.

Openings are in lower case with one space between words, and may go over the end of a line. The
order is that of trust: a form that is known well comes before one that many systems share. What
the shapes find is said in `bounce_text.py`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Shape(enum.Enum):
    """Where an address stands; see `bounce_text.py`."""

    BRACKETS = "brackets"
    ALONE = "alone"
    LABEL = "label"
    LEAD = "lead"
    HERE = "here"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Form:
    """One row.

    is_sure: no person begins a letter with these words.
    is_delay: these words are said while the system still tries.
    """

    name: str
    openings: tuple[str, ...]
    shapes: tuple[Shape, ...]
    is_sure: bool = True
    is_delay: bool = False


_LIST: Final = (Shape.BRACKETS, Shape.ALONE, Shape.LEAD, Shape.LABEL)
_HERE: Final = (Shape.HERE, Shape.LABEL, Shape.ANY)
_MARKED: Final = (Shape.LABEL, Shape.BRACKETS, Shape.ALONE, Shape.LEAD)
_EVERY: Final = (*_LIST, Shape.HERE, Shape.ANY)

FORMS: Final = (
    # Delays first: their words contain those of a failure.
    Form("exim", (
        "has not yet been delivered to all its recipients",
        "has not yet been delivered to one or more of its recipients",
        "has not yet been delivered to all of its recipients",
        "the message has not yet been delivered to the following",
        "message that you sent has not yet been delivered",
    ), _EVERY, is_delay=True),
    Form("delay", (
        "has not yet been delivered because", "delivery is delayed to these recipients or groups",
        "this is a warning message only", "this is just a warning", "this is only a warning",
        "delivery to the following recipient has been delayed",
        "delivery to the following recipients has been delayed", "has been delayed for longer than",
        "the following addresses had transient non-fatal errors",
        "your message could not be delivered for more than", "message still undelivered after",
        "delivery attempts will continue to be made", "will continue to try to deliver",
        "message delivery has been delayed", "will be retried for",
        "there was a temporary problem delivering your message",
        "this message has not been delivered to the following",
        "your message is still being retried",
    ), _EVERY, is_sure=False, is_delay=True),
    Form("exim", (
        "this message was created automatically by mail delivery software",
        "this message was created automatically by the smtp",
        "this message was created automatically by the mail system",
        "a message that you sent could not be delivered to",
        "a message that you have sent could not be delivered",
        "a message that you sent was rejected by the local scanning code",
        "a message that you sent had no recipient addresses",
        "a message that you sent contained no recipient addresses",
        "an error was detected while processing a message from",
        "the following message, addressed to", "the following address(es) failed",
    ), _EVERY),
    Form("qmail", (
        "this is the qmail-send program at", "this is the qmail program", "hi. this is the",
        "hi. the mta program at", "this is the mail delivery agent at",
        "this is the deliver program at", "i'm afraid i wasn't able to deliver",
        "i wasn't able to deliver your message", "i was not able to deliver your message",
        "check your send e-mail address",
        "there's a problem with the e-mail address(es) you're trying to send to",
        "your mail message to the following address(es) could not be delivered",
        "unfortunately, your mail was not delivered to the following address",
        "this is the machine generated message from mail service", "this is the email server at",
        "this is the email delivery", "is unable to deliver your message to the following",
        "your message could not be delivered. <", "sorry, your message could not be delivered",
        "this is a permanent error; i've given up",
    ), _LIST),
    Form("postfix", (
        "this is the mail system at host", "this is the postfix program at host",
        " program at host ",
        "i'm sorry to have to inform you that your message could not be delivered",
        "i'm sorry to have to inform you that the message returned below could not be delivered",
        "i'm sorry to have to inform you that your message could not",
        "i'm sorry to have to tell you that your message was not able to be delivered",
        "if you do so, please include this problem report",
    ), (Shape.BRACKETS, Shape.ALONE, Shape.LEAD)),
    Form("sendmail", (
        "the following addresses had permanent fatal errors",
        "the following addresses had fatal errors", "the following addresses had delivery problems",
        "the following addresses had delivery errors",
        "the following addresses had permanent delivery errors",
        "the following address had delivery errors", "the following address had permanent",
        "the following addresses have delivery problems", "the following address failed:",
        "the following addresses failed:", "the following addresses had",
        "non-delivered information",
    ), (Shape.BRACKETS, Shape.ALONE, Shape.LEAD)),
    Form("sendmail", (
        "transcript of session follows", "transcript of smtp session follows", "session transcript",
    ), (Shape.LABEL, Shape.BRACKETS, Shape.ANY), is_sure=False),
    Form("exchange", (
        "did not reach the following recipient(s):", "did not reach the following recipients:",
        "did not reach the following recipient:", "the following recipient(s) could not be reached",
        "the following recipient(s) cannot be reached",
        "the following recipients could not be reached",
        "the following recipient could not be reached",
        "did not reach some or all of the intended recipients",
        "n'est pas parvenu aux destinataires", "n'ont pas pu être joints",
        "hat einige oder alle empfänger nicht erreicht", "folgende(r) empfänger",
        "no se pudo entregar a los siguientes destinatarios",
        "no ha llegado a algunos o a todos los destinatarios",
    ), (Shape.ALONE, Shape.LEAD, Shape.LABEL, Shape.ANY)),
    Form("exchange", (
        "delivery has failed to these recipients or groups",
        "delivery has failed to these recipients or distribution lists",
        "delivery has failed to these recipients",
        "your message wasn't delivered to anyone because",
        "your message to * couldn't be delivered",

        "the following organization rejected your message",
        "diagnostic information for administrators", "generating server:",
        "la remise a échoué pour ces destinataires", "échec de la remise pour ces destinataires",
        "fehler bei der nachrichtenübermittlung an folgende empfänger",
        "error al entregar el mensaje a los siguientes destinatarios",
        "no se pudo entregar el mensaje a estos destinatarios",
        "impossibile recapitare il messaggio a", "falha na entrega a estes destinatários",
        "bezorging is mislukt bij deze geadresseerden", "次の受信者またはグループ", "配信不能",
    ), (Shape.ALONE, Shape.LEAD, Shape.LABEL, Shape.ANY)),
    Form("gmail", (
        "delivery to the following recipient failed permanently",
        "delivery to the following recipients failed permanently",
        "delivery to the following recipient failed", "delivery to the following recipients failed",
        "delevery to the following recipients", "delivery to the following recipient was aborted",
        "delivery to the following recipients was aborted", "your message wasn't delivered to",
        "there was a problem delivering your message to", "technical details of permanent failure",
        "technical details of temporary failure",
        "couldn't be delivered to the following recipient", "the group you tried to contact",
    ), (Shape.ALONE, Shape.BRACKETS, Shape.LEAD, Shape.HERE, Shape.ANY)),
    Form("yahoo", (
        "unable to deliver message to the following address(es)",
        "sorry, we were unable to deliver your message to the following address",
        "we were unable to deliver your message to the following",
        "wasn't able to deliver the following message",
    ), (Shape.BRACKETS, Shape.ALONE, Shape.LABEL)),
    Form("domino", (
        "was not delivered to:", "could not be delivered to: because", "------- failure reasons",
        "------ failure reasons", "failure reasons --------",
        "not listed in public name & address book", "not listed in domino directory",
    ), (Shape.ALONE, Shape.LEAD, Shape.BRACKETS, Shape.ANY), is_sure=False),
    Form("opensmtpd", (
        "this is the mailer-daemon, please do not reply",
        "an error has occurred while attempting to deliver a message for",
    ), (Shape.LEAD, Shape.BRACKETS)),
    Form("dragonfly", (
        "this is the dragonfly mail agent", "there was an error delivering your mail to",
    ), _HERE),
    Form("courier", (
        "your message to the following recipients cannot be delivered", "undeliverable mail",
    ), _LIST, is_sure=False),
    Form("james", (
        "error message below:", "message details:",
    ), (Shape.LABEL, Shape.BRACKETS), is_sure=False),
    Form("messaging server", (
        "your message cannot be delivered to the following recipients",
        "your message could not be delivered to the following recipients",
        "your message is being returned", "this report relates to a message you sent",
        "this message was undeliverable due to the following reason",
        "the following recipients did not receive your message",
        "the following recipients did not receive this message",
        "the following recipient did not receive",
    ), (Shape.LABEL, Shape.BRACKETS, Shape.ALONE, Shape.LEAD)),
    Form("imail", (
        "unknown user:", "undeliverable to", "delivery failed * attempts:",
        "user mailbox exceeds allowed size:", "invalid final delivery userid:", "unknown host:",
        "body of message generated response:", "rcpt to generated following response:",
    ), (Shape.LABEL, Shape.HERE, Shape.ANY), is_sure=False),
    Form("mdaemon", (
        "had permanent fatal delivery errors",
        "the following addresses did not receive a copy of your message",
        "your message was not delivered!",
    ), (Shape.ALONE, Shape.LEAD, Shape.LABEL)),
    Form("mxlogic", (
        "the following address failed:", "included is a copy of the message header",
    ), _LIST),
    Form("mailmarshal", (
        "the following recipients were affected", "the following recipient was affected",
        "could not be delivered because of",
    ), (Shape.ALONE, Shape.BRACKETS, Shape.LEAD)),
    Form("mailfoundry", (
        "unable to deliver message to:", "unable to deliver message to",
        "delivery failed for the following reason",
    ), (Shape.HERE, Shape.BRACKETS), is_sure=False),
    Form("ironport", (
        "the following message to * was undeliverable",
    ), _HERE),
    Form("ezweb", (
        "the user(s) account is disabled", "the user(s) account is temporarily limited",
        "the user(s) account",
        "each of the following recipients was rejected by a remote mail server",
        "the following recipients was rejected",
    ), _LIST),
    Form("kddi", (
        "your mail sent on: * could not be delivered to:",
    ), (Shape.LABEL, Shape.ANY)),
    Form("verizon", (
        "message could not be delivered to mobile", "could not be delivered to mobile",
    ), (*_MARKED, Shape.ANY)),
    Form("surfcontrol", (
        "a transcript of the attempts to send the message follows",
        "failed to send to identified host",
    ), _MARKED),
    Form("communigate", (
        "failed to deliver to '", "failed to deliver to <",
    ), _HERE),
    Form("groupwise", (
        "the message that you sent was undeliverable to the following",
        "message that you sent was undeliverable",
    ), (Shape.ALONE, Shape.LEAD, Shape.BRACKETS)),
    Form("xmail", ("xmail bounce: rcpt=",), _HERE),
    Form("hmailserver", ("hmailserver sent:",), (Shape.LABEL, Shape.LEAD)),
    Form("mailenable", (
        "message could not be delivered to some recipients", "recipient: [smtp:",
    ), _MARKED),
    Form("smartermail", (
        "could not deliver message to the following recipient", "failed recipient:",
    ), _MARKED),
    Form("interscan", (
        "message from interscan", "exceeded maximum delivery attempts", "sent <<< rcpt to:",
    ), (Shape.LABEL, Shape.BRACKETS)),
    Form("lsmtp", ("--> error description:",), (Shape.LABEL,)),
    Form("smail", ("failed addresses follow",), (Shape.LEAD, Shape.ALONE)),
    Form("m-filter", (
        "server message", "smtp server error", "server transcript",
    ), _EVERY, is_sure=False),
    Form("x6", (
        "we had trouble delivering your message", "rejected recipient <",
    ), (Shape.ANY,)),
    Form("dovecot", (
        "was automatically rejected:",
    ), _HERE),
    Form("powermta", (
        "you will find a list of the affected recipients",
    ), _LIST),
    Form("usa.net", ("intended recipient:",), _HERE, is_sure=False),
    Form("hotpop", ("undeliverable address:",), _HERE),
    Form("fml", (
        "you are not a member of this mailing list", "your post is rejected",
        "your request is rejected", "duplicated message-id in", "not member article from",
        "has detected a loop condition", "loop back warning:", "reject mail from",
    ), (Shape.HERE, Shape.ANY), is_sure=False),
    Form("many", (
        "could not be delivered to the following", "couldn't be delivered to the following",
        "cannot be delivered to the following", "can not be delivered to the following",
        "was not delivered to the following", "not delivered to the following",
        "unable to deliver your message to the following", "unable to deliver to the following",
        "unable to deliver this message to the following", "unable to deliver the message to",
        "unable to deliver mail", "unable to deliver your message to",
        "message not delivered to the following", "could not be delivered to one or more",
        "could not be delivered to the recipient", "message could not be delivered to",
        "no such user here", "message could not be delivered because",
        "message could not be delivered", "message cannot be delivered",
        "mail could not be delivered", "mail cannot be delivered", "email could not be delivered",
        "e-mail could not be delivered", "could not be delivered to",
        "has encountered delivery problems", "is a delivery failure notification",
        "was undeliverable", "has been returned because", "mailbox is full:", "failed recipients",
        "here is your list of failed recipients", "delivery failed", "delivery has failed",
        "delivery failure", "message delivery failed", "mail delivery failed", "did not reach",
        "has been rejected", "message was rejected", "was rejected for the following",
        "automatically rejected", "user unknown", "unknown user", "did not exactly match",
        "is not a valid", "returned to you", "returned to sender", "undeliverable",
        "non-delivery report", "n'a pas pu etre delivre", "n'a pas pu être",
        "konnte nicht zugestellt werden", "nicht zugestellt", "no pudo ser entregado",
        "no ha podido ser entregado", "não pôde ser entregue", "non è stato possibile",
        "non può essere consegnato", "kon niet worden", "配信できません", "送信できません", "不達",
        "无法投递", "无法发送",
        "投递失败",
        "\u0431\u044b\u0442\u044c \u0434\u043e\u0441\u0442\u0430\u0432\u043b\u0435\u043d\u043e",
        "\u043d\u0435 \u0434\u043e\u0441\u0442\u0430\u0432\u043b\u0435\u043d\u043e",
    ), _EVERY, is_sure=False),
)  # fmt: skip
