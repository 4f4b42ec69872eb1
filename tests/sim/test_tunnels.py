"""Pools that change their encapsulation while pods run: tunnel addresses come and go, and every route finds its way."""

from __future__ import annotations

import trio

from cluster.rehearsal.clock import run_virtual
from cluster.rehearsal.virtual import Virtual
from tests.strategies.clusters import node, pool

NAMES = ("ant", "bee", "cat", "dog")
SUBNETS = {"ant": "10.77.0.1/24", "bee": "10.77.0.2/24", "cat": "10.78.0.1/24", "dog": "10.78.0.2/24"}
MODES: tuple[dict[str, str], ...] = (
    {},
    {"vxlanMode": "Always"},
    {"vxlanMode": "CrossSubnet"},
    {"ipipMode": "CrossSubnet"},
    {"ipipMode": "Always"},
    {},
)
PATIENCE = 30.0


def devices(cluster: Virtual) -> set[tuple[str, str]]:
    """The tunnels that routes go over, as (node, device)."""
    return {
        (name, route.device)
        for name, each in cluster.host.nodes.items()
        for route in each.fib.routes.values()
        if route.gateways and route.device
    }


def tunnel_addresses(cluster: Virtual) -> int:
    found = 0
    for document in cluster.store.list("Node"):
        spec = document["spec"]
        found += bool(spec.get("ipv4VXLANTunnelAddr")) + bool(spec["bgp"].get("ipv4IPIPTunnelAddr"))
    return found


def test_a_pool_goes_through_all_encapsulations() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            cluster = Virtual(nursery, 1, fragment=True)
            for name in NAMES:
                cluster.apply(node(name, SUBNETS[name]))
            for number, modes in enumerate(MODES):
                cluster.apply(pool("pods", "192.168.0.0/24", blockSize=29, **modes))
                for name in NAMES[number : number + 1]:  # one more joins with each of the first changes
                    await cluster.start(name)
                    assert await cluster.add_pods(name, 1) == []
                for name in NAMES:
                    if cluster.is_running(name):
                        assert await cluster.add_pods(name, 1) == []
                assert (await cluster.settle(PATIENCE)).differences == (), modes
                running = {name for name in NAMES if cluster.is_running(name)}
                tunnel = {"vxlanMode": "vxlan.calico", "ipipMode": "tunl0"}
                [wanted] = [tunnel[mode] for mode in modes] or [""]
                assert tunnel_addresses(cluster) == (len(running) if wanted else 0)
                assert {device for _, device in devices(cluster)} <= {wanted}
                if "Always" in modes.values():
                    assert {name for name, _ in devices(cluster)} == running
            nursery.cancel_scope.cancel()

    run_virtual(main, 1)


def test_a_borrowed_pod_is_found_through_the_tunnel() -> None:
    """Two nodes, two blocks: the second node's third pod has an address of the first one's block."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            cluster = Virtual(nursery, 1, fragment=True)
            cluster.apply(pool("pods", "192.168.0.0/29", blockSize=30, ipipMode="Always"))
            for name in ("ant", "bee", "cat"):
                cluster.apply(node(name, SUBNETS[name]))
                await cluster.start(name)
                assert await cluster.add_pods(name, 1) == []
            assert (await cluster.settle(PATIENCE)).differences == ()
            [of_cat] = [
                prefix
                for prefix, route in cluster.node("cat").fib.routes.items()
                if route.device.startswith("cali")
            ]
            for name in ("ant", "bee"):
                assert cluster.node(name).fib.routes[of_cat].device == "tunl0"
            nursery.cancel_scope.cancel()

    run_virtual(main, 1)
