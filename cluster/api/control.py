"""What the API asks of a running cluster. The coordinator is one; a test's fake is another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cluster.views import ClusterStatus, EventRow, PeerRow, RouteRow
from cluster.whatif.state import State

if TYPE_CHECKING:
    from cluster.faults import Faults
    from cluster.losswatch import LossWatch


class NoSuchNode(LookupError):
    """The cluster has no node of that name."""


class NodeDown(Exception):
    """The node is the cluster's, but nobody is there to answer: its shard is gone."""


class ClusterControl(Protocol):
    """Everything that names a node raises NoSuchNode or NodeDown; the text of either is for the user."""

    async def status(self) -> ClusterStatus: ...

    async def state(self) -> State:
        """All that a copy of the cluster is made of, at one revision."""

    async def birdc(self, node: str, family: int, command: str) -> str:
        """``agents.speaker.birdc.answer`` of that node's bird or bird6: lines with reply codes."""

    async def node_status(self, node: str) -> list[PeerRow]: ...

    async def ip_route(self, node: str, family: int) -> list[RouteRow]: ...

    async def events(self, node: str | None) -> list[EventRow]:
        """Of one node, or of all; of each the oldest first."""

    @property
    def faults(self) -> Faults:
        """What is wrong because somebody wanted it so."""

    async def fault(self, action: str, nodes: Sequence[str]) -> None:
        """``Faults.act``, when the cluster has started."""

    @property
    def losses(self) -> LossWatch:
        """What counts the losses, when it is asked to."""

    def request_down(self) -> None:
        """Begin to stop the cluster; returns at once."""
