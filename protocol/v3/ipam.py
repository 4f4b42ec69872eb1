"""IPAM's own records: configuration, block affinities, blocks and handles.

Only IPAMConfiguration is for people to write; the rest is the bookkeeping of address assignment. A block names its
addresses by ordinal: ``allocations[ordinal]`` is an index into ``attributes`` or None, ``unallocated`` is the FIFO
of free ordinals.

The names of these resources carry what they are about (``block_name``, ``affinity_name``, ``handle_name``), so that
creating one twice is a conflict in the datastore and needs no lock.

Follows Calico's libcalico-go/lib/ipam and its CRDs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from protocol.v3.fields import ALWAYS, JSON, Affinity, StrictCidr, UInt64, between
from protocol.v3.metadata import Resource

AffinityState = Literal["", "confirmed", "pending", "pendingDeletion"]


def block_name(cidr: str) -> str:
    """``"192.168.4.64/26"`` to ``"192-168-4-64-26"``."""
    return cidr.replace(".", "-").replace(":", "-").replace("/", "-")


def affinity_name(node: str, cidr: str) -> str:
    return f"{node}-{block_name(cidr)}"


def handle_name(handle_id: str) -> str:
    return handle_id.lower()


@attrs.frozen(kw_only=True)
class IPAMConfigurationSpec:
    strict_affinity: bool = attrs.field(default=False, metadata={ALWAYS: True})
    auto_allocate_blocks: bool = True
    max_blocks_per_host: Annotated[int, between(0, 1_000_000)] = 0
    kube_virt_vm_address_persistence: Literal["Enabled", "Disabled"] | None = None
    ip_cooldown_seconds: Annotated[int, between(0, 1200)] = 0


@attrs.frozen
class IPAMConfiguration(Resource):
    kind: ClassVar[str] = "IPAMConfiguration"
    plural: ClassVar[str] = "ipamconfigurations"

    spec: IPAMConfigurationSpec = IPAMConfigurationSpec()


@attrs.frozen(kw_only=True)
class BlockAffinitySpec:
    state: AffinityState
    node: str
    type: str = "host"
    cidr: StrictCidr
    deleted: bool = attrs.field(default=False, metadata={ALWAYS: True})


@attrs.frozen
class BlockAffinity(Resource):
    kind: ClassVar[str] = "BlockAffinity"
    plural: ClassVar[str] = "blockaffinities"

    spec: BlockAffinitySpec


@attrs.frozen(kw_only=True)
class AllocationAttribute:
    handle_id: str | None = attrs.field(default=None, metadata={JSON: "handle_id"})
    secondary: Mapping[str, str] = attrs.field(factory=dict)
    alternate_owner_attrs: Mapping[str, str] = attrs.field(factory=dict)
    released_at: str = ""


@attrs.frozen(kw_only=True)
class IPAMBlockSpec:
    cidr: StrictCidr
    affinity: Affinity | None = None  # "host:<node>", "virtual:load-balancer", or nobody's
    affinity_claim_time: str = ""
    allocations: tuple[int | None, ...] = attrs.field(metadata={ALWAYS: True})
    unallocated: tuple[int, ...] = attrs.field(metadata={ALWAYS: True})
    attributes: tuple[AllocationAttribute, ...] = attrs.field(default=(), metadata={ALWAYS: True})
    sequence_number: UInt64 = 0
    sequence_number_for_allocation: Mapping[str, UInt64] = attrs.field(factory=dict)
    deleted: bool = False
    strict_affinity: bool = attrs.field(default=False, metadata={ALWAYS: True})


@attrs.frozen
class IPAMBlock(Resource):
    kind: ClassVar[str] = "IPAMBlock"
    plural: ClassVar[str] = "ipamblocks"

    spec: IPAMBlockSpec


@attrs.frozen(kw_only=True)
class IPAMHandleSpec:
    handle_id: str
    block: Mapping[str, int] = attrs.field(
        factory=dict, metadata={ALWAYS: True}
    )  # CIDR to number of addresses
    deleted: bool = False


@attrs.frozen
class IPAMHandle(Resource):
    kind: ClassVar[str] = "IPAMHandle"
    plural: ClassVar[str] = "ipamhandles"

    spec: IPAMHandleSpec
