"""What to launch: the user's wishes and manifests, turned into resources and a list of nodes.

Owns ``Spec`` (one frozen object per ``up``), ``World`` (the resources to load and the nodes to start) and the checks
that need the whole cluster to be seen: nodes without an address, two nodes with one, pools too small for the nodes
that they serve, a name taken twice.

Flow: ``protocol.v3.loader`` reads the manifests; ``build`` fills in what they leave out and complains about all that
is wrong at once; ``cluster.launch`` loads the resources into the datastore and starts the nodes.

What is filled in is what a fresh Calico has: one pool, 192.168.0.0/16 with blocks of 64 addresses (a wider one when
the nodes would need more than half of its blocks), AS 64512, the node-to-node mesh. ``route_reflectors`` builds the
pattern of Calico's documentation instead of the mesh: labelled nodes with a cluster ID, and two BGPPeers by selector.
Whatever of this a manifest says itself, the manifest decides.

Left out: anything about sockets and processes, which is ``plan`` and ``addressing``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import attrs

from cluster.addressing import generated_address
from protocol.prefix import Address, contains, host_prefix, parse_address, parse_prefix
from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec
from protocol.v3.ipam import IPAMConfiguration
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from protocol.v3.selector import parse

R = TypeVar("R", bound=Resource)

DEFAULT_NAME = "default"
DEFAULT_NODES = 20
DEFAULT_POOL = "default-ipv4-ippool"
POOL_CIDRS = ("192.168.0.0/16", "172.16.0.0/12", "10.128.0.0/9")
BLOCK_SIZE = 26
REFLECTOR_LABEL = "route-reflector"
REFLECTOR_CLUSTER_ID = "244.0.0.1"
MAX_NODES = 60_000  # 10.77.0.0/16 and 127.77.0.0/16 have no more, with some air for manifests' nodes


class SpecError(ValueError):
    """Everything that is wrong with what was asked for, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@attrs.frozen(kw_only=True)
class Spec:
    """One ``up``."""

    nodes: int | None = None  # None: those of the manifests, or DEFAULT_NODES when they have none
    pods_per_node: int = 2
    blocks_per_node: int = 1
    route_reflectors: int = 0
    hold_time: float = 90.0
    seed: int = 0
    shards: int | None = None  # None: as many as the plan finds best
    timeout: float = 300.0
    bgp_port: int = 1790
    name: str = DEFAULT_NAME
    manifests: tuple[str, ...] = ()


@attrs.frozen
class World:
    """``resources`` is all that is loaded before the first node starts; the nodes are among them."""

    resources: tuple[Resource, ...]
    nodes: tuple[Node, ...]
    generated: int  # how many of the nodes no manifest names

    def of_kind(self, kind: type[R]) -> Iterator[R]:
        return (resource for resource in self.resources if isinstance(resource, kind))

    @property
    def bgp_configuration(self) -> BGPConfiguration | None:
        return next(
            (each for each in self.of_kind(BGPConfiguration) if each.metadata.name == "default"), None
        )

    def addresses(self) -> dict[str, Address]:
        return {node.metadata.name: node_address(node) for node in self.nodes}


def node_address(node: Node) -> Address:
    """The IPv4 address of a node that ``build`` has let pass."""
    assert node.spec.bgp is not None
    return parse_address(node.spec.bgp.ipv4_address.partition("/")[0])


def build(spec: Spec, manifest: Sequence[Resource] = ()) -> World:
    """The world of a spec and the resources of its manifests.

    Raises:
        SpecError: with every problem found.
    """
    problems = list(_check_numbers(spec))
    own = [resource for resource in manifest if isinstance(resource, Node)]
    wanted = spec.nodes if spec.nodes is not None else (len(own) or DEFAULT_NODES)
    if own and wanted < len(own):
        problems.append(f"--nodes {wanted}: the manifests alone have {len(own)} nodes")
    problems += _check_nodes(own)
    if problems:
        raise SpecError(problems)
    generated = list(_generate_nodes(wanted - len(own), own, reflectors=spec.route_reflectors))
    nodes = [*own, *generated]
    if spec.route_reflectors > len(generated):
        problems.append(
            f"--route-reflectors {spec.route_reflectors}: reflectors are made of generated nodes, "
            f"and only {len(generated)} are generated (--nodes)"
        )
    resources: list[Resource] = list(manifest)
    if not any(isinstance(resource, IPPool) for resource in resources):
        resources.append(_default_pool(spec, nodes))
    problems += _configure_bgp(spec, resources)
    resources += generated
    problems += _check_names(resources)
    pools = [resource for resource in resources if isinstance(resource, IPPool)]
    strict = any(isinstance(each, IPAMConfiguration) and each.spec.strict_affinity for each in resources)
    problems += _check_pools(spec, pools, nodes, strict=strict)
    if problems:
        raise SpecError(problems)
    return World(tuple(resources), tuple(nodes), len(generated))


# -- what is filled in --------------------------------------------------------------------------------------------


def _generate_nodes(count: int, taken: Iterable[Node], *, reflectors: int) -> Iterator[Node]:
    """``count`` nodes, numbered from 1; a number whose name or address a manifest has is passed over.

    The first ``reflectors`` of them are route reflectors.
    """
    names = {node.metadata.name for node in taken}
    addresses = {_address_text(node) for node in taken}
    width = max(3, len(str(count + len(names))))
    made = index = 0
    while made < count:
        index += 1
        name, address = f"node-{index:0{width}}", generated_address(index)
        if name in names or address in addresses:
            continue
        reflector = made < reflectors
        made += 1
        yield Node(
            Metadata(
                name,
                labels={"kubernetes.io/hostname": name, **({REFLECTOR_LABEL: "true"} if reflector else {})},
            ),
            NodeSpec(
                bgp=NodeBGPSpec(
                    ipv4_address=f"{address}/16",
                    route_reflector_cluster_id=REFLECTOR_CLUSTER_ID if reflector else "",
                )
            ),
        )


def _default_pool(spec: Spec, nodes: Sequence[Node]) -> IPPool:
    """The first of POOL_CIDRS that no node lives in and of which the start takes at most half the blocks."""
    needed = len(nodes) * _blocks_needed(spec, BLOCK_SIZE)
    addresses = [host_prefix(node_address(node)) for node in nodes]
    free = [
        cidr for cidr in POOL_CIDRS if not any(contains(parse_prefix(cidr), address) for address in addresses)
    ] or POOL_CIDRS
    cidr = next((cidr for cidr in free if 2 * needed <= _block_count(cidr, BLOCK_SIZE)), free[-1])
    return IPPool(Metadata(DEFAULT_POOL), IPPoolSpec(cidr=cidr, block_size=BLOCK_SIZE, nat_outgoing=True))


def _configure_bgp(spec: Spec, resources: list[Resource]) -> Iterator[str]:
    """Adds the default BGPConfiguration and the reflectors' peerings to ``resources``."""
    position = next(
        (
            index
            for index, resource in enumerate(resources)
            if isinstance(resource, BGPConfiguration) and resource.metadata.name == "default"
        ),
        None,
    )
    if position is None:
        mesh = not spec.route_reflectors
        resources.append(
            BGPConfiguration(
                Metadata("default"),
                BGPConfigurationSpec(as_number=DEFAULT_AS_NUMBER, node_to_node_mesh_enabled=mesh),
            )
        )
    elif spec.route_reflectors:
        configuration = resources[position]
        assert isinstance(configuration, BGPConfiguration)
        if configuration.spec.node_to_node_mesh_enabled:
            yield (
                "--route-reflectors turns the node-to-node mesh off, "
                "and BGPConfiguration/default has nodeToNodeMeshEnabled: true"
            )
        resources[position] = attrs.evolve(
            configuration, spec=attrs.evolve(configuration.spec, node_to_node_mesh_enabled=False)
        )
    if spec.route_reflectors:
        resources += _reflector_peers()


def _reflector_peers() -> tuple[BGPPeer, BGPPeer]:
    reflectors = f"{REFLECTOR_LABEL} == 'true'"
    return (
        BGPPeer(
            Metadata("route-reflectors"), BGPPeerSpec(node_selector=reflectors, peer_selector=reflectors)
        ),
        BGPPeer(
            Metadata("peer-with-route-reflectors"),
            BGPPeerSpec(node_selector=f"{REFLECTOR_LABEL} != 'true'", peer_selector=reflectors),
        ),
    )


# -- what can be wrong --------------------------------------------------------------------------------------------


def _check_numbers(spec: Spec) -> Iterator[str]:
    ranges: tuple[tuple[str, float | None, float, float], ...] = (
        ("--nodes", spec.nodes, 1, MAX_NODES),
        ("--pods-per-node", spec.pods_per_node, 0, 10_000),
        ("--blocks-per-node", spec.blocks_per_node, 1, 100_000),
        ("--route-reflectors", spec.route_reflectors, 0, MAX_NODES),
        ("--shards", spec.shards, 1, 10_000),
        ("--timeout", spec.timeout, 0.001, 1e6),
        ("--bgp-port", spec.bgp_port, 1, 65535),
    )
    for option, value, low, high in ranges:
        if value is not None and not low <= value <= high:
            yield f"{option} {value}: must be {low:g} to {high:,.0f}"
    if spec.hold_time != 0 and not 3 <= spec.hold_time <= 65535:
        yield f"--hold-time {spec.hold_time}: must be 0 (no keepalives) or 3 to 65,535 seconds"


def _check_nodes(nodes: Iterable[Node]) -> Iterator[str]:
    """A manifest's nodes: each with an IPv4 address, no address twice (names are the loader's)."""
    owners: dict[Address, str] = {}
    for node in nodes:
        name = node.metadata.name
        if not _address_text(node):
            yield f"Node/{name}: spec.bgp.ipv4Address: missing, and a node without an address cannot be launched"
            continue
        address = node_address(node)
        if address in owners:
            yield f"Node/{name}: spec.bgp.ipv4Address: {_address_text(node)} is Node/{owners[address]}'s already"
        owners.setdefault(address, name)


def _address_text(node: Node) -> str:
    return node.spec.bgp.ipv4_address.partition("/")[0] if node.spec.bgp is not None else ""


def _check_names(resources: Iterable[Resource]) -> Iterator[str]:
    seen: set[tuple[str, str, str]] = set()
    for resource in resources:
        if resource.key in seen:
            kind, _, name = resource.key
            yield f"{kind}/{name}: the name is taken by a resource that this command line generates"
        seen.add(resource.key)


def _blocks_needed(spec: Spec, block_size: int) -> int:
    """Blocks that one node needs at start: those asked for, and enough for its pods."""
    return max(spec.blocks_per_node, -(-spec.pods_per_node // (1 << (32 - block_size))))


def _block_count(cidr: str, block_size: int) -> int:
    length = parse_prefix(cidr)[0]
    return 1 << (block_size - length) if block_size >= length else 0


def _check_pools(
    spec: Spec, pools: Iterable[IPPool], nodes: Sequence[Node], *, strict: bool
) -> Iterator[str]:
    """Every node that is to have pods has a pool, and the pools that serve the same nodes suffice for all of them.

    Pods may live in another node's block unless affinity is ``strict``; then each node needs blocks for all of its own.
    """
    if not spec.pods_per_node and spec.blocks_per_node == 1:
        return
    usable = [pool for pool in pools if serves_workloads(pool)]
    served: dict[tuple[str, ...], list[str]] = {}
    selects: Mapping[str, Callable[[Mapping[str, str]], bool]] = {
        pool.metadata.name: parse(pool.spec.node_selector or "all()").matches for pool in usable
    }
    for node in nodes:
        names = tuple(name for name, matches in selects.items() if matches(node.metadata.labels))
        served.setdefault(names, []).append(node.metadata.name)
    for homeless in served.pop((), []):
        yield f"Node/{homeless}: no enabled IPv4 IPPool for workloads selects it"
    by_name = {pool.metadata.name: pool for pool in usable}
    for names in served:
        # All nodes that have no pool but (some of) these: they must fit into these.
        count = sum(len(members) for others, members in served.items() if set(others) <= set(names))
        sizes = {name: by_name[name].spec.block_size for name in names}
        blocks = {name: _block_count(by_name[name].spec.cidr, size) for name, size in sizes.items()}
        addresses = sum(number << (32 - sizes[name]) for name, number in blocks.items())
        each = _blocks_needed(spec, min(sizes.values())) if strict else spec.blocks_per_node
        for there, what, wanted in (
            (sum(blocks.values()), "blocks", each),
            (addresses, "addresses", spec.pods_per_node),
        ):
            if there < count * wanted:
                named = ", ".join(
                    f"IPPool/{name} ({by_name[name].spec.cidr}, blocks /{sizes[name]})" for name in names
                )
                yield (
                    f"{named}: {there:,} {what} are too few for the {count:,} nodes selected, "
                    f"which need {count * wanted:,} ({wanted} each)"
                )
                break


def serves_workloads(pool: IPPool) -> bool:
    """Whether a pod without annotations may get an IPv4 address of this pool."""
    spec = pool.spec
    return (
        not spec.disabled
        and ":" not in spec.cidr
        and "Workload" in spec.allowed_uses
        and spec.assignment_mode == "Automatic"
        and (not spec.namespace_selector or parse(spec.namespace_selector).matches({}))
    )
