"""Secret keys of the daemon: one key ring per purpose, in files, with rotation in three phases.

`ring.py` is the value, `files.py` reads and writes it, `rotate.py` moves it on, `sealed.py` keeps
secrets in database columns under it.
"""

from gatewayd.keys.files import create, is_present, load, save
from gatewayd.keys.ring import Key, KeyRing, KeyState, Purpose
from gatewayd.keys.sealed import Sealer

__all__ = [
    "Key",
    "KeyRing",
    "KeyState",
    "Purpose",
    "Sealer",
    "create",
    "is_present",
    "load",
    "save",
]
