"""smtpd: the SMTP doors. Wire to value and value to wire; no decision about mail is made here.

| file           | holds                                                                     |
|----------------|---------------------------------------------------------------------------|
| server.py      | Listener: sockets, caps, TLS, drain                                       |
| connection.py  | octets in and out, deadlines; the one file that knows aiosmtpd            |
| session.py     | one connection: state and commands                                        |
| verbs.py       | EHLO MAIL RCPT RSET NOOP VRFY HELP QUIT                                   |
| login.py       | STARTTLS and AUTH                                                         |
| transfer.py    | DATA and BDAT on the wire                                                 |
| data.py        | DATA and BDAT as content: bounded, spooled, CRLF only                     |
| commands.py    | the grammar of arguments (pure)                                           |
| auth.py        | SASL mechanisms (pure), login throttle                                    |
| replies.py     | the one table: refusal to reply                                           |
| terms.py       | what a listener offers, and who handles its mail                          |
| submission.py  | the handler of the submission listener: tokens, intake                    |
| simulator.py   | a next hop that takes everything, or fails as it is told; keeps the mail  |
"""

from gatewayd.smtpd.data import MemoryBudget
from gatewayd.smtpd.server import Caps, Listener, server_tls, submission_terms
from gatewayd.smtpd.simulator import CaughtMail, MailCatcher, Simulator
from gatewayd.smtpd.submission import SubmissionHandler

__all__ = [
    "Caps",
    "CaughtMail",
    "Listener",
    "MailCatcher",
    "MemoryBudget",
    "Simulator",
    "SubmissionHandler",
    "server_tls",
    "submission_terms",
]
