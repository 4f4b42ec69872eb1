"""Loc-RIB to neighbours: update groups and their Adj-RIB-Out.

Owns ``UpdateGroup``: the neighbours that export policy treats alike, what all of them have been told (one Adj-RIB-Out
for the group), and the frames that tell them what is new. A route is filtered, rewritten, encoded and framed once per
group; a thousand clients of a reflector get the same bytes.

    note(key, prefixes, path)   whose path is what now, newest state per prefix
    joined(peer)                it is sent the table as it stands, then End-of-RIB
    flush()                     what changed: old and new are compared, and only what is owed goes out

Members with add-path (RFC 7911) are told every path to a prefix, the others the best alone, whose ``key`` is always BEST.
Each path that is told has a path ID, unique for its prefix and as small as can be: the Adj-RIB-Out is one dict a path ID, and so
is the Adj-RIB-In at the other end. A path keeps its ID as long as it is told; an ID that is free goes to the next.

One thing differs between members: nobody is told its own routes back. An entry remembers who the route came from, and the
member's own view is the group's without the entries that came from it. Frames are therefore made source by source, and who is
a source itself gets the bytes without its own; and a withdrawal, when another's path had the ID that its own has now.

A member whose link is full is not sent more: ``peer.owed`` collects the prefixes that changed for it, so memory is bounded by
the table and not by churn, and ``_pump`` tells it the newest state when the link drains. A joining member of a large table and a
ROUTE-REFRESH go the same way.

Left out: sockets (``send`` is the speaker's), which group a neighbour belongs to and what it may be told (``policy``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from agents.speaker.decision import Path, PathKey
from agents.speaker.links import HIGH_WATER
from agents.speaker.peer import Peer
from agents.speaker.policy import ExportClass, Exporter
from protocol.bgp.attributes import Attributes
from protocol.bgp.messages import Update
from protocol.bgp.wire import Codec
from protocol.prefix import Prefix

Told = tuple[Attributes, Peer | None]
"""An entry of the Adj-RIB-Out: attributes as sent, and the neighbour the route came from."""

Send = Callable[[Peer, bytes, int, int], None]
"""(neighbour, frames, prefixes announced, prefixes withdrawn)"""

BEST: PathKey | None = None
"""The key of what a group without add-path is told."""

PUMP = 4096
"""Prefixes told at a time to a member that lags."""

MAX_ENCODED = 1 << 14
"""Announcements remembered while members lag: four for each of 4,000 routes, 3 MB."""


@attrs.define
class _Share:
    """What is said of one source's routes: ``frames``, which stand at ``start`` to ``end`` of what is said in all."""

    withdrawn: dict[int, list[Prefix]] = attrs.field(factory=dict)  # by path ID
    announced: dict[tuple[int, Attributes], list[Prefix]] = attrs.field(factory=dict)
    start: int = 0
    end: int = 0

    def counts(self) -> tuple[int, int]:
        return sum(map(len, self.announced.values())), sum(map(len, self.withdrawn.values()))


@attrs.define
class _News:
    """What a group is told at one time, as bytes, and whose share of it is where."""

    data: bytes
    announced: int
    withdrawn: int
    shares: Mapping[Peer | None, _Share]

    def without(self, peer: Peer) -> tuple[bytes, int, int]:
        """For one who does not hear of its own routes."""
        share = self.shares.get(peer)
        if share is None:
            return self.data, self.announced, self.withdrawn
        announced, withdrawn = share.counts()
        data = self.data[: share.start] + self.data[share.end :]
        return data, self.announced - announced, self.withdrawn - withdrawn


class UpdateGroup:
    """See the module."""

    def __init__(
        self, key: ExportClass, exporter: Exporter, *, family: int, codec: Codec, send: Send
    ) -> None:
        self.key = key
        self.exporter = exporter
        """Who changes it notes every path again."""
        self.members: dict[Peer, None] = {}
        self.adj_rib_out: list[dict[Prefix, Told]] = [{}]
        """By path ID."""
        self.lagging: dict[Peer, None] = {}
        self._family = family
        self._codec = codec
        self._send = send
        self._pending: dict[PathKey | None, dict[Prefix, Path | None]] = {}
        self._ids: dict[PathKey | None, dict[Prefix, int]] = {}  # of the paths that are told
        self._used: dict[Prefix, int] = {}  # path IDs in use, one bit each
        self._joining: dict[Peer, None] = {}
        self._refreshing: dict[Peer, None] = {}
        self._encoded: dict[tuple[int, Attributes, tuple[Prefix, ...]], list[bytes]] = {}
        self._end_of_rib = codec.encode(Update(family=family))

    # --- what is new ------------------------------------------------------------------------------------------------

    def note(self, key: PathKey | None, prefixes: Sequence[Prefix], path: Path | None) -> None:
        """These prefixes have this path now, or none."""
        if path is None or not self.exporter.may_tell(path):
            # Nothing to tell; but it may have been told before.
            if key not in self._ids and key not in self._pending:
                return
            path = None
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = {}
        pending.update(dict.fromkeys(prefixes, path))

    def joined(self, peer: Peer) -> None:
        """Its session is Established."""
        self._joining[peer] = None

    def left(self, peer: Peer) -> None:
        """Its session is down; what it was told is void."""
        self.members.pop(peer, None)
        self.lagging.pop(peer, None)
        self._refreshing.pop(peer, None)
        self._joining.pop(peer, None)
        peer.owed, peer.end_of_rib_owed = None, False

    def refresh(self, peer: Peer) -> None:
        """ROUTE-REFRESH (RFC 2918): tell it everything again."""
        if peer in self.members:  # else it is about to be told everything for the first time
            self._refreshing[peer] = None

    def take_over(self, peer: Peer, other: UpdateGroup) -> None:
        """A member of another group is in this one from now on: it is told everything, and forgets what is not of it."""
        if peer not in other.members:  # its session has just come up
            other.left(peer)
            self.joined(peer)
            return
        holds: dict[int, dict[Prefix, bool]] = {}
        for path_id, table in enumerate(other.adj_rib_out):
            holds[path_id] = {prefix: True for prefix, (_, source) in table.items() if source is not peer}
        for path_id, owed in (peer.owed or {}).items():
            holds.setdefault(path_id, {}).update(owed)
        end_of_rib_owed = peer.end_of_rib_owed
        other.left(peer)
        peer.end_of_rib_owed = end_of_rib_owed
        self.members[peer] = None
        missing = len(other.adj_rib_out) - len(self.adj_rib_out)
        self.adj_rib_out += [{} for _ in range(missing)]  # IDs that were used there alone
        for path_id, table in enumerate(self.adj_rib_out):
            holds[path_id] = dict.fromkeys(table, False) | holds.get(path_id, {})
        for path_id, of_id in holds.items():
            self._fall_behind(peer, path_id, of_id)

    @property
    def everyone(self) -> Iterable[Peer]:
        """Members, and who is about to be one."""
        return itertools.chain(self.members, self._joining)

    @property
    def empty(self) -> bool:
        return not self.members and not self._joining

    def prefixes(self) -> set[Prefix]:
        return {prefix for table in self.adj_rib_out for prefix in table}

    def has_told(self, peer: Peer, prefix: Prefix, path: Path) -> bool:
        """Whether a member holds this path, which is the best one if the group has no add-path."""
        path_id = self._ids.get(path.key if self.key.add_path else BEST, {}).get(prefix)
        if path_id is None or path.peer is peer:
            return False
        return (peer.owed or {}).get(path_id, {}).get(prefix, True)

    def from_member(self, peer: Peer) -> int:
        """How many entries are this neighbour's own routes, which it is not told."""
        if self.key.add_path:
            return sum(len(self._ids.get((peer, path_id), ())) for path_id, _ in peer.adj_ribs_in())
        [table] = self.adj_rib_out
        own = {prefix for _, routes in peer.adj_ribs_in() for prefix in routes if prefix in table}
        return sum(1 for prefix in own if table[prefix][1] is peer)

    # --- what goes out ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Bring every member up to date."""
        if self._pending and not self.members:
            self._advertise()
        if self._joining or self._refreshing:
            self._greet()
        if self._pending:
            self._advertise()
        for peer in list(self.lagging):
            self._pump(peer)
        if not self.lagging:
            self._encoded.clear()

    def _pump(self, peer: Peer) -> None:
        """Tell a lagging member more of what it is owed, if its link takes it."""
        owed = peer.owed
        if owed and peer.link is not None and peer.link.queued <= HIGH_WATER:
            shares: dict[Peer | None, _Share] = {}
            room = PUMP
            for path_id in list(owed):
                table = self.adj_rib_out[path_id]
                of_id = owed[path_id]
                batch = list(itertools.islice(of_id.items(), room))
                room -= len(batch)
                for prefix, holds in batch:
                    del of_id[prefix]
                    told = table.get(prefix)
                    if told is not None and told[1] is not peer:
                        _add(shares, path_id, prefix, told)
                    elif holds:
                        shares.setdefault(None, _Share()).withdrawn.setdefault(path_id, []).append(prefix)
                if not of_id:
                    del owed[path_id]
                if not room:
                    break
            news = self._encode(shares)
            if news.data:
                self._send(peer, news.data, news.announced, news.withdrawn)
        if not owed:
            if peer.end_of_rib_owed:
                self._send(peer, self._end_of_rib, 0, 0)
            peer.owed, peer.end_of_rib_owed = None, False
            self.lagging.pop(peer, None)

    def _greet(self) -> None:
        """The table as it stands: the same bytes for all, but for those whose own routes are in it. End-of-RIB for the new."""
        joining, self._joining = self._joining, {}
        refreshing, self._refreshing = self._refreshing, {}
        shares: dict[Peer | None, _Share] = {}
        for path_id, table in enumerate(self.adj_rib_out):
            for prefix, told in table.items():
                _add(shares, path_id, prefix, told)
        news = self._encode(shares)
        everything = news.data + self._end_of_rib
        self.members |= joining
        for peer in (*joining, *refreshing):
            if len(everything) > HIGH_WATER or peer.owed is not None:
                peer.end_of_rib_owed |= peer in joining
                for path_id, table in enumerate(self.adj_rib_out):
                    self._fall_behind(
                        peer,
                        path_id,
                        {
                            prefix: peer in refreshing and source is not peer
                            for prefix, (_, source) in table.items()
                        },
                    )
                continue
            data, announced, _ = news.without(peer)
            if peer in joining:
                data = data + self._end_of_rib if data is not news.data else everything
            if data:
                self._send(peer, data, announced, 0)

    def _advertise(self) -> None:
        """Adj-RIB-Out to what it should be now, and tell the difference."""
        pending, self._pending = self._pending, {}
        before: dict[int, dict[Prefix, Told | None]] = {}  # by path ID: what was told of what has changed
        export = self.exporter.export
        tables = self.adj_rib_out
        for key, paths in pending.items():
            ids = self._ids.setdefault(key, {})
            for prefix, path in paths.items():
                said = None if path is None else export(prefix, path)
                path_id = ids.get(prefix)
                if path is None or said is None:
                    if path_id is not None:
                        del ids[prefix]
                        self._release(prefix, path_id)
                        before.setdefault(path_id, {}).setdefault(prefix, tables[path_id].pop(prefix))
                    continue
                if path_id is None:
                    path_id = ids[prefix] = self._allocate(prefix)
                old = tables[path_id].get(prefix)
                if old is None or old[0] is not said or old[1] is not path.peer:
                    before.setdefault(path_id, {}).setdefault(prefix, old)
                    tables[path_id][prefix] = (said, path.peer)
            if not ids:
                del self._ids[key]
        if before and self.members:
            self._tell(before)

    def _allocate(self, prefix: Prefix) -> int:
        used = self._used.get(prefix, 0)
        lowest_free = ~used & (used + 1)
        self._used[prefix] = used | lowest_free
        path_id = lowest_free.bit_length() - 1
        if path_id == len(self.adj_rib_out):
            self.adj_rib_out.append({})
        return path_id

    def _release(self, prefix: Prefix, path_id: int) -> None:
        used = self._used.pop(prefix) & ~(1 << path_id)
        if used:
            self._used[prefix] = used

    def _tell(self, before: dict[int, dict[Prefix, Told | None]]) -> None:
        shares: dict[Peer | None, _Share] = {}
        lost: dict[
            Peer, dict[int, list[Prefix]]
        ] = {}  # a member's own path has now the ID that another's had
        for path_id, olds in before.items():
            table = self.adj_rib_out[path_id]
            for prefix, old in olds.items():
                new = table.get(prefix)
                if new is None:
                    if old is not None:
                        share = shares.get(old[1])
                        if share is None:
                            share = shares[old[1]] = _Share()
                        share.withdrawn.setdefault(path_id, []).append(prefix)
                elif old is None or old[0] is not new[0] or old[1] is not new[1]:
                    _add(shares, path_id, prefix, new)
                    if old is not None and old[1] is not new[1] and new[1] is not None:
                        lost.setdefault(new[1], {}).setdefault(path_id, []).append(prefix)
        news = self._encode(shares)
        for peer in self.members:
            if peer.owed is not None or (peer.link is not None and peer.link.queued > HIGH_WATER):
                for path_id, olds in before.items():
                    self._fall_behind(
                        peer,
                        path_id,
                        {
                            prefix: old is not None and old[1] is not peer
                            for prefix, old in olds.items()
                            if old is not self.adj_rib_out[path_id].get(prefix)
                        },
                    )
                continue
            data, announced, withdrawn = news.data, news.announced, news.withdrawn
            if peer in shares:
                data, announced, withdrawn = news.without(peer)
            for path_id, prefixes in lost.get(peer, {}).items():
                data = b"".join(self._withdrawals(path_id, prefixes)) + data
                withdrawn += len(prefixes)
            if data:
                self._send(peer, data, announced, withdrawn)

    def _fall_behind(self, peer: Peer, path_id: int, owed: dict[Prefix, bool]) -> None:
        """It cannot take more now. What it holds of a prefix is known from the first time the prefix is owed."""
        if peer.owed is None:
            peer.owed = {}
            self.lagging[peer] = None
        known = peer.owed.get(path_id)
        if known is None:
            if owed:
                peer.owed[path_id] = owed
        else:
            for prefix, holds in owed.items():
                known.setdefault(prefix, holds)

    # --- frames -----------------------------------------------------------------------------------------------------

    def _encode(self, shares: Mapping[Peer | None, _Share]) -> _News:
        """Everything as bytes, source by source."""
        frames: list[bytes] = []
        position = announced = withdrawn = 0
        for share in shares.values():
            share.start = position
            first = len(frames)
            for path_id, prefixes in share.withdrawn.items():
                frames += self._withdrawals(path_id, prefixes)
                withdrawn += len(prefixes)
            for (path_id, attributes), prefixes in share.announced.items():
                frames += self._announcements(path_id, attributes, prefixes)
                announced += len(prefixes)
            position = share.end = position + sum(map(len, frames[first:]))
        return _News(b"".join(frames), announced, withdrawn, shares)

    def _announcements(self, path_id: int, attributes: Attributes, prefixes: Sequence[Prefix]) -> list[bytes]:
        """Members that lag are told the same, one after the other: what was encoded for the first is there for the next."""
        key = (path_id, attributes, tuple(prefixes))
        frames = self._encoded.get(key)
        if frames is None:
            frames = self._codec.update_frames(
                self._family, nlri=prefixes, attributes=attributes, path_id=path_id
            )
            if self.lagging:
                if len(self._encoded) >= MAX_ENCODED:
                    self._encoded.clear()
                self._encoded[key] = frames
        return frames

    def _withdrawals(self, path_id: int, prefixes: Sequence[Prefix]) -> Iterable[bytes]:
        return self._codec.update_frames(self._family, withdrawn=prefixes, path_id=path_id)


def _add(shares: dict[Peer | None, _Share], path_id: int, prefix: Prefix, told: Told) -> None:
    attributes, source = told
    share = shares.get(source)
    if share is None:
        share = shares[source] = _Share()
    prefixes = share.announced.get((path_id, attributes))
    if prefixes is None:
        share.announced[path_id, attributes] = [prefix]
    else:
        prefixes.append(prefix)
