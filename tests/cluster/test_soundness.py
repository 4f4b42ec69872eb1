"""IPAM's audit: silent about what IPAM itself makes, and loud about each way in which it could be wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import trio

from cluster.cleanup import Cleanup
from cluster.soundness import unsound
from tests.strategies.ipam import World, node, pool

Document = dict[str, Any]


def lived() -> World:
    """Two nodes, three pods, one of which has gone."""
    world = World(pool("192.168.0.0/28", block_size=29), node("ant"), node("bee"))

    async def live() -> None:
        for name, pods in (("ant", 2), ("bee", 1)):
            for number in range(pods):
                await world.cni(name, seed=number).add(f"{name}-{number}")
        await world.cni("ant").delete("ant-0")

    trio.run(live)
    return world


def found(world: World, *interrupted: str) -> list[str]:
    return unsound(world.store.list, interrupted=interrupted)


def test_what_ipam_makes_is_sound() -> None:
    assert found(lived()) == []


def test_so_is_what_the_deletion_of_a_node_leaves() -> None:
    world = lived()
    trio.run(Cleanup(world.store, wall=lambda: world.now).delete, "Node", "ant")
    assert found(world) == []


def change(world: World, kind: str, edit: Callable[[Document], None], number: int = 0) -> None:
    document = copy.deepcopy(world.store.list(kind)[number])
    edit(document)
    world.store.update(document)


def twice(world: World) -> None:
    first = world.store.list("WorkloadEndpoint")[0]["spec"]
    change(world, "WorkloadEndpoint", lambda each: each["spec"].update(ipNetworks=first["ipNetworks"]), 1)


def nobodys(world: World) -> None:
    change(world, "IPAMBlock", lambda block: block["spec"].pop("affinity"))


def without_affinity(world: World) -> None:
    one = world.store.list("BlockAffinity")[0]
    world.store.delete("BlockAffinity", one["metadata"]["name"])


def pending(world: World) -> None:
    change(world, "BlockAffinity", lambda each: each["spec"].update(state="pending"))


def without_handle(world: World) -> None:
    one = world.store.list("IPAMHandle")[0]
    world.store.delete("IPAMHandle", one["metadata"]["name"])


def without_endpoint(world: World) -> None:
    one = world.store.list("WorkloadEndpoint")[0]
    world.store.delete("WorkloadEndpoint", one["metadata"]["name"], "default")


def without_node(world: World) -> None:
    world.store.delete("Node", "ant")


def without_number(world: World) -> None:
    change(world, "IPAMBlock", lambda block: block["spec"].update(sequenceNumberForAllocation={}))


def free_and_taken(world: World) -> None:
    change(
        world, "IPAMBlock", lambda block: block["spec"]["unallocated"].append(block["spec"]["unallocated"][0])
    )


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (twice, "is given twice: to default/ant-1 and to default/bee-0"),
        (nobodys, "192.168.0.0/29: by its affinity it is bee's, by the block nobody's"),
        (without_affinity, "192.168.0.8/29: by its affinity it is nobody's, by the block ant's"),
        (pending, "ant-192-168-0-8-29 is pending"),
        (without_handle, "says nothing, blocks say {'192.168.0."),
        (without_endpoint, "is leaked: nobody has the handle k8s-pod-network."),
        (without_node, "is leaked: it is ant's, which is no more"),
        (without_number, "has no sequence number"),
        (free_and_taken, "an ordinal is twice in the free list"),
    ],
)
def test_every_harm_is_seen(harm: Callable[[World], None], words: str) -> None:
    world = lived()
    harm(world)
    assert any(words in line for line in found(world)), found(world)


@pytest.mark.parametrize("harm", [pending, without_affinity, without_endpoint])
def test_what_a_node_that_died_leaves_half_done_is_no_finding(harm: Callable[[World], None]) -> None:
    world = lived()
    harm(world)
    assert found(world)
    assert found(world, "ant") == []
