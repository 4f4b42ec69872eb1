"""Thirty whole nodes in this process, over real TCP on 127.77.x.y: every FIB is what the oracle asks for."""

from __future__ import annotations

import time

import trio

from agents.confd.derive import Confd
from agents.node import Host, Node
from agents.speaker.config import Timers
from agents.speaker.tcp import TcpNetwork
from agents.syncer import View
from cluster.addressing import Endpoints
from cluster.datastore.local import LocalDatastore, follow
from cluster.datastore.memory import MemoryStore
from cluster.oracle import Oracle, snapshot
from protocol.prefix import parse_address
from tests.strategies.clusters import bgp_configuration, node, pool

SIZE = 30
PORT = 17931
PATIENCE = 30.0


async def test_thirty_nodes_over_real_tcp() -> None:
    names = [f"node-{number:03}" for number in range(1, SIZE + 1)]
    addresses = [f"10.77.0.{number}" for number in range(1, SIZE + 1)]
    store = MemoryStore(wall=time.time)
    store.create(pool("default", "192.168.0.0/16", blockSize=26))
    store.create(bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=True))
    for name, address in zip(names, addresses, strict=True):
        store.create(node(name, f"{address}/16"))
    view = View()
    host = Host(
        view=view,
        datastore=LocalDatastore(store),
        network=TcpNetwork(Endpoints(PORT, wide=True).add([parse_address(address) for address in addresses])),
        confd=Confd(view, Timers()),
        wall=time.time,
    )
    follow(store, view, names, host.changed)
    oracle = Oracle()

    def programmed() -> int:
        return sum(len(each.fib.routes) for each in host.nodes.values())

    def differs() -> bool:
        expected = oracle.expect(snapshot(store.list))
        return any(
            host.nodes[name].fib.routes != table for name, table in expected.solve(names, host.routes.via)
        )

    async with trio.open_nursery() as nursery:
        for name in names:
            host.nodes[name] = Node(name, host)
            await nursery.start(host.nodes[name].run)
        for name in names:
            host.nodes[name].start_bgp()
            nursery.start_soon(host.nodes[name].add_pod, "web")
        with trio.fail_after(PATIENCE):
            while programmed() < SIZE * (SIZE + 1) or differs():  # noqa: ASYNC110  # the real world has no event for it
                await trio.sleep(0.02)
        assert programmed() == SIZE * (SIZE + 1)
        nursery.cancel_scope.cancel()
