"""Loc-RIB to neighbours: update groups and their Adj-RIB-Out.

Owns ``UpdateGroup``: the neighbours that export policy treats alike, what all of them have been told (one Adj-RIB-Out
for the group), and the frames that tell them what is new. A route is filtered, rewritten, encoded and framed once per
group; a thousand clients of a reflector get the same bytes.

    note(changes)      the Loc-RIB's changes, newest state per prefix
    joined(peer)       it is sent the table as it stands, then End-of-RIB
    flush()            what changed: old and new are compared, and only what is owed goes out

One thing differs between members: nobody is told its own routes back. An entry remembers who the route came from, and the
member's own view is the group's without the entries that came from it; ``_tell`` makes frames of its own for a member
that a change came from, or left.

A member whose link is full is not sent more: ``peer.owed`` collects the prefixes that changed for it, so memory is bounded by
the table and not by churn, and ``_pump`` tells it the newest state when the link drains. A joining member of a large table and a
ROUTE-REFRESH go the same way.

Left out: sockets (``send`` is the speaker's), which group a neighbour belongs to (``policy.ExportClass``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from agents.speaker.decision import Path
from agents.speaker.links import HIGH_WATER
from agents.speaker.peer import Peer
from agents.speaker.policy import ExportClass, may_tell, rewrite
from protocol.bgp.attributes import Attributes
from protocol.bgp.messages import Update
from protocol.bgp.wire import Codec
from protocol.prefix import Address, Prefix

Told = tuple[Attributes, Peer | None]
"""An entry of the Adj-RIB-Out: attributes as sent, and the neighbour the route came from."""

TableChange = tuple[Prefix, Told | None, Told | None]
"""(prefix, old, new) in the Adj-RIB-Out."""

Send = Callable[[Peer, bytes, int, int], None]
"""(neighbour, frames, prefixes announced, prefixes withdrawn)"""

PUMP = 4096
"""Prefixes told at a time to a member that lags."""


class UpdateGroup:
    """See the module."""

    def __init__(
        self, key: ExportClass, *, family: int, router_id: Address, priority: int, codec: Codec, send: Send
    ) -> None:
        self.key = key
        self.members: dict[Peer, None] = {}
        self.adj_rib_out: dict[Prefix, Told] = {}
        self.lagging: dict[Peer, None] = {}
        self._family = family
        self._router_id = router_id
        self.priority = priority
        """Of our own routes, as LOCAL_PREF tells it; who changes it notes every prefix again."""
        self._codec = codec
        self._send = send
        self._pending: dict[Prefix, Path | None] = {}
        self._joining: list[Peer] = []
        self._end_of_rib = codec.encode(Update(family=family))
        self._rewritten: dict[tuple[Attributes, Peer | None], Attributes] = {}

    # --- what is new ------------------------------------------------------------------------------------------------

    def note(self, prefixes: Sequence[Prefix], path: Path | None) -> None:
        """These prefixes have this best path now, or none."""
        if path is None or not may_tell(path.peer, self.key):
            # Nothing to tell; but it may have been told before.
            if not self.adj_rib_out.keys().isdisjoint(prefixes) or (
                self._pending and not self._pending.keys().isdisjoint(prefixes)
            ):
                self._pending.update(dict.fromkeys(prefixes, None))
            return
        self._pending.update(dict.fromkeys(prefixes, path))

    def joined(self, peer: Peer) -> None:
        """Its session is Established."""
        self._joining.append(peer)

    def left(self, peer: Peer) -> None:
        """Its session is down; what it was told is void."""
        self.members.pop(peer, None)
        self.lagging.pop(peer, None)
        if peer in self._joining:
            self._joining.remove(peer)
        peer.owed, peer.end_of_rib_owed = None, False

    def refresh(self, peer: Peer) -> None:
        """ROUTE-REFRESH (RFC 2918): tell it everything again."""
        if peer in self.members:  # else it is about to be told everything for the first time
            self._fall_behind(
                peer, {prefix: source is not peer for prefix, (_, source) in self.adj_rib_out.items()}
            )

    # --- what goes out ----------------------------------------------------------------------------------------------

    def flush(self, accepts: Callable[[Prefix], bool]) -> None:
        """Bring every member up to date."""
        if self._pending and not self.members:
            self._advertise(accepts)
        if self._joining:
            self._greet()
        if self._pending:
            self._advertise(accepts)
        for peer in list(self.lagging):
            self._pump(peer)

    def _pump(self, peer: Peer) -> None:
        """Tell a lagging member more of what it is owed, if its link takes it."""
        if peer.owed and peer.link is not None and peer.link.queued <= HIGH_WATER:
            batch = dict(itertools.islice(peer.owed.items(), PUMP))
            told = [
                (prefix, entry)
                for prefix in batch
                if (entry := self.adj_rib_out.get(prefix)) is not None and entry[1] is not peer
            ]
            gone = batch.keys() - {prefix for prefix, _ in told}
            withdrawn = [prefix for prefix, had in batch.items() if had and prefix in gone]
            frames = self._codec.update_frames(self._family, withdrawn=withdrawn)
            frames += [frame for _, frame in self._announcements(told)]
            for prefix in batch:
                del peer.owed[prefix]
            if frames:
                self._send(peer, b"".join(frames), len(told), len(withdrawn))
        if not peer.owed:
            if peer.end_of_rib_owed:
                self._send(peer, self._end_of_rib, 0, 0)
            peer.owed, peer.end_of_rib_owed = None, False
            self.lagging.pop(peer, None)

    def _greet(self) -> None:
        """The table as it stands, then End-of-RIB: the same bytes for all, but for those whose own routes are in it."""
        joining, self._joining = self._joining, []
        frames = [frame for _, frame in self._announcements(self.adj_rib_out.items())]
        table = b"".join(frames) + self._end_of_rib
        for peer in joining:
            self.members[peer] = None
            own = any(
                self.adj_rib_out[prefix][1] is peer
                for prefix in peer.adj_rib_in
                if prefix in self.adj_rib_out
            )
            if len(table) <= HIGH_WATER and not own:
                self._send(peer, table, len(self.adj_rib_out), 0)
            else:
                peer.end_of_rib_owed = True
                self._fall_behind(peer, dict.fromkeys(self.adj_rib_out, False))

    def _advertise(self, accepts: Callable[[Prefix], bool]) -> None:
        pending, self._pending = self._pending, {}
        table = self.adj_rib_out
        changes: list[TableChange] = []
        for prefix, path in pending.items():
            old = table.get(prefix)
            if path is None or not accepts(prefix):
                if old is not None:
                    del table[prefix]
                    changes.append((prefix, old, None))
                continue
            new = (self._rewrite(path.attributes, path.peer), path.peer)
            if old is None or old[0] is not new[0] or old[1] is not new[1]:
                table[prefix] = new
                changes.append((prefix, old, new))
        self._rewritten.clear()
        if changes:
            self._tell(changes)

    def _tell(self, changes: list[TableChange]) -> None:
        frames = self._announcements((prefix, new) for prefix, _, new in changes if new is not None)
        withdrawn = [prefix for prefix, _, new in changes if new is None]
        to_all = b"".join(self._codec.update_frames(self._family, withdrawn=withdrawn))
        to_all += b"".join(frame for _, frame in frames)
        concerned = {entry[1] for _, old, new in changes for entry in (old, new) if entry is not None}
        for peer in self.members:
            if peer.owed is not None or (peer.link is not None and peer.link.queued > HIGH_WATER):
                self._fall_behind(
                    peer, {prefix: old is not None and old[1] is not peer for prefix, old, _ in changes}
                )
            elif peer in concerned:
                mine = [
                    prefix
                    for prefix, old, new in changes
                    if old is not None and old[1] is not peer and (new is None or new[1] is peer)
                ]
                told = [frame for source, frame in frames if source is not peer]
                if mine or told:
                    own = sum(new is not None and new[1] is not peer for _, _, new in changes)
                    data = b"".join(self._codec.update_frames(self._family, withdrawn=mine) + told)
                    self._send(peer, data, own, len(mine))
            else:
                self._send(peer, to_all, len(changes) - len(withdrawn), len(withdrawn))

    def _fall_behind(self, peer: Peer, owed: dict[Prefix, bool]) -> None:
        """It cannot take more now. What it holds of a prefix is known from the first time the prefix is owed."""
        if peer.owed is None:
            peer.owed = {}
            self.lagging[peer] = None
        for prefix, holds in owed.items():
            peer.owed.setdefault(prefix, holds)

    def _announcements(self, routes: Iterable[tuple[Prefix, Told]]) -> list[tuple[Peer | None, bytes]]:
        """Frames that announce these routes, one attribute set each, with the neighbour the routes came from."""
        buckets: dict[Told, list[Prefix]] = {}
        for prefix, told in routes:
            bucket = buckets.get(told)
            if bucket is None:
                buckets[told] = [prefix]
            else:
                bucket.append(prefix)
        return [
            (source, frame)
            for (attributes, source), prefixes in buckets.items()
            for frame in self._codec.update_frames(self._family, nlri=prefixes, attributes=attributes)
        ]

    def _rewrite(self, attributes: Attributes, source: Peer | None) -> Attributes:
        known = self._rewritten.get((attributes, source))
        if known is None:
            known = self._codec.attributes.intern(
                rewrite(attributes, source, self.key, router_id=self._router_id, priority=self.priority)
            )
            self._rewritten[attributes, source] = known
        return known
