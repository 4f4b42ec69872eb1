"""Adj-RIBs-In to Loc-RIB: what the neighbours told, and which of it is used.

Owns ``Rib``: the Loc-RIB, which is every path to every prefix, with ``best`` the chosen one of each; the node's own routes;
and the changes since they were last taken. The Adj-RIBs-In of a neighbour are dicts of its ``Peer``, one a path ID; this
room keeps all in step.

    learn, withdraw, forget, set_local  ->  best  ->  take_changes() -> [(prefixes, new best Path | None), ...]
                                        ->  take_paths() -> [(key, prefixes, Path | None), ...]

A change is the new state; each consumer (the kernel's table, an update group) knows what it had itself. Changes of one
prefix come in the order in which they happened, so applying all of them in order is always right. ``take_paths`` has not only
the best ones: what neighbours with add-path are told. Only paths of neighbours whose routes are told on are noted there.

The hot path is ``learn``. An UPDATE with prefixes that nobody else announces, and that is nearly all of them, costs three
dict operations for all of its prefixes together, at C speed; that is why Loc-RIB entries are one Path for the whole
UPDATE, and why the Adj-RIB-In holds bare attributes and not candidates. The price: when a best route goes, the candidates are
looked for in every Adj-RIB-In (25 ns each). What two paths alone do not decide is decided when the changes are taken, once,
however many neighbours spoke of it.

Left out: import policy and loop checks (the Speaker asks ``policy`` before ``learn``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from agents.speaker.config import MAX_PRIORITY, NORMAL_PRIORITY
from agents.speaker.decision import (
    BETTER,
    PREFERENCE_BGP,
    PREFERENCE_STATIC,
    UNDECIDED,
    Path,
    PathKey,
    RouteSource,
    compare,
    is_longer_way,
    reasons,
    select,
)
from agents.speaker.nexthop import NextHops
from agents.speaker.peer import Peer
from protocol.bgp.attributes import Attributes
from protocol.prefix import Address, Prefix

Change = tuple[Sequence[Prefix], Path | None]

PathChange = tuple[PathKey, Sequence[Prefix], Path | None]
"""Whose path to these prefixes, and what it is now."""


class Rib:
    """The routing table of one speaker, one address family. ``normal_priority`` None: no preference is ever raised."""

    def __init__(self, address: Address, normal_priority: int | None = NORMAL_PRIORITY) -> None:
        self.best: dict[Prefix, Path] = {}
        self.local: dict[RouteSource, Mapping[Prefix, Path]] = {}
        self._next_hops = NextHops(address)
        self._elevated_above = _elevated_above(normal_priority)
        self.peers: dict[Peer, None] = {}
        """Those that told anything, in the order in which they began."""
        self._changes: list[Change] = []
        self._paths: list[PathChange] = []
        self._unsure: dict[Prefix, None] = {}  # what is to be decided before the changes are taken
        self._meds = False  # whether any route ever had one; see _lost

    # --- outputs ----------------------------------------------------------------------------------------------------

    def take_changes(self) -> list[Change]:
        self._decide_all()
        changes, self._changes = self._changes, []
        return changes

    def take_paths(self) -> list[PathChange]:
        paths, self._paths = self._paths, []
        return paths

    def candidates(self, prefix: Prefix) -> list[Path]:
        """Every path to a prefix, in no order that matters."""
        found = []
        for peer in self.peers:
            attributes = peer.adj_rib_in.get(prefix)
            if attributes is not None:
                found.append(self._path(peer, 0, attributes))
            if peer.more_adj_ribs_in is not None:
                for path_id, table in peer.more_adj_ribs_in.items():
                    attributes = table.get(prefix)
                    if attributes is not None:
                        found.append(self._path(peer, path_id, attributes))
        for routes in self.local.values():
            own = routes.get(prefix)
            if own is not None:
                found.append(own)
        return found

    def explain(self, prefix: Prefix) -> list[tuple[Path, str]]:
        """Every path to a prefix, best first, with the step of the decision process that decided.

        Paths that lost by the same step stand in the order of their neighbours, whoever spoke first.
        """
        found = sorted(self.candidates(prefix), key=_place)
        return reasons(found) if found else []

    def paths(self, peer: Peer) -> Iterator[tuple[Prefix, Path]]:
        """All that one neighbour told."""
        for path_id, table in peer.adj_ribs_in():
            known: dict[Attributes, Path] = {}
            for prefix, attributes in table.items():
                path = known.get(attributes)
                if path is None:
                    path = known[attributes] = self._path(peer, path_id, attributes)
                yield prefix, path

    # --- inputs -----------------------------------------------------------------------------------------------------

    def set_normal_priority(self, priority: int | None) -> None:
        """From now on: a route of a better priority is an elevated one."""
        self._elevated_above = _elevated_above(priority)
        self._reconsider()

    def set_address(self, address: Address) -> None:
        """The node's own, which is no next hop."""
        self._next_hops = NextHops(address)
        self._resolve_anew()

    def learn(self, peer: Peer, prefixes: Sequence[Prefix], attributes: Attributes, path_id: int = 0) -> None:
        """The neighbour announces these prefixes; what it told of them before, with this path ID, is replaced."""
        best = self.best
        table = peer.adj_rib_in if path_id == 0 else peer.more(path_id)
        if not table:
            self.peers[peer] = None
        if attributes.med:
            self._meds = True
        path: Path | None = None
        if peer.told_on:
            path = self._path(peer, path_id, attributes)
            self._paths.append(((peer, path_id), prefixes, path))
        if len(prefixes) > 1 and best.keys().isdisjoint(prefixes):
            path = path or self._path(peer, path_id, attributes)
            best.update(dict.fromkeys(prefixes, path))
            table.update(dict.fromkeys(prefixes, attributes))
            self._changes.append((prefixes, path))
            return
        for prefix in prefixes:
            present = best.get(prefix)
            if present is None:
                table[prefix] = attributes
                path = best[prefix] = path or self._path(peer, path_id, attributes)
                self._changes.append(((prefix,), path))
                continue
            if table.get(prefix) is attributes:
                continue
            table[prefix] = attributes
            if self._meds or len(present.hops) > 1 or (present.peer is peer and present.path_id == path_id):
                # No two paths decide it; or what was best changes, and another may be now, or what one of its gateways came of.
                self._unsure[prefix] = None
            elif not is_longer_way(peer, attributes, present):
                path = path or self._path(peer, path_id, attributes)
                outcome = compare(path, present)
                if outcome == BETTER:
                    best[prefix] = path
                    self._changes.append(((prefix,), path))
                elif outcome == UNDECIDED:
                    self._unsure[prefix] = None

    def withdraw(self, peer: Peer, prefixes: Iterable[Prefix], path_id: int = 0) -> None:
        """The neighbour has these no more. Prefixes that it never announced are nothing."""
        table = peer.adj_rib_in if path_id == 0 else peer.more(path_id)
        gone = [prefix for prefix in prefixes if table.pop(prefix, None) is not None]
        if path_id and not table:
            peer.drop(path_id)
        if gone:
            self._lost(peer, path_id, gone)

    def forget(self, peer: Peer) -> None:
        """All that the neighbour told is void."""
        self.peers.pop(peer, None)
        for path_id, gone in peer.clear_adj_ribs_in():
            self._lost(peer, path_id, list(gone))

    def set_local(self, source: RouteSource, routes: Mapping[Prefix, Path]) -> None:
        """The node's own routes of one kind, all of them."""
        before = self.local.get(source, {})
        if routes == before:
            return
        self.local[source] = routes
        key: PathKey = (source, 0)
        for prefix in before:
            if prefix not in routes:
                self._unsure[prefix] = None
                self._paths.append((key, (prefix,), None))
        for prefix, path in routes.items():
            if before.get(prefix) is not path:
                self._unsure[prefix] = None
                self._paths.append((key, (prefix,), path))
        self._resolve_anew()

    # --- the decision -----------------------------------------------------------------------------------------------

    def _resolve_anew(self) -> None:
        own: dict[Prefix, Path] = {}
        for each in (RouteSource.KERNEL, RouteSource.STATIC, RouteSource.DIRECT):  # ascending preference
            own.update(self.local.get(each, {}))
        if self._next_hops.set_routes(own):
            self._reconsider()

    def _path(self, peer: Peer, path_id: int, attributes: Attributes) -> Path:
        # The end of Calico's import filter, which a BGPFilter's accept never reaches: elevated priority beats static routes.
        elevated = (
            attributes.local_pref is not None
            and attributes.local_pref > self._elevated_above
            and not attributes.settled
        )
        hops, metric = self._next_hops.resolve(attributes.next_hop)
        return Path(
            peer,
            attributes,
            attributes.gateways if hops is None else hops,
            PREFERENCE_STATIC if elevated else PREFERENCE_BGP,
            path_id,
            metric,
        )

    def _lost(self, peer: Peer, path_id: int, gone: Sequence[Prefix]) -> None:
        if peer.told_on:
            self._paths.append(((peer, path_id), gone, None))
        best = self.best
        for prefix in gone:
            # A route that was neither the best nor one of its gateways is not missed; unless it was what ruled a third one
            # out by its MED.
            present = best.get(prefix)
            if (
                present is None
                or (present.peer is peer and present.path_id == path_id)
                or len(present.hops) > 1
                or self._meds
            ):
                self._unsure[prefix] = None

    def _reconsider(self) -> None:
        self._unsure.update(dict.fromkeys(self.best))

    def _decide_all(self) -> None:
        unsure, self._unsure = self._unsure, {}
        for prefix in unsure:
            self._decide(prefix)

    def _decide(self, prefix: Prefix) -> None:
        found = self.candidates(prefix)
        if not found:
            if self.best.pop(prefix, None) is not None:
                self._changes.append(((prefix,), None))
            return
        winner, hops = select(found)
        if hops != winner.hops:
            winner = winner.through(hops)
        present = self.best.get(prefix)
        if present is None or not present.same(winner):
            self.best[prefix] = winner
            self._changes.append(((prefix,), winner))


def _elevated_above(normal_priority: int | None) -> int:
    return MAX_PRIORITY - normal_priority if normal_priority is not None else 1 << 32


def _place(path: Path) -> tuple[Address, int, int]:
    neighbour = Address(b"") if path.peer is None else path.peer.config.address
    return (neighbour, -path.preference, path.path_id)
