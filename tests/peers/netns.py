"""A network of its own for one test, with a host in it that never answers.

A network namespace belongs to a thread, and to the threads and processes that it starts: whatever a
test starts inside of `dark_network` shares it, and nothing of this machine's network is touched.

```
lo           127.0.0.1, its ports all free
dark0        10.99.0.1/24; its other end is up, and nobody is there
10.99.0.2    has an entry among the neighbours that never expires: a SYN leaves, and no answer
             comes, not even "no route to host"
```
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

from tests.peers.programs import require, require_root, run

BLACK_HOLE = "10.99.0.2"
CLONE_NEWNET = 0x4000_0000

SET_UP = (
    "link set lo up",
    "link add dark0 type veth peer name dark1",
    "addr add 10.99.0.1/24 dev dark0",
    "link set dark0 up",
    "link set dark1 up",
    f"neigh add {BLACK_HOLE} lladdr 02:00:00:00:00:02 dev dark0 nud permanent",
)


@contextlib.contextmanager
def dark_network() -> Iterator[str]:
    """Be in that network; the address that never answers."""
    require_root()
    require("ip")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", CLONE_NEWNET)
        try:
            for line in SET_UP:
                run("ip", *line.split())
            yield BLACK_HOLE
        finally:
            _call("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


def _call(name: str, *arguments: int) -> None:
    """A system call that Python has a function for from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
