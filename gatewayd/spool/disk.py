"""What a disk says, as our errors.

| the system says  | raised           | why                                                       |
|------------------|------------------|-----------------------------------------------------------|
| ENOSPC, EDQUOT   | StoreFull        | space may come back                                       |
| EIO, EROFS       | StoreBroken      | a device that failed once may say yes later and be wrong  |
| any, from fsync  | StoreBroken      | the same: the octets are gone, and the next fsync is fine |
| any other        | StoreUnavailable | such as too many open files                               |
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Final

from gatewayd.errors import StoreBroken, StoreError, StoreFull, StoreUnavailable
from gatewayd.spool.sync import NO_SPACE

_DEVICE_FAILED: Final = (errno.EIO, errno.EROFS)


def mapped(error: OSError, doing: str) -> StoreError:
    """The error of ours, by the table of this module; doing: what did not work."""
    text = f"cannot {doing}: {error.strerror or error}"
    if error.errno in NO_SPACE:
        return StoreFull(text)
    if error.errno in _DEVICE_FAILED:
        return StoreBroken(text)
    return StoreUnavailable(text)


@contextlib.contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Raise ours for what the system says."""
    try:
        yield
    except OSError as error:
        raise mapped(error, doing) from error
