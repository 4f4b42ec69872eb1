"""What a speaker is asked: its tables as plain values, made when somebody asks.

Owns ``Inspector``, a look at one speaker at one moment. It reads and never changes. The speaker lives on a clock that only
measures; ``wall`` says what Unix time that moment is, so that people get dates.

A route's age is not kept, because that would cost more memory than the routes: it is shown as old as the session that
brought it.
"""

from __future__ import annotations

from agents.dataplane.fib import Fib
from agents.speaker.decision import PREFERENCE_STATIC, Path
from agents.speaker.groups import UpdateGroup
from agents.speaker.peer import Peer
from agents.speaker.speaker import Speaker
from agents.speaker.status import BgpStatus, RouteSource, RouteStatus, SpeakerStatus
from protocol.bgp.fsm import STATE_NAMES, State
from protocol.bgp.messages import Capabilities
from protocol.prefix import Prefix, sort_key


class Inspector:
    """One speaker and its FIB. ``now`` is the speaker's clock, ``wall`` the Unix time of the same moment."""

    def __init__(self, speaker: Speaker, fib: Fib, *, now: float, wall: float) -> None:
        self._speaker = speaker
        self._fib = fib
        self._now = now
        self._offset = wall - now

    def status(self) -> SpeakerStatus:
        """The speaker and all of its neighbours, in the order of their names."""
        speaker = self._speaker
        preferred: dict[Peer, int] = {}
        for path in speaker.rib.best.values():
            if path.peer is not None:
                preferred[path.peer] = preferred.get(path.peer, 0) + 1
        return SpeakerStatus(
            node=speaker.config.node,
            router_id=speaker.config.router_id,
            started=speaker.started + self._offset,
            reconfigured=speaker.reconfigured + self._offset,
            now=self._now + self._offset,
            peers=tuple(self._peer(speaker.peers[name], preferred) for name in sorted(speaker.peers)),
        )

    def routes(
        self, *, prefix: Prefix | None = None, protocol: str | None = None, export_to: str | None = None
    ) -> list[RouteStatus]:
        """Routes of the table, best of a prefix first; or what a neighbour has been told (``export_to``)."""
        if export_to is not None:
            return self._exported(export_to, prefix)
        best = self._speaker.rib.best
        prefixes = sorted(best, key=sort_key) if prefix is None else [prefix] * (prefix in best)
        found = [
            self._route(each, path, why) for each in prefixes for path, why in self._speaker.rib.explain(each)
        ]
        return found if protocol is None else [route for route in found if route.protocol == protocol]

    def _exported(self, name: str, prefix: Prefix | None) -> list[RouteStatus]:
        peer = self._speaker.peers.get(name)
        if peer is None or not peer.up:
            return []
        told = _told(self._speaker.group_of(peer), peer)
        prefixes = sorted(told if prefix is None else told & {prefix}, key=sort_key)
        return [self._route(each, *self._speaker.rib.explain(each)[0]) for each in prefixes]

    def _route(self, prefix: Prefix, path: Path, why: str) -> RouteStatus:
        speaker = self._speaker
        chosen = speaker.rib.best[prefix]
        best = chosen.peer is path.peer and chosen.attributes is path.attributes
        if path.peer is not None:
            return RouteStatus(
                prefix=prefix,
                source=RouteSource.BGP,
                protocol=path.peer.config.name,
                neighbour=path.peer.address,
                gateway=path.attributes.next_hop,
                device="",
                preference=path.preference,
                best=best,
                since=path.peer.since + self._offset,
                internal=path.peer.internal,
                attributes=path.attributes,
                reason=why,
            )
        source = RouteSource.STATIC if path.preference == PREFERENCE_STATIC else RouteSource.KERNEL
        known = self._fib.routes.get(prefix)
        return RouteStatus(
            prefix=prefix,
            source=source,
            protocol=source.value,
            neighbour=None,
            gateway=None,
            device=known.device if known is not None else "",
            preference=path.preference,
            best=best,
            since=speaker.started + self._offset,
            internal=False,
            attributes=None,
            reason=why,
        )

    def _peer(self, peer: Peer, preferred: dict[Peer, int]) -> BgpStatus:
        session = peer.session
        stanza = peer.config
        return BgpStatus(
            name=stanza.name,
            kind=stanza.kind.value,
            address=stanza.address,
            local_address=stanza.local_address,
            peer_as=stanza.peer_as,
            local_as=stanza.local_as,
            peer_id=session.peer_open.identifier if session.peer_open is not None else None,
            protocol_state="up" if peer.up else "start",
            bgp_state="Passive"
            if stanza.passive and session.state is State.ACTIVE
            else STATE_NAMES[session.state],
            since=peer.since + self._offset,
            last_error=session.last_error,
            capabilities=_words(session.peer_open.capabilities) if session.peer_open is not None else (),
            internal=peer.internal,
            rr_client=stanza.rr_client,
            hold_time=session.hold_time,
            hold_left=session.hold_left(self._now),
            keepalive_time=session.keepalive_time,
            keepalive_left=session.keepalive_left(self._now),
            imported=len(peer.adj_rib_in),
            exported=_count_told(self._speaker.group_of(peer), peer) if peer.up else 0,
            preferred=preferred.get(peer, 0),
            updates_received=peer.updates_received,
            updates_sent=peer.updates_sent,
            withdraws_received=peer.withdraws_received,
            withdraws_sent=peer.withdraws_sent,
        )


def _told(group: UpdateGroup, peer: Peer) -> set[Prefix]:
    """What of the group's Adj-RIB-Out this member holds: not its own routes, not what it is still owed."""
    owed = peer.owed or {}
    held = {
        prefix
        for prefix, (_, source) in group.adj_rib_out.items()
        if source is not peer and prefix not in owed
    }
    return held | {prefix for prefix, holds in owed.items() if holds and prefix in group.adj_rib_out}


def _count_told(group: UpdateGroup, peer: Peer) -> int:
    """``len(_told(...))``, for all neighbours of a reflector at once: only its own routes are looked at."""
    if peer.owed is not None:
        return len(_told(group, peer))
    table = group.adj_rib_out
    own = sum(1 for prefix in peer.adj_rib_in if (told := table.get(prefix)) is not None and told[1] is peer)
    return len(table) - own


def _words(offered: Capabilities) -> tuple[str, ...]:
    """BIRD's names for ``Neighbor caps``."""
    words = ["refresh"] if offered.route_refresh else []
    if offered.graceful_restart is not None:
        words.append("restart-able")
    if offered.four_octet_as is not None:
        words.append("AS4")
    if offered.add_path:
        words.append("add-path")
    return tuple(words)
