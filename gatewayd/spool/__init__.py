"""Spool: the octets of message bodies that are too large for a database row.

`directory.py` keeps them as files, `port.py` says what every kind of spool promises.
"""

from gatewayd.errors import SpoolDamaged
from gatewayd.spool.directory import BodyWriter, Spool
from gatewayd.spool.port import BodyWriterPort, SpoolPort

__all__ = ["BodyWriter", "BodyWriterPort", "Spool", "SpoolDamaged", "SpoolPort"]
