"""Node: a host, its addresses and labels, its AS and, on a route reflector, its cluster ID.

Follows Calico's internalapi Node (FelixConfig and confd read the same fields from a Kubernetes Node's annotations).
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from protocol.v3.fields import (
    AsNumber,
    Cidr,
    DottedQuad,
    IPv4InterfaceText,
    IPv4Text,
    IPv6InterfaceText,
    IPv6Text,
)
from protocol.v3.metadata import Resource


@attrs.frozen(kw_only=True)
class NodeBGPSpec:
    """``ipv4_address`` and ``ipv6_address`` are as the user wrote them, with or without a prefix length."""

    as_number: AsNumber | None = None
    ipv4_address: IPv4InterfaceText = ""
    ipv6_address: IPv6InterfaceText = ""
    ipv4_ipip_tunnel_addr: IPv4Text = ""
    route_reflector_cluster_id: DottedQuad = ""


@attrs.frozen(kw_only=True)
class OrchRef:
    node_name: str = ""
    orchestrator: str = ""


@attrs.frozen(kw_only=True)
class NodeWireguardSpec:
    interface_ipv4_address: IPv4Text = ""
    interface_ipv6_address: IPv6Text = ""


@attrs.frozen(kw_only=True)
class NodeAddress:
    address: str = ""
    type: str = ""


@attrs.frozen(kw_only=True)
class NodeInterface:
    name: str = ""
    addresses: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class NodeSpec:
    bgp: NodeBGPSpec | None = None
    ipv4_vxlan_tunnel_addr: IPv4Text = ""
    vxlan_tunnel_mac_addr: str = ""
    ipv6_vxlan_tunnel_addr: IPv6Text = ""
    vxlan_tunnel_mac_addr_v6: str = ""
    orch_refs: tuple[OrchRef, ...] = ()
    wireguard: NodeWireguardSpec | None = None
    addresses: tuple[NodeAddress, ...] = ()
    interfaces: tuple[NodeInterface, ...] = ()


@attrs.frozen(kw_only=True)
class NodeStatus:
    wireguard_public_key: str = ""
    wireguard_public_key_v6: str = ""
    pod_cidrs: tuple[Cidr, ...] = ()


@attrs.frozen
class Node(Resource):
    kind: ClassVar[str] = "Node"
    plural: ClassVar[str] = "nodes"

    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None
