"""Route Smarthost: every mailbox's mail goes to its next hop, sandbox mail to the simulator.

| mail of         | goes to                                          |
|-----------------|--------------------------------------------------|
| a sandbox token | the simulator, or nowhere: never off the machine |
| a mailbox       | its next hop, else the configured smarthost      |
| neither there   | nowhere yet: deferred, with what to do about it  |
"""

from __future__ import annotations

from gatewayd.config.delivery import NextHop
from gatewayd.delivery.attempt import Attempts, Running
from gatewayd.delivery.ports import NextHops
from gatewayd.ids import MailboxId
from gatewayd.queue.enqueue import SANDBOX_LANE


class Smarthost:
    """Chooses next hops and makes attempts there.

    Args:
        next_hops: of mailboxes.
        simulator: the built-in receiving server, on loopback; None when it does not run.
    """

    def __init__(
        self, *, next_hops: NextHops, simulator: NextHop | None, attempts: Attempts
    ) -> None:
        self._next_hops = next_hops
        self._simulator = simulator
        self._attempts = attempts

    async def next_hop(self, lane: MailboxId) -> NextHop | None:
        """Where the mail of a lane goes now."""
        if lane == SANDBOX_LANE:
            return self._simulator
        return await self._next_hops.next_hop(lane)

    async def attempt(self, running: Running, next_hop: NextHop | None) -> bool:
        """Hand a claim over; whether the next hop was reached."""
        if running.claim.sandbox and next_hop != self._simulator:
            raise AssertionError("sandbox mail would leave the machine")
        return await self._attempts.run(running, next_hop)
