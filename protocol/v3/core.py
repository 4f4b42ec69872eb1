"""Service, EndpointSlice, Namespace and Secret: what Kubernetes itself says that routing depends on.

These documents come from ``kubectl get -o yaml`` and have hundreds of fields. The classes hold those that decide a
route or a session; any other is accepted and dropped (``ANYTHING``), for nothing here reads it.

A Service says some things twice (clusterIP and clusterIPs) and leaves some to the API server (ipFamilies). What can
be concluded is filled in at once, as the API server does. What it would have to invent, a cluster IP, is not.

Follows the API reference of Kubernetes for core/v1 and discovery.k8s.io/v1. A Node of core/v1 is no kind of its
own: ``foreign`` makes Calico's Node of it.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Mapping
from typing import Annotated, ClassVar, Literal

import attrs

from protocol.v3.fields import (
    ANYTHING,
    Base64Text,
    ClusterIp,
    IpAddress,
    Port,
    PortOrZero,
    at_most,
    is_address,
)
from protocol.v3.metadata import Resource

CORE = "v1"
DISCOVERY = "discovery.k8s.io/v1"
SERVICE_NAME = "kubernetes.io/service-name"
"""The label of an EndpointSlice that names its Service."""
HEADLESS = "None"
"""The cluster IP of a Service that has none on purpose."""

IPFamily = Literal["IPv4", "IPv6"]
TrafficPolicy = Literal["Cluster", "Local"]


@attrs.frozen(kw_only=True)
class ServicePort:
    ignores: ClassVar[Container[str]] = ANYTHING

    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: Port
    target_port: int | str = ""
    node_port: PortOrZero = 0


@attrs.frozen(kw_only=True)
class ServiceSpec:
    """``cluster_ips`` and ``ip_families`` follow from ``cluster_ip`` when they are not given, and the other way."""

    ignores: ClassVar[Container[str]] = ANYTHING

    type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] = "ClusterIP"
    cluster_ip: ClusterIp = ""
    cluster_ips: Annotated[tuple[ClusterIp, ...], at_most(2)] = ()
    external_ips: tuple[IpAddress, ...] = ()
    load_balancer_ip: IpAddress = ""
    external_traffic_policy: TrafficPolicy = "Cluster"
    internal_traffic_policy: TrafficPolicy = "Cluster"
    ip_families: Annotated[tuple[IPFamily, ...], at_most(2)] = ()
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.cluster_ip and not self.cluster_ips:
            _fill(self, "cluster_ips", (self.cluster_ip,))
        elif self.cluster_ips and not self.cluster_ip:
            _fill(self, "cluster_ip", self.cluster_ips[0])
        if not self.ip_families:
            addresses = [ip for ip in self.cluster_ips if ip and ip != HEADLESS]
            _fill(self, "ip_families", tuple("IPv6" if ":" in ip else "IPv4" for ip in addresses))


def _fill(instance: object, field: str, value: object) -> None:
    object.__setattr__(instance, field, value)  # the way attrs itself sets the attributes of a frozen class


@attrs.frozen(kw_only=True)
class LoadBalancerIngress:
    """``ip`` is whatever a controller wrote: a status is no reason to refuse a Service."""

    ignores: ClassVar[Container[str]] = ANYTHING

    ip: str = ""
    hostname: str = ""


@attrs.frozen(kw_only=True)
class LoadBalancerStatus:
    ignores: ClassVar[Container[str]] = ANYTHING

    ingress: tuple[LoadBalancerIngress, ...] = ()


@attrs.frozen(kw_only=True)
class ServiceStatus:
    ignores: ClassVar[Container[str]] = ANYTHING

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


@attrs.frozen
class Service(Resource):
    api_version: ClassVar[str] = CORE
    kind: ClassVar[str] = "Service"
    plural: ClassVar[str] = "services"
    namespaced: ClassVar[bool] = True
    ignores: ClassVar[Container[str]] = ANYTHING

    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None

    @property
    def load_balancer_ips(self) -> tuple[str, ...]:
        """The addresses that somebody's load balancer controller gave it; what is none is not among them."""
        if self.status is None:
            return ()
        return tuple(ingress.ip for ingress in self.status.load_balancer.ingress if is_address(ingress.ip))


@attrs.frozen(kw_only=True)
class EndpointConditions:
    """None is unknown, which readers take for ready."""

    ignores: ClassVar[Container[str]] = ANYTHING

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


@attrs.frozen(kw_only=True)
class TargetRef:
    ignores: ClassVar[Container[str]] = ANYTHING

    kind: str = ""
    namespace: str = ""
    name: str = ""


@attrs.frozen(kw_only=True)
class Endpoint:
    ignores: ClassVar[Container[str]] = ANYTHING

    addresses: Annotated[tuple[str, ...], at_most(100)]
    conditions: EndpointConditions = EndpointConditions()
    node_name: str = ""
    target_ref: TargetRef | None = None

    @property
    def ready(self) -> bool:
        return self.conditions.ready is not False


@attrs.frozen(kw_only=True)
class EndpointPort:
    ignores: ClassVar[Container[str]] = ANYTHING

    name: str = ""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    port: PortOrZero = 0


@attrs.frozen
class EndpointSlice(Resource):
    """Has no ``spec``. Its label ``SERVICE_NAME`` says whose endpoints these are."""

    api_version: ClassVar[str] = DISCOVERY
    kind: ClassVar[str] = "EndpointSlice"
    plural: ClassVar[str] = "endpointslices"
    namespaced: ClassVar[bool] = True
    ignores: ClassVar[Container[str]] = ANYTHING

    address_type: Literal["IPv4", "IPv6", "FQDN"] = attrs.field(kw_only=True)
    endpoints: Annotated[tuple[Endpoint, ...], at_most(1000)] = attrs.field(default=(), kw_only=True)
    ports: Annotated[tuple[EndpointPort, ...], at_most(20000)] = attrs.field(default=(), kw_only=True)

    @property
    def service(self) -> str:
        """The name of the Service in the same namespace; "" when the label is missing."""
        return self.metadata.labels.get(SERVICE_NAME, "")


@attrs.frozen
class Namespace(Resource):
    api_version: ClassVar[str] = CORE
    kind: ClassVar[str] = "Namespace"
    plural: ClassVar[str] = "namespaces"
    ignores: ClassVar[Container[str]] = ANYTHING


@attrs.frozen
class Secret(Resource):
    """``string_data`` is a way to write ``data``, and over it; nobody reads it again."""

    api_version: ClassVar[str] = CORE
    kind: ClassVar[str] = "Secret"
    plural: ClassVar[str] = "secrets"
    namespaced: ClassVar[bool] = True
    ignores: ClassVar[Container[str]] = ANYTHING

    type: str = attrs.field(default="Opaque", kw_only=True)
    data: Mapping[str, Base64Text] = attrs.field(factory=dict, kw_only=True, repr=False)
    string_data: Mapping[str, str] = attrs.field(factory=dict, kw_only=True, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.string_data:
            written = {
                key: base64.b64encode(text.encode("utf-8", "replace")).decode()
                for key, text in self.string_data.items()
            }
            _fill(self, "data", {**self.data, **written})
            _fill(self, "string_data", {})

    def value(self, key: str) -> str | None:
        """The text under a key, or None."""
        data = self.data.get(key)
        return None if data is None else base64.b64decode(data).decode("utf-8", "replace")
