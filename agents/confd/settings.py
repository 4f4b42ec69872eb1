"""What the BGPConfigurations say: "default", and "node.<name>" for one node. Others are ignored, as Calico ignores them.

Owns ``Settings`` of one address family, and which of the two resources decides:

==========================================  =======================================================================
listenPort                                  the node's own, else the global one
logSeverityScreen                           the node's own, else the global one; the CRD's default is Info, so that
                                            a node's BGPConfiguration always has one: Debug for all is not for it
prefixAdvertisements, with communities      the node's own once it has any, for both families, else the global ones:
                                            a node's list of IPv4 prefixes alone takes the global IPv6 ones away
everything else                             the global one
==========================================  =======================================================================

What sessions are made of stands apart (``PeeringSettings``), so that other changes leave the peers alone.

BIRD's debugging knows "none", "info" and "debug" only: Warning is "none", and so is Trace.

Left out: reading the password (``passwords``), Services (``services``).

Follows confd/pkg/backends/calico/client.go: updateBGPConfigCache, and bgp_processor.go: populateNodeConfig.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from agents.confd.communities import prefix_communities
from agents.confd.kernel import BY_DEFAULT, Ownership, ownership
from agents.speaker.config import NORMAL_PRIORITY, Debug, PrefixCommunities
from protocol.prefix import IPV4, Address, parse_address
from protocol.v3.bgp import (
    DEFAULT_AS_NUMBER,
    BGPConfiguration,
    BGPConfigurationSpec,
    BGPPassword,
)
from protocol.v3.fields import duration_seconds

_PER_NODE = "node."


@attrs.frozen(kw_only=True)
class PeeringSettings:
    as_number: int = DEFAULT_AS_NUMBER
    mesh: bool = True
    mesh_password: BGPPassword | None = None
    mesh_restart_time: int | None = None
    listen_port: int | None = None
    node_ports: Mapping[str, int] = attrs.field(factory=dict)
    workload_gateway: Address | None = None  # localWorkloadPeeringIPV4/6: the node's end of a workload's link

    def port_of(self, node: str) -> int | None:
        return self.node_ports.get(node, self.listen_port)


@attrs.frozen(kw_only=True)
class Advertised:
    """The communities that one BGPConfiguration puts on prefixes of a family."""

    communities: tuple[PrefixCommunities, ...] = ()
    notes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Settings:
    peering: PeeringSettings = PeeringSettings()
    normal_priority: int = NORMAL_PRIORITY
    debug: Debug = Debug.INFO
    node_debug: Mapping[str, Debug] = attrs.field(factory=dict)
    advertised: Advertised = Advertised()
    node_advertised: Mapping[str, Advertised] = attrs.field(factory=dict)
    bind_node_ip: bool = False
    ignored_interfaces: tuple[str, ...] = ()
    owned: Ownership = BY_DEFAULT

    def debug_of(self, node: str) -> Debug:
        return self.node_debug.get(node, self.debug)

    def advertised_by(self, node: str) -> Advertised:
        return self.node_advertised.get(node, self.advertised)


def read_settings(configurations: Iterable[BGPConfiguration], family: int) -> Settings:
    settings = Settings()
    node_ports: dict[str, int] = {}
    node_debug: dict[str, Debug] = {}
    node_advertised: dict[str, Advertised] = {}
    for configuration in configurations:
        name, spec = configuration.metadata.name, configuration.spec
        if name == "default":
            settings = _global(spec, family)
        elif name.startswith(_PER_NODE):
            node = name.removeprefix(_PER_NODE)
            if spec.listen_port:
                node_ports[node] = spec.listen_port
            if spec.log_severity_screen:
                node_debug[node] = _debug(spec)
            if spec.prefix_advertisements:
                node_advertised[node] = _advertised(name, spec, family)
    return attrs.evolve(
        settings,
        peering=attrs.evolve(settings.peering, node_ports=node_ports),
        node_debug=node_debug,
        node_advertised=node_advertised,
    )


def whole_seconds(duration: str) -> int | None:
    """Of Go's duration text, rounded as Go rounds; None when it is not set."""
    return int(duration_seconds(duration) + 0.5) if duration else None


def _global(spec: BGPConfigurationSpec, family: int) -> Settings:
    if family == IPV4:
        priority, gateway = spec.ipv4_normal_route_priority, spec.local_workload_peering_ipv4
    else:
        priority, gateway = spec.ipv6_normal_route_priority, spec.local_workload_peering_ipv6
    return Settings(
        peering=PeeringSettings(
            as_number=spec.as_number or DEFAULT_AS_NUMBER,
            mesh=spec.node_to_node_mesh_enabled is not False,
            mesh_password=spec.node_mesh_password,
            mesh_restart_time=whole_seconds(spec.node_mesh_max_restart_time),
            listen_port=spec.listen_port,
            workload_gateway=parse_address(gateway) if gateway else None,
        ),
        normal_priority=priority or NORMAL_PRIORITY,
        debug=_debug(spec),
        advertised=_advertised("default", spec, family),
        bind_node_ip=spec.bind_mode == "NodeIP",
        ignored_interfaces=spec.ignored_interfaces,
        owned=ownership(spec.program_cluster_routes),
    )


def _debug(spec: BGPConfigurationSpec) -> Debug:
    match spec.log_severity_screen.lower():
        case "debug":
            return Debug.ALL
        case "info" | "":
            return Debug.INFO
        case _:
            return Debug.NONE


def _advertised(name: str, spec: BGPConfigurationSpec, family: int) -> Advertised:
    communities, unknown = prefix_communities(spec, family)
    notes = tuple(
        f"BGPConfiguration/{name}: {community!r} is neither a community nor the name of one: left out of {cidr}"
        for cidr, community in unknown
    )
    return Advertised(communities=communities, notes=notes)
