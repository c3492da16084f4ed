"""web: the HTTP door. Wire to value, value to wire; no decision, no SQL.

| file           | holds                                                                   |
|----------------|-------------------------------------------------------------------------|
| app.py         | routes and layers: one list for each listener                           |
| api/           | `/api/v1`, one file per resource (FastAPI); everything else is Starlette |
| problems.py    | the one table: why a request was refused, as problem+json (RFC 9457)     |
| edge.py        | outermost layer: request id, safe headers, nothing escapes               |
| limits.py      | octets of a body, requests in a minute                                   |
| auth.py        | bearer token to Principal (RFC 6750)                                     |
| body.py        | JSON octets to a value, strictly                                         |
| validation.py  | what a model refused, with JSON pointers (RFC 6901)                      |
| idempotency.py | Idempotency-Key and fingerprint                                          |
| paging.py      | cursors                                                                  |
| openapi.py     | the OpenAPI 3.1 document                                                 |
| health.py      | live, ready                                                              |
| metrics.py     | Prometheus text                                                          |
| tracking.py    | `/track/`: opens and clicks, without the database                        |
| unsubscribe.py | `/unsubscribe/`: one-click POST, and a page with a button                |
| pages.py       | the pages that recipients see                                            |
| caught.py      | mail that the built-in simulator took, to be read back                   |
| server.py      | uvicorn inside the daemon's loop                                         |
| protocol.py    | deadlines and sizes that uvicorn does not have                           |
"""

from __future__ import annotations
