"""`/api/v1`: the HTTP API for submitters, one file per resource.

| file           | holds                                                    |
|----------------|----------------------------------------------------------|
| messages.py    | send, batch, raw; read one, list                         |
| submissions.py | what a client sent to the Submission that intake takes   |
| octets.py      | the message/rfc822 that a client sends                   |
| models.py      | the JSON that a client sends                             |
| queries.py     | query parameters                                         |
| views.py       | the JSON that a client gets                              |
"""

from __future__ import annotations
