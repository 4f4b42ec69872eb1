"""Clusters as their installers describe them: kind's Cluster, and the operator's Installation.

Owns ``read_kind``: a Node for each entry, named and addressed as kind does it (172.18.0.2/16 and on, by the order of
the list), and pools for ``networking.podSubnet``, as the operator would make them. And ``read_installation``: an IPPool for
each of ``calicoNetwork.ipPools``, with the operator's defaults and names.

Left out: everything of an Installation but pools and ``bgp``; patches for kubeadm.

Follows tigera/operator's pkg/controller/ippool, and kind's documentation of its configuration.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal

import attrs

from protocol.v3 import rules
from protocol.v3.fields import (
    ANYTHING,
    BlockSize,
    LabelKey,
    LabelValue,
    SelectorText,
    StrictCidr,
    Subdomain,
    as_network,
    at_most,
)
from protocol.v3.ippool import AllowedUse, IPPool, IPPoolSpec
from protocol.v3.metadata import Metadata
from protocol.v3.node import Node, NodeBGPSpec, NodeSpec
from protocol.v3.reading import Made, Reading, Source, body
from protocol.v3.rules import Fault, Path
from protocol.v3.validate import InvalidResource, structured

# -- kind ---


@attrs.frozen(kw_only=True)
class KindNode:
    ignores: ClassVar[Container[str]] = frozenset(
        ("image", "extraMounts", "extraPortMappings", "kubeadmConfigPatches", "kubeadmConfigPatchesJSON6902")
    )

    role: Literal["control-plane", "worker"] = "control-plane"
    labels: Mapping[LabelKey, LabelValue] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class KindNetworking:
    ignores: ClassVar[Container[str]] = frozenset(
        (
            "apiServerPort",
            "apiServerAddress",
            "serviceSubnet",
            "disableDefaultCNI",
            "kubeProxyMode",
            "dnsSearch",
        )
    )

    ip_family: Literal["ipv4", "ipv6", "dual"] = "ipv4"
    pod_subnet: str = ""  # one CIDR, or one of each family with a comma between


@attrs.frozen(kw_only=True)
class KindCluster:
    ignores: ClassVar[Container[str]] = frozenset(
        (
            "featureGates", "runtimeConfig", "kubeadmConfigPatches", "kubeadmConfigPatchesJSON6902",
            "containerdConfigPatches", "containerdConfigPatchesJSON6902",
        )
    )  # fmt: skip

    name: Subdomain = "kind"
    nodes: Annotated[tuple[KindNode, ...], at_most(65000)] = ()
    networking: KindNetworking = KindNetworking()


POD_SUBNET: Final = ("networking", "podSubnet")

# Docker's gateway on the network of kind; the nodes follow it.
_KIND_V4: Final = ipaddress.IPv4Address("172.18.0.1")
_KIND_V6: Final = ipaddress.IPv6Address("fc00:f853:ccd:e793::1")
_POD_SUBNETS: Final = MappingProxyType(
    {"ipv4": "10.244.0.0/16", "ipv6": "fd00:10:244::/56", "dual": "10.244.0.0/16,fd00:10:244::/56"}
)


def read_kind(doc: Mapping[str, Any]) -> Reading:
    cluster = structured(KindCluster, body(doc))
    family = cluster.networking.ip_family
    nodes = cluster.nodes or (KindNode(),)
    made = []
    seen: dict[str, int] = {}
    for index, node in enumerate(nodes):
        number = seen[node.role] = seen.get(node.role, 0) + 1
        name = f"{cluster.name}-{node.role}{number if number > 1 else ''}"
        labels = {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            **({"node-role.kubernetes.io/control-plane": ""} if node.role == "control-plane" else {}),
            **node.labels,
        }
        bgp = NodeBGPSpec(
            ipv4_address=f"{_KIND_V4 + (index + 1)}/16" if family != "ipv6" else "",
            ipv6_address=f"{_KIND_V6 + (index + 1)}/64" if family != "ipv4" else "",
        )
        path: Path = ("nodes", index) if cluster.nodes else ()
        made.append(
            Made(
                resource=Node(Metadata(name, labels=labels), NodeSpec(bgp=bgp)),
                path=path,
                source=Source.CONCLUDED,
            )
        )
    subnets = (cluster.networking.pod_subnet or _POD_SUBNETS[family]).split(",")
    pools = []
    for subnet in subnets:
        try:
            pools.append(_OperatorPool(cidr=str(as_network(subnet.strip()))))
        except ValueError as error:
            raise InvalidResource([Fault(POD_SUBNET, str(error))]) from None
    made += _pools(pools, lambda _: POD_SUBNET, Source.CONCLUDED)
    return Reading(tuple(made))


# -- the operator ---

IP_POOLS: Final = ("spec", "calicoNetwork", "ipPools")


@attrs.frozen(kw_only=True)
class _OperatorPool:
    name: Subdomain = ""
    cidr: StrictCidr
    encapsulation: Literal["IPIP", "VXLAN", "IPIPCrossSubnet", "VXLANCrossSubnet", "None"] | None = None
    nat_outgoing: Literal["Enabled", "Disabled"] | None = None
    node_selector: SelectorText = "all()"
    namespace_selector: SelectorText = ""
    block_size: BlockSize = 0
    disable_bgp_export: bool = False
    disable_new_allocations: bool = False
    allowed_uses: tuple[AllowedUse, ...] = ()
    assignment_mode: Literal["Automatic", "Manual"] = "Automatic"


@attrs.frozen(kw_only=True)
class _CalicoNetwork:
    ignores: ClassVar[Container[str]] = ANYTHING

    bgp: Literal["Enabled", "Disabled"] | None = None
    ip_pools: tuple[_OperatorPool, ...] | None = None


@attrs.frozen(kw_only=True)
class _InstallationSpec:
    ignores: ClassVar[Container[str]] = ANYTHING

    calico_network: _CalicoNetwork | None = None


@attrs.frozen(kw_only=True)
class _Installation:
    ignores: ClassVar[Container[str]] = ANYTHING

    metadata: Metadata
    spec: _InstallationSpec = _InstallationSpec()


def read_installation(doc: Mapping[str, Any]) -> Reading:
    network = structured(_Installation, body(doc)).spec.calico_network or _CalicoNetwork()
    warnings = []
    if network.bgp == "Disabled":
        message = (
            "the operator would run no BGP at all; here the nodes still do. To have no sessions, say "
            "nodeToNodeMeshEnabled: false in the BGPConfiguration default, and have no BGPPeer"
        )
        warnings.append(Fault((*IP_POOLS[:2], "bgp"), message))
    if network.ip_pools is None:
        pools = _pools([_OperatorPool(cidr="192.168.0.0/16")], lambda _: ("spec",), Source.CONCLUDED)
    else:
        pools = _pools(network.ip_pools, lambda index: (*IP_POOLS, index), Source.KUBERNETES)
    return Reading(tuple(pools), tuple(warnings))


def _pools(pools: Sequence[_OperatorPool], path_of: Callable[[int], Path], source: Source) -> Iterator[Made]:
    """The operator's pools as IPPools."""
    faults: list[Fault] = []
    families = ["6" if ":" in pool.cidr else "4" for pool in pools]
    for index, pool in enumerate(pools):
        v4 = families[index] == "4"
        encapsulation = pool.encapsulation or ("IPIP" if v4 else "None")
        mode: Literal["Always", "CrossSubnet"] = (
            "CrossSubnet" if encapsulation.endswith("CrossSubnet") else "Always"
        )
        # One pool of a family has the name that it has always had; of several each is called by its CIDR.
        alone = len(pools) == 1 or sorted(families) == ["4", "6"]
        resource = IPPool(
            Metadata(
                pool.name or (f"default-ipv{families[index]}-ippool" if alone else _cidr_name(pool.cidr))
            ),
            IPPoolSpec(
                cidr=pool.cidr,
                block_size=pool.block_size,
                ipip_mode=mode if encapsulation.startswith("IPIP") else "Never",
                vxlan_mode=mode if encapsulation.startswith("VXLAN") else "Never",
                nat_outgoing=(pool.nat_outgoing or ("Enabled" if v4 else "Disabled")) == "Enabled",
                node_selector=pool.node_selector,
                namespace_selector=pool.namespace_selector,
                disabled=pool.disable_new_allocations,
                disable_bgp_export=pool.disable_bgp_export,
                allowed_uses=pool.allowed_uses,
                assignment_mode=pool.assignment_mode,
            ),
        )
        path = path_of(index)
        for fault in rules.check(resource):
            field = (
                fault.path[1:]
                if fault.path[1:] not in (("ipipMode",), ("vxlanMode",))
                else ("encapsulation",)
            )
            faults.append(Fault((*path, *field), fault.message))
        yield Made(resource=resource, path=path, source=source)
    if faults:
        raise InvalidResource(faults)


def _cidr_name(cidr: str) -> str:
    network = as_network(cidr)
    return f"{network.network_address.exploded.replace(':', '.')}-{network.prefixlen}"
