"""Resources in hand as the view that confd derives from: for whoever has manifests and no cluster.

Owns ``StillView``. It never changes, so that every version is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from protocol.v3.ipam import BlockAffinity
from protocol.v3.metadata import Key, Resource
from protocol.v3.workload import WorkloadEndpoint


class StillView:
    """An ``agents.confd.derive.ResourceView``."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self._kinds: dict[str, dict[Key, Resource]] = {}
        for resource in resources:
            self._kinds.setdefault(resource.kind, {})[resource.key] = resource

    def all(self, kind: str) -> Mapping[Key, Resource]:
        return self._kinds.get(kind, {})

    def of_node(self, kind: str, node: str) -> Mapping[Key, Resource]:
        """The kinds that stand on one node."""
        return {
            key: resource
            for key, resource in self.all(kind).items()
            if isinstance(resource, BlockAffinity | WorkloadEndpoint) and resource.spec.node == node
        }

    def version(self, kind: str) -> int:
        return 1
