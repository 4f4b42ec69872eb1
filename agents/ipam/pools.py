"""Which pools may serve a request, which addresses are kept back, and in which order a node tries blocks.

Owns ``Pools``, a digest of all IPPools and IPReservations: prefixes and selectors parsed once, thrown away whole when
one of them changes.

Selection, per address family:

- pools asked for by name: exactly those, in that order; they must exist and be enabled, and no selector counts;
- otherwise every enabled pool in order of its name whose assignmentMode is Automatic, whose nodeSelector selects the
  node and whose namespaceSelector selects the namespace;
- of either, those that allow the use.

The walk goes once round all blocks of a pool from a place that depends on the node's name. Calico seeds Go's
random generator with an FNV hash of the name; any stable start behaves the same. CRC-32 is used because names that
differ in their last digits never share its low bits: nodes that are numbered start at different blocks.

Left out: overlapping pools, which the loader refuses.
Follows libcalico-go/lib/ipam/{ipam,ipam_block_reader_writer}.go.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import attrs

from agents.ipam.blocks import NOTHING_RESERVED, size_of
from agents.ipam.errors import NoPoolError
from protocol.prefix import (
    IPV4,
    Address,
    Prefix,
    contains,
    family_of,
    host_prefix,
    make_prefix,
    network_int,
    overlaps,
    parse_prefix,
)
from protocol.v3.ippool import IPPool, IPReservation
from protocol.v3.selector import Selector, parse

Use = Literal["Workload", "Tunnel"]


@attrs.frozen(kw_only=True, eq=False)
class Pool:
    name: str
    prefix: Prefix
    block_size: int  # the length of its blocks
    enabled: bool
    automatic: bool
    uses: frozenset[str]
    node_selector: Selector
    namespace_selector: Selector

    @property
    def block_count(self) -> int:
        return 1 << (self.block_size - self.prefix[0])

    def block_of(self, address: Address) -> Prefix:
        """The block that an address of this pool lies in."""
        return make_prefix(int.from_bytes(address, "big"), self.block_size, family_of(self.prefix))

    def block_at(self, index: int) -> Prefix:
        network = network_int(self.prefix) + (index << self._host_bits)
        return make_prefix(network, self.block_size, family_of(self.prefix))

    def index_of(self, block: Prefix) -> int:
        return (network_int(block) - network_int(self.prefix)) >> self._host_bits

    def owns(self, block: Prefix) -> bool:
        """Whether a block is one of this pool's: inside, and cut to its size."""
        return block[0] == self.block_size and contains(self.prefix, block)

    def start(self, node: str, now: float) -> int:
        """Where a node's walk begins. Blocks of one address are taken from anywhere, as their number is large."""
        name = f"{node} {now}" if self._host_bits == 0 else node
        return zlib.crc32(name.encode()) % self.block_count

    def distance(self, block: Prefix, node: str, now: float) -> int:
        """How many steps into a node's walk a block comes."""
        return (self.index_of(block) - self.start(node, now)) % self.block_count

    @property
    def _host_bits(self) -> int:
        return ((len(self.prefix) - 1) << 3) - self.block_size


class Pools:
    def __init__(self, pools: Iterable[IPPool], reservations: Iterable[IPReservation]) -> None:
        self._pools = [_digest(pool) for pool in sorted(pools, key=lambda pool: pool.metadata.name)]
        self._reserved = [
            parse_prefix(cidr) for reservation in reservations for cidr in reservation.spec.reserved_cidrs
        ]
        self._ordinals: dict[Prefix, frozenset[int]] = {}

    def select(
        self,
        family: int,
        *,
        use: Use,
        node: str,
        node_labels: Mapping[str, str],
        namespace_labels: Mapping[str, str],
        names: Sequence[str] = (),
    ) -> list[Pool]:
        """Raises NoPoolError when nothing is left."""
        if names:
            enabled = {pool.name: pool for pool in self._pools if pool.enabled}
            for name in names:
                if name not in enabled:
                    raise NoPoolError(f"the given pool ({name}) does not exist, or is not enabled")
            chosen = [enabled[name] for name in names]
        else:
            chosen = [
                pool
                for pool in self._pools
                if pool.enabled
                and pool.automatic
                and pool.node_selector.matches(node_labels)
                and pool.namespace_selector.matches(namespace_labels)
            ]
        chosen = [pool for pool in chosen if family_of(pool.prefix) == family]
        if not chosen:
            raise NoPoolError(f"no configured Calico pools for node {node} (IPv{4 if family == IPV4 else 6})")
        usable = [pool for pool in chosen if use in pool.uses]
        if not usable:
            raise NoPoolError(
                f"cannot find a qualified ippool for node {node}: none of "
                f"{', '.join(pool.name for pool in chosen)} allows the use {use}"
            )
        return usable

    def containing(self, prefix: Prefix) -> Pool | None:
        """The pool of a block or an address (as /32), enabled or not."""
        for pool in self._pools:
            if contains(pool.prefix, prefix):
                return pool
        return None

    def block_of(self, address: Address) -> Prefix | None:
        pool = self.containing(host_prefix(address))
        return None if pool is None else pool.block_of(address)

    def reserved(self, block: Prefix) -> frozenset[int]:
        """The ordinals of a block that automatic assignment never gives."""
        if not self._reserved:
            return NOTHING_RESERVED
        ordinals = self._ordinals.get(block)
        if ordinals is None:
            ordinals = self._ordinals[block] = frozenset(_reserved_ordinals(block, self._reserved))
        return ordinals

    def walk(self, pool: Pool, node: str, now: float) -> Iterator[Prefix]:
        """Every block of a pool once, from the node's start, but for those that are reserved whole."""
        count = pool.block_count
        index = pool.start(node, now)
        walked = 0
        while walked < count:
            block = pool.block_at(index)
            # A reservation may be larger than anybody can walk through (an IPv6 /64): jump to its end.
            step = max(
                (_blocks_left(pool, block, wide) for wide in self._reserved if contains(wide, block)),
                default=0,
            )
            if step == 0:
                step = 1
                if len(self.reserved(block)) < size_of(block):
                    yield block
            step = min(step, count - index)
            walked += step
            index = (index + step) % count


def _digest(pool: IPPool) -> Pool:
    spec = pool.spec
    return Pool(
        name=pool.metadata.name,
        prefix=parse_prefix(spec.cidr),
        block_size=spec.block_size,
        enabled=not spec.disabled and not pool.metadata.deletion_timestamp,
        automatic=spec.assignment_mode == "Automatic",
        uses=frozenset(spec.allowed_uses),
        node_selector=parse(spec.node_selector),
        namespace_selector=parse(spec.namespace_selector),
    )


def _reserved_ordinals(block: Prefix, reservations: Iterable[Prefix]) -> Iterator[int]:
    base = network_int(block)
    size = size_of(block)
    for reservation in reservations:
        if overlaps(block, reservation):
            first = network_int(reservation) - base
            yield from range(max(first, 0), min(first + size_of(reservation), size))


def _blocks_left(pool: Pool, block: Prefix, reservation: Prefix) -> int:
    """From a block inside a reservation to the reservation's end, in blocks."""
    return (network_int(reservation) + size_of(reservation) - network_int(block)) // size_of(block)
