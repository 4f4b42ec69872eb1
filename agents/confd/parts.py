"""What confd makes of resources once for all nodes, made again only when it has to be.

Owns ``Part``, a value made of all resources of some kinds, and ``Reader``, which reads each resource once. Both give
back the very object that they gave before as long as it is equal, so that ``is`` tells whether anything is new.

Flow: a View counts versions by kind; a Part whose kinds have not moved is not even looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from protocol.v3.metadata import Key, Resource

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


class ResourceView(Protocol):
    """The part of ``agents.syncer.View`` that confd reads."""

    def all(self, kind: str) -> Mapping[Key, Resource]: ...
    def of_node(self, kind: str, node: str) -> Mapping[Key, Resource]: ...
    def version(self, kind: str) -> int: ...


class Part(Generic[T]):
    def __init__(self, view: ResourceView, kinds: tuple[type[Resource], ...], make: Callable[[], T]) -> None:
        self._view = view
        self._kinds = tuple(kind.kind for kind in kinds)
        self._make = make
        self._made: tuple[tuple[int, ...], T] | None = None

    def current(self) -> T:
        versions = tuple(map(self._view.version, self._kinds))
        if self._made is None:
            self._made = versions, self._make()
        elif self._made[0] != versions:
            old, new = self._made[1], self._make()
            self._made = versions, old if old == new else new
        return self._made[1]


class Reader(Generic[R, T]):
    """Reads the resources of one kind, each when it has changed. What is equal to the last reading stays that object."""

    def __init__(self, view: ResourceView, kind: type[R], read: Callable[[R], T]) -> None:
        self._view = view
        self._kind = kind
        self._read = read
        self._known: dict[Key, tuple[Resource, T]] = {}

    def all(self) -> dict[str, T]:
        """By name."""
        known, self._known = self._known, {}
        found: dict[str, T] = {}
        for key, resource in self._view.all(self._kind.kind).items():
            assert isinstance(resource, self._kind)
            entry = known.get(key)
            if entry is None:
                entry = resource, self._read(resource)
            elif entry[0] is not resource:
                new = self._read(resource)
                entry = resource, entry[1] if entry[1] == new else new
            self._known[key] = entry
            found[resource.metadata.name] = entry[1]
        return found
