"""A Node of Kubernetes, as Calico reads it where Kubernetes is its datastore.

Owns ``read_node``: labels, the annotations of projectcalico.org, podCIDRs and addresses. A Node that calico-node has not
been on has no annotations; then its InternalIPs are taken, which is what calico-node would find.

Follows libcalico-go/lib/backend/k8s/resources/node.go.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

import attrs

from protocol.v3.fields import ANYTHING, JSON, Cidr
from protocol.v3.metadata import Metadata
from protocol.v3.node import Node, NodeAddress
from protocol.v3.reading import Made, Reading, Source, body
from protocol.v3.rules import Fault, Path
from protocol.v3.validate import InvalidResource, resource_of, structured


@attrs.frozen(kw_only=True)
class _CoreNodeSpec:
    ignores: ClassVar[Container[str]] = ANYTHING

    pod_cidr: Cidr = attrs.field(default="", metadata={JSON: "podCIDR"})
    pod_cidrs: tuple[Cidr, ...] = ()


@attrs.frozen(kw_only=True)
class _CoreNodeStatus:
    ignores: ClassVar[Container[str]] = ANYTHING

    addresses: tuple[NodeAddress, ...] = ()


@attrs.frozen(kw_only=True)
class _CoreNode:
    ignores: ClassVar[Container[str]] = ANYTHING

    metadata: Metadata
    spec: _CoreNodeSpec = _CoreNodeSpec()
    status: _CoreNodeStatus = _CoreNodeStatus()


_ANNOTATIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "IPv4Address": ("spec", "bgp", "ipv4Address"),
        "IPv6Address": ("spec", "bgp", "ipv6Address"),
        "ASNumber": ("spec", "bgp", "asNumber"),
        "RouteReflectorClusterID": ("spec", "bgp", "routeReflectorClusterID"),
        "IPv4IPIPTunnelAddr": ("spec", "bgp", "ipv4IPIPTunnelAddr"),
        "IPv4VXLANTunnelAddr": ("spec", "ipv4VXLANTunnelAddr"),
        "IPv6VXLANTunnelAddr": ("spec", "ipv6VXLANTunnelAddr"),
        "VXLANTunnelMACAddr": ("spec", "vxlanTunnelMACAddr"),
        "VXLANTunnelMACAddrV6": ("spec", "vxlanTunnelMACAddrV6"),
        "IPv4WireguardInterfaceAddr": ("spec", "wireguard", "interfaceIPv4Address"),
        "IPv6WireguardInterfaceAddr": ("spec", "wireguard", "interfaceIPv6Address"),
        "WireguardPublicKey": ("status", "wireguardPublicKey"),
        "WireguardPublicKeyV6": ("status", "wireguardPublicKeyV6"),
    }
)
"""The annotation, behind ``projectcalico.org/``, and the field of Calico's Node that it is."""
_PREFIX: Final = "projectcalico.org/"


def read_node(doc: Mapping[str, Any]) -> Reading:
    core = structured(_CoreNode, body(doc))
    metadata = core.metadata
    fields: dict[tuple[str, ...], Any] = {}
    annotations = dict(metadata.annotations)
    came_from: dict[Path, Path] = {}
    for name, path in _ANNOTATIONS.items():
        text = annotations.pop(_PREFIX + name, "")
        if text:
            fields[path] = text
            came_from[path] = ("metadata", "annotations", _PREFIX + name)
    v4, v6 = _ANNOTATIONS["IPv4Address"], _ANNOTATIONS["IPv6Address"]
    if v4 not in fields and v6 not in fields:
        for index, address in reversed([*enumerate(core.status.addresses)]):  # the first one stays
            if address.type == "InternalIP":
                path = v6 if ":" in address.address else v4
                fields[path] = address.address
                came_from[path] = ("status", "addresses", index, "address")
    fields["spec", "orchRefs"] = [{"nodeName": metadata.name, "orchestrator": "k8s"}]
    fields["spec", "addresses"] = [
        {"address": address.address, "type": address.type}
        for address in core.status.addresses
        if address.type in ("InternalIP", "ExternalIP")
    ]
    fields["status", "podCIDRs"] = list(core.spec.pod_cidrs or filter(None, (core.spec.pod_cidr,)))
    document: dict[str, Any] = {
        "apiVersion": Node.api_version,
        "kind": Node.kind,
        "metadata": {"name": metadata.name, "labels": metadata.labels, "annotations": annotations},
    }
    for path, value in fields.items():
        inner = document
        for step in path[:-1]:
            inner = inner.setdefault(step, {})
        inner[path[-1]] = value
    try:
        node = resource_of(document)
    except InvalidResource as error:
        raise InvalidResource(
            Fault(came_from.get(fault.path, fault.path), fault.message) for fault in error.faults
        ) from None
    return Reading((Made(resource=node, source=Source.KUBERNETES),))
