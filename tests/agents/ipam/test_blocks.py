"""One block against a plain model: a queue of free ordinals and who has the others."""

from __future__ import annotations

from collections import deque

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents.ipam.blocks import (
    address_at,
    assign,
    assign_ordinal,
    check_release,
    disown,
    free_count,
    held_by,
    is_empty,
    new_block,
    ordinal_of,
    problems,
    release,
    size_of,
    sweep,
)
from agents.ipam.errors import AddressInUseError, BadReleaseError
from protocol.prefix import format_address, parse_prefix
from protocol.v3.codec import decode, encode
from protocol.v3.ipam import IPAMBlock

PREFIX = parse_prefix("192.168.4.64/29")
NOON = 1_795_521_600.0

handles = st.sampled_from(["a", "b", "c"])
ordinals = st.integers(0, 7)


class BlockModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.block = new_block(PREFIX, "node-001", NOON)
        self.now = NOON
        self.cooldown = 0
        self.free: deque[int] = deque(range(8))
        self.holders: dict[int, str] = {}
        self.cooling: list[tuple[float, int]] = []
        self.written = 0

    def _sweep(self) -> None:
        self.block = sweep(self.block, now=self.now, cooldown=self.cooldown)
        for released, ordinal in sorted(self.cooling):
            if released + self.cooldown <= self.now:
                self.free.append(ordinal)
        self.cooling = [one for one in self.cooling if one[0] + self.cooldown > self.now]

    @rule(count=st.integers(0, 9), handle=handles, reserved=st.frozensets(ordinals, max_size=3))
    def assign(self, count: int, handle: str, reserved: frozenset[int]) -> None:
        self._sweep()
        expected = [ordinal for ordinal in self.free if ordinal not in reserved][:count]
        assert free_count(self.block, reserved) == sum(ordinal not in reserved for ordinal in self.free)
        self.block, got = assign(
            self.block, count, handle_id=handle, attributes={"pod": handle}, reserved=reserved
        )
        assert list(got) == expected
        for ordinal in got:
            self.free.remove(ordinal)
            self.holders[ordinal] = handle
        self.written += bool(got)

    @rule(ordinal=ordinals, handle=handles)
    def assign_fixed(self, ordinal: int, handle: str) -> None:
        self._sweep()
        if ordinal in self.free:
            self.block = assign_ordinal(self.block, ordinal, handle_id=handle, attributes={})
            self.free.remove(ordinal)
            self.holders[ordinal] = handle
            self.written += 1
        else:
            with pytest.raises(AddressInUseError):
                assign_ordinal(self.block, ordinal, handle_id=handle, attributes={})

    @precondition(lambda self: self.holders)
    @rule(data=st.data(), cooldown=st.sampled_from((0, 0, 30, 60)))
    def release(self, data: st.DataObject, cooldown: int) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.holders)), min_size=1, unique=True))
        self.cooldown = cooldown
        self._sweep()
        self.block, lost = release(self.block, chosen, now=self.now, cooldown=cooldown)
        mine = [self.holders.pop(ordinal) for ordinal in chosen]
        assert lost == {handle: mine.count(handle) for handle in mine}
        if cooldown:
            self.cooling += [(self.now, ordinal) for ordinal in chosen]
        else:
            self.free += chosen
        self.written += 1

    @rule(seconds=st.integers(1, 70))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @invariant()
    def the_block_is_sound(self) -> None:
        assert problems(self.block) == []
        assert decode(encode(self.block)) == self.block

    @invariant()
    def the_block_is_what_the_model_says(self) -> None:
        assert list(self.block.spec.unallocated) == list(self.free)
        assert is_empty(self.block) == (len(self.free) == 8)
        for handle in ("a", "b", "c"):
            assert set(held_by(self.block, handle)) == {o for o, h in self.holders.items() if h == handle}
        for ordinal in range(8):
            assert check_release(self.block, ordinal, self.holders.get(ordinal), None) == (
                ordinal in self.holders
            )

    @invariant()
    def every_write_has_its_number(self) -> None:
        start = new_block(PREFIX, "node-001", NOON).spec.sequence_number
        assert self.block.spec.sequence_number == start + self.written
        assert {int(o) for o in self.block.spec.sequence_number_for_allocation} == set(self.holders)


TestBlock = BlockModel.TestCase


@given(
    st.sampled_from(
        ["10.0.0.0/20", "10.0.0.0/26", "10.0.0.1/32", "fd00::/116", "fd00::40/122", "fd00::1/128"]
    )
)
def test_ordinals_and_addresses_are_the_same_thing(cidr: str) -> None:
    prefix = parse_prefix(cidr)
    size = size_of(prefix)
    assert len(new_block(prefix, "n", NOON).spec.allocations) == size
    for ordinal in {0, size // 3, size - 1}:
        assert ordinal_of(prefix, address_at(prefix, ordinal)) == ordinal
    assert format_address(address_at(prefix, 0)) == cidr.partition("/")[0]


def with_one(handle: str) -> tuple[IPAMBlock, int]:
    block, (ordinal,) = assign(new_block(PREFIX, "node-001", NOON), 1, handle_id=handle, attributes={})
    return block, ordinal


def test_a_new_block_is_its_nodes_and_says_since_when() -> None:
    block = new_block(PREFIX, "node-001", NOON)
    assert block.metadata.name == "192-168-4-64-29"
    assert (block.spec.affinity, block.spec.affinity_claim_time) == ("host:node-001", "2026-11-24T12:00:00Z")
    assert block.spec.sequence_number == 1_795_521_600_000_000_000


def test_a_release_must_name_the_holder_and_the_allocation_it_means() -> None:
    block, ordinal = with_one("a")
    made_at = block.spec.sequence_number_for_allocation[str(ordinal)]
    assert check_release(block, ordinal, "a", made_at)
    with pytest.raises(BadReleaseError, match="belongs to a, not to b"):
        check_release(block, ordinal, "b", None)
    freed, _ = release(block, [ordinal], now=NOON, cooldown=0)
    again = assign_ordinal(freed, ordinal, handle_id="a", attributes={})
    with pytest.raises(BadReleaseError, match="sequence"):
        check_release(again, ordinal, "a", made_at)


def test_allocations_of_one_owner_share_their_attribute() -> None:
    block, _ = assign(new_block(PREFIX, "n", NOON), 2, handle_id="a", attributes={"pod": "x"})
    block, _ = assign(block, 2, handle_id="a", attributes={"pod": "x"})
    block, _ = assign(block, 1, handle_id="a", attributes={"pod": "y"})
    assert block.spec.allocations == (0, 0, 0, 0, 1, None, None, None)


def test_a_cooling_address_keeps_nothing_of_its_owner() -> None:
    block, ordinal = with_one("a")
    cooling, _ = release(block, [ordinal], now=NOON, cooldown=30)
    (attribute,) = cooling.spec.attributes
    assert (attribute.handle_id, attribute.secondary, attribute.released_at) == (
        None,
        {},
        "2026-11-24T12:00:00Z",
    )
    assert sweep(cooling, now=NOON + 29, cooldown=30) is cooling
    assert is_empty(sweep(cooling, now=NOON + 30, cooldown=30))


def test_a_disowned_block_keeps_its_allocations() -> None:
    block, _ = with_one("a")
    nobodys = disown(block)
    assert nobodys.spec.affinity is None
    assert nobodys.spec.allocations == block.spec.allocations
    assert nobodys.spec.sequence_number == block.spec.sequence_number + 1


def test_problems_are_seen() -> None:
    block, _ = with_one("a")

    def broken(**changes: object) -> list[str]:
        return problems(IPAMBlock(block.metadata, attrs.evolve(block.spec, **changes)))  # type: ignore[arg-type]  # its fields

    assert problems(block) == []
    free = block.spec.unallocated
    assert broken(allocations=(None,) * 7) != []
    assert "an allocation points past the attributes" in broken(attributes=())
    assert "an attribute that no allocation points to" in broken(attributes=block.spec.attributes * 2)
    assert "an ordinal is twice in the free list" in broken(unallocated=(*free, free[0]))
    assert "an ordinal of the free list is out of range" in broken(unallocated=(*free[1:], 8))
    assert "an ordinal is free and allocated" in broken(unallocated=(*free[1:], 0))
    assert "1 allocated and 6 free are not 8" in broken(unallocated=free[1:])
