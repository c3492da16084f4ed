"""A DNS of the records that `domains add` printed, for dkimpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dkim

from gatewayd.domains.service import DnsRecord


def published(records: Sequence[DnsRecord]) -> Callable[..., bytes | None]:
    """Look a TXT record up, as dkimpy asks for it: an absolute name with its final dot."""
    values = {f"{record.name}.".encode(): record.value.encode() for record in records}

    def look_up(name: bytes, timeout: int = 0) -> bytes | None:  # noqa: ARG001 - dkimpy gives it
        return values.get(name)

    return look_up


def verified_algorithms(octets: bytes, records: Sequence[DnsRecord]) -> list[str]:
    """The algorithm of each DKIM-Signature, in order; raises where one does not verify."""
    message = dkim.DKIM(octets)
    count = sum(name.lower() == b"dkim-signature" for name, _ in message.headers)
    found = []
    for index in range(count):
        verifier = dkim.DKIM(octets)
        assert verifier.verify(idx=index, dnsfunc=published(records)), f"signature {index}"
        found.append(verifier.signature_fields[b"a"].decode())
    return found
