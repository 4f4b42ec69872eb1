"""Whether IPAM's records are sound: no address given twice, nothing leaked, everything told alike wherever it is told.

Owns ``bookkeeping``, which holds blocks, handles and affinities against each other, and ``unsound``, which also holds
them against what they are for: endpoints of pods, tunnels, Nodes. Both are asked of a datastore at rest: whoever is in
the middle of something has written half of it.

    an address     is one endpoint's, and that one's by the block that it is in
    a block        is what ``agents.ipam.blocks`` guarantees; it is a node's by its affinity, or nobody's and in use
    a handle       counts what the blocks have by its name, and somebody has it: a pod, or a tunnel of a Node

A node that died in the middle of an assignment leaves what it had written, as in life, for a garbage collector:
``interrupted`` are those, and what is theirs is no finding. Endpoints that were written by hand, without IPAM, are none
of its business, whatever addresses they have.

Follows calicoctl's ``ipam check``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, cast

import attrs

from agents.ipam.blocks import address_at, is_empty, prefix_of, problems
from agents.ipam.cni import handle_of
from agents.ipam.tunnels import Tunnel
from protocol.prefix import Address, format_address, network_address, parse_prefix
from protocol.v3.codec import decode
from protocol.v3.ipam import BlockAffinity, IPAMBlock, IPAMHandle
from protocol.v3.workload import WorkloadEndpoint

_HOST = "host:"


@attrs.frozen
class Given:
    """An address that a block says is somebody's. ``node``: on which, as far as that was written down."""

    address: Address
    handle_id: str
    node: str


def bookkeeping(
    blocks: Iterable[IPAMBlock],
    affinities: Iterable[BlockAffinity],
    handles: Iterable[IPAMHandle],
    *,
    interrupted: Collection[str] = (),
) -> Iterator[str]:
    """What IPAM's three books say that cannot all be so."""
    blocks = [*blocks]
    counts: dict[str, Counter[str]] = {}
    for block in blocks:
        spec = block.spec
        wrong = problems(block)
        yield from (f"{spec.cidr}: {problem}" for problem in wrong)
        if wrong:
            continue
        if spec.affinity is None and is_empty(block):
            yield f"{spec.cidr} is empty and nobody's"
        for given in addresses(block):
            counts.setdefault(given.handle_id, Counter())[spec.cidr] += 1
        for ordinal, index in enumerate(spec.allocations):
            assigned = index is not None and not spec.attributes[index].released_at
            if assigned and str(ordinal) not in spec.sequence_number_for_allocation:
                yield f"{spec.cidr}: ordinal {ordinal} has no sequence number"
    known = {one.spec.handle_id: dict(one.spec.block) for one in handles}
    for handle_id in {**known, **counts}:
        said, found = known.get(handle_id, {}), dict(counts.get(handle_id, {}))
        # Who assigns counts first and writes the block then.
        if said != found and not (interrupted and _covers(said, found)):
            yield f"handle {handle_id} says {said or 'nothing'}, blocks say {found or 'nothing'}"
    yield from _owners(blocks, affinities, interrupted)


def _covers(said: Mapping[str, int], found: Mapping[str, int]) -> bool:
    return all(said.get(cidr, 0) >= count for cidr, count in found.items())


def _owners(
    blocks: Iterable[IPAMBlock], affinities: Iterable[BlockAffinity], interrupted: Collection[str]
) -> Iterator[str]:
    claims: dict[str, str] = {}
    excused: set[str] = set()
    for one in affinities:
        spec = one.spec
        if spec.node in interrupted:
            excused.add(spec.cidr)
        elif spec.state != "confirmed":
            yield f"{one.metadata.name} is {spec.state}"
        if spec.cidr in claims and spec.cidr not in excused:
            yield f"{spec.cidr} is {spec.node}'s and {claims[spec.cidr]}'s"
        claims[spec.cidr] = spec.node
    owned = {
        block.spec.cidr: (block.spec.affinity or "").removeprefix(_HOST)
        for block in blocks
        if (block.spec.affinity or "").startswith(_HOST)
    }
    for cidr in {**claims, **owned}:
        claim, owner = claims.get(cidr, "nobody"), owned.get(cidr, "nobody")
        if claim != owner and cidr not in excused and owner not in interrupted:
            yield f"{cidr}: by its affinity it is {claim}'s, by the block {owner}'s"


def addresses(block: IPAMBlock) -> Iterator[Given]:
    """Those that are somebody's now."""
    prefix = prefix_of(block)
    for ordinal, index in enumerate(block.spec.allocations):
        if index is not None:
            attribute = block.spec.attributes[index]
            if not attribute.released_at:
                yield Given(
                    address_at(prefix, ordinal),
                    attribute.handle_id or "",
                    attribute.secondary.get("node", ""),
                )


def unsound(
    list_kind: Callable[[str], Iterable[Mapping[str, Any]]], *, interrupted: Collection[str] = ()
) -> list[str]:
    """What is wrong with the addresses of a cluster, in words; empty when nothing is."""
    blocks = [cast("IPAMBlock", decode(one)) for one in list_kind(IPAMBlock.kind)]
    found = [
        *bookkeeping(
            blocks,
            [cast("BlockAffinity", decode(one)) for one in list_kind(BlockAffinity.kind)],
            [cast("IPAMHandle", decode(one)) for one in list_kind(IPAMHandle.kind)],
            interrupted=interrupted,
        )
    ]
    endpoints = [cast("WorkloadEndpoint", decode(one)) for one in list_kind(WorkloadEndpoint.kind)]
    nodes = {str(one["metadata"]["name"]) for one in list_kind("Node")}
    return [*found, *_uses(blocks, endpoints, nodes, interrupted), *_homeless(list_kind, nodes)]


def _uses(
    blocks: Iterable[IPAMBlock],
    endpoints: Iterable[WorkloadEndpoint],
    nodes: Collection[str],
    interrupted: Collection[str],
) -> Iterator[str]:
    given: dict[Address, str] = {}
    wanted = {f"{tunnel.value}{node}" for tunnel in Tunnel for node in nodes}
    owners: dict[Address, str] = {}
    for block in blocks:
        for one in addresses(block):
            given[one.address] = one.handle_id
    for endpoint in endpoints:
        handle_id = handle_of(endpoint.spec.container_id)
        wanted.add(handle_id)
        if not endpoint.spec.container_id:
            continue
        for text in endpoint.spec.ip_networks:
            address = network_address(parse_prefix(text))
            name = f"{endpoint.metadata.namespace}/{endpoint.spec.pod}"
            if address in owners:
                yield f"{format_address(address)} is given twice: to {owners[address]} and to {name}"
            owners[address] = name
            if given.get(address) != handle_id:
                whose = given.get(address, "nobody")
                yield f"{format_address(address)} of {name} is {whose}'s, by its block"
    for block in blocks:
        for one in addresses(block):
            if one.handle_id not in wanted and one.node not in interrupted:
                yield f"{format_address(one.address)} is leaked: nobody has the handle {one.handle_id}"


def _homeless(
    list_kind: Callable[[str], Iterable[Mapping[str, Any]]], nodes: Collection[str]
) -> Iterator[str]:
    for one in list_kind(BlockAffinity.kind):
        if one["spec"]["node"] not in nodes:
            yield f"{one['spec']['cidr']} is leaked: it is {one['spec']['node']}'s, which is no more"
