"""What goes along when a pool, a node or a namespace is deleted, and what stays."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from agents.ipam.cni import Cni
from agents.ipam.errors import IPAMError
from cluster.cleanup import DRAIN, Cleanup
from cluster.rehearsal.clock import run_virtual
from protocol.prefix import IPV4, parse_address
from protocol.sync.errors import Conflict, NotFound
from protocol.v3.bgp import BGPConfiguration, BGPPeer, BGPPeerSpec
from protocol.v3.core import Namespace, Secret
from protocol.v3.felix import FelixConfiguration
from protocol.v3.metadata import Metadata
from tests.strategies.ipam import World, names, node, nodes, pool


def cleanup(world: World) -> Cleanup:
    return Cleanup(world.store, wall=lambda: world.now)


def present(world: World, kind: str) -> list[str]:
    return [document["metadata"]["name"] for document in world.store.list(kind)]


async def two_pools() -> tuple[World, Cni]:
    """node-001 with a pod in each of two pools."""
    world = World(
        pool("10.1.0.0/16", "a", namespace_selector="kubernetes.io/metadata.name == 'one'"),
        pool("10.2.0.0/16", "b", namespace_selector="kubernetes.io/metadata.name != 'one'"),
        *nodes(names(2)),
    )
    cni = world.cni("node-001")
    await cni.add("p", "one")
    await cni.add("p", "two")
    return world, cni


async def test_a_pool_s_blocks_are_nobody_s_and_its_addresses_stay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world, cni = await two_pools()
    kept = world.owners()
    changes: list[str] = []
    world.store.watch(lambda change: changes.append(f"{change.key[0]} {change.new is not None}"))
    await cleanup(world).delete("IPPool", "a")
    assert trio.current_time() == DRAIN
    assert changes[0] == "IPPool True", "disabled before anything is released"
    assert changes[-1] == "IPPool False", "and deleted after"
    assert present(world, "IPPool") == ["b"]
    assert [one[0] for one in world.affinities().values()] == ["node-001"]
    assert world.owners() == kept, "pods keep what they have"
    assert world.audit() == []
    await cni.delete("p", "one")  # the last of a block that is nobody's takes it along
    assert len(world.blocks()) == 1
    assert world.audit() == []


async def test_an_unused_block_of_a_pool_goes(autojump_clock: trio.testing.MockClock) -> None:
    world, cni = await two_pools()
    await cni.delete("p", "one")
    await cleanup(world).delete("IPPool", "a")
    assert len(world.blocks()) == 1
    assert world.audit() == []


async def test_a_pool_that_is_changed_while_it_goes_stays(autojump_clock: trio.testing.MockClock) -> None:
    world, _ = await two_pools()

    async def enable_again() -> None:
        await trio.sleep(DRAIN / 2)
        document = world.store.get("IPPool", "a")
        world.store.update({**document, "spec": {**document["spec"], "disabled": False}})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enable_again)
        with pytest.raises(Conflict):
            await cleanup(world).delete("IPPool", "a")
    assert present(world, "IPPool") == ["a", "b"]


async def test_a_delete_that_was_cut_short_is_finished_by_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world, _ = await two_pools()
    with trio.move_on_after(DRAIN / 2):
        await cleanup(world).delete("IPPool", "a")
    assert world.store.get("IPPool", "a")["spec"]["disabled"]
    await cleanup(world).delete("IPPool", "a")
    assert present(world, "IPPool") == ["b"]
    assert world.audit() == []


async def test_a_node_takes_its_own_along() -> None:
    world = World(
        pool("10.1.0.0/26", "a"),
        *nodes(names(2)),
        BGPPeer(Metadata("of-one"), BGPPeerSpec(node="node-001", peer_ip="10.0.0.1", as_number=1)),
        BGPPeer(Metadata("of-two"), BGPPeerSpec(node="node-002", peer_ip="10.0.0.1", as_number=1)),
        BGPPeer(Metadata("of-all"), BGPPeerSpec(peer_ip="10.0.0.2", as_number=1)),
        BGPConfiguration(Metadata("node.node-001")),
        BGPConfiguration(Metadata("node.node-002")),
        FelixConfiguration(Metadata("node.node-001")),
        FelixConfiguration(Metadata("default")),
    )
    one, two = world.cni("node-001"), world.cni("node-002")
    await one.add("p1")
    borrower = await two.add("p2")  # the pool is one block, and it is node-001's
    await cleanup(world).delete("Node", "node-001")
    assert present(world, "Node") == ["node-002"]
    assert present(world, "BGPPeer") == ["of-all", "of-two"]
    assert present(world, "BGPConfiguration") == ["node.node-002"]
    assert present(world, "FelixConfiguration") == ["default"]
    assert present(world, "WorkloadEndpoint") == [borrower.metadata.name]
    assert world.affinities() == {}
    (text,) = borrower.spec.ip_networks
    assert [*world.owners()] == [parse_address(text.partition("/")[0])], "what was borrowed of it stays"
    assert world.audit() == []


async def test_tunnel_addresses_go_with_their_node() -> None:
    world = World(pool("10.1.0.0/26", "a"), *nodes(names(2)))
    for name in names(2):
        await world.allocator(name).auto_assign(
            IPV4, 1, handle_id=f"ipip-tunnel-addr-{name}", attributes={"node": name}, use="Tunnel"
        )
    await cleanup(world).delete("Node", "node-001")
    assert [*world.handles()] == ["ipip-tunnel-addr-node-002"]
    assert world.audit() == []


async def test_a_namespace_takes_everything_in_it_along() -> None:
    world = World(
        pool("10.1.0.0/26", "a"),
        node("node-001"),
        Namespace(Metadata("one")),
        Namespace(Metadata("two")),
        Secret(Metadata("s", "one")),
        Secret(Metadata("s", "two")),
    )
    cni = world.cni("node-001")
    await cni.add("p", "one")
    await cni.add("p", "two")
    await cleanup(world).delete("Namespace", "one")
    for kind in ("WorkloadEndpoint", "Secret"):
        assert [document["metadata"]["namespace"] for document in world.store.list(kind)] == ["two"]
    assert present(world, "Namespace") == ["two"]
    assert len(world.owners()) == 1
    assert world.audit() == []


async def test_what_is_not_there_or_not_meant_is_left_alone() -> None:
    world = World(pool("10.1.0.0/26", "a"), node("node-001"))
    revision = world.store.revision
    with pytest.raises(NotFound):
        await cleanup(world).delete("Node", "node-009")
    for kind, name in (("Node", "node-001"), ("IPPool", "a")):
        with pytest.raises(Conflict):
            await cleanup(world).delete(kind, name, resource_version="99")
    assert world.store.revision == revision


VICTIMS = [("IPPool", "a"), ("IPPool", "b"), ("Node", "node-001")]


@given(st.integers(0, 1 << 16), st.lists(st.sampled_from(VICTIMS), unique=True), st.integers(0, 6))
def test_whatever_is_deleted_while_pods_come_and_go_ipam_stays_whole(
    seed: int, victims: list[tuple[str, str]], pods: int
) -> None:
    world = World(pool("10.1.0.0/29", "a", block_size=31), pool("10.2.0.0/24", "b"), *nodes(names(3)))

    async def live(name: str) -> None:
        cni = world.cni(name)
        for index in range(pods):
            try:
                await cni.add(f"{name}-{index}")
                if index % 2:
                    await cni.delete(f"{name}-{index}")
            except (IPAMError, NotFound):  # no pool is left, or the node itself and its pods are gone
                await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in names(3):
                nursery.start_soon(live, name)
            for kind, name in victims:
                nursery.start_soon(cleanup(world).delete, kind, name)

    run_virtual(main, seed)
    assert [name for kind, name in victims if name in present(world, kind)] == []
    assert world.audit() == []
