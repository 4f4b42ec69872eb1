"""Every order in which a few may call the datastore, up to some switches between them, from every half-done state.

The actors stand still before each call until the director lets one of them go on. The director tries all choices
with at most SWITCHES moments at which somebody is left standing who could go on; nearly all races need one or two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from agents.ipam.allocator import Allocator
from agents.ipam.blocks import assign, new_block
from agents.syncer import Datastore, Resources
from cluster.datastore.local import LocalDatastore
from cluster.datastore.memory import Change
from cluster.rehearsal.clock import run_virtual
from protocol.prefix import IPV4, parse_prefix
from protocol.sync.errors import NotFound
from protocol.v3.codec import encode
from protocol.v3.ipam import (
    AffinityState,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMHandle,
    IPAMHandleSpec,
    affinity_name,
)
from protocol.v3.metadata import Metadata, Resource
from tests.strategies.ipam import World, names, nodes, pool

SWITCHES = 2
CIDR = "192.168.4.0/31"
PREFIX = parse_prefix(CIDR)

Act = Callable[[World, Datastore], Awaitable[Any]]


class Gated(Datastore):
    """Waits for ``turn`` before each call."""

    def __init__(self, datastore: Datastore) -> None:
        self._datastore = datastore
        self.waits = False
        self.turn = trio.Event()

    async def _wait(self) -> None:
        self.waits = True
        await self.turn.wait()
        self.turn = trio.Event()
        self.waits = False

    async def get(self, kind: str, name: str, namespace: str = "") -> Resource:
        await self._wait()
        return await self._datastore.get(kind, name, namespace)

    async def list(self, kind: str) -> Resources:
        await self._wait()
        return await self._datastore.list(kind)

    async def create(self, resource: Resource) -> Resource:
        await self._wait()
        return await self._datastore.create(resource)

    async def update(self, resource: Resource) -> Resource:
        await self._wait()
        return await self._datastore.update(resource)

    async def delete(self, resource: Resource) -> None:
        await self._wait()
        await self._datastore.delete(resource)


def play(world: World, acts: Sequence[Act], choices: Sequence[int], seed: int = 0) -> list[list[int]]:
    """Let the actors go on in the order of ``choices``, then the lowest first. Returns who could, at each call."""
    options: list[list[int]] = []

    async def main() -> None:
        gates = [Gated(LocalDatastore(world.store)) for _ in acts]
        async with trio.open_nursery() as nursery:
            for act, gate in zip(acts, gates, strict=True):
                nursery.start_soon(act, world, gate)
            last = 0
            while True:
                await trio.testing.wait_all_tasks_blocked()
                able = [number for number, gate in enumerate(gates) if gate.waits]
                if not able:
                    return
                able.sort(key=lambda number: (number != last, number))
                options.append(able)
                last = choices[len(options) - 1] if len(options) <= len(choices) else able[0]
                gates[last].turn.set()

    run_virtual(main, seed)
    return options


def every_order(
    make: Callable[[], World], acts: Sequence[Act], switches: int
) -> Iterator[tuple[World, list[int]]]:
    """The world after each order, and the choices that led there. What went wrong under way fails at once."""
    untried: list[tuple[list[int], int]] = [([], switches)]
    while untried:
        choices, left = untried.pop()
        world = make()
        wrong = watch(world)
        options = play(world, acts, choices)
        assert wrong == [], choices
        taken = [able[0] for able in options]
        taken[: len(choices)] = choices
        yield world, taken
        if left:
            for step in range(len(choices), len(options)):
                goes_on = step == 0 or options[step][0] == taken[step - 1]
                for other in options[step][1:]:
                    untried.append(([*taken[:step], other], left - goes_on))


def allocator(world: World, name: str, datastore: Datastore) -> Allocator:
    return world.allocator(name, datastore)


def assigns(name: str, handle_id: str = "") -> Act:
    async def act(world: World, datastore: Datastore) -> None:
        handle = handle_id or name
        await allocator(world, name, datastore).auto_assign(IPV4, 1, handle_id=handle, attributes={})

    return act


def frees(handle_id: str) -> Act:
    async def act(world: World, datastore: Datastore) -> None:
        try:
            await allocator(world, "node-002", datastore).release_by_handle(handle_id)
        except NotFound:
            pass

    return act


def takes(name: str, *, must_be_empty: bool) -> Act:
    async def act(world: World, datastore: Datastore) -> None:
        await allocator(world, "node-002", datastore).release_affinity(
            PREFIX, node=name, must_be_empty=must_be_empty
        )

    return act


def left_behind(state: AffinityState | None, block: str, room: str = CIDR) -> Callable[[], World]:
    """A world in which node-001 died in the middle of something."""

    def make() -> World:
        world = World(pool(room, block_size=31), *nodes(names(2)))
        if state is not None:
            spec = BlockAffinitySpec(state=state, node="node-001", cidr=CIDR)
            world.store.create(encode(BlockAffinity(Metadata("node-001-192-168-4-0-31"), spec)))
        if block == "used":
            used, _ = assign(new_block(PREFIX, "node-001", world.now), 1, handle_id="old", attributes={})
            world.store.create(encode(used))
            handle = IPAMHandleSpec(handle_id="old", block={CIDR: 1})
            world.store.create(encode(IPAMHandle(Metadata("old"), handle)))
        elif block:
            world.store.create(encode(new_block(PREFIX, block, world.now)))
        world.now += 100  # old enough to be reclaimed
        return world

    return make


def watch(world: World) -> list[str]:
    """Collects what must not be at any moment, as it happens."""
    wrong = []

    def look(change: Change) -> None:
        owned = {
            affinity_name(owner, block.spec.cidr): block.spec.affinity
            for block in world.blocks().values()
            for owner in names(2)
        }
        for name, (owner, state) in world.affinities().items():
            if state == "confirmed" and owned.get(name) != f"host:{owner}":
                wrong.append(f"{change.revision}: {name} is confirmed, the block is not")
        counts = world.handles()
        held = Counter(handle for handle in world.owners().values() if handle)
        for handle, number in held.items():
            if sum(counts.get(handle, {}).values()) < number:
                wrong.append(f"{change.revision}: {handle} has {number} and counts {counts.get(handle)}")

    world.store.watch(look)
    return wrong


def half(world: World) -> list[str]:
    """What must not be when nobody is at it: a block whose owner has no affinity."""
    affinities = world.affinities()
    return [
        f"{block.spec.cidr} is {block.spec.affinity} without an affinity"
        for block in world.blocks().values()
        if block.spec.affinity
        and affinity_name(block.spec.affinity.removeprefix("host:"), block.spec.cidr) not in affinities
    ]


LEFT_BEHIND = {
    "nothing": left_behind(None, ""),
    "pending": left_behind("pending", ""),
    "pending with its block": left_behind("pending", "node-001"),
    "confirmed": left_behind("confirmed", "node-001"),
    "confirmed and used": left_behind("confirmed", "used"),
    "pendingDeletion": left_behind("pendingDeletion", ""),
    "pendingDeletion with its block": left_behind("pendingDeletion", "node-001"),
    "pendingDeletion and used": left_behind("pendingDeletion", "used"),
}

TOGETHER: dict[str, list[Act]] = {
    "two nodes assign": [assigns("node-001"), assigns("node-002")],
    "one assigns, another lets go": [assigns("node-001"), takes("node-001", must_be_empty=True)],
    "one assigns, another takes": [assigns("node-001"), takes("node-001", must_be_empty=False)],
    "two take": [takes("node-001", must_be_empty=True), takes("node-001", must_be_empty=False)],
    "two assign for one handle": [assigns("node-001", "x"), assigns("node-002", "x")],
    "one assigns for a handle that is released": [assigns("node-001", "old"), frees("old")],
    "one takes a block while its address is freed": [takes("node-001", must_be_empty=False), frees("old")],
    "one assigns, one lets go, one takes": [
        assigns("node-001"),
        takes("node-001", must_be_empty=True),
        takes("node-001", must_be_empty=False),
    ],
    "two assign, another takes": [
        assigns("node-001"),
        assigns("node-002"),
        takes("node-001", must_be_empty=False),
    ],
}


@pytest.mark.parametrize("acts", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("make", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_whatever_the_order(make: Callable[[], World], acts: list[Act]) -> None:
    settled(make, acts, SWITCHES if len(acts) == 2 else SWITCHES - 1)


def test_three_at_a_block_in_use() -> None:
    """The one race of three that needs all the switches: a claim finds a block of its own and must write it."""
    settled(LEFT_BEHIND["confirmed and used"], TOGETHER["two assign, another takes"], SWITCHES)


def test_a_block_is_reclaimed_or_used_but_never_taken_from_under_an_address() -> None:
    for world, choices in every_order(LEFT_BEHIND["confirmed"], TOGETHER["two nodes assign"], SWITCHES):
        assert len(world.owners()) == 2, choices
        assert world.blocks()[PREFIX].spec.affinity is not None, choices


def test_a_claim_that_lost_its_affinity_leaves_no_block_behind() -> None:
    """With room elsewhere (where node-001's walk begins) it has no reason to come back."""
    make = left_behind("pending", "", room="192.168.4.0/30")
    for world, choices in every_order(make, TOGETHER["one assigns, another lets go"], SWITCHES + 1):
        assert half(world) == [], choices


def settled(make: Callable[[], World], acts: list[Act], switches: int) -> None:
    for world, choices in every_order(make, acts, switches):
        assert half(world) == [], choices
        # Both nodes ask for all there is, so every affinity that somebody left is looked at and settled.
        settle = [assigns(name, f"last-{name}") for name in names(2)]
        for act in settle:
            play(world, [act], [])
        assert world.audit() == [], choices
        assert len(world.owners()) == 2, choices


def test_all_orders_are_tried() -> None:
    """The director itself: with switches enough, two actors of two calls each have 6 orders."""

    async def calls_twice(world: World, datastore: Datastore) -> None:
        for _ in range(2):
            await datastore.list("Node")

    orders = [tuple(order) for _, order in every_order(LEFT_BEHIND["nothing"], [calls_twice] * 2, 3)]
    assert sorted(orders) == [
        (0, 0, 1, 1),
        (0, 1, 0, 1),
        (0, 1, 1, 0),
        (1, 0, 0, 1),
        (1, 0, 1, 0),
        (1, 1, 0, 0),
    ]
