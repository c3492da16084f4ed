"""domains.service: signing keys are made, published, used and sealed."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from gatewayd.dkim.key import Algorithm
from gatewayd.errors import Code, Refused
from gatewayd.store.schema import dkim_keys
from tests.fakes.world import World

NAME = "xn--bcher-kva.example"


async def _code(waiting: object) -> Code:
    with pytest.raises(Refused) as caught:
        await waiting  # type: ignore[misc]  # a coroutine
    return caught.value.kind


@pytest.mark.slow
async def test_domain_gets_two_keys_and_the_records_that_publish_them(world: World) -> None:
    """RSA first; the private keys are sealed in the database."""
    records = await world.domains.add("B\u00fccher.EXAMPLE")

    keys = await world.domains.signing_keys(NAME)
    kept = await world.database.read(
        lambda tx: list(tx.execute(select(dkim_keys.c.private_key)).scalars())
    )
    assert [key.algorithm for key in keys] == [Algorithm.RSA_SHA256, Algorithm.ED25519_SHA256]
    assert [(one.name, one.type) for one in records] == [
        (f"gw20261121r._domainkey.{NAME}", "TXT"),
        (f"gw20261121e._domainkey.{NAME}", "TXT"),
        (f"_dmarc.{NAME}", "TXT"),
    ]
    assert await world.domains.dns(NAME) == records
    assert not any("PRIVATE" in text for text in kept)
    assert await _code(world.domains.add(NAME)) is Code.CONFLICT
    assert {row.domain for row in await world.domains.list()} == {NAME}


@pytest.mark.slow
async def test_removed_domain_signs_no_more(world: World) -> None:
    await world.domains.add("a.example")
    assert len(await world.domains.signing_keys("a.example")) == 2
    await world.domains.remove("a.example")

    assert await world.domains.signing_keys("a.example") == ()
    assert await _code(world.domains.dns("a.example")) is Code.NOT_FOUND
    assert await _code(world.domains.remove("a.example")) is Code.NOT_FOUND


@pytest.mark.slow
async def test_keys_of_another_node_are_used_within_half_a_minute(world: World) -> None:
    other = world.second()
    other.domains.use(world.sealer)
    assert await other.domains.signing_keys("a.example") == ()
    await world.domains.add("a.example")
    world.clock.advance(seconds=30)

    assert len(await other.domains.signing_keys("a.example")) == 2


@pytest.mark.parametrize("domain", ["", "no domain", "a..b", "a@b.example", "[192.0.2.1]"])
async def test_domain_that_is_none_is_refused(world: World, domain: str) -> None:
    assert await _code(world.domains.add(domain)) is Code.VALIDATION_FAILED
