"""Asking the oracle.

Owns ``Oracle``: what is kept between two questions, and the choice of who answers. The documents are taken when it is
asked, in one go (``snapshot``); what follows needs nothing else, may last a second or two for a large
cluster that is not plain, and may therefore happen in another thread. Documents never change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import attrs

from cluster.oracle.choice import plain
from cluster.oracle.expected import Expected
from cluster.oracle.facts import gather
from cluster.oracle.general import General
from protocol.sync.messages import NODE_KINDS, SHARED_KINDS

Document = dict[str, Any]


@attrs.frozen
class Snapshot:
    """The documents of every kind that decides about routes, in key order."""

    documents: dict[str, list[Document]]

    def list_kind(self, kind: str) -> list[Document]:
        return self.documents.get(kind, [])


def snapshot(list_kind: Callable[[str], list[Document]]) -> Snapshot:
    return Snapshot({kind: list_kind(kind) for kind in sorted(SHARED_KINDS | NODE_KINDS)})


class Oracle:
    """``env`` is what the nodes' confd has as environment."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._general = General(env or {})

    def expect(
        self,
        documents: Snapshot,
        *,
        down: Collection[str] = (),
        cut: Iterable[tuple[str, str]] = (),
    ) -> Expected:
        """``down`` nodes are dead, ``cut`` pairs cannot talk."""
        if plain(documents.list_kind):
            return Expected(gather(documents.list_kind, down=down, cut=cut))
        return Expected(tables=self._general.solve(documents.documents, down=down, cut=cut))
