"""Configuration: one TOML file into one frozen tree of sections, read once.

| file           | holds                                                                |
|----------------|----------------------------------------------------------------------|
| tree.py        | Config: every section, and the paths that follow from them           |
| process.py     | daemon, log, metrics sections                                        |
| listeners.py   | submission listeners, http, tls sections                             |
| limits.py      | limits and timeouts of the doors                                     |
| delivery.py    | delivery section; NextHop and TlsMode                                |
| storage.py     | database, storage, retention sections                                |
| security.py    | tokens and keys sections                                             |
| types.py       | the types of single keys: seconds, octets, binds, paths              |
| secret.py      | secrets from files with safe modes, or from systemd's credentials    |
| load.py        | TOML file to Config, or every mistake in it                          |
| problems.py    | what is wrong with a file, in plain words                            |
| check.py       | rules across sections                                                |
| advice.py      | what a file may say, and is seldom meant to                          |
| reload.py      | what SIGHUP may change                                               |
| reference.py   | every key by its dotted name, with its default                       |
| render.py      | Config back to TOML                                                  |

A room is given its section only, never the whole Config. Keys end in their unit: `_s` is seconds,
`_octets` is octets. docs/config.md lists every key.
"""

from __future__ import annotations
