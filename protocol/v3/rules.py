"""Rules between the fields of one resource, and between resources.

Owns ``check`` (one resource, already right field by field) and ``conflicts`` (all that shall live together).
``conflicts`` does not care where resources come from: manifests, or what a cluster generates beside them; the caller says
where each one stands.

Follows the CEL rules of Calico's CRDs, its v3 validator, and the checks its client makes on create.
"""

from __future__ import annotations

import bisect
import ipaddress
from collections.abc import Callable, Iterator, Sequence

import attrs

from protocol.v3 import selector
from protocol.v3.bgp import (
    AnyFilterRule,
    BGPConfiguration,
    BGPConfigurationSpec,
    BGPFilter,
    BGPFilterSpec,
    BGPPeer,
)
from protocol.v3.core import HEADLESS, EndpointSlice, Service, ServiceSpec
from protocol.v3.felix import FelixConfiguration
from protocol.v3.fields import (
    Network,
    as_address,
    as_interface_address,
    as_network,
    is_community,
    json_name,
    split_peer_address,
)
from protocol.v3.ipam import (
    BlockAffinity,
    IPAMBlock,
    IPAMConfiguration,
    IPAMHandle,
    affinity_name,
    block_name,
    handle_name,
)
from protocol.v3.ippool import IPPool
from protocol.v3.lab import Router, RouterSpec
from protocol.v3.metadata import Key, Resource
from protocol.v3.node import Node, NodeBGPSpec
from protocol.v3.workload import WorkloadEndpoint, WorkloadEndpointSpec, endpoint_name

Path = tuple[str | int, ...]

MAX_ANNOTATIONS = 256 * 1024


def format_path(path: Path) -> str:
    """``spec.peers[2].peerIP``; keys that are no identifiers in quotes."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").replace("-", "a").isalnum():
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


@attrs.frozen
class Fault:
    """One thing wrong with one resource."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{format_path(self.path)}: {self.message}" if self.path else self.message


def check(resource: Resource) -> Iterator[Fault]:
    """What is wrong between the fields."""
    metadata = resource.metadata
    if metadata.namespace and not resource.namespaced:
        yield Fault(("metadata", "namespace"), f"{resource.kind} is in no namespace")
    if (
        sum(
            len(key.encode()) + len(text.encode("utf-8", "replace"))
            for key, text in metadata.annotations.items()
        )
        > MAX_ANNOTATIONS
    ):
        yield Fault(("metadata", "annotations"), "more than 256 KiB")
    match resource:
        case Node():
            yield from _check_node(resource)
        case IPPool():
            yield from _check_pool(resource)
        case IPAMConfiguration():
            yield from _check_ipam_configuration(resource)
        case BlockAffinity():
            yield from _check_affinity(resource)
        case IPAMBlock():
            yield from _check_block(resource)
        case IPAMHandle():
            if resource.metadata.name != handle_name(resource.spec.handle_id):
                yield Fault(
                    ("metadata", "name"), f"the handle is called {handle_name(resource.spec.handle_id)}"
                )
        case BGPConfiguration():
            yield from _check_bgp_configuration(resource)
        case BGPPeer():
            yield from _check_peer(resource)
        case BGPFilter():
            yield from _check_filter(resource.spec)
        case FelixConfiguration():
            yield from _check_felix(resource)
        case Router():
            yield from _check_router(resource.spec)
        case Service():
            yield from _check_service(resource.spec)
        case EndpointSlice():
            yield from _check_endpoint_slice(resource)
        case WorkloadEndpoint():
            yield from _check_endpoint(resource)


def _spec(field: str, message: str) -> Fault:
    return Fault(("spec", field), message)


# -- one resource -----------------------------------------------------------------------------------------------------


def _check_node(node: Node) -> Iterator[Fault]:
    if node.spec.bgp == NodeBGPSpec():
        yield _spec("bgp", "present but empty")


_LINK_LOCAL = (ipaddress.ip_network("169.254.0.0/16"), ipaddress.ip_network("fe80::/10"))


def _check_pool(pool: IPPool) -> Iterator[Fault]:
    spec = pool.spec
    network = as_network(spec.cidr)
    encapsulated = spec.ipip_mode != "Never" or spec.vxlan_mode != "Never"
    if spec.ipip_mode != "Never" and spec.vxlan_mode != "Never":
        yield Fault(("spec",), "ipipMode and vxlanMode cannot both be enabled")
    if spec.ipip_mode != "Never" and network.version == 6:
        yield _spec("ipipMode", "IPIP is not supported on IPv6 pools")
    if "LoadBalancer" in spec.allowed_uses:
        if set(spec.allowed_uses) != {"LoadBalancer"}:
            yield _spec("allowedUses", "LoadBalancer cannot be combined with Workload or Tunnel")
        if encapsulated:
            yield Fault(("spec",), "a LoadBalancer pool cannot have IPIP or VXLAN enabled")
        if spec.disable_bgp_export:
            yield _spec("disableBGPExport", "a LoadBalancer pool cannot disable BGP export")
        if selector.parse(spec.node_selector) != selector.All():
            yield _spec("nodeSelector", "a LoadBalancer pool must have nodeSelector all()")
    if "Tunnel" in spec.allowed_uses and spec.namespace_selector:
        yield _spec("namespaceSelector", "a pool with the allowed use Tunnel cannot have one")
    for field, text in (("nodeSelector", spec.node_selector), ("namespaceSelector", spec.namespace_selector)):
        if selector.mentions_global(selector.parse(text)):
            yield _spec(field, "global() is not valid here")
    for range_ in _LINK_LOCAL:
        if network.version == range_.version and network.overlaps(range_):
            yield _spec("cidr", f"{spec.cidr} overlaps with the link-local range {range_}")
    low, high = (20, 32) if network.version == 4 else (116, 128)
    if not low <= spec.block_size <= high:
        yield _spec(
            "blockSize",
            f"{spec.block_size} is not in {low}..{high}, as IPv{network.version} pools must have it",
        )
    elif network.prefixlen > spec.block_size:
        yield _spec("cidr", f"{spec.cidr} is smaller than one block of /{spec.block_size}")


def _check_ipam_configuration(configuration: IPAMConfiguration) -> Iterator[Fault]:
    spec = configuration.spec
    if configuration.metadata.name != "default":
        yield Fault(("metadata", "name"), "the only IPAMConfiguration is called default")
    if not spec.strict_affinity and not spec.auto_allocate_blocks:
        yield _spec("autoAllocateBlocks", "cannot be false while strictAffinity is false")
    if not spec.strict_affinity and spec.max_blocks_per_host > 0:
        yield _spec("maxBlocksPerHost", "needs strictAffinity")


def _check_affinity(affinity: BlockAffinity) -> Iterator[Fault]:
    spec = affinity.spec
    if spec.deleted:
        yield _spec("deleted", "a block affinity cannot be created as deleted")
    name = affinity_name(spec.node, spec.cidr)
    if spec.type == "host" and affinity.metadata.name != name:
        yield Fault(("metadata", "name"), f"the affinity of {spec.node} to {spec.cidr} is called {name}")


def _check_block(block: IPAMBlock) -> Iterator[Fault]:
    spec = block.spec
    network = as_network(spec.cidr)
    name = block_name(spec.cidr)
    if block.metadata.name != name:
        yield Fault(("metadata", "name"), f"the block {spec.cidr} is called {name}")
    if network.max_prefixlen - network.prefixlen > 12:
        yield _spec("cidr", f"{spec.cidr} is larger than a block can be")
        return
    if len(spec.allocations) != network.num_addresses:
        yield _spec("allocations", f"{len(spec.allocations)} entries for {network.num_addresses} addresses")
        return
    for ordinal, index in enumerate(spec.allocations):
        if index is not None and not 0 <= index < len(spec.attributes):
            yield Fault(("spec", "allocations", ordinal), f"there is no attribute {index}")
    free = {ordinal for ordinal, index in enumerate(spec.allocations) if index is None}
    if len(set(spec.unallocated)) != len(spec.unallocated) or not free.issuperset(spec.unallocated):
        yield _spec("unallocated", "must be ordinals without an allocation, each once")


_DEFAULT_ONLY = (
    "node_to_node_mesh_enabled", "as_number", "service_load_balancer_ips", "service_external_ips",
    "service_cluster_ips", "node_mesh_password", "node_mesh_max_restart_time",
)  # fmt: skip


def _check_bgp_configuration(configuration: BGPConfiguration) -> Iterator[Fault]:
    spec = configuration.spec
    if configuration.metadata.name != "default":
        unset = BGPConfigurationSpec()
        for field in _DEFAULT_ONLY:
            if getattr(spec, field) != getattr(unset, field):
                yield _spec(json_name(field), "can be set only in the BGPConfiguration called default")
    if spec.node_to_node_mesh_enabled is False:
        for field in ("node_mesh_password", "node_mesh_max_restart_time"):
            if getattr(spec, field):
                yield _spec(json_name(field), "cannot be set when nodeToNodeMeshEnabled is false")
    if spec.communities and not spec.prefix_advertisements:
        yield _spec("communities", "defined but not used in prefixAdvertisements")
    names = {community.name for community in spec.communities}
    for index, advertisement in enumerate(spec.prefix_advertisements):
        for at, community in enumerate(advertisement.communities):
            if community not in names and not is_community(community):
                yield Fault(
                    ("spec", "prefixAdvertisements", index, "communities", at),
                    f"{community!r} is neither a community nor the name of one in communities",
                )


def _check_peer(peer: BGPPeer) -> Iterator[Fault]:
    spec = peer.spec
    if spec.node and spec.node_selector:
        yield Fault(("spec",), "node and nodeSelector cannot both be set")
    if spec.peer_ip and spec.peer_selector:
        yield Fault(("spec",), "peerIP and peerSelector cannot both be set")
    if spec.peer_selector and spec.as_number is not None:
        yield _spec("asNumber", "must be empty when peerSelector is set")
    if spec.local_workload_selector:
        if spec.peer_ip:
            yield _spec("peerIP", "must be empty when localWorkloadSelector is set")
        if spec.peer_selector:
            yield _spec("peerSelector", "must be empty when localWorkloadSelector is set")
        if spec.as_number is None:
            yield _spec("asNumber", "required when localWorkloadSelector is set")
    if spec.reachable_by:
        if not spec.peer_ip:
            yield _spec("reachableBy", "must be empty when peerIP is empty")
        elif as_address(spec.reachable_by).version != split_peer_address(spec.peer_ip)[0].version:
            yield _spec(
                "reachableBy", f"{spec.reachable_by} and peerIP {spec.peer_ip} are of different families"
            )
    if spec.keep_original_next_hop and spec.next_hop_mode is not None:
        yield _spec("keepOriginalNextHop", "deprecated, and cannot be set together with nextHopMode")


def _check_filter(spec: BGPFilterSpec) -> Iterator[Fault]:
    lists: tuple[tuple[str, Sequence[AnyFilterRule]], ...] = (
        ("exportV4", spec.export_v4), ("importV4", spec.import_v4),
        ("exportV6", spec.export_v6), ("importV6", spec.import_v6),
    )  # fmt: skip
    for name, filter_rules in lists:
        for index, rule in enumerate(filter_rules):
            path: Path = ("spec", name, index)
            if bool(rule.cidr) != (rule.match_operator is not None):
                yield Fault(path, "cidr and matchOperator must both be set or both be empty")
            if rule.prefix_length is not None and not rule.cidr:
                yield Fault((*path, "prefixLength"), "needs cidr")
            if rule.operations and rule.action != "Accept":
                yield Fault((*path, "operations"), "may only be used with action Accept")
            for at, operation in enumerate(rule.operations):
                if sum(value is not None for value in attrs.astuple(operation, recurse=False)) != 1:
                    yield Fault(
                        (*path, "operations", at),
                        "must have exactly one of addCommunity, prependASPath, setPriority",
                    )


def _check_felix(configuration: FelixConfiguration) -> Iterator[Fault]:
    name = configuration.metadata.name
    if configuration.spec.node_selector and (name == "default" or name.startswith("node.")):
        yield _spec(
            "nodeSelector", f"must not be set on {name}, which is for a known set of nodes by its name"
        )


def _check_router(spec: RouterSpec) -> Iterator[Fault]:
    families: set[int] = set()
    for index, text in enumerate(spec.addresses):
        path: Path = ("spec", "addresses", index)
        version = as_interface_address(text).version
        if version in families:
            yield Fault(path, f"a second IPv{version} address; a Router has one of each family at most")
        families.add(version)
        if "/" not in text:
            yield Fault(
                path, f"{text!r} has no prefix length; the subnet decides whom the router reaches directly"
            )
    for index, cidr in enumerate(spec.announce):
        if as_network(cidr).version not in families:
            yield Fault(
                ("spec", "announce", index), f"{cidr} is of a family that the router has no address of"
            )
    for index, neighbor in enumerate(spec.neighbors):
        path = ("spec", "neighbors", index)
        if [neighbor.peer_ip, neighbor.node_selector, neighbor.router_selector].count("") != 2:
            yield Fault(path, "must have exactly one of peerIP, nodeSelector, routerSelector")
        if neighbor.peer_ip and as_address(neighbor.peer_ip).version not in families:
            yield Fault((*path, "peerIP"), "of a family that the router has no address of")
        if neighbor.route_reflector_client and not spec.route_reflector_cluster_id:
            yield Fault((*path, "routeReflectorClient"), "needs routeReflectorClusterID")
        if neighbor.password is not None and neighbor.password.secret_key_ref is None:
            yield Fault((*path, "password"), "needs secretKeyRef")


def _check_service(spec: ServiceSpec) -> Iterator[Fault]:
    if spec.cluster_ips and spec.cluster_ips[0] != spec.cluster_ip:
        yield Fault(("spec", "clusterIPs", 0), f"must be the same as clusterIP, {spec.cluster_ip}")
    for index, (ip, family) in enumerate(zip(spec.cluster_ips, spec.ip_families, strict=False)):
        if ip not in ("", HEADLESS) and f"IPv{as_address(ip).version}" != family:
            yield Fault(("spec", "ipFamilies", index), f"{family}, but clusterIPs[{index}] is {ip}")


def _check_endpoint_slice(slice_: EndpointSlice) -> Iterator[Fault]:
    if slice_.address_type == "FQDN":
        return
    for index, endpoint in enumerate(slice_.endpoints):
        for at, text in enumerate(endpoint.addresses):
            try:
                fits = f"IPv{as_address(text).version}" == slice_.address_type
            except ValueError:
                fits = False
            if not fits:
                yield Fault(("endpoints", index, "addresses", at), f"{text!r} is not {slice_.address_type}")


def _check_endpoint(endpoint: WorkloadEndpoint) -> Iterator[Fault]:
    spec = endpoint.spec
    for field in ("node", "orchestrator", "endpoint"):
        if not getattr(spec, field):
            yield _spec(field, "required, but missing")
    expected = _endpoint_name(spec)
    if endpoint.metadata.name != expected:
        yield Fault(
            ("metadata", "name"), f"must be {expected}, as node, orchestrator, workload and endpoint have it"
        )
    own = {as_network(text).network_address for text in spec.ip_networks}
    for index, nat in enumerate(spec.ip_nats):
        if as_address(nat.internal_ip) not in own:
            yield Fault(
                ("spec", "ipNATs", index, "internalIP"), f"{nat.internal_ip} is in none of ipNetworks"
            )


def _endpoint_name(spec: WorkloadEndpointSpec) -> str:
    workload = {"k8s": spec.pod, "cni": spec.container_id, "libnetwork": "libnetwork"}.get(
        spec.orchestrator, spec.workload
    )
    return endpoint_name(spec.node, spec.orchestrator, workload, spec.endpoint)


# -- resources together -----------------------------------------------------------------------------------------------


@attrs.frozen
class Conflict:
    """Something wrong between resources, told of the later one. ``index`` says which. ``valid`` is what no rule of a
    resource forbids, but Calico refuses to create.
    """

    index: int
    path: Path
    message: str
    valid: bool = False


def conflicts(resources: Sequence[Resource | Key], locate: Callable[[int], str]) -> list[Conflict]:
    """Duplicates, addresses of two hosts, overlapping pools, missing filters; in the order of the resources.

    ``locate`` says where the resource of an index stands ("at pools.yaml:12"), for messages about another one. A bare
    key stands for a resource that is there but cannot be looked into, because it is invalid itself.
    """
    found = [
        *_duplicates(resources, locate),
        *_host_addresses(resources, locate),
        *_pool_overlaps(resources, locate),
        *_missing_filters(resources),
    ]
    return sorted(found, key=lambda conflict: conflict.index)


def _key(entry: Resource | Key) -> Key:
    return entry.key if isinstance(entry, Resource) else entry


def _duplicates(resources: Sequence[Resource | Key], locate: Callable[[int], str]) -> Iterator[Conflict]:
    first: dict[Key, int] = {}
    for index, key in enumerate(map(_key, resources)):
        # Names of Nodes and Routers are one name space: both are hosts that one can look into.
        known = (Node.kind, *key[1:]) if key[0] == Router.kind else key
        earlier = first.setdefault(known, index)
        if earlier != index:
            other = _key(resources[earlier])[0]
            message = f"a second {key[0]} of this name" if other == key[0] else f"the name of a {other}"
            yield Conflict(index, ("metadata", "name"), f"{message}; the first is {locate(earlier)}")


def _host_addresses(resources: Sequence[Resource | Key], locate: Callable[[int], str]) -> Iterator[Conflict]:
    first: dict[object, tuple[int, Resource]] = {}
    for index, resource in enumerate(resources):
        if not isinstance(resource, Resource):
            continue
        for path, text in _addresses(resource):
            address = as_interface_address(text)
            earlier, owner = first.setdefault(address, (index, resource))
            if owner.metadata.name != resource.metadata.name:  # two of one name are a conflict already
                who = f"{owner.kind.lower()} {owner.metadata.name}"
                yield Conflict(index, path, f"{address} is the address of {who} {locate(earlier)}")


def _addresses(resource: Resource) -> Iterator[tuple[Path, str]]:
    if isinstance(resource, Router):
        for index, text in enumerate(resource.spec.addresses):
            yield ("spec", "addresses", index), text
    elif isinstance(resource, Node) and resource.spec.bgp is not None:
        for field in ("ipv4_address", "ipv6_address"):
            if text := getattr(resource.spec.bgp, field):
                yield ("spec", "bgp", json_name(field)), text


def _pool_overlaps(resources: Sequence[Resource | Key], locate: Callable[[int], str]) -> Iterator[Conflict]:
    # CIDRs overlap only by one containing the other, so among disjoint ones sorted by first address only the two
    # neighbours of a new one can overlap it. One that overlaps is reported and not kept.
    kept: dict[int, list[tuple[int, int, int]]] = {4: [], 6: []}  # by version: (first address, last, index)
    for index, resource in enumerate(resources):
        if not isinstance(resource, IPPool):
            continue
        network: Network = as_network(resource.spec.cidr)
        pools = kept[network.version]
        entry = int(network.network_address), int(network.broadcast_address), index
        at = bisect.bisect(pools, entry)
        neighbours = [
            pool for pool in pools[max(at - 1, 0) : at + 1] if pool[0] <= entry[1] and entry[0] <= pool[1]
        ]
        if not neighbours:
            pools.insert(at, entry)
            continue
        other = resources[neighbours[0][2]]
        if isinstance(other, IPPool) and other.key != resource.key:
            yield Conflict(
                index,
                ("spec", "cidr"),
                f"{network} overlaps with IPPool {other.metadata.name}, {other.spec.cidr}, {locate(neighbours[0][2])}",
                valid=True,
            )


def _missing_filters(resources: Sequence[Resource | Key]) -> Iterator[Conflict]:
    names = {name for kind, _, name in map(_key, resources) if kind == BGPFilter.kind}
    for index, resource in enumerate(resources):
        if isinstance(resource, BGPPeer):
            for at, name in enumerate(resource.spec.filters):
                if name not in names:
                    yield Conflict(index, ("spec", "filters", at), f"BGPFilter(s) not found: {name}")
