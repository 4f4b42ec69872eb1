"""Documents of small and large clusters, as a datastore lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Document = dict[str, Any]


def document(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> Document:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": dict(spec),
    }


def node(
    name: str,
    address: str,
    *,
    asn: int | None = None,
    cluster: str = "",
    labels: Mapping[str, str] | None = None,
) -> Document:
    bgp: dict[str, Any] = {"ipv4Address": address}
    if asn is not None:
        bgp["asNumber"] = asn
    if cluster:
        bgp["routeReflectorClusterID"] = cluster
    return document("Node", name, {"bgp": bgp}, labels=dict(labels or {}))


def affinity(node: str, cidr: str, state: str = "confirmed") -> Document:
    name = f"{node}-{cidr.translate(str.maketrans('./', '--'))}"
    return document(
        "BlockAffinity", name, {"state": state, "node": node, "type": "host", "cidr": cidr, "deleted": False}
    )


def workload(node: str, address: str, interface: str) -> Document:
    spec = {"node": node, "ipNetworks": [address], "interfaceName": interface}
    return document("WorkloadEndpoint", f"{node}-{interface}", spec, namespace="default")


def pool(name: str, cidr: str, **spec: Any) -> Document:
    return document("IPPool", name, {"cidr": cidr, **spec})


def bgp_peer(name: str, **spec: Any) -> Document:
    return document("BGPPeer", name, spec)


def bgp_configuration(**spec: Any) -> Document:
    return document("BGPConfiguration", "default", spec)


class Listing:
    """The read side of a datastore: documents by kind, in the order of their keys."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._kinds: dict[str, list[Document]] = {}
        for entry in sorted(documents, key=lambda entry: str(entry["metadata"]["name"])):
            self._kinds.setdefault(entry["kind"], []).append(entry)

    def __call__(self, kind: str) -> list[Document]:
        return self._kinds.get(kind, [])
