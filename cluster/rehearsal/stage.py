"""A cluster that a scenario is played on, whatever it is made of.

Owns ``Stage``: what can be done to a cluster and asked of it. Three clusters have it: whole nodes over memory links in
virtual time, the same over real TCP (both ``virtual``), and shard processes on the real clock (``live``). Resources are
written to ``store`` by whoever plays (``play``); a stage follows the store, starts nodes that are created and ends
those that are deleted.

Faults, as they are in life:

    stop       calico-node is gone, as when its container is killed: connections are closed without a word, the kernel keeps
               every route and goes on forwarding; ``start`` finds them there (RFC 4724: the restarting speaker)
    power_off  the machine is gone, silently: no packet is answered or passed on; ``start`` boots an empty one
    freeze     the daemons hang, silently; the kernel goes on forwarding; ``thaw`` lets them go on
    cut        nothing gets from one node to the other, either way, packets of pods neither; ``heal`` ends that

Left out: when (``cluster.scenario``), and what is made of it (``report``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import attrs

from agents.dataplane.fib import FibRoute
from cluster.datastore.memory import MemoryStore
from cluster.loss.account import Account
from protocol.prefix import Prefix


@attrs.frozen(kw_only=True)
class SessionView:
    """One end of a session. ``state`` is the FSM's word ("Established"), ``error`` BIRD's words for why it is not up."""

    node: str
    peer: str
    """The stanza's name: ``"Mesh_10_77_0_2"``."""
    neighbour: str
    """The node or router that has the address; the address itself of a stranger."""
    family: int
    state: str
    error: str = ""


@attrs.frozen(kw_only=True)
class Settled:
    """``differences``: what is not as the datastore asks for, in words; empty when every FIB is exact. ``at``: when the
    last table or session moved, in the stage's seconds. ``unsettled``: prefixes that have no stable state, or several,
    in words; whatever a FIB has for them is no difference.
    """

    differences: tuple[str, ...]
    at: float
    unsettled: tuple[str, ...] = ()


class Stage(Protocol):
    """Names are those of Nodes and Routers. Of a name that is not there: KeyError."""

    store: MemoryStore

    @property
    def account(self) -> Account | None:
        """None before ``watch_loss``."""

    def now(self) -> float:
        """Seconds since the first node was started."""

    async def sleep(self, seconds: float) -> None: ...

    def members(self) -> Sequence[str]:
        """All that there are by the datastore, sorted, running or not."""

    async def start(self, name: str) -> None:
        """Boot; harmless for one that runs."""

    async def stop(self, name: str) -> None: ...

    async def power_off(self, name: str) -> None: ...

    async def freeze(self, name: str) -> None: ...

    async def thaw(self, name: str) -> None: ...

    async def cut(self, one: str, other: str) -> None: ...

    async def heal(self, one: str, other: str) -> None: ...

    async def add_pods(self, name: str, count: int) -> Sequence[str]:
        """Returns what did not work, in words."""

    async def delete_pods(self, name: str, count: int) -> int:
        """The first ones by name; how many there were to delete."""

    async def sessions(self, of: Collection[str] | None = None) -> Sequence[SessionView]:
        """Of these nodes and routers; of all."""

    async def routes(self, name: str) -> Mapping[Prefix, FibRoute]:
        """The FIB; empty when the machine is off."""

    async def settle(self, within: float) -> Settled:
        """Wait until every FIB is exact and nothing moves; what is left after ``within`` seconds otherwise."""

    async def watch_loss(self) -> Account:
        """Begin to count (``account``), and return it."""
