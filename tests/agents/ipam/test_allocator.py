"""One thing at a time: what IPAM does, and with how many calls."""

from __future__ import annotations

import random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.ipam.allocator import LOOKS, Allocator, Assignment, Release
from agents.ipam.errors import AddressInUseError, BadReleaseError, IPAMError, NoPoolError
from cluster.datastore.local import LocalDatastore
from cluster.rehearsal.clock import run_virtual
from protocol.prefix import (
    IPV4,
    IPV6,
    Address,
    contains,
    format_address,
    host_prefix,
    parse_address,
    parse_prefix,
)
from protocol.sync.errors import NotFound
from protocol.v3.codec import encode
from protocol.v3.metadata import Resource
from tests.strategies.ipam import Dawdling, World, ipam, names, node, nodes, pool, reservation

CLAIM = [("create", "BlockAffinity"), ("create", "IPAMBlock"), ("update", "BlockAffinity")]
ASSIGN = [("create", "IPAMHandle"), ("update", "IPAMBlock")]


def one_block(**spec: object) -> World:
    """Two nodes, and four addresses for both."""
    return World(pool("192.168.4.0/30", block_size=30), ipam(**spec), *nodes(names(2)))


async def assign(allocator: Allocator, count: int = 1, handle: str = "h", family: int = IPV4) -> Assignment:
    return await allocator.auto_assign(family, count, handle_id=handle, attributes={})


def texts(addresses: tuple[Address, ...]) -> list[str]:
    return [format_address(address) for address in addresses]


def replace(world: World, resource: Resource) -> None:
    """Write over what is there of that name."""
    old = world.store.get(*[resource.key[i] for i in (0, 2, 1)])
    world.store.update({**encode(resource), "metadata": {**encode(resource)["metadata"], **stamps(old)}})


def stamps(document: dict[str, dict[str, str]]) -> dict[str, str]:
    return {key: document["metadata"][key] for key in ("resourceVersion", "uid", "creationTimestamp")}


async def test_the_first_address_claims_a_block_and_the_second_takes_one_read_less_than_it_writes() -> None:
    world = World(pool(), *nodes(names(1)))
    allocator = world.allocator("node-001")
    await assign(allocator, handle="a")
    assert world.calls.made == CLAIM + ASSIGN
    world.calls.made.clear()
    await assign(allocator, handle="b")
    assert world.calls.made == ASSIGN
    assert world.audit() == []
    assert world.affinities() == dict.fromkeys(world.affinities(), ("node-001", "confirmed"))


async def test_a_restarted_node_goes_on_with_its_block() -> None:
    world = World(pool(), *nodes(names(1)))
    first = await assign(world.allocator("node-001"), handle="a")
    second = await assign(world.allocator("node-001"), handle="b")
    assert len(world.blocks()) == 1
    assert first.addresses != second.addresses


@pytest.mark.parametrize(("family", "cidr"), [(IPV4, "10.9.0.0/24"), (IPV6, "fd00:9::/64")])
async def test_the_family_of_the_address_is_that_of_the_pool(family: int, cidr: str) -> None:
    world = World(pool("10.9.0.0/24", "four"), pool("fd00:9::/64", "six"), *nodes(names(1)))
    (address,) = (await assign(world.allocator("node-001"), family=family)).addresses
    assert contains(parse_prefix(cidr), host_prefix(address))
    assert world.audit() == []


async def test_addresses_come_back_last_of_all() -> None:
    world = one_block()
    allocator = world.allocator("node-001")
    first = await assign(allocator, 2, "a")
    await allocator.release_by_handle("a")
    assert texts(first.addresses) == ["192.168.4.0", "192.168.4.1"]
    assert texts((await assign(allocator, 4, "b")).addresses) == [f"192.168.4.{n}" for n in (2, 3, 0, 1)]


async def test_a_released_address_cools_down() -> None:
    world = one_block(ip_cooldown_seconds=30)
    allocator = world.allocator("node-001")
    await assign(allocator, 4, "a")
    await allocator.release_ips([Release(address=parse_address("192.168.4.2"))])
    world.now += 29
    assert (await assign(allocator, 1, "b")).addresses == ()
    world.now += 1
    assert texts((await assign(allocator, 1, "b")).addresses) == ["192.168.4.2"]
    assert world.audit() == []


async def test_one_handle_may_have_addresses_in_many_blocks() -> None:
    world = World(pool("192.168.4.0/28", block_size=30), *nodes(names(1)))
    allocator = world.allocator("node-001")
    await assign(allocator, 10, "a")
    assert sorted(world.handles()["a"].values()) == [2, 4, 4]
    assert len(await allocator.release_by_handle("a")) == 10
    assert world.handles() == {}
    with pytest.raises(NotFound):
        await allocator.release_by_handle("a")


async def test_another_node_borrows_when_no_block_is_left() -> None:
    world = one_block()
    owner, borrower = world.allocator("node-001"), world.allocator("node-002")
    await assign(owner, 1, "a")
    got = await assign(borrower, 4, "b")
    assert texts(got.addresses) == ["192.168.4.1", "192.168.4.2", "192.168.4.3"]
    assert str(got) == "Assigned 3 out of 4 requested addresses; no free address in any block"
    assert world.affinities() == {"node-001-192-168-4-0-30": ("node-001", "confirmed")}
    assert world.audit() == []
    # What the owner remembers of its block is old by now: what was borrowed is found and given back all the same.
    assert len(await owner.release_by_handle("b")) == 3
    assert world.handles() == {"a": {"192.168.4.0/30": 1}}


async def test_with_strict_affinity_nobody_borrows() -> None:
    world = one_block(strict_affinity=True)
    await assign(world.allocator("node-001"), 1, "a")
    got = await assign(world.allocator("node-002"), 1, "b")
    assert got == Assignment((), 1, ("No more free affine blocks and strict affinity enabled",))
    assert list(world.handles()) == ["a"]


async def test_the_block_limit_holds_and_forbids_borrowing() -> None:
    world = World(pool("192.168.4.0/28", block_size=30), ipam(max_blocks_per_host=2), *nodes(names(2)))
    await assign(world.allocator("node-002"), 1, "b")
    got = await assign(world.allocator("node-001"), 10, "a")
    assert len(got.addresses) == 8
    assert got.reasons == ("node-001 has 2 blocks, its limit is 2",)


async def test_without_a_limit_the_limit_is_20() -> None:
    world = World(pool("192.168.0.0/24", block_size=31), *nodes(names(1)))
    assert len((await assign(world.allocator("node-001"), 50)).addresses) == 40


async def test_no_block_is_claimed_when_blocks_are_not_allocated_automatically() -> None:
    world = one_block(auto_allocate_blocks=False, strict_affinity=True)
    got = await assign(world.allocator("node-001"))
    assert got.reasons == ("failed to find or claim a block",)
    assert world.blocks() == {}


async def test_reserved_addresses_are_passed_over_and_keep_their_place() -> None:
    world = World(
        pool("192.168.4.0/29", block_size=30), reservation("192.168.4.0/30", "192.168.4.5"), node("node-001")
    )
    allocator = world.allocator("node-001")
    assert texts((await assign(allocator, 9)).addresses) == ["192.168.4.4", "192.168.4.6", "192.168.4.7"]
    (block,) = world.blocks().values()
    assert block.spec.unallocated == (1,)


async def test_an_empty_block_is_reclaimed_when_it_has_been_empty_for_a_minute() -> None:
    world = one_block(strict_affinity=True)
    idle = world.allocator("node-001")
    await assign(idle, 1, "a")
    await idle.release_by_handle("a")
    world.now += 59
    assert (await assign(world.allocator("node-002"), 1, "b")).addresses == ()
    world.now += 2
    assert len((await assign(world.allocator("node-002"), 1, "b")).addresses) == 1
    assert world.affinities() == {"node-002-192-168-4-0-30": ("node-002", "confirmed")}
    assert (await assign(idle, 1, "a")).addresses == ()
    assert world.audit() == []


async def test_a_block_with_an_address_is_never_reclaimed() -> None:
    world = one_block(strict_affinity=True)
    await assign(world.allocator("node-001"), 1, "a")
    world.now += 1000
    assert (await assign(world.allocator("node-002"), 1, "b")).addresses == ()
    assert world.affinities() == {"node-001-192-168-4-0-30": ("node-001", "confirmed")}


async def test_an_empty_block_is_let_go_when_its_pool_no_longer_selects_the_node() -> None:
    old, new = pool("10.0.0.0/24", "a"), pool("10.1.0.0/24", "b", node_selector="new == 'yes'")
    world = World(old, new, node("node-001", {"new": "yes"}))
    allocator = world.allocator("node-001")
    await assign(allocator, 1, "a")
    replace(world, pool("10.0.0.0/24", "a", node_selector="new != 'yes'"))
    await assign(allocator, 1, "b")
    assert len(world.blocks()) == 2  # "a" is still in the old one
    await allocator.release_by_handle("a")
    assert [contains(parse_prefix("10.1.0.0/24"), prefix) for prefix in world.blocks()] == [True]
    assert world.audit() == []


async def test_a_node_that_left_its_pool_lets_go_of_an_empty_block_at_the_next_request() -> None:
    world = World(pool("10.0.0.0/24", "old"), pool("10.1.0.0/24", "other"), node("node-001"))
    allocator = world.allocator("node-001")
    await assign(allocator, 1, "a")
    await allocator.release_by_handle("a")
    replace(world, pool("10.0.0.0/24", "old", node_selector="has(old)"))
    await assign(allocator, 1, "b")
    assert [contains(parse_prefix("10.1.0.0/24"), prefix) for prefix in world.blocks()] == [True]


async def test_who_is_no_node_gets_nothing() -> None:
    with pytest.raises(IPAMError, match="there is no Node resource node-009"):
        await assign(World(pool()).allocator("node-009"))
    with pytest.raises(NoPoolError):
        await assign(World(*nodes(names(1))).allocator("node-001"))


class TestFixedAddress:
    async def assign(self, world: World, name: str, address: str, handle: str = "f") -> None:
        await world.allocator(name).assign_ip(parse_address(address), handle_id=handle, attributes={})

    async def test_its_block_is_claimed_whatever_the_limit(self) -> None:
        world = World(pool("192.168.4.0/28", block_size=30), ipam(max_blocks_per_host=1), node("node-001"))
        for number in (1, 5, 9):
            await self.assign(world, "node-001", f"192.168.4.{number}", f"f{number}")
        assert len(world.affinities()) == 3
        assert world.audit() == []

    async def test_it_may_be_reserved(self) -> None:
        world = World(pool("192.168.4.0/28"), reservation("192.168.4.3"), node("node-001"))
        await self.assign(world, "node-001", "192.168.4.3")
        assert world.owners() == {parse_address("192.168.4.3"): "f"}

    async def test_it_is_borrowed_unless_affinity_is_strict(self) -> None:
        world = one_block()
        await self.assign(world, "node-001", "192.168.4.0", "a")
        await self.assign(world, "node-002", "192.168.4.1", "b")
        assert world.audit() == []
        strict = one_block(strict_affinity=True)
        await self.assign(strict, "node-001", "192.168.4.0", "a")
        with pytest.raises(IPAMError, match="is not node-002's"):
            await self.assign(strict, "node-002", "192.168.4.1", "b")
        assert list(strict.handles()) == ["a"]

    async def test_it_is_given_once(self) -> None:
        world = one_block()
        await self.assign(world, "node-001", "192.168.4.0", "a")
        with pytest.raises(AddressInUseError, match="already assigned"):
            await self.assign(world, "node-001", "192.168.4.0", "b")
        assert world.audit() == []

    @pytest.mark.parametrize("disabled", [True, False])
    async def test_it_is_in_an_enabled_pool(self, disabled: bool) -> None:
        world = World(pool("192.168.4.0/28", disabled=disabled), node("node-001"))
        with pytest.raises(IPAMError, match="is not in a configured pool"):
            await self.assign(world, "node-001", "192.168.4.1" if disabled else "192.168.5.1")

    async def test_it_is_free_as_soon_as_another_node_has_released_it(self) -> None:
        world = one_block()
        allocator = world.allocator("node-001")
        (address,) = (await assign(allocator, 1, "a")).addresses
        await world.allocator("node-002").release_by_handle("a")
        await allocator.assign_ip(address, handle_id="b", attributes={})
        assert world.owners() == {address: "b"}


class TestRelease:
    async def test_addresses_nobody_has_are_returned(self) -> None:
        world = one_block()
        allocator = world.allocator("node-001")
        (address,) = (await assign(allocator, 1, "a")).addresses
        strangers = [parse_address(text) for text in ("192.168.4.3", "10.0.0.1")]
        asked = [Release(address=one) for one in (address, *strangers)]
        assert sorted(await allocator.release_ips(asked)) == sorted(strangers)
        assert sorted(await allocator.release_ips(asked)) == sorted((address, *strangers))
        assert world.handles() == {}

    async def test_of_somebody_elses_address_releases_nothing(self) -> None:
        world = one_block()
        allocator = world.allocator("node-001")
        (mine,) = (await assign(allocator, 1, "mine")).addresses
        (theirs,) = (await assign(allocator, 1, "theirs")).addresses
        with pytest.raises(BadReleaseError):
            await allocator.release_ips([Release(address=one, handle_id="mine") for one in (mine, theirs)])
        assert world.owners() == {mine: "mine", theirs: "theirs"}
        assert world.audit() == []

    async def test_of_an_earlier_allocation_releases_nothing(self) -> None:
        world = one_block()
        allocator = world.allocator("node-001")
        (address,) = (await assign(allocator, 1, "a")).addresses
        with pytest.raises(BadReleaseError, match="sequence"):
            await allocator.release_ips([Release(address=address, sequence_number=7)])
        assert world.owners() == {address: "a"}

    async def test_of_a_block_with_addresses_leaves_it_to_nobody_until_the_last_is_gone(self) -> None:
        world = one_block()
        allocator = world.allocator("node-001")
        await assign(allocator, 2, "a")
        prefix = parse_prefix("192.168.4.0/30")
        assert not await allocator.release_affinity(prefix)
        assert world.affinities() == {"node-001-192-168-4-0-30": ("node-001", "confirmed")}
        assert await allocator.release_affinity(prefix, must_be_empty=False)
        assert world.affinities() == {}
        assert world.blocks()[prefix].spec.affinity is None
        # It is never anybody's again, but its addresses can be borrowed.
        assert len((await assign(allocator, 1, "b")).addresses) == 1
        assert world.affinities() == {}
        await allocator.release_by_handle("a")
        await allocator.release_by_handle("b")
        assert world.blocks() == {}

    async def test_of_a_host_takes_all_its_blocks_and_no_other(self) -> None:
        world = World(pool("192.168.4.0/27", block_size=30), *nodes(names(2)))
        await assign(world.allocator("node-001"), 6, "a")
        await assign(world.allocator("node-002"), 1, "b")
        await world.allocator("node-002").release_host("node-001")
        assert {owner for owner, _ in world.affinities().values()} == {"node-002"}
        assert len(world.owners()) == 7
        assert world.audit() == []


async def test_a_view_that_is_late_costs_calls_and_nothing_else() -> None:
    world = World(pool("192.168.4.0/28", block_size=30), *nodes(names(1)))
    world.lag()
    allocator = world.allocator("node-001")
    addresses = [address for n in range(16) for address in (await assign(allocator, 1, f"h{n}")).addresses]
    assert len(set(addresses)) == 16
    assert world.audit() == []


async def test_a_block_that_was_taken_is_not_used_however_late_the_view() -> None:
    world = one_block(strict_affinity=True)
    allocator = world.allocator("node-001")
    await assign(allocator, 1, "a")
    world.lag()
    await world.allocator("node-002").release_affinity(
        parse_prefix("192.168.4.0/30"), node="node-001", must_be_empty=False
    )
    assert (await assign(allocator, 1, "b")).addresses == ()
    assert list(world.handles()) == ["a"]


async def test_a_full_neighbourhood_is_looked_at_and_then_listed() -> None:
    world = World(pool("192.168.0.0/22", block_size=30), ipam(max_blocks_per_host=300), *nodes(names(2)))
    await assign(world.allocator("node-001"), 250 * 4, "a")
    world.calls.made.clear()
    got = await assign(world.allocator("node-002"), 1, "b")
    assert len(got.addresses) == 1
    assert world.affinities()[max(world.affinities())][0] == "node-002"
    assert world.calls.made.count(("list", "IPAMBlock")) == 1
    assert len(world.calls.made) < LOOKS + 15


@given(cut=st.integers(0, 60), seed=st.integers(0, 2**16), count=st.integers(1, 6))
@settings(max_examples=100)
def test_a_power_cut_at_any_moment_leaves_nothing_that_the_restarted_node_cannot_go_on_from(
    cut: int, seed: int, count: int
) -> None:
    world = World(pool("192.168.4.0/28", block_size=30), *nodes(names(2)))

    async def cut_short(name: str, after: int) -> None:
        datastore = Dawdling(LocalDatastore(world.store), random.Random(f"{seed} {name}"))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(assign, world.allocator(name, datastore), count, f"{name}.cut")
                for _ in range(after):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_short, "node-001", cut)
            nursery.start_soon(cut_short, "node-002", cut // 2)
        for name in names(2):
            allocator = world.allocator(name)
            try:
                await allocator.release_by_handle(f"{name}.cut")
            except NotFound:
                pass
            assert len((await assign(allocator, 8, f"{name}.new")).addresses) == 8

    run_virtual(main, seed)
    assert sorted(handle or "" for handle in world.owners().values()) == sorted(
        ["node-001.new", "node-002.new"] * 8
    )
    # A handle may have been counted for an address that was never written: the count is the upper bound.
    assert [line for line in world.audit() if not line.startswith("handle ")] == []
