"""`/api/v1`: the HTTP API for submitters, one file per resource.

| file           | holds                                                    |
|----------------|----------------------------------------------------------|
| messages.py    | send, batch, raw; read one, list                         |
| events.py      | the log of a mailbox; events, attempts, story of one     |
| suppressions.py | the addresses that get no mail of the mailbox           |
| submissions.py | what a client sent to the Submission that intake takes   |
| octets.py      | the message/rfc822 that a client sends                   |
| models.py      | the JSON that a client sends                             |
| queries.py     | query parameters                                         |
| views.py       | the JSON that a client gets                              |
| answer.py      | what routes share: who is asking, JSON as a response     |
"""

from __future__ import annotations
