"""The life of one IPAMBlock: pure functions from a block to the next one.

Owns the bookkeeping inside a block: which ordinal is whose, in which order free ordinals are given, what happens on
release. Every function takes a frozen ``IPAMBlock`` and returns another; the caller writes it back by
compare-and-swap. ``now`` is wall time in seconds, as the datastore's timestamps are.

    unallocated --assign (front)--> allocated --release--> cooling --sweep (back)--> unallocated
                                        \\_______________ no cooldown: at once ______/^

An allocated ordinal points into ``attributes``: handle and owner of whoever has it. A cooling one points to an
attribute that holds nothing but ``released_at``. Equal attributes are shared, unused ones are dropped, so that indexes
stay dense.

``sequence_number`` grows with every written change, and an allocation remembers the number it was made at: a release
that names it cannot hit a later allocation of the same address.

Guaranteed by all of them (``problems`` spells it out and the tests hold every result to it): each ordinal is in
``unallocated`` exactly once or has an allocation, never both.

Left out: reading and writing (``store``), which block to use (``allocator``), what is reserved (``pools``).
Follows libcalico-go/lib/ipam/ipam_block.go and calicoctl's ``ipam check``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import attrs

from agents.ipam.errors import AddressInUseError, BadReleaseError
from protocol.prefix import Address, Prefix, format_prefix, network_int, parse_prefix
from protocol.v3.ipam import AllocationAttribute, IPAMBlock, IPAMBlockSpec, block_name
from protocol.v3.metadata import Metadata

NOTHING_RESERVED: frozenset[int] = frozenset()


def size_of(prefix: Prefix) -> int:
    """How many addresses a block has; the first and the last are addresses like the others."""
    return 1 << (((len(prefix) - 1) << 3) - prefix[0])


def address_at(prefix: Prefix, ordinal: int) -> Address:
    return Address((network_int(prefix) + ordinal).to_bytes(len(prefix) - 1, "big"))


def ordinal_of(prefix: Prefix, address: Address) -> int:
    return int.from_bytes(address, "big") - network_int(prefix)


def prefix_of(block: IPAMBlock) -> Prefix:
    return parse_prefix(block.spec.cidr)


def host_affinity(node: str) -> str:
    return f"host:{node}"


def format_time(now: float) -> str:
    """Kubernetes' time: RFC 3339 in whole seconds."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def new_block(prefix: Prefix, node: str, now: float) -> IPAMBlock:
    """An empty block, affine to a node."""
    cidr = format_prefix(prefix)
    size = size_of(prefix)
    return IPAMBlock(
        Metadata(block_name(cidr)),
        IPAMBlockSpec(
            cidr=cidr,
            affinity=host_affinity(node),
            affinity_claim_time=format_time(now),
            allocations=(None,) * size,
            unallocated=tuple(range(size)),
            sequence_number=int(
                now * 1e9
            ),  # a block made again at the same place continues above the old one
        ),
    )


def is_empty(block: IPAMBlock) -> bool:
    """Nobody has an address of it and none is cooling."""
    return len(block.spec.unallocated) == len(block.spec.allocations)


def free_count(block: IPAMBlock, reserved: Collection[int] = NOTHING_RESERVED) -> int:
    """How many ordinals ``assign`` could give now."""
    unallocated = block.spec.unallocated
    if not reserved:
        return len(unallocated)
    return sum(ordinal not in reserved for ordinal in unallocated)


def held_by(block: IPAMBlock, handle_id: str) -> tuple[int, ...]:
    """The ordinals a handle has."""
    mine = {index for index, one in enumerate(block.spec.attributes) if one.handle_id == handle_id}
    return tuple(ordinal for ordinal, index in enumerate(block.spec.allocations) if index in mine)


def touch(block: IPAMBlock) -> IPAMBlock:
    """The same block with a new sequence number: writing it fails whoever holds the old revision."""
    return _with(block, sequence_number=block.spec.sequence_number + 1)


def disown(block: IPAMBlock) -> IPAMBlock:
    """Nobody's block: what is allocated stays, and the block is never anybody's again."""
    return _with(block, affinity=None, affinity_claim_time="", sequence_number=block.spec.sequence_number + 1)


def assign(
    block: IPAMBlock,
    count: int,
    *,
    handle_id: str,
    attributes: Mapping[str, str],
    reserved: Collection[int] = NOTHING_RESERVED,
) -> tuple[IPAMBlock, tuple[int, ...]]:
    """Up to ``count`` ordinals from the front of the free list; reserved ones keep their place in it.

    The same object comes back when there is nothing to give.
    """
    unallocated = block.spec.unallocated
    if not reserved:
        chosen, rest = unallocated[:count], unallocated[count:]
    else:
        chosen = tuple(_first(unallocated, count, reserved))
        rest = _without(unallocated, chosen)
    if not chosen:
        return block, ()
    return _allocate(block, chosen, rest, handle_id, attributes), chosen


def assign_ordinal(
    block: IPAMBlock, ordinal: int, *, handle_id: str, attributes: Mapping[str, str]
) -> IPAMBlock:
    """One given ordinal, wherever it stands in the free list. Raises AddressInUseError."""
    if block.spec.allocations[ordinal] is not None:
        raise AddressInUseError(f"ordinal {ordinal} of {block.spec.cidr} is already assigned")
    rest = _without(block.spec.unallocated, (ordinal,))
    return _allocate(block, (ordinal,), rest, handle_id, attributes)


def check_release(block: IPAMBlock, ordinal: int, handle_id: str | None, sequence_number: int | None) -> bool:
    """Whether an ordinal can be released: False when nobody has it (or it is cooling).

    Raises BadReleaseError when ``handle_id`` or ``sequence_number`` is given and is not that of the allocation.
    """
    spec = block.spec
    index = spec.allocations[ordinal]
    if index is None or spec.attributes[index].released_at:
        return False
    if handle_id is not None and spec.attributes[index].handle_id != handle_id:
        raise BadReleaseError(
            f"ordinal {ordinal} of {spec.cidr} belongs to {spec.attributes[index].handle_id}, not to {handle_id}"
        )
    if sequence_number is not None:
        made_at = spec.sequence_number_for_allocation.get(str(ordinal), 0)
        if made_at != sequence_number:
            raise BadReleaseError(
                f"ordinal {ordinal} of {spec.cidr} was assigned at sequence {made_at}, not {sequence_number}"
            )
    return True


def release(
    block: IPAMBlock, ordinals: Iterable[int], *, now: float, cooldown: float
) -> tuple[IPAMBlock, dict[str, int]]:
    """Take allocated ordinals back; what has cooled down goes to the end of the free list.

    Returns the block and how many addresses each handle lost. The ordinals must be allocated and not cooling.
    """
    spec = block.spec
    allocations = list(spec.allocations)
    sequences = dict(spec.sequence_number_for_allocation)
    freed = []
    lost: dict[str, int] = {}
    attributes = spec.attributes
    cooling = None
    if cooldown:
        stamp = AllocationAttribute(released_at=format_time(now))
        if stamp not in attributes:
            attributes = (*attributes, stamp)
        cooling = attributes.index(stamp)
    for ordinal in ordinals:
        index = allocations[ordinal]
        assert index is not None
        handle_id = attributes[index].handle_id
        if handle_id is not None:
            lost[handle_id] = lost.get(handle_id, 0) + 1
        sequences.pop(str(ordinal), None)
        allocations[ordinal] = cooling
        if cooling is None:
            freed.append(ordinal)
    dense, kept = _dense(allocations, attributes)
    changed = _with(
        block,
        allocations=dense,
        attributes=kept,
        unallocated=(*spec.unallocated, *freed),
        sequence_number=spec.sequence_number + 1,
        sequence_number_for_allocation=sequences,
    )
    return changed, lost


def sweep(block: IPAMBlock, *, now: float, cooldown: float) -> IPAMBlock:
    """Free what has cooled down, longest released first. The same object when there is none.

    Done to every block that is read, and persisted by the next write; so it takes no sequence number.
    """
    spec = block.spec
    cooled = sorted(
        (parse_time(one.released_at), index)
        for index, one in enumerate(spec.attributes)
        if one.released_at and parse_time(one.released_at) + cooldown <= now
    )
    if not cooled:
        return block
    allocations = list(spec.allocations)
    freed = []
    for _, cooled_index in cooled:
        for ordinal, index in enumerate(spec.allocations):
            if index == cooled_index:
                allocations[ordinal] = None
                freed.append(ordinal)
    dense, kept = _dense(allocations, spec.attributes)
    return _with(block, allocations=dense, attributes=kept, unallocated=(*spec.unallocated, *freed))


def problems(block: IPAMBlock) -> list[str]:
    """What is wrong inside a block, in calicoctl ``ipam check``'s order; empty for every block made here."""
    spec = block.spec
    size = size_of(prefix_of(block))
    found = []
    if len(spec.allocations) != size:
        found.append(f"{len(spec.allocations)} allocations in a block of {size}")
    used = {index for index in spec.allocations if index is not None}
    if not used <= set(range(len(spec.attributes))):
        found.append("an allocation points past the attributes")
    if not used >= set(range(len(spec.attributes))):
        found.append("an attribute that no allocation points to")
    free = set(spec.unallocated)
    if len(free) != len(spec.unallocated):
        found.append("an ordinal is twice in the free list")
    if not free <= set(range(size)):
        found.append("an ordinal of the free list is out of range")
    taken = {ordinal for ordinal, index in enumerate(spec.allocations) if index is not None}
    if free & taken:
        found.append("an ordinal is free and allocated")
    if len(taken) + len(spec.unallocated) != size:
        found.append(f"{len(taken)} allocated and {len(spec.unallocated)} free are not {size}")
    return found


def _first(unallocated: Sequence[int], count: int, reserved: Collection[int]) -> Iterator[int]:
    for ordinal in unallocated:
        if count == 0:
            return
        if ordinal not in reserved:
            count -= 1
            yield ordinal


def _without(unallocated: Sequence[int], chosen: Collection[int]) -> tuple[int, ...]:
    return tuple(ordinal for ordinal in unallocated if ordinal not in chosen)


def _allocate(
    block: IPAMBlock, chosen: Sequence[int], rest: tuple[int, ...], handle_id: str, owner: Mapping[str, str]
) -> IPAMBlock:
    spec = block.spec
    attributes = spec.attributes
    # The cheap comparison first: handles differ.
    index = next(
        (
            index
            for index, one in enumerate(attributes)
            if one.handle_id == handle_id and one.secondary == owner and not one.alternate_owner_attrs
        ),
        len(attributes),
    )
    if index == len(attributes):
        attributes = (*attributes, AllocationAttribute(handle_id=handle_id, secondary=owner))
    allocations = list(spec.allocations)
    sequences = dict(spec.sequence_number_for_allocation)
    for ordinal in chosen:
        allocations[ordinal] = index
        sequences[str(ordinal)] = spec.sequence_number
    return _with(
        block,
        allocations=tuple(allocations),
        attributes=attributes,
        unallocated=rest,
        sequence_number=spec.sequence_number + 1,
        sequence_number_for_allocation=sequences,
    )


def _dense(
    allocations: Sequence[int | None], attributes: Sequence[AllocationAttribute]
) -> tuple[tuple[int | None, ...], tuple[AllocationAttribute, ...]]:
    """Drop the attributes nobody points to and renumber."""
    used = sorted({index for index in allocations if index is not None})
    if len(used) == len(attributes):
        return tuple(allocations), tuple(attributes)
    renumbered: dict[int | None, int | None] = {old: new for new, old in enumerate(used)}
    renumbered[None] = None
    return tuple(renumbered[index] for index in allocations), tuple(attributes[index] for index in used)


def _with(block: IPAMBlock, **changes: object) -> IPAMBlock:
    return IPAMBlock(block.metadata, attrs.evolve(block.spec, **changes))  # type: ignore[arg-type]  # kwargs of the spec
