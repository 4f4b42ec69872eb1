"""Adj-RIBs-In to Loc-RIB: what the neighbours told, and which of it is used.

Owns ``Rib``: the Loc-RIB (``best``: one chosen Path a prefix), the node's own routes, and the changes since they were last
taken. The Adj-RIB-In of a neighbour is a dict of its ``Peer``; this room keeps both in step.

    learn, withdraw, forget, set_local  ->  best  ->  take_changes() -> [(prefixes, new Path | None), ...]

A change is the new state; each consumer (the kernel's table, an update group) knows what it had itself. Changes of one
prefix come in the order in which they happened, so applying all of them in order is always right.

The hot path is ``learn``. An UPDATE with prefixes that nobody else announces, and that is nearly all of them, costs three
dict operations for all of its prefixes together, at C speed; that is why Loc-RIB entries are one Path for the whole
UPDATE, and why the Adj-RIB-In holds bare attributes and not candidates. The price: when a best route goes, the candidates are
looked for in every Adj-RIB-In (25 ns a neighbour).

Left out: import policy and loop checks (the Speaker asks ``policy`` before ``learn``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agents.speaker.config import MAX_PRIORITY, NORMAL_PRIORITY
from agents.speaker.decision import (
    BETTER,
    PREFERENCE_BGP,
    PREFERENCE_STATIC,
    UNDECIDED,
    Path,
    compare,
    reasons,
    select,
)
from agents.speaker.peer import Peer
from protocol.bgp.attributes import Attributes
from protocol.prefix import Prefix

Change = tuple[Sequence[Prefix], Path | None]


class Rib:
    """The routing table of one speaker, one address family."""

    def __init__(self, normal_priority: int = NORMAL_PRIORITY) -> None:
        self._elevated_above = MAX_PRIORITY - normal_priority
        self.best: dict[Prefix, Path] = {}
        self.local: dict[Prefix, Path] = {}
        self._peers: dict[Peer, None] = {}  # those that told anything, in the order in which they began
        self._changes: list[Change] = []
        self._meds = False  # whether any route ever had one; see _lost

    def take_changes(self) -> list[Change]:
        changes, self._changes = self._changes, []
        return changes

    def set_normal_priority(self, priority: int) -> None:
        """From now on: a route of a better priority is an elevated one."""
        self._elevated_above = MAX_PRIORITY - priority
        for prefix in list(self.best):
            self._decide(prefix)

    def learn(self, peer: Peer, prefixes: Sequence[Prefix], attributes: Attributes) -> None:
        """The neighbour announces these prefixes; what it told of them before is replaced."""
        best = self.best
        table = peer.adj_rib_in
        if not table:
            self._peers[peer] = None
        if attributes.med:
            self._meds = True
        if len(prefixes) > 1 and best.keys().isdisjoint(prefixes):
            path = self._path(peer, attributes)
            best.update(dict.fromkeys(prefixes, path))
            table.update(dict.fromkeys(prefixes, attributes))
            self._changes.append((prefixes, path))
            return
        for prefix in prefixes:
            present = best.get(prefix)
            if present is None:
                table[prefix] = attributes
                self._choose(prefix, self._path(peer, attributes))
                continue
            replaced = table.get(prefix)
            if replaced is attributes:
                continue
            table[prefix] = attributes
            outcome = UNDECIDED if self._meds else compare(peer, attributes, present)
            if outcome == BETTER:
                self._choose(prefix, self._path(peer, attributes))
            elif outcome == UNDECIDED or present.peer is peer:
                # No pair decides this; or the best route got worse, and another may be better now.
                self._decide(prefix)

    def withdraw(self, peer: Peer, prefixes: Iterable[Prefix]) -> None:
        """The neighbour has these no more. Prefixes that it never announced are nothing."""
        table = peer.adj_rib_in
        for prefix in prefixes:
            if table.pop(prefix, None) is not None:
                self._lost(peer, prefix)

    def forget(self, peer: Peer) -> None:
        """All that the neighbour told is void."""
        gone, peer.adj_rib_in = peer.adj_rib_in, {}
        self._peers.pop(peer, None)
        for prefix in gone:
            self._lost(peer, prefix)

    def set_local(self, routes: Mapping[Prefix, Path]) -> None:
        """The node's own routes, all of them."""
        before, self.local = self.local, dict(routes)
        for prefix in before:
            if prefix not in routes:
                self._decide(prefix)
        for prefix, path in routes.items():
            if before.get(prefix) is not path:
                self._decide(prefix)

    def candidates(self, prefix: Prefix) -> list[Path]:
        """Every path to a prefix, in no order that matters."""
        found = [
            self._path(peer, attributes)
            for peer in self._peers
            if (attributes := peer.adj_rib_in.get(prefix)) is not None
        ]
        if own := self.local.get(prefix):
            found.append(own)
        return found

    def explain(self, prefix: Prefix) -> list[tuple[Path, str]]:
        """Every path to a prefix, best first, with the step of the decision process that decided."""
        found = self.candidates(prefix)
        return reasons(found) if found else []

    def _path(self, peer: Peer, attributes: Attributes) -> Path:
        # Calico's import filter: a route of elevated priority beats the static ones.
        elevated = attributes.local_pref is not None and attributes.local_pref > self._elevated_above
        preference = PREFERENCE_STATIC if elevated else PREFERENCE_BGP
        return Path(peer, attributes, (attributes.next_hop,), preference)

    def _lost(self, peer: Peer, prefix: Prefix) -> None:
        # A route that was neither the best nor one of its gateways is not missed; unless it was what ruled a third one out
        # by its MED.
        present = self.best.get(prefix)
        if present is None or present.peer is peer or len(present.hops) > 1 or self._meds:
            self._decide(prefix)

    def _decide(self, prefix: Prefix) -> None:
        found = self.candidates(prefix)
        if not found:
            if self.best.pop(prefix, None) is not None:
                self._changes.append(((prefix,), None))
            return
        winner, hops = select(found)
        if hops != winner.hops:
            winner = Path(winner.peer, winner.attributes, hops, winner.preference)
        present = self.best.get(prefix)
        if (
            present is not None
            and present.peer is winner.peer
            and present.attributes is winner.attributes
            and present.hops == winner.hops
            and present.preference == winner.preference  # all that tells a block from a workload
        ):
            return
        self._choose(prefix, winner)

    def _choose(self, prefix: Prefix, path: Path) -> None:
        self.best[prefix] = path
        self._changes.append(((prefix,), path))
