"""Which routes of Services the nodes announce.

Owns ``ServiceRoutes`` of one address family, made once per change for all nodes; what differs from node to node is only
where the endpoints of ``externalTrafficPolicy: Local`` are, and the label that takes a node out.

    BGPConfiguration default ─► CIDRs ──────────► routes of every node, and what no kernel gets
    Service, EndpointSlice ───► advertised on? ─► one route per address, everywhere or where there are endpoints

A CIDR is announced as it is by every node, but for single addresses among serviceExternalIPs and
serviceLoadBalancerIPs (a Service must have them), and for all of serviceLoadBalancerIPs when
serviceLoadBalancerAggregation is Disabled.

The addresses of a Service are announced one by one: its cluster IPs when any cluster CIDR is configured at all, its
external and load balancer IPs where they lie in a configured CIDR. Where, in this order:

1. nowhere, unless it is ClusterIP, NodePort or LoadBalancer and has a cluster IP;
2. everywhere, endpoints or not, when its policy is Cluster and an external IP (or, of a LoadBalancer, its IP) is
   configured as a single address;
3. nowhere, when its policy is Cluster and aggregation is Enabled: the CIDR does it;
4. everywhere, when its policy is Cluster and it has a ready endpoint of one of its families;
5. where it has a ready endpoint of one of its families.

So *all* its addresses go, not only the one of step 2; with aggregation Disabled plain ClusterIP Services go, too; and
cluster IPs need not lie in a configured CIDR.

A node labelled ``node.kubernetes.io/exclude-from-external-load-balancers: "true"`` announces none of this. Its kernel
still refuses the CIDRs, of which the single addresses above are no part.

Order: by text, as the lists of confd's files are.

A route reflector passes on what lies in any CIDR of load balancer and external IPs (``reflected``).

Follows confd/pkg/backends/calico/routes.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from agents.confd.prefixes import in_text_order, masked
from agents.speaker.config import StaticRoute
from protocol.prefix import Address, Prefix, contains, family_of, format_prefix, host_prefix, parse_address
from protocol.v3.bgp import BGPConfigurationSpec, ServiceIPBlock
from protocol.v3.core import HEADLESS, EndpointSlice, Service

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"

_ADVERTISED_TYPES = frozenset({"ClusterIP", "NodePort", "LoadBalancer"})


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """The CIDRs of both families, as they are listed."""

    cluster: tuple[Prefix, ...] = ()
    external: tuple[Prefix, ...] = ()
    load_balancer: tuple[Prefix, ...] = ()
    aggregated: bool = True
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.cluster or self.external or self.load_balancer)


@attrs.frozen
class Announced:
    """Routes of Services that a node announces, and the same as its static routes. In the order of their text."""

    prefixes: tuple[Prefix, ...] = ()
    statics: tuple[StaticRoute, ...] = ()


NOTHING = Announced()


@attrs.frozen(kw_only=True)
class ServiceRoutes:
    everywhere: Announced = NOTHING
    local: Mapping[str, Announced] = attrs.field(
        factory=dict
    )  # of nodes that have more than that: all they announce
    rejected: tuple[Prefix, ...] = ()  # by every kernel
    reflected: tuple[Prefix, ...] = ()  # by route reflectors
    notes: tuple[str, ...] = ()

    def of_node(self, node: str, *, excluded: bool) -> Announced:
        return NOTHING if excluded else self.local.get(node, self.everywhere)


def read_service_settings(spec: BGPConfigurationSpec, advertise_cluster_ips: str) -> ServiceSettings:
    """``advertise_cluster_ips``, of CALICO_ADVERTISE_CLUSTER_IPS, counts where the resource has no cluster CIDRs."""
    cluster, notes = list(_cidrs(spec.service_cluster_ips)), []
    if not cluster:
        for text in filter(None, map(str.strip, advertise_cluster_ips.split(","))):
            try:
                cluster.append(masked(text))
            except ValueError as error:
                notes.append(f"CALICO_ADVERTISE_CLUSTER_IPS: {error}: not used")
    return ServiceSettings(
        cluster=tuple(cluster),
        external=_cidrs(spec.service_external_ips),
        load_balancer=_cidrs(spec.service_load_balancer_ips),
        aggregated=spec.service_load_balancer_aggregation != "Disabled",
        notes=tuple(notes),
    )


def service_routes(
    settings: ServiceSettings, services: Iterable[Service], slices: Iterable[EndpointSlice], family: int
) -> ServiceRoutes:
    if settings.empty:
        return ServiceRoutes(notes=settings.notes)
    cidrs = {cidr for cidr in _announced_whole(settings) if family_of(cidr) == family}
    everywhere = set(cidrs)
    local: dict[str, set[Prefix]] = {}
    slices_of: dict[tuple[str, str], list[EndpointSlice]] = {}
    for each in slices:
        slices_of.setdefault((each.metadata.namespace, each.service), []).append(each)
    for service in services:
        routes = [route for route in _addresses(settings, service) if family_of(route) == family]
        if not routes:
            continue
        where = _advertised_on(
            settings, service, slices_of.get((service.metadata.namespace, service.metadata.name), ())
        )
        if where is None:
            everywhere.update(routes)
        else:
            for node in where:
                local.setdefault(node, set()).update(routes)
    routes_of = _Lists(everywhere)
    reflected = [*settings.load_balancer, *settings.external]
    return ServiceRoutes(
        everywhere=routes_of.with_more(()),
        local={node: routes_of.with_more(more) for node, own in local.items() if (more := own - everywhere)},
        rejected=in_text_order(cidrs),
        reflected=tuple(dict.fromkeys(cidr for cidr in reflected if family_of(cidr) == family)),
        notes=settings.notes,
    )


class _Lists:
    """Sorted lists that have most in common: each text is made once, and so is each static route."""

    def __init__(self, common: Iterable[Prefix]) -> None:
        self._text: dict[Prefix, str] = {}
        self._static: dict[Prefix, StaticRoute] = {}
        self._common = self._sorted(common)

    def with_more(self, more: Iterable[Prefix]) -> Announced:
        prefixes = self._sorted([*self._common, *self._sorted(more)])
        return Announced(tuple(prefixes), tuple(map(self._static.__getitem__, prefixes)))

    def _sorted(self, prefixes: Iterable[Prefix]) -> list[Prefix]:
        listed = list(prefixes)
        for prefix in listed:
            if prefix not in self._text:
                self._text[prefix] = format_prefix(prefix)
                self._static[prefix] = StaticRoute(prefix=prefix)
        return sorted(listed, key=self._text.__getitem__)


def _cidrs(blocks: Iterable[ServiceIPBlock]) -> tuple[Prefix, ...]:
    return tuple(masked(block.cidr) for block in blocks if block.cidr)


def _announced_whole(settings: ServiceSettings) -> Iterable[Prefix]:
    yield from settings.cluster
    yield from (cidr for cidr in settings.external if not _is_single(cidr))
    if settings.aggregated:
        yield from (cidr for cidr in settings.load_balancer if not _is_single(cidr))


def _is_single(cidr: Prefix) -> bool:
    return cidr[0] == (len(cidr) - 1) << 3


def _addresses(settings: ServiceSettings, service: Service) -> Iterable[Prefix]:
    """What a Service can be announced by, of both families."""
    if settings.cluster:
        yield from (route for text in service.spec.cluster_ips if (route := _host(text)) is not None)
    yield from _within(settings.external, service.spec.external_ips)
    yield from _within(settings.load_balancer, service.load_balancer_ips)


def _within(cidrs: Iterable[Prefix], texts: Iterable[str]) -> list[Prefix]:
    hosts = [host for text in texts if (host := _host(text)) is not None]
    return [host for host in hosts if any(contains(cidr, host) for cidr in cidrs)]


def _host(text: str) -> Prefix | None:
    if text in ("", HEADLESS):
        return None
    try:
        address: Address = parse_address(text)
    except ValueError:
        return None
    return host_prefix(address)


def _advertised_on(
    settings: ServiceSettings, service: Service, slices: Iterable[EndpointSlice]
) -> frozenset[str] | None:
    """The nodes; None is all of them. See the module."""
    spec = service.spec
    nowhere: frozenset[str] = frozenset()
    if spec.type not in _ADVERTISED_TYPES or spec.cluster_ip in ("", HEADLESS):
        return nowhere
    is_local = spec.external_traffic_policy == "Local"
    if not is_local and _has_single_address(settings, service):
        return None
    if not is_local and settings.aggregated:
        return nowhere
    ready = [
        endpoint
        for each in slices
        if each.address_type in spec.ip_families
        for endpoint in each.endpoints
        if endpoint.ready
    ]
    if is_local:
        return frozenset(endpoint.node_name for endpoint in ready if endpoint.node_name)
    return None if ready else nowhere


def _has_single_address(settings: ServiceSettings, service: Service) -> bool:
    spec = service.spec
    singles = {cidr for cidr in settings.external if _is_single(cidr)}
    if any(_host(text) in singles for text in spec.external_ips):
        return True
    if spec.type != "LoadBalancer":
        return False
    singles = {cidr for cidr in settings.load_balancer if _is_single(cidr)}
    return any(_host(text) in singles for text in (spec.load_balancer_ip, *service.load_balancer_ips))
