"""Which neighbours are told what: the update groups of one speaker.

Owns ``Exports``: the groups by their class, who is in which, and what each must hear of the Rib's changes. A neighbour
joins when its session is up, because its class depends on what the OPENs agreed (add-path).

    came_up, went_down      one neighbour
    hold, release           one that is up and told nothing yet (``recovery``)
    reconfigured            other filters, or another policy: the shortest way to what each neighbour should hold
    flush                   the Rib's changes, to all groups and out

When all members of a group get the same new filters the group stays, with the Adj-RIB-Out that they know, and only what differs
is told. A member that leaves its group for another is told everything again, and what it may not keep is withdrawn.

Left out: what a group says (``groups``), and whether it may (``policy``).
"""

from __future__ import annotations

from collections.abc import Iterable

from agents.speaker.config import ExportPolicy
from agents.speaker.decision import PREFERENCE_BGP, Path
from agents.speaker.groups import BEST, Send, UpdateGroup
from agents.speaker.links import HIGH_WATER
from agents.speaker.peer import Peer
from agents.speaker.policy import ExportClass, Exporter
from agents.speaker.rib import Change, Rib
from protocol.bgp.attributes import Attributes
from protocol.bgp.messages import AddPath
from protocol.bgp.wire import Codec
from protocol.prefix import Address


class Exports:
    """See the module."""

    def __init__(
        self,
        rib: Rib,
        *,
        family: int,
        router_id: Address,
        policy: ExportPolicy | None,
        codec: Codec,
        send: Send,
    ) -> None:
        self._rib = rib
        self._family = family
        self._router_id = router_id
        self._policy = policy
        self._codec = codec
        self._send = send
        self._groups: dict[ExportClass, UpdateGroup] = {}
        self._classes: dict[object, ExportClass] = {}  # a mesh has a session for every node, and one class
        self._told_on: dict[tuple[int, bool, bool], bool] = {}
        self._held: dict[Peer, None] = {}

    def hold(self, peer: Peer) -> None:
        """Its session is Established; others may hear what it tells, and it hears nothing itself until ``release``."""
        self._held[peer] = None
        peer.told_on = self._is_told_on(peer)

    def release(self) -> None:
        for peer in self._held:
            self.came_up(peer)
        self._held.clear()

    def came_up(self, peer: Peer) -> None:
        """Its session is Established."""
        group = self._group(self._class_of(peer))
        peer.group = group
        peer.told_on = self._is_told_on(peer)
        group.joined(peer)

    def went_down(self, peer: Peer) -> None:
        self._held.pop(peer, None)
        if peer.group is not None:
            peer.group.left(peer)
            peer.group = None

    def reconfigured(self, policy: ExportPolicy | None, peers: Iterable[Peer]) -> None:
        """The policy, and the configurations of all neighbours whose sessions live on."""
        peers = [peer for peer in peers if peer.group is not None]
        changed = policy != self._policy
        self._policy = policy
        moves: dict[UpdateGroup, dict[ExportClass, list[Peer]]] = {}
        for peer in peers:
            assert peer.group is not None
            moves.setdefault(peer.group, {}).setdefault(self._class_of(peer), []).append(peer)
        for group, targets in moves.items():
            if len(targets) == 1:
                [key] = targets
                if key != group.key and key not in self._groups:
                    del self._groups[group.key]
                    group.key = key
                    self._groups[key] = group
                    self._renew(group)
        if changed:
            for group in self._groups.values():
                self._renew(group)
        for group, targets in moves.items():
            for key, movers in targets.items():
                if key != group.key:
                    for peer in movers:
                        peer.group = self._group(key)
                        peer.group.take_over(peer, group)
        for key in [key for key, group in self._groups.items() if group.empty]:
            del self._groups[key]
        self._classes.clear()
        if moves or changed:
            self._look_again(peers)

    def has_room(self) -> bool:
        """Whether a neighbour that lags can be told more at once."""
        return any(
            peer.link is not None and peer.link.queued <= HIGH_WATER
            for group in self._groups.values()
            for peer in group.lagging
        )

    def flush(self, changes: Iterable[Change]) -> None:
        """Every neighbour hears what is new. ``changes`` are those of best paths."""
        groups = self._groups.values()
        everything = [group for group in groups if group.key.add_path]
        best_alone = [group for group in groups if not group.key.add_path]
        for key, prefixes, path in self._rib.take_paths():
            for group in everything:
                group.note(key, prefixes, path)
        if best_alone:
            for prefixes, path in changes:
                for group in best_alone:
                    group.note(BEST, prefixes, path)
        for group in groups:
            group.flush()

    # --- groups -----------------------------------------------------------------------------------------------------

    def _class_of(self, peer: Peer) -> ExportClass:
        config = peer.config
        key = (
            config.local_as, config.peer_as, config.local_address, config.rr_client, config.cluster_id, config.next_hop,
            config.export_filters, peer.session.agreed(self._family, AddPath.SEND), _is_llgr_aware(peer),
        )  # fmt: skip
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = ExportClass.of(config, add_path=key[-2], llgr_aware=key[-1])
        return found

    def _group(self, key: ExportClass) -> UpdateGroup:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = UpdateGroup(
                key, self._exporter(key), family=self._family, codec=self._codec, send=self._send
            )
            # All that are up, not only those that told anything yet: what they tell next is for this group too.
            self._look_again([peer for each in self._groups.values() for peer in each.everyone])
            self._offer_all(group)
        return group

    def _exporter(self, key: ExportClass) -> Exporter:
        return Exporter(key, self._policy, router_id=self._router_id, intern=self._codec.attributes.intern)

    def _renew(self, group: UpdateGroup) -> None:
        group.exporter = self._exporter(group.key)
        self._offer_all(group)

    def _offer_all(self, group: UpdateGroup) -> None:
        if not group.key.add_path:
            for prefix, path in self._rib.best.items():
                group.note(BEST, (prefix,), path)
            return
        for routes in self._rib.local.values():
            for prefix, path in routes.items():
                group.note(path.key, (prefix,), path)
        for peer in self._rib.peers:
            if peer.told_on:
                for prefix, path in self._rib.paths(peer):
                    group.note(path.key, (prefix,), path)

    # --- whose routes are told on -----------------------------------------------------------------------------------

    def _look_again(self, peers: Iterable[Peer]) -> None:
        """Those that are up, and those whose routes outlive their session."""
        self._told_on.clear()
        for peer in {**dict.fromkeys(peers), **self._held, **self._rib.peers}:
            peer.told_on = self._is_told_on(peer)

    def _is_told_on(self, peer: Peer) -> bool:
        """Whether any group with add-path is told this neighbour's routes: in a plain mesh there is none."""
        key = (peer.config.local_as, peer.internal, peer.config.rr_client)
        known = self._told_on.get(key)
        if known is None:
            plain = Path(peer, Attributes(next_hop=peer.address), (), PREFERENCE_BGP)
            known = self._told_on[key] = any(
                group.key.add_path and group.exporter.may_tell(plain) for group in self._groups.values()
            )
        return known


def _is_llgr_aware(peer: Peer) -> bool:
    opened = peer.session.peer_open
    return opened is not None and opened.capabilities.long_lived is not None
