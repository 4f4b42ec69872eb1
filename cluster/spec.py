"""What to launch: the user's wishes and manifests, turned into resources and a list of nodes.

Owns ``Spec`` (one frozen object per ``up``), ``World`` (the resources to load and the nodes to start) and the checks
that need the whole cluster to be seen: two nodes or routers with one address, pools too small for the nodes that they
serve, a name taken twice. A node without an address is launched, and has no BGP until somebody gives it one.

Flow: ``protocol.v3.loader`` reads the manifests; ``build`` fills in what they leave out and complains about all that
is wrong at once; ``cluster.launch`` loads the resources into the datastore and starts the nodes.

What is filled in is what a fresh Calico has: one pool for each family that a node has an address of, for IPv4
192.168.0.0/16 with blocks of 64 addresses (a wider one when the nodes would need more than half of its blocks), AS
64512, the node-to-node mesh. ``route_reflectors`` builds the
pattern of Calico's documentation instead of the mesh: labelled nodes with a cluster ID, and two BGPPeers by selector.
Whatever of this a manifest says itself, the manifest decides.

Left out: anything about sockets and processes, which is ``plan`` and ``addressing``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

import attrs

from agents.ipam.allocator import NAMESPACE_NAME
from agents.speaker.config import DEFAULT_PORT
from cluster.addressing import GENERATED, generated_address
from protocol.prefix import (
    IPV4,
    IPV6,
    Address,
    address_family,
    contains,
    family_of,
    format_address,
    host_prefix,
    parse_address,
    parse_prefix,
)
from protocol.v3.bgp import DEFAULT_AS_NUMBER, BGPConfiguration, BGPConfigurationSpec, BGPPeer, BGPPeerSpec
from protocol.v3.ipam import IPAMConfiguration
from protocol.v3.ippool import IPPool, IPPoolSpec
from protocol.v3.lab import Router
from protocol.v3.metadata import Metadata, Resource
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from protocol.v3.selector import parse

R = TypeVar("R", bound=Resource)

DEFAULT_NAME = "default"
DEFAULT_NODES = 20
DEFAULT_POOLS = {IPV4: "default-ipv4-ippool", IPV6: "default-ipv6-ippool"}
POOL_CIDRS = {IPV4: ("192.168.0.0/16", "172.16.0.0/12", "10.128.0.0/9"), IPV6: ("fd00:192:168::/48",)}
BLOCK_SIZES = {IPV4: 26, IPV6: 122}
IP_FAMILIES = {"ipv4": (IPV4,), "ipv6": (IPV6,), "dual": (IPV4, IPV6)}
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
    ip_family: str = "ipv4"  # of IP_FAMILIES: what addresses generated nodes have
    manifests: tuple[str, ...] = ()


@attrs.frozen
class World:
    """``resources`` is all that is loaded before the first node starts; the nodes and routers are among them."""

    resources: tuple[Resource, ...]
    nodes: tuple[Node, ...]
    generated: int  # how many of the nodes no manifest names

    def of_kind(self, kind: type[R]) -> Iterator[R]:
        return (resource for resource in self.resources if isinstance(resource, kind))

    @property
    def routers(self) -> tuple[Router, ...]:
        return tuple(self.of_kind(Router))

    @property
    def bgp_configuration(self) -> BGPConfiguration | None:
        return self._configurations().get("default")

    def addresses(self) -> dict[str, tuple[Address, ...]]:
        """Of every node, then of every router."""
        return {each.metadata.name: (*addresses_of(each).values(),) for each in (*self.nodes, *self.routers)}

    def listen_ports(self) -> dict[str, int]:
        """Where each of them listens, on all of its addresses."""
        configurations = self._configurations()
        usual = configurations.get("default")
        ports = {}
        for node in self.nodes:
            own = configurations.get(f"node.{node.metadata.name}")
            ports[node.metadata.name] = (
                (own.spec.listen_port if own else None)
                or (usual.spec.listen_port if usual else None)
                or DEFAULT_PORT
            )
        return ports | {each.metadata.name: each.spec.listen_port or DEFAULT_PORT for each in self.routers}

    def environment(self) -> dict[str, str]:
        """Of calico-node, on all nodes. One without IPv4 has no router ID of its own: Calico's documentation has it made of the
        node's name.
        """
        if all(IPV4 in addresses_of(node) for node in self.nodes):
            return {}
        return {"CALICO_ROUTER_ID": "hash"}

    def passwords(self) -> Iterator[str]:
        """The fields that ask for signed connections."""
        for peer in self.of_kind(BGPPeer):
            if peer.spec.password is not None:
                yield f"BGPPeer/{peer.metadata.name}: spec.password"
        for configuration in self.of_kind(BGPConfiguration):
            if configuration.spec.node_mesh_password is not None:
                yield f"BGPConfiguration/{configuration.metadata.name}: spec.nodeMeshPassword"
        for router in self.routers:
            if any(neighbor.password is not None for neighbor in router.spec.neighbors):
                yield f"Router/{router.metadata.name}: spec.neighbors"

    def _configurations(self) -> dict[str, BGPConfiguration]:
        return {each.metadata.name: each for each in self.of_kind(BGPConfiguration)}


HOSTED: Final = Node.kind, Router.kind
"""Kinds of what runs BGP here, at addresses of its own; of both kinds together a name is one's alone."""


def addresses_of(resource: Resource) -> dict[int, Address]:
    """The addresses of a Node or a Router, by their family; nothing else has any."""
    texts: Sequence[str] = ()
    if isinstance(resource, Router):
        texts = resource.spec.addresses
    elif isinstance(resource, Node) and resource.spec.bgp is not None:
        texts = resource.spec.bgp.ipv4_address, resource.spec.bgp.ipv6_address
    addresses = [parse_address(text.partition("/")[0]) for text in texts if text]
    return {address_family(address): address for address in addresses}


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
    routers = [resource for resource in manifest if isinstance(resource, Router)]
    problems += _check_addresses([*own, *routers])
    if problems:
        raise SpecError(problems)
    generated = list(
        _generate_nodes(
            wanted - len(own),
            [*own, *routers],
            reflectors=spec.route_reflectors,
            families=IP_FAMILIES[spec.ip_family],
        )
    )
    nodes = [*own, *generated]
    if spec.route_reflectors > len(generated):
        problems.append(
            f"--route-reflectors {spec.route_reflectors}: reflectors are made of generated nodes, "
            f"and only {len(generated)} are generated (--nodes)"
        )
    resources: list[Resource] = list(manifest)
    if not any(isinstance(resource, IPPool) for resource in resources):
        resources += _default_pools(spec, nodes)
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


def _generate_nodes(
    count: int, taken: Iterable[Resource], *, reflectors: int, families: Sequence[int]
) -> Iterator[Node]:
    """``count`` nodes, numbered from 1; a number whose name or address a manifest has is passed over.

    The first ``reflectors`` of them are route reflectors.
    """
    names = {each.metadata.name for each in taken}
    addresses = {address for each in taken for address in addresses_of(each).values()}
    width = max(3, len(str(count + len(names))))
    made = index = 0
    while made < count:
        index += 1
        name = f"node-{index:0{width}}"
        own = {family: generated_address(index, family) for family in families}
        if name in names or any(parse_address(text) in addresses for text in own.values()):
            continue
        reflector = made < reflectors
        made += 1
        with_length = {family: f"{text}/{GENERATED[family][0]}" for family, text in own.items()}
        yield Node(
            Metadata(
                name,
                labels={"kubernetes.io/hostname": name, **({REFLECTOR_LABEL: "true"} if reflector else {})},
            ),
            NodeSpec(
                bgp=NodeBGPSpec(
                    ipv4_address=with_length.get(IPV4, ""),
                    ipv6_address=with_length.get(IPV6, ""),
                    route_reflector_cluster_id=REFLECTOR_CLUSTER_ID if reflector else "",
                )
            ),
        )


def _default_pools(spec: Spec, nodes: Sequence[Node]) -> Iterator[IPPool]:
    """For each family the first of POOL_CIDRS that no node lives in and of which the start takes at most half."""
    homes = [addresses_of(node) for node in nodes]
    for family, name in DEFAULT_POOLS.items():
        addresses = [host_prefix(home[family]) for home in homes if family in home]
        if not addresses:
            continue
        size, cidrs = BLOCK_SIZES[family], POOL_CIDRS[family]
        needed = len(addresses) * _blocks_needed(spec, size, family)
        free = [
            cidr for cidr in cidrs if not any(contains(parse_prefix(cidr), address) for address in addresses)
        ] or cidrs
        cidr = next((cidr for cidr in free if 2 * needed <= _block_count(cidr, size)), free[-1])
        yield IPPool(Metadata(name), IPPoolSpec(cidr=cidr, block_size=size, nat_outgoing=family == IPV4))


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


def _check_addresses(members: Iterable[Resource]) -> Iterator[str]:
    """No address of a manifest's nodes and routers twice (names are the loader's)."""
    owners: dict[Address, str] = {}
    for member in members:
        what = f"{member.kind}/{member.metadata.name}"
        for family, address in addresses_of(member).items():
            if address in owners:
                field = (
                    f"spec.bgp.ipv{4 if family == IPV4 else 6}Address"
                    if member.kind == Node.kind
                    else "spec.addresses"
                )
                yield f"{what}: {field}: {format_address(address)} is {owners[address]}'s already"
            owners.setdefault(address, what)


def _check_names(resources: Iterable[Resource]) -> Iterator[str]:
    seen: set[tuple[str, str, str]] = set()
    for resource in resources:
        if resource.key in seen:
            kind, _, name = resource.key
            yield f"{kind}/{name}: the name is taken by a resource that this command line generates"
        seen.add(resource.key)
    for kind, namespace, name in sorted(seen):
        if kind == Router.kind and (Node.kind, namespace, name) in seen:
            yield f"Router/{name}: there is a Node of that name, and whoever asks for {name!r} must mean one of them"


def _blocks_needed(spec: Spec, block_size: int, family: int) -> int:
    """Blocks that one node needs at start: those asked for, and enough for its pods."""
    bits = 32 if family == IPV4 else 128
    return max(spec.blocks_per_node, -(-spec.pods_per_node // (1 << (bits - block_size))))


def _block_count(cidr: str, block_size: int) -> int:
    length = parse_prefix(cidr)[0]
    return 1 << (block_size - length) if block_size >= length else 0


def _check_pools(
    spec: Spec, pools: Sequence[IPPool], nodes: Sequence[Node], *, strict: bool
) -> Iterator[str]:
    """Each family that has pools serves the nodes that have an address of it, and there is no node without a pool."""
    families = [family for family in DEFAULT_POOLS if any(_family(pool) == family for pool in pools)]
    if not spec.pods_per_node and spec.blocks_per_node == 1:
        return
    for node in nodes:
        homes = addresses_of(node).keys()
        if homes and not homes & set(families):
            words = " or ".join(f"IPv{4 if family == IPV4 else 6}" for family in homes)
            yield f"Node/{node.metadata.name}: there is no IPPool of {words}, of which it has an address"
    for family in families:
        served = [node for node in nodes if family in addresses_of(node)]
        yield from _check_family(
            spec, [pool for pool in pools if serves_workloads(pool, family)], served, family, strict=strict
        )


def _check_family(
    spec: Spec, usable: Sequence[IPPool], nodes: Sequence[Node], family: int, *, strict: bool
) -> Iterator[str]:
    """Every node that is to have pods has a pool, and the pools that serve the same nodes suffice for all of them.

    Pods may live in another node's block unless affinity is ``strict``; then each node needs blocks for all of its own.
    """
    bits, version = (32, 4) if family == IPV4 else (128, 6)
    served: dict[tuple[str, ...], list[str]] = {}
    selects: Mapping[str, Callable[[Mapping[str, str]], bool]] = {
        pool.metadata.name: parse(pool.spec.node_selector or "all()").matches for pool in usable
    }
    for node in nodes:
        names = tuple(name for name, matches in selects.items() if matches(node.metadata.labels))
        served.setdefault(names, []).append(node.metadata.name)
    for homeless in served.pop((), []):
        yield f"Node/{homeless}: no enabled IPv{version} IPPool for workloads selects it"
    by_name = {pool.metadata.name: pool for pool in usable}
    for names in served:
        # All nodes that have no pool but (some of) these: they must fit into these.
        count = sum(len(members) for others, members in served.items() if set(others) <= set(names))
        sizes = {name: by_name[name].spec.block_size for name in names}
        blocks = {name: _block_count(by_name[name].spec.cidr, size) for name, size in sizes.items()}
        addresses = sum(number << (bits - sizes[name]) for name, number in blocks.items())
        each = _blocks_needed(spec, min(sizes.values()), family) if strict else spec.blocks_per_node
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


_NAMESPACE: Mapping[str, str] = MappingProxyType({NAMESPACE_NAME: "default"})
"""What a pool sees of the namespace that generated pods are in."""


def serves_workloads(pool: IPPool, family: int = IPV4) -> bool:
    """Whether a generated pod may get an address of this family from this pool."""
    spec = pool.spec
    return (
        not spec.disabled
        and _family(pool) == family
        and "Workload" in spec.allowed_uses
        and spec.assignment_mode == "Automatic"
        and (not spec.namespace_selector or parse(spec.namespace_selector).matches(_NAMESPACE))
    )


def _family(pool: IPPool) -> int:
    return family_of(parse_prefix(pool.spec.cidr))
