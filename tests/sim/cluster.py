"""Whole nodes in virtual time: the same agents as shipped, over in-memory links, in one trio.run.

Owns ``SimCluster``: a datastore, a breakable network and any number of nodes that are started, killed, cut off and changed
while the clock of the run (a MockClock) jumps from timer to timer. ``differences`` holds every FIB against the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import trio

from agents.confd.derive import Confd
from agents.node import Host, Node
from agents.speaker.config import Timers
from agents.speaker.memory import MemoryNetwork
from agents.syncer import View
from cluster.datastore.local import LocalDatastore, follow
from cluster.datastore.memory import MemoryStore
from cluster.oracle import Oracle, first_differences, snapshot
from protocol.prefix import Address, parse_address
from tests.strategies.clusters import bgp_configuration, bgp_peer, node, pool

REFLECTOR_LABEL = "route-reflector"
CLUSTER_ID = "244.0.0.1"


def name_of(index: int) -> str:
    return f"node-{index:03}"


def address_of(index: int) -> Address:
    return parse_address(f"10.77.0.{index}")


class SimCluster:
    """Made inside trio.run. Nodes are numbers from 1."""

    def __init__(self, nursery: trio.Nursery, seed: int, *, size: int, fragment: bool = True) -> None:
        self.store = MemoryStore(wall=lambda: 1_700_000_000 + trio.current_time())
        self.network = MemoryNetwork(random.Random(seed), fragment=fragment)
        view = View()
        self.host = Host(
            view=view,
            datastore=LocalDatastore(self.store),
            network=self.network,
            confd=Confd(view, Timers()),
            wall=lambda: 1_700_000_000 + trio.current_time(),
            seed=seed,
        )
        self._nursery = nursery
        self._running: dict[int, trio.CancelScope] = {}
        self.cuts: set[tuple[int, int]] = set()
        self.pods = 0
        self._oracle = Oracle()
        follow(self.store, view, [name_of(index) for index in range(1, size + 1)], self.host.changed)
        self.apply(pool("default", "192.168.0.0/16", blockSize=26))
        self.apply(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=True))
        self.apply(bgp_peer("reflectors", nodeSelector="all()", peerSelector=f"has({REFLECTOR_LABEL})"))

    # --- resources --------------------------------------------------------------------------------------------------

    def apply(self, document: Mapping[str, Any]) -> None:
        """Create or replace."""
        metadata = document["metadata"]
        known = self.store.find((document["kind"], metadata.get("namespace", ""), metadata["name"]))
        if known is None:
            self.store.create(dict(document))
        else:
            stamped = {**known["metadata"], **metadata}
            self.store.update({**document, "metadata": stamped})

    def set_mesh(self, on: bool) -> None:
        self.apply(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=on))

    def set_node(self, index: int, *, reflector: bool = False, asn: int | None = None) -> None:
        self.apply(
            node(
                name_of(index),
                f"10.77.0.{index}/16",
                asn=asn,
                cluster=CLUSTER_ID if reflector else "",
                labels={REFLECTOR_LABEL: "true"} if reflector else {},
            )
        )

    # --- life and death ---------------------------------------------------------------------------------------------

    def is_running(self, index: int) -> bool:
        return index in self._running

    def node(self, index: int) -> Node:
        return self.host.nodes[name_of(index)]

    async def start(self, index: int) -> None:
        """Power on; it begins to dial at once."""
        scope = self._running[index] = trio.CancelScope()
        fresh = self.host.nodes[name_of(index)] = Node(name_of(index), self.host)

        async def live(task_status: trio.TaskStatus[None]) -> None:
            with scope:
                await fresh.run(task_status)

        await self._nursery.start(live)
        fresh.start_bgp()

    async def crash(self, index: int) -> None:
        """Power cut."""
        self._running.pop(index).cancel()
        del self.host.nodes[name_of(index)]
        await trio.testing.wait_all_tasks_blocked()

    async def remove(self, index: int) -> None:
        """What ``calicoctl delete node`` does: its endpoints, addresses, blocks and the resource go."""
        owner = self.node(index)
        for _, namespace, name in list(self.host.view.of_node("WorkloadEndpoint", name_of(index))):
            pod = self.store.get("WorkloadEndpoint", name, namespace)["spec"]["pod"]
            await owner.delete_pod(pod, namespace)
        await owner.allocator.release_host(name_of(index))
        await self.crash(index)
        self.store.delete("Node", name_of(index))

    async def add_pod(self, index: int) -> None:
        self.pods += 1
        await self.node(index).add_pod(f"pod-{self.pods}")

    async def delete_pod(self, index: int) -> None:
        """The first of the node's pods, if it has one."""
        for _, namespace, name in sorted(self.host.view.of_node("WorkloadEndpoint", name_of(index))):
            pod = self.store.get("WorkloadEndpoint", name, namespace)["spec"]["pod"]
            await self.node(index).delete_pod(pod, namespace)
            return

    def cut(self, one: int, other: int) -> None:
        self.cuts.add((min(one, other), max(one, other)))
        self.network.cut(address_of(one), address_of(other))

    def heal(self, one: int, other: int) -> None:
        self.cuts.discard((min(one, other), max(one, other)))
        self.network.heal(address_of(one), address_of(other))

    # --- judgement --------------------------------------------------------------------------------------------------

    def differences(self) -> list[str]:
        """What is not as the datastore asks for, in words; empty when every FIB is exact."""
        known = {document["metadata"]["name"] for document in self.store.list("Node")}
        oracle = self._oracle.expect(
            snapshot(self.store.list),
            down=known - {name_of(index) for index in self._running},
            cut=[(name_of(one), name_of(other)) for one, other in self.cuts],
        )
        found: list[str] = []
        for name, expected in oracle.solve(known & self.host.nodes.keys(), self.host.routes.via):
            table = self.host.nodes[name].fib.routes
            if table != expected:
                found += [str(each) for each in first_differences(oracle, name, expected, table, limit=3)]
        return found

    async def converged(self, within: float) -> list[str]:
        """Waits until every FIB is exact; what is still different after ``within`` virtual seconds."""
        deadline = trio.current_time() + within
        step = 0.05
        while (found := self.differences()) and trio.current_time() < deadline:
            await trio.sleep(step)
            step = min(step * 1.5, 10)
        return found
