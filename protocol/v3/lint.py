"""What is valid but surely wrong in the resources of a whole cluster.

Owns ``lint``, and the checks of single resources against the rest: pools, filters, configurations, services.
Peerings are ``lint_peering``'s.

Each remark says what will happen and what to do. Only what is sure is said: where the answer depends on resources
that are not among those given (there are no Nodes, no Services, no BGPPeers), nothing is.

Follows what Calico's components do with such resources, which is mostly to ignore them in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final

from protocol.v3 import selector
from protocol.v3.bgp import AnyFilterRule, BGPConfiguration, BGPFilter, BGPPeer
from protocol.v3.core import HEADLESS, EndpointSlice, Service
from protocol.v3.felix import FelixConfiguration
from protocol.v3.fields import Network, as_network, is_address
from protocol.v3.ippool import IPPool
from protocol.v3.lint_facts import Cluster, Remark
from protocol.v3.lint_peering import lint_peering
from protocol.v3.metadata import Resource

__all__ = ["Remark", "lint"]

_NODE: Final = "node."


def lint(resources: Sequence[Resource]) -> list[Remark]:
    """All that there is to say, in the order of the resources."""
    cluster = Cluster(resources)
    remarks = [
        *lint_peering(cluster),
        *_pools(cluster),
        *_filters(cluster),
        *_configurations(cluster),
        *_programmers(cluster),
        *_services(cluster),
    ]
    return sorted(remarks, key=lambda remark: remark.index)


# -- pools ------------------------------------------------------------------------------------------------------------


def _pools(cluster: Cluster) -> Iterator[Remark]:
    nobody = selector.Not(selector.All())  # said on purpose: a pool for pods that ask for it
    for index, pool in cluster.of(IPPool):
        text = pool.spec.node_selector
        if cluster.nobody(text) and selector.parse(text) != nobody:
            message = (
                f"matches none of the {len(cluster.nodes):,} nodes: no pod is given an address of this pool. "
                "Label the nodes, or say !all() if that is meant"
            )
            yield Remark(index, ("spec", "nodeSelector"), message)
    services = cluster.configuration
    if cluster.configuration_index is None:
        return
    for field, blocks in (
        ("serviceClusterIPs", services.service_cluster_ips),
        ("serviceExternalIPs", services.service_external_ips),
        ("serviceLoadBalancerIPs", services.service_load_balancer_ips),
    ):
        for at, block in enumerate(blocks):
            for _, pool in cluster.of(IPPool):
                if (
                    block.cidr
                    and "Workload" in pool.spec.allowed_uses
                    and _overlap(block.cidr, pool.spec.cidr)
                ):
                    message = (
                        f"{block.cidr} overlaps with IPPool {pool.metadata.name}, {pool.spec.cidr}: BIRD programs no route "
                        "inside it, for services are not its business, and pods' routes are lost with them. Use two ranges"
                    )
                    yield Remark(cluster.configuration_index, ("spec", field, at, "cidr"), message)


def _overlap(a: str, b: str) -> bool:
    one: Network = as_network(a)
    other: Network = as_network(b)
    return one.version == other.version and one.overlaps(other)


# -- filters ----------------------------------------------------------------------------------------------------------


def _filters(cluster: Cluster) -> Iterator[Remark]:
    peers = [peer for _, peer in cluster.of(BGPPeer)]
    used = {name for peer in peers for name in peer.spec.filters}
    for index, filter_ in cluster.of(BGPFilter):
        if peers and filter_.metadata.name not in used and not filter_.for_every_session:
            message = "no BGPPeer names it in spec.filters: it filters nothing"
            yield Remark(index, ("metadata", "name"), message)
        spec = filter_.spec
        lists: tuple[tuple[str, Sequence[AnyFilterRule]], ...] = (
            ("exportV4", spec.export_v4), ("importV4", spec.import_v4),
            ("exportV6", spec.export_v6), ("importV6", spec.import_v6),
        )  # fmt: skip
        for name, rules in lists:
            for at, rule in enumerate(rules):
                yield from _impossible(index, (name, at), rule)
            first = next((at for at, rule in enumerate(rules) if _matches_all(rule)), len(rules) - 1)
            if first < len(rules) - 1:
                message = (
                    f"never reached: rule {first} before it has no condition, and the first rule that matches decides. "
                    "Put that one last"
                )
                yield Remark(index, ("spec", name, first + 1), message)


def _impossible(index: int, where: tuple[str, int], rule: AnyFilterRule) -> Iterator[Remark]:
    if rule.prefix_length is None or not rule.cidr:
        return
    network = as_network(rule.cidr)
    low = max(rule.prefix_length.min or 0, network.prefixlen)
    high = network.max_prefixlen if rule.prefix_length.max is None else rule.prefix_length.max
    if low > high:
        message = f"no prefix in {rule.cidr} is of a length from {low} to {high}: the rule matches no route"
        yield Remark(index, ("spec", *where, "prefixLength"), message)


def _matches_all(rule: AnyFilterRule) -> bool:
    said = (
        rule.cidr,
        rule.source,
        rule.interface,
        rule.peer_type,
        rule.communities,
        rule.as_path_prefix,
        rule.priority,
    )
    return not any(said)


# -- configurations -------------------------------------------------------------------------------------------------


def _configurations(cluster: Cluster) -> Iterator[Remark]:
    for cls in (BGPConfiguration, FelixConfiguration):
        for index, configuration in cluster.of(cls):
            name = configuration.metadata.name
            node = name.removeprefix(_NODE)
            if name.startswith(_NODE):
                if cluster.nodes and node not in cluster.node_names:
                    message = f"nobody reads it: there is no Node {node}"
                    yield Remark(index, ("metadata", "name"), message)
            elif name != "default" and isinstance(configuration, BGPConfiguration):
                message = (
                    "nobody reads it: a BGPConfiguration is for the cluster, and called default, or for one node, and "
                    "called node.NODENAME"
                )
                yield Remark(index, ("metadata", "name"), message)


_PROGRAMS: Final = MappingProxyType(
    {
        "Enabled": ("IPIP", "no encapsulation"),
        "Disabled": (),
        "EnabledIPIPOnly": ("IPIP",),
        "EnabledNoEncapOnly": ("no encapsulation",),
    }
)


def _programmers(cluster: Cluster) -> Iterator[Remark]:
    """BIRD and Felix, each told by its own resource which routes are its to program."""
    felix = [each for each in cluster.of(FelixConfiguration) if each[1].metadata.name == "default"]
    says_felix = felix[0][1].spec.program_cluster_routes if felix else None
    says_bird = cluster.configuration.program_cluster_routes
    if says_felix is None and says_bird is None:
        return
    if says_bird is not None and cluster.configuration_index is not None:
        index = cluster.configuration_index
    else:
        index = felix[0][0]
    by_bird = _PROGRAMS[says_bird or "EnabledNoEncapOnly"]
    by_felix = _PROGRAMS[says_felix or "EnabledIPIPOnly"]
    pools = [pool.spec for _, pool in cluster.of(IPPool)]
    there = {
        "IPIP": any(pool.ipip_mode != "Never" for pool in pools),
        "no encapsulation": any(pool.ipip_mode == pool.vxlan_mode == "Never" for pool in pools),
    }
    settings = (
        f"BIRD has {says_bird or 'EnabledNoEncapOnly, the default'} (BGPConfiguration) and Felix "
        f"{says_felix or 'EnabledIPIPOnly, the default'} (FelixConfiguration)"
    )
    for pool_class, is_there in there.items():
        if not is_there or (pool_class in by_bird) != (pool_class in by_felix):
            continue
        happens = (
            "both program the routes of pools with"
            if pool_class in by_bird
            else "nobody programs the routes of pools with"
        )
        message = f"{settings}: {happens} {pool_class}. Each class of routes must be exactly one's"
        yield Remark(index, ("spec", "programClusterRoutes"), message)


# -- services ---------------------------------------------------------------------------------------------------------


def _services(cluster: Cluster) -> Iterator[Remark]:
    spec = cluster.configuration
    services = cluster.of(Service)
    names = {(service.metadata.namespace, service.metadata.name) for _, service in services}
    ready: set[tuple[str, str]] = set()
    for index, slice_ in cluster.of(EndpointSlice):
        name = slice_.metadata.namespace, slice_.service
        if any(endpoint.ready for endpoint in slice_.endpoints):
            ready.add(name)
        if not slice_.service:
            message = "no label kubernetes.io/service-name: these are the endpoints of no Service"
            yield Remark(index, ("metadata", "labels"), message)
        elif services and name not in names:
            message = f"there is no Service {slice_.service} in namespace {name[0]}"
            yield Remark(index, ("metadata", "labels", "kubernetes.io/service-name"), message)
    for index, service in services:
        balancer = service.status.load_balancer.ingress if service.status is not None else ()
        for at, ingress in enumerate(balancer):
            if ingress.ip and not is_address(ingress.ip):
                message = f"{ingress.ip!r} is no IP address: it is not announced. Write it without a length"
                yield Remark(index, ("status", "loadBalancer", "ingress", at, "ip"), message)
    if not (spec.service_cluster_ips or spec.service_external_ips or spec.service_load_balancer_ips):
        return
    for index, service in services:
        if service.spec.type == "ExternalName" or service.spec.cluster_ip == HEADLESS:
            continue
        if not service.spec.cluster_ip:
            message = (
                "not set, and there is no API server to choose one: the Service is not announced. Write it"
            )
            yield Remark(index, ("spec", "clusterIP"), message)
        elif service.spec.external_traffic_policy == "Local" and service.key[1:] not in ready:
            message = (
                "Local, and no EndpointSlice has a ready endpoint of this Service: no node announces its addresses. Load "
                "its EndpointSlices as well"
            )
            yield Remark(index, ("spec", "externalTrafficPolicy"), message)
