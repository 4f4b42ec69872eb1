"""Documents that are no resource of ours, but say what one is: kind's Cluster, the operator's Installation, a Node of
Kubernetes, and a BGPConfiguration with an ``exportFilter``, which Calico does not have.

Owns ``read``, which makes the resources of any one document, ``settle``, which decides when several documents tell of
one thing, and ``outside``, pools that do not fit the cluster that they are installed in.

===========================  ===================  =====================================================================
``Cluster`` of kind          ``installation``     Nodes, and pools that are concluded from the pod subnet
``Installation``             ``installation``     IPPools
other kinds of the operator                       nothing: they are about other things
``Node`` of ``v1``           ``kubernetes``       Calico's Node
``exportFilter``             ``exportfilter``     a BGPFilter for every session of the cluster, with a warning
===========================  ===================  =====================================================================

When a Node is told of twice, Calico's own document wins over one of Kubernetes, and that over kind's; the stronger
one gets the labels that only the weaker one has, as Calico's controllers copy the labels of Kubernetes. What was
concluded about pools yields to what somebody wrote: to the pools of an Installation, and to any pool in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs

from protocol.v3.core import CORE
from protocol.v3.exportfilter import read_export_filter
from protocol.v3.fields import Network, as_network
from protocol.v3.installation import IP_POOLS, POD_SUBNET, read_installation, read_kind
from protocol.v3.ippool import IPPool
from protocol.v3.kubernetes import read_node
from protocol.v3.metadata import Key
from protocol.v3.node import Node
from protocol.v3.reading import Made, Reading, Source
from protocol.v3.validate import resource_of

KIND = "kind.x-k8s.io/v1alpha4"
OPERATOR = "operator.tigera.io/v1"


def read(doc: Mapping[str, Any]) -> Reading:
    """What a document says. Raises InvalidResource."""
    version, kind = doc.get("apiVersion"), doc.get("kind")
    if version == OPERATOR and kind != "Installation":
        return Reading()
    reader = _READERS.get((version, kind)) if isinstance(version, str) and isinstance(kind, str) else None
    if reader is not None:
        return reader(doc)
    if kind == "BGPConfiguration" and "exportFilter" in _mapping(doc.get("spec")):
        return read_export_filter(doc)
    return Reading((Made(resource=resource_of(doc)),))


def versions_of(kind: str) -> tuple[str, ...]:
    """The apiVersions, beside our own, under which a kind is known here."""
    return tuple(version for version, known in _READERS if known == kind)


def settle(entries: Sequence[Made | Key]) -> list[Made | Key | None]:
    """The entries without those that another one takes the place of; None stands where one was.

    A bare key is a resource that is there but cannot be looked into.
    """
    settled: list[Made | Key | None] = list(entries)
    strongest: dict[Key, int] = {}
    for index, entry in enumerate(entries):
        if not isinstance(entry, Made):
            continue
        earlier = strongest.setdefault(entry.resource.key, index)
        other = settled[earlier]
        assert isinstance(other, Made)
        if other.source == entry.source:
            continue  # the same, or a second one: rules.conflicts tells
        if entry.source < other.source:
            settled[earlier], settled[index] = None, _with_labels(entry, other)
            strongest[entry.resource.key] = index
        else:
            settled[earlier], settled[index] = _with_labels(other, entry), None
    by_operator = any(
        isinstance(entry, Made) and entry.path[: len(IP_POOLS)] == IP_POOLS for entry in entries
    )
    for index, made in enumerate(settled):
        if isinstance(made, Made) and made.source is Source.CONCLUDED and isinstance(made.resource, IPPool):
            others = [other for other in settled if isinstance(other, Made) and other is not made]
            if by_operator or any(_takes_the_place(other, made) for other in others):
                settled[index] = None
    return settled


def outside(entries: Sequence[Made | Key]) -> Iterator[tuple[int, str]]:
    """Which entries are pools that an operator would refuse, and why."""
    made = [(index, entry) for index, entry in enumerate(entries) if isinstance(entry, Made)]
    subnets = [
        as_network(entry.resource.spec.cidr)
        for _, entry in made
        if entry.path == POD_SUBNET and isinstance(entry.resource, IPPool)
    ]
    for index, entry in made:
        if subnets and entry.path[: len(IP_POOLS)] == IP_POOLS and isinstance(entry.resource, IPPool):
            pool = as_network(entry.resource.spec.cidr)
            if not any(_inside(pool, subnet) for subnet in subnets):
                listed = ", ".join(map(str, subnets))
                message = (
                    f"{pool} is not within the cluster's podSubnet, {listed}: the operator would refuse to install Calico. "
                    "It is loaded all the same"
                )
                yield index, message


def _inside(pool: Network, subnet: Network) -> bool:
    return pool.version == subnet.version and pool.overlaps(subnet) and pool.prefixlen >= subnet.prefixlen


def _with_labels(winner: Made, loser: Made) -> Made:
    if not isinstance(winner.resource, Node):
        return winner
    metadata = winner.resource.metadata
    labels = {**loser.resource.metadata.labels, **metadata.labels}
    node = attrs.evolve(winner.resource, metadata=attrs.evolve(metadata, labels=labels))
    return attrs.evolve(winner, resource=node)


def _takes_the_place(other: Made, concluded: Made) -> bool:
    """Whether a pool leaves no place for one that was concluded. Of two of these, kind's stays: it knows the subnet."""
    if not isinstance(other.resource, IPPool) or not isinstance(concluded.resource, IPPool):
        return False
    if other.source is Source.CONCLUDED:
        return concluded.path == ("spec",) and other.path != ("spec",)
    mine, theirs = as_network(concluded.resource.spec.cidr), as_network(other.resource.spec.cidr)
    return concluded.path == ("spec",) or (mine.version == theirs.version and mine.overlaps(theirs))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_READERS: Final[Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Reading]]] = MappingProxyType(
    {
        (KIND, "Cluster"): read_kind,
        (OPERATOR, "Installation"): read_installation,
        (CORE, "Node"): read_node,
    }
)
