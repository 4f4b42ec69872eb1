"""Many nodes at once, any interleaving: at the end the books are right.

Nodes run scripts of steps against one datastore whose every call takes a random time. A ledger notes an address
when its assignment has returned and strikes it out before its release is asked for; whoever gets an address that
stands in it has been given somebody else's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ipam.allocator import Allocator, Release
from agents.ipam.errors import IPAMError
from agents.syncer import Datastore
from cluster.datastore.local import LocalDatastore
from cluster.datastore.memory import MemoryStore
from cluster.rehearsal.clock import run_virtual
from protocol.prefix import IPV4, Address, parse_address, parse_prefix
from protocol.sync.errors import NotFound
from protocol.v3.codec import decode, encode
from protocol.v3.metadata import Resource
from tests.strategies.ipam import Dawdling, World, ipam, names, nodes, pool, reservation

Step = tuple[Any, ...]

BASE = parse_address("192.168.4.0")

steps = st.one_of(
    st.tuples(st.just("assign"), st.integers(1, 5)),
    st.tuples(st.just("assign same handle"), st.integers(1, 5)),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("release by handle"), st.integers(0, 9)),
    st.tuples(st.just("fixed"), st.integers(0, 31)),
    st.tuples(st.just("release affinity"), st.integers(0, 7), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("release host"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from((1, 30, 61))),
    st.tuples(st.just("restart")),
    st.tuples(st.just("the view lags")),
    st.tuples(st.just("the view catches up"), st.integers(0, 9)),
)


class Ledger:
    def __init__(self) -> None:
        self.holds: dict[Address, str] = {}

    def note(self, addresses: Sequence[Address], handle_id: str) -> None:
        for address in addresses:
            assert address not in self.holds, (
                f"{address!r} is {self.holds[address]}'s and was given to {handle_id}"
            )
            self.holds[address] = handle_id

    def strike(self, handle_id: str) -> list[Address]:
        mine = [address for address, holder in self.holds.items() if holder == handle_id]
        for address in mine:
            del self.holds[address]
        return mine


class Actor:
    """One node and its script."""

    def __init__(
        self, world: World, everybody: list[str], name: str, ledger: Ledger, datastore: Datastore
    ) -> None:
        self.world = world
        self.everybody = everybody
        self.name = name
        self.ledger = ledger
        self.datastore = datastore
        self.allocator = self.new_allocator()
        self.handles: list[str] = []
        self.count = 0

    def new_allocator(self) -> Allocator:
        return self.world.allocator(self.name, self.datastore)

    def new_handle(self) -> str:
        self.count += 1
        self.handles.append(f"{self.name}.{self.count}")
        return self.handles[-1]

    async def run(self, script: Sequence[Step]) -> None:
        for step in script:
            await self.do(*step)

    async def do(self, verb: str, *args: Any) -> None:
        match verb, *args:
            case "assign", count:
                await self.assign(self.new_handle(), count)
            case "assign same handle", count:
                await self.assign(self.handles[-1] if self.handles else self.new_handle(), count)
            case "fixed", ordinal:
                handle_id = self.new_handle()
                address = Address((int.from_bytes(BASE, "big") + ordinal).to_bytes(4, "big"))
                try:
                    await self.allocator.assign_ip(address, handle_id=handle_id, attributes={})
                except IPAMError:
                    self.handles.remove(handle_id)
                else:
                    self.ledger.note([address], handle_id)
            case "release by handle", which if self.handles:
                handle_id = self.handles.pop(which % len(self.handles))
                mine = self.ledger.strike(handle_id)
                try:
                    assert sorted(await self.allocator.release_by_handle(handle_id)) == sorted(mine)
                except NotFound:
                    assert not mine
            case "release", which if self.handles:
                handle_id = self.handles.pop(which % len(self.handles))
                releases = [
                    Release(address=one, handle_id=handle_id) for one in self.ledger.strike(handle_id)
                ]
                assert await self.allocator.release_ips(releases) == []
            case "release affinity", block, owner, must_be_empty:
                prefix = parse_prefix(f"192.168.4.{block * 4}/30")
                node = self.everybody[owner % len(self.everybody)]
                await self.allocator.release_affinity(prefix, node=node, must_be_empty=must_be_empty)
            case "release host", owner:
                await self.allocator.release_host(self.everybody[owner % len(self.everybody)])
            case "wait", seconds:
                self.world.now += seconds
            case ("restart",):
                self.allocator = self.new_allocator()
            case ("the view lags",):
                self.world.lag()
            case "the view catches up", changes:
                self.world.catch_up(changes)

    async def assign(self, handle_id: str, count: int) -> None:
        result = await self.allocator.auto_assign(
            IPV4, count, handle_id=handle_id, attributes={"node": self.name}
        )
        assert len(set(result.addresses)) == len(result.addresses) <= count
        assert (len(result.addresses) < count) == bool(result.reasons)
        self.ledger.note(result.addresses, handle_id)


def play(
    scripts: Sequence[Sequence[Step]], seed: int, *resources: Resource, careless: bool = False
) -> tuple[World, Ledger]:
    everybody = names(len(scripts))
    world = World(*resources, *nodes(everybody))
    ledger = Ledger()

    async def main() -> None:
        inner = Careless(world.store) if careless else LocalDatastore(world.store)
        async with trio.open_nursery() as nursery:
            for number, script in enumerate(scripts):
                datastore = Dawdling(inner, random.Random(seed * 1000 + number))
                nursery.start_soon(Actor(world, everybody, everybody[number], ledger, datastore).run, script)

    run_virtual(main, seed)
    return world, ledger


def proved(world: World, ledger: Ledger) -> None:
    assert world.audit() == []
    assert world.owners() == ledger.holds


class Careless(LocalDatastore):
    """A datastore without compare-and-swap: the last writer wins."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self._documents = store

    async def update(self, resource: Resource) -> Resource:
        await trio.lowlevel.checkpoint()
        current = self._documents.get(resource.kind, resource.metadata.name, resource.metadata.namespace)
        document = encode(resource)
        return await super().update(decode({**document, "metadata": current["metadata"]}))


@given(
    scripts=st.lists(st.lists(steps, max_size=8), min_size=2, max_size=6),
    seed=st.integers(0, 2**16),
    cooldown=st.sampled_from((0, 0, 45)),
)
@settings(max_examples=250)
def test_any_steps_in_any_interleaving_leave_the_books_right(
    scripts: list[list[Step]], seed: int, cooldown: int
) -> None:
    world, ledger = play(
        scripts, seed, pool("192.168.4.0/27", block_size=30), ipam(ip_cooldown_seconds=cooldown)
    )
    if not cooldown:  # an empty block that is nobody's waits for its last address to cool
        proved(world, ledger)
    else:
        assert [line for line in world.audit() if "is empty and nobody's" not in line] == []
        assert world.owners() == ledger.holds


@given(scripts=st.lists(st.lists(steps, max_size=6), min_size=2, max_size=5), seed=st.integers(0, 2**16))
@settings(max_examples=100)
def test_with_strict_affinity_nobody_ever_has_an_address_in_anothers_block(
    scripts: list[list[Step]], seed: int
) -> None:
    own = [
        [step for step in script if step[0] not in ("release affinity", "release host")] for script in scripts
    ]
    world, ledger = play(own, seed, pool("192.168.4.0/28", block_size=30), ipam(strict_affinity=True))
    proved(world, ledger)
    for block in world.blocks().values():
        for attribute in block.spec.attributes:
            assert attribute.handle_id is not None
            assert f"host:{attribute.handle_id.partition('.')[0]}" == block.spec.affinity


@given(scripts=st.lists(st.lists(steps, max_size=6), min_size=2, max_size=5), seed=st.integers(0, 2**16))
@settings(max_examples=100)
def test_reserved_addresses_are_never_given(scripts: list[list[Step]], seed: int) -> None:
    automatic = [[step for step in script if step[0] != "fixed"] for script in scripts]
    kept = reservation("192.168.4.1", "192.168.4.6/31", "192.168.4.8/29")
    world, ledger = play(automatic, seed, pool("192.168.4.0/27", block_size=30), kept)
    proved(world, ledger)
    assert not {address[3] for address in ledger.holds} & {1, 6, 7, *range(8, 16)}


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_nodes_claim_at_once(seed: int) -> None:
    world, ledger = play([[("assign", 1), ("assign", 1)]] * 300, seed, pool("192.168.0.0/16"))
    proved(world, ledger)
    assert len(ledger.holds) == 600
    assert len(world.blocks()) == 300


def test_hundreds_of_nodes_share_too_few_addresses() -> None:
    """8 blocks for 100 nodes: most must borrow, and the last find nothing."""
    script = [("assign", 1), ("release", 0), ("assign", 3), ("assign", 3)]
    world, ledger = play([script] * 100, 1, pool("192.168.0.0/23"))
    proved(world, ledger)
    assert len(ledger.holds) == 512


def test_the_books_go_wrong_without_compare_and_swap() -> None:
    """What all of this rests on: were it missing, these tests would notice."""
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        proved(*play([[("assign", 3)] * 6] * 6, 1, pool("192.168.4.0/27", block_size=30), careless=True))
