"""BGPConfiguration, BGPPeer and BGPFilter: what the speakers of a cluster are told.

The classes hold every field of the CRDs. What a field does is decided by confd (``agents.confd``); what may not stand
together is decided in ``rules``.

Optional flags keep three states (``node_to_node_mesh_enabled`` None is Calico's "not set", which confd reads as
true), because a per-node BGPConfiguration overrides only what it sets.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import attrs

from protocol.v3.fields import (
    JSON,
    AsNumber,
    Cidr,
    Community,
    Duration,
    FilterCommunity,
    Int32,
    InterfaceName,
    InterfacePattern,
    IpAddress,
    IPv4Cidr,
    IPv4Text,
    IPv6Cidr,
    IPv6Text,
    LengthV4,
    LengthV6,
    PeerAddress,
    Port,
    Priority,
    SelectorText,
    Subdomain,
    UInt8,
    at_most,
    counted,
    one_of_any_case,
)
from protocol.v3.metadata import Resource

DEFAULT_AS_NUMBER = 64512
EVERY_SESSION = "lab.tortie/every-session"
"""The annotation of a BGPFilter that holds for every session of the cluster, the mesh's too, before any filter that a
BGPPeer names. Calico has no such thing: it is what ``exportFilter`` becomes (``foreign``)."""


@attrs.frozen(kw_only=True)
class SecretKeySelector:
    key: str
    name: str = ""
    optional: bool | None = None


@attrs.frozen(kw_only=True)
class BGPPassword:
    secret_key_ref: SecretKeySelector | None = None


@attrs.frozen(kw_only=True)
class ServiceIPBlock:
    """One CIDR of services to announce. An empty one is allowed and means nothing."""

    cidr: Cidr = ""


@attrs.frozen(kw_only=True)
class NamedCommunity:
    name: Annotated[str, at_most(253)] = ""
    value: Community = ""


@attrs.frozen(kw_only=True)
class PrefixAdvertisement:
    """``communities`` are values or names of the same BGPConfiguration's ``communities``."""

    cidr: Cidr = ""
    communities: Annotated[tuple[str, ...], at_most(50)] = ()


@attrs.frozen(kw_only=True)
class BGPConfigurationSpec:
    log_severity_screen: Annotated[
        str, one_of_any_case("Trace", "Debug", "Info", "Warning", "Error", "Fatal")
    ] = "Info"
    node_to_node_mesh_enabled: bool | None = None
    as_number: AsNumber | None = None
    service_load_balancer_ips: tuple[ServiceIPBlock, ...] = ()
    service_external_ips: tuple[ServiceIPBlock, ...] = ()
    service_cluster_ips: tuple[ServiceIPBlock, ...] = ()
    service_load_balancer_aggregation: Literal["Enabled", "Disabled"] = "Enabled"
    communities: Annotated[tuple[NamedCommunity, ...], at_most(500)] = ()
    prefix_advertisements: Annotated[tuple[PrefixAdvertisement, ...], at_most(500)] = ()
    listen_port: Port | None = None
    node_mesh_password: BGPPassword | None = None
    node_mesh_max_restart_time: Duration = ""
    bind_mode: Literal["None", "NodeIP"] | None = None
    ignored_interfaces: tuple[InterfacePattern, ...] = ()
    local_workload_peering_ipv4: IPv4Text = attrs.field(
        default="", metadata={JSON: "localWorkloadPeeringIPV4"}
    )
    local_workload_peering_ipv6: IPv6Text = attrs.field(
        default="", metadata={JSON: "localWorkloadPeeringIPV6"}
    )
    program_cluster_routes: Literal["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"] | None = (
        None
    )
    ipv4_normal_route_priority: Priority | None = None
    ipv6_normal_route_priority: Priority | None = None


@attrs.frozen
class BGPConfiguration(Resource):
    kind: ClassVar[str] = "BGPConfiguration"
    plural: ClassVar[str] = "bgpconfigurations"

    spec: BGPConfigurationSpec = BGPConfigurationSpec()


@attrs.frozen(kw_only=True)
class BGPPeerSpec:
    node: Annotated[str, at_most(253)] = ""
    node_selector: SelectorText = ""
    peer_ip: Annotated[PeerAddress, at_most(64)] = ""
    as_number: AsNumber | None = None
    local_as_number: AsNumber | None = None
    peer_selector: SelectorText = ""
    keep_original_next_hop: bool = False
    next_hop_mode: Literal["Auto", "Self", "Keep"] | None = None
    password: BGPPassword | None = None
    source_address: Literal["UseNodeIP", "None"] = "UseNodeIP"
    max_restart_time: Duration = ""
    keepalive_time: Duration = ""
    num_allowed_local_as_numbers: Int32 | None = None
    ttl_security: UInt8 | None = None
    reachable_by: Annotated[IpAddress, at_most(64)] = ""
    filters: tuple[Subdomain, ...] = ()
    local_workload_selector: SelectorText = ""
    reverse_peering: Literal["Auto", "Manual"] | None = None


@attrs.frozen
class BGPPeer(Resource):
    kind: ClassVar[str] = "BGPPeer"
    plural: ClassVar[str] = "bgppeers"

    spec: BGPPeerSpec = BGPPeerSpec()


@attrs.frozen(kw_only=True)
class CommunityMatch:
    values: Annotated[tuple[FilterCommunity, ...], counted(1, 1)]


@attrs.frozen(kw_only=True)
class AddCommunity:
    value: FilterCommunity


@attrs.frozen(kw_only=True)
class PrependASPath:
    prefix: Annotated[tuple[AsNumber, ...], counted(1, 10)]


@attrs.frozen(kw_only=True)
class SetPriority:
    value: Priority


@attrs.frozen(kw_only=True)
class FilterOperation:
    """Exactly one of the three is set."""

    add_community: AddCommunity | None = None
    prepend_as_path: PrependASPath | None = None
    set_priority: SetPriority | None = None


@attrs.frozen(kw_only=True)
class PrefixLengthV4:
    min: LengthV4 | None = None
    max: LengthV4 | None = None


@attrs.frozen(kw_only=True)
class PrefixLengthV6:
    min: LengthV6 | None = None
    max: LengthV6 | None = None


@attrs.frozen(kw_only=True)
class FilterRule:
    """What the rules of both families share: conditions that must all hold, then an action."""

    action: Literal["Accept", "Reject"]
    match_operator: Literal["Equal", "NotEqual", "In", "NotIn"] | None = None
    source: Literal["RemotePeers"] | None = None
    interface: InterfaceName = ""
    peer_type: Literal["eBGP", "iBGP"] | None = None
    communities: CommunityMatch | None = None
    as_path_prefix: tuple[AsNumber, ...] = ()
    priority: Priority | None = None
    operations: Annotated[tuple[FilterOperation, ...], counted(1, 10)] = ()


@attrs.frozen(kw_only=True)
class FilterRuleV4(FilterRule):
    cidr: Annotated[IPv4Cidr, at_most(18)] = ""
    prefix_length: PrefixLengthV4 | None = None


@attrs.frozen(kw_only=True)
class FilterRuleV6(FilterRule):
    cidr: Annotated[IPv6Cidr, at_most(43)] = ""
    prefix_length: PrefixLengthV6 | None = None


AnyFilterRule = FilterRuleV4 | FilterRuleV6


@attrs.frozen(kw_only=True)
class BGPFilterSpec:
    export_v4: tuple[FilterRuleV4, ...] = ()
    import_v4: tuple[FilterRuleV4, ...] = ()
    export_v6: tuple[FilterRuleV6, ...] = ()
    import_v6: tuple[FilterRuleV6, ...] = ()


@attrs.frozen
class BGPFilter(Resource):
    kind: ClassVar[str] = "BGPFilter"
    plural: ClassVar[str] = "bgpfilters"

    spec: BGPFilterSpec = BGPFilterSpec()

    @property
    def for_every_session(self) -> bool:
        return self.metadata.annotations.get(EVERY_SESSION) == "true"
