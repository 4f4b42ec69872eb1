"""A cluster as it is at one moment: all that its copy is made of.

Owns ``State``: every document of the datastore, with the stamps it has there, and what the datastore does not know: who
does not work, what is cut, what calico-node is started with. A running cluster gives one (``GET /tortie/v1/state``);
manifests are made into one as ``up`` would (``of_manifests``). It is JSON on the way, and fills a store at the other
end.

Sessions and routes are not in it: they follow from it, as they do in a cluster that is powered on.

Left out: what a document means. Who gives a State vouches for it; only its shape is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from agents.speaker.config import Timers
from cluster.datastore.memory import MemoryStore
from cluster.spec import Spec, World, serves_workloads
from cluster.workloads import claimed_blocks
from protocol.sync.messages import Document
from protocol.v3.codec import encode
from protocol.v3.ippool import IPPool

VERSION: Final = 1
"""Of the JSON. Grows when an older reader would misunderstand it."""


class BadState(ValueError):
    """What was read is no State; the text says why."""


@attrs.frozen(kw_only=True)
class State:
    """``documents`` are in the order of their kinds and keys; ``revision`` is the datastore's."""

    name: str = "default"
    revision: int = 0
    documents: tuple[Document, ...] = ()
    off: tuple[str, ...] = ()
    """Nodes and routers that are not there: no power, or a shard that died."""
    ill: tuple[str, ...] = ()
    """Those that cannot listen, as somebody else has their address: they must not be the first to ask for it here."""
    stopped: tuple[str, ...] = ()
    """calico-node does not run; the kernel forwards."""
    frozen: tuple[str, ...] = ()
    """The daemons hang; the kernel forwards."""
    cut: tuple[tuple[str, str], ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict)
    hold_time: float = Timers().hold
    time: float = 0.0
    """Unix time of this moment: IPAM counts from it."""
    pods_per_node: int = 0
    """To be added on every node before its sessions come up."""

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "name": self.name,
            "revision": self.revision,
            "off": [*self.off],
            "ill": [*self.ill],
            "stopped": [*self.stopped],
            "frozen": [*self.frozen],
            "cut": [[*pair] for pair in self.cut],
            "env": dict(self.env),
            "holdTime": self.hold_time,
            "time": self.time,
            "podsPerNode": self.pods_per_node,
            "documents": [*self.documents],
        }

    @classmethod
    def from_json(cls, value: Any) -> State:
        """Raises BadState."""
        try:
            if value["version"] != VERSION:
                raise BadState(f"the state is of version {value['version']}, and not of {VERSION}")
            return cls(
                name=value["name"],
                revision=value["revision"],
                documents=tuple(value["documents"]),
                off=tuple(value["off"]),
                ill=tuple(value["ill"]),
                stopped=tuple(value["stopped"]),
                frozen=tuple(value["frozen"]),
                cut=tuple((one, other) for one, other in value["cut"]),
                env=dict(value["env"]),
                hold_time=value["holdTime"],
                time=value["time"],
                pods_per_node=value["podsPerNode"],
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadState):
                raise
            raise BadState(f"not the state of a cluster: {type(error).__name__}: {error}") from None

    def fill(self, store: MemoryStore) -> None:
        """``store`` is one that nothing was written to."""
        store.restore(self.revision, self.documents)


def of_manifests(spec: Spec, world: World) -> State:
    """What ``up`` starts with. Blocks that nodes are to have claimed are claimed; pods are yet to come."""
    store = MemoryStore(wall=lambda: 0.0)
    for resource in world.resources:
        store.create(encode(resource))
    if spec.blocks_per_node > 1:
        pools = [pool for pool in world.of_kind(IPPool) if serves_workloads(pool)]
        for document in claimed_blocks(world.nodes, pools, spec.blocks_per_node, now=0.0):
            store.create(document)
    return State(
        name=spec.name,
        revision=store.revision,
        documents=tuple(store.documents()),
        env=world.environment(),
        hold_time=spec.hold_time,
        pods_per_node=spec.pods_per_node,
    )
