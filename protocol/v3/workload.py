"""WorkloadEndpoint: one pod's interface on one node, with its addresses.

Follows Calico's internalapi WorkloadEndpoint; ``endpoint_name`` and ``interface_name`` follow libcalico-go/lib/names
and the CNI plugin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar

import attrs

from protocol.v3.fields import (
    Cidr,
    HostCidr,
    IpAddress,
    IPv4Text,
    IPv6Text,
    NumberOrText,
    Port,
    PortOrZero,
)
from protocol.v3.metadata import Resource


def endpoint_name(node: str, orchestrator: str, workload: str, endpoint: str) -> str:
    """``"node--001-k8s-pod--1-eth0"``: the parts joined by single dashes, their own dashes doubled."""
    return "-".join(part.replace("-", "--") for part in (node, orchestrator, workload, endpoint))


def interface_name(namespace: str, pod: str) -> str:
    """The host's end of a pod's veth pair."""
    return "cali" + hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()[:11]


@attrs.frozen(kw_only=True)
class WorkloadEndpointPort:
    name: str = ""
    protocol: NumberOrText = ""
    port: Port
    host_port: PortOrZero = 0
    host_ip: IpAddress = ""


@attrs.frozen(kw_only=True)
class IPNAT:
    internal_ip: IpAddress
    external_ip: IpAddress


@attrs.frozen(kw_only=True)
class WorkloadEndpointSpec:
    orchestrator: str = ""
    workload: str = ""
    node: str = ""
    container_id: str = ""
    pod: str = ""
    endpoint: str = ""
    service_account_name: str = ""
    ip_networks: tuple[HostCidr, ...] = ()
    ip_nats: tuple[IPNAT, ...] = ()
    ipv4_gateway: IPv4Text = ""
    ipv6_gateway: IPv6Text = ""
    profiles: tuple[str, ...] = ()
    interface_name: str = ""
    mac: str = ""
    ports: tuple[WorkloadEndpointPort, ...] = ()
    allow_spoofed_source_prefixes: tuple[Cidr, ...] = ()
    qos_controls: Mapping[str, int | str] = attrs.field(factory=dict)


@attrs.frozen
class WorkloadEndpoint(Resource):
    kind: ClassVar[str] = "WorkloadEndpoint"
    plural: ClassVar[str] = "workloadendpoints"
    namespaced: ClassVar[bool] = True

    spec: WorkloadEndpointSpec = WorkloadEndpointSpec()
