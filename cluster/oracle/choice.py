"""Which of the two oracles judges a cluster.

Owns ``plain``: whether the documents of a cluster say nothing but what ``facts`` and ``solver`` know. These follow a
plain cluster of thousands of nodes in a moment; everything else is played out by ``general``.

Plain is: no resource but those listed, with no field but those listed; one AS for all; addresses of a family in one
subnet, so that every next hop is a neighbour; an IPv4 address on every node that has an IPv6 one; no pool with a
tunnel.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from protocol.v3.bgp import DEFAULT_AS_NUMBER

Document = Mapping[str, Any]

_ABSENT = "BGPFilter", "EndpointSlice", "FelixConfiguration", "Router", "Service"
_CONFIGURATION = frozenset(
    {
        "asNumber",
        "logSeverityScreen",
        "nodeMeshMaxRestartTime",
        "nodeToNodeMeshEnabled",
        "serviceLoadBalancerAggregation",
    }
)
_PEER = frozenset(
    {"asNumber", "maxRestartTime", "node", "nodeSelector", "peerIP", "peerSelector", "reversePeering"}
)
_DEFAULTS = (("sourceAddress", "UseNodeIP"),)
"""What stands in every document of its kind and means nothing more than its absence."""
_NODE = frozenset({"bgp", "addresses", "orchRefs"})
_NODE_BGP = frozenset({"asNumber", "ipv4Address", "ipv6Address", "routeReflectorClusterID"})
_ENCAPSULATIONS = "ipipMode", "vxlanMode"


def plain(list_kind: Callable[[str], Iterable[Document]]) -> bool:
    if any(True for kind in _ABSENT for _ in list_kind(kind)):
        return False
    asn = DEFAULT_AS_NUMBER
    for configuration in list_kind("BGPConfiguration"):
        spec = _set(configuration)
        if configuration["metadata"]["name"] == "default":
            if spec.keys() - _CONFIGURATION:
                return False
            asn = spec.get("asNumber", asn)
        elif spec.keys() - {"logSeverityScreen"}:
            return False
    if any(
        pool["spec"].get(mode, "Never") != "Never" for pool in list_kind("IPPool") for mode in _ENCAPSULATIONS
    ):
        return False
    return all(map(_plain_peer, list_kind("BGPPeer"))) and _plain_nodes(list_kind("Node"), asn)


def _plain_peer(peer: Document) -> bool:
    spec = _set(peer)
    if spec.keys() - _PEER:
        return False
    try:
        ipaddress.ip_address(spec.get("peerIP", "0.0.0.0"))  # it stands for any
    except ValueError:
        return False  # with a port, perhaps
    return True


def _plain_nodes(nodes: Iterable[Document], asn: int) -> bool:
    addresses: set[object] = set()
    subnets: dict[int, object] = {}
    for node in nodes:
        spec = _set(node)
        bgp = spec.get("bgp") or {}
        if spec.keys() - _NODE or bgp.keys() - _NODE_BGP or bgp.get("asNumber", asn) != asn:
            return False
        if bgp.get("ipv6Address") and not bgp.get("ipv4Address"):
            return False  # its router ID comes from elsewhere
        for text in filter(None, (bgp.get("ipv4Address"), bgp.get("ipv6Address"))):
            interface = ipaddress.ip_interface(text)
            if (
                interface.ip in addresses
                or subnets.setdefault(interface.version, interface.network) != interface.network
            ):
                return False
            addresses.add(interface.ip)
    return True


def _set(document: Document) -> Mapping[str, Any]:
    return {
        field: value
        for field, value in (document.get("spec") or {}).items()
        if value not in (None, "", {}, []) and (field, value) not in _DEFAULTS
    }
