"""What may be written to the datastore of a running cluster.

Owns ``admit``: a document that somebody wants to create or to put in another's place, to the document that is stored,
defaults filled in. Three sieves, as at ``up``: the document itself (``validate``), what was there before it (fields that
never change), and what lives beside it (``rules.conflicts``, the same that the loader asks about manifests). Whatever
is found is raised at once, each fault with its path.

Pure: it reads and never writes. Its caller writes in the same breath, so that nothing comes between.

Left out: what a delete brings with it (``cleanup``). Whether it is allowed is no question: of these kinds Calico lets
every resource go, also a BGPFilter that a BGPPeer names.

Follows libcalico-go/lib/clientv3/{ippool,bgppeer}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from protocol.sync.messages import Document
from protocol.v3 import rules
from protocol.v3.codec import decode, encode
from protocol.v3.fields import as_network
from protocol.v3.ippool import IPPool
from protocol.v3.metadata import Key, Resource
from protocol.v3.rules import Fault
from protocol.v3.validate import InvalidResource, resource_of

Lister = Callable[[str], Sequence[Document]]
"""All documents of a kind."""

_NEIGHBOURS: Final[Mapping[str, tuple[str, ...]]] = {
    "Node": ("Node", "Router"),
    "Router": ("Node", "Router"),
    "IPPool": ("IPPool",),
}
"""For each kind those that it can collide with, which must be looked into."""

_HERE: Final = "in this cluster"


def admit(document: Mapping[str, Any], *, old: Document | None, every: Lister) -> Document:
    """What is stored for ``document``. ``old`` is the resource of its key that is there, if there is one.

    Raises InvalidResource.
    """
    resource = resource_of(document)
    admitted = encode(resource)
    if admitted == old:
        return admitted  # it has been admitted before, and whatever came after had to get along with it
    faults = list(_against_itself(resource, old, every))
    neighbours = _neighbours(resource, every)
    for conflict in rules.conflicts([*neighbours, resource], lambda _: _HERE):
        if conflict.index == len(neighbours):
            faults.append(Fault(conflict.path, conflict.message))
    if faults:
        raise InvalidResource(faults)
    return admitted


def _neighbours(resource: Resource, every: Lister) -> list[Resource | Key]:
    if resource.kind == "BGPPeer":  # only the names count
        return [("BGPFilter", "", document["metadata"]["name"]) for document in every("BGPFilter")]
    beside = (decode(document) for kind in _NEIGHBOURS.get(resource.kind, ()) for document in every(kind))
    return [other for other in beside if other.key != resource.key]


def _against_itself(resource: Resource, old: Document | None, every: Lister) -> Iterator[Fault]:
    if not isinstance(resource, IPPool):
        return
    before = decode(old) if old is not None else None
    if isinstance(before, IPPool):
        if resource.spec.cidr != before.spec.cidr:
            yield Fault(("spec", "cidr"), f"IPPool CIDR cannot be modified; it is {before.spec.cidr}")
        if resource.spec.block_size != before.spec.block_size:
            yield Fault(
                ("spec", "blockSize"), f"IPPool BlockSize cannot be modified; it is {before.spec.block_size}"
            )
        return
    network = as_network(resource.spec.cidr)
    for block in every("IPAMBlock"):
        cidr = as_network(block["spec"]["cidr"])
        # What a pool that is gone left behind: blocks with addresses in them.
        if (
            cidr.version == network.version
            and cidr.overlaps(network)
            and cidr.prefixlen != resource.spec.block_size
        ):
            yield Fault(
                ("spec", "blockSize"),
                f"IPPool blocksSize conflicts with existing allocations that use a different blockSize: {cidr}",
            )
            return
