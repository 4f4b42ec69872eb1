"""What a speaker is asked: its tables as plain values, made when somebody asks.

Owns ``Inspector``, a look at one speaker at one moment. It reads and never changes. The speaker lives on a clock that only
measures; ``wall`` says what Unix time that moment is, so that people get dates.

A route's age is not kept, because that would cost more memory than the routes: it is shown as old as the session that
brought it.
"""

from __future__ import annotations

import attrs

from agents.speaker.decision import Path, RouteSource
from agents.speaker.groups import UpdateGroup
from agents.speaker.peer import Peer
from agents.speaker.speaker import Speaker
from agents.speaker.status import BgpStatus, RouteStatus, SpeakerStatus
from protocol.bgp.fsm import STATE_NAMES, State
from protocol.bgp.messages import AddPath, Capabilities
from protocol.bgp.session import Session
from protocol.prefix import Prefix, sort_key


class Inspector:
    """One speaker. ``now`` is its clock, ``wall`` the Unix time of the same moment."""

    def __init__(self, speaker: Speaker, *, now: float, wall: float) -> None:
        self._speaker = speaker
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
            recovery_left=None if speaker.recovery is None else speaker.recovery.until - self._now,
        )

    def routes(
        self, *, prefix: Prefix | None = None, protocol: str | None = None, export_to: str | None = None
    ) -> list[RouteStatus]:
        """Routes of the table, best of a prefix first; or what a neighbour or kernel1 has been told (``export_to``)."""
        if export_to == RouteSource.KERNEL.value:
            return self._programmed(prefix)
        if export_to is not None:
            return self._exported(export_to, prefix)
        best = self._speaker.rib.best
        prefixes = sorted(best, key=sort_key) if prefix is None else [prefix] * (prefix in best)
        found = [
            self._route(each, path, why) for each in prefixes for path, why in self._speaker.rib.explain(each)
        ]
        return found if protocol is None else [route for route in found if route.protocol == protocol]

    def _programmed(self, prefix: Prefix | None) -> list[RouteStatus]:
        """As ``merge paths`` makes them: one route a prefix, with all of its gateways."""
        rib = self._speaker.rib
        found = []
        for each in sorted(rib.best, key=sort_key) if prefix is None else [prefix]:
            route = self._speaker.to_kernel(each)
            if route is not None:
                status = self._route(each, *rib.explain(each)[0])
                found.append(attrs.evolve(status, gateways=route.gateways, device=route.device))
        return found

    def _exported(self, name: str, prefix: Prefix | None) -> list[RouteStatus]:
        peer = self._speaker.peers.get(name)
        if peer is None or peer.group is None:
            return []
        rib, group = self._speaker.rib, peer.group
        prefixes = group.prefixes() if prefix is None else {prefix}
        return [
            self._route(each, path, why)
            for each in sorted(prefixes, key=sort_key)
            for path, why in rib.explain(each)[: None if group.key.add_path else 1]
            if group.has_told(peer, each, path)
        ]

    def _route(self, prefix: Prefix, path: Path, why: str) -> RouteStatus:
        speaker = self._speaker
        best = speaker.rib.best[prefix].key == path.key
        peer = path.peer
        if peer is not None:
            return RouteStatus(
                prefix=prefix,
                source=RouteSource.BGP,
                protocol=peer.config.name,
                neighbour=peer.address,
                gateways=path.hops,
                device="",
                preference=path.preference,
                best=best,
                since=peer.since + self._offset,
                internal=peer.internal,
                attributes=path.attributes,
                reason=why,
                metric=path.metric,
            )
        return RouteStatus(
            prefix=prefix,
            source=path.source,
            protocol=path.source.value,
            neighbour=None,
            gateways=path.hops,
            device=path.ifname,
            preference=path.preference,
            best=best,
            since=speaker.started + self._offset,
            internal=False,
            attributes=None,
            reason=why,
            metric=path.metric,
        )

    def _peer(self, peer: Peer, preferred: dict[Peer, int]) -> BgpStatus:
        session = peer.session
        stanza = peer.config
        ahead = None if peer.disabled else self._speaker.waits_for(peer)
        return BgpStatus(
            name=stanza.name,
            kind=stanza.kind.value,
            address=stanza.address,
            local_address=stanza.local_address,
            peer_as=stanza.peer_as,
            local_as=stanza.local_as,
            peer_id=session.peer_open.identifier if session.peer_open is not None else None,
            protocol_state=_protocol_state(peer),
            bgp_state="Passive"
            if stanza.passive and session.state is State.ACTIVE
            else STATE_NAMES[session.state],
            since=peer.since + self._offset,
            last_error=session.last_error if ahead is None else f"Waits for {ahead.config.name}",
            add_path=_agreed(session, self._speaker.config.family),
            capabilities=_words(session.peer_open.capabilities) if session.peer_open is not None else (),
            internal=peer.internal,
            rr_client=stanza.rr_client,
            hold_time=session.hold_time,
            hold_left=session.hold_left(self._now),
            keepalive_time=session.keepalive_time,
            keepalive_left=session.keepalive_left(self._now),
            imported=peer.imported,
            exported=_count_told(peer.group, peer) if peer.group is not None else 0,
            preferred=preferred.get(peer, 0),
            updates_received=peer.updates_received,
            updates_filtered=peer.updates_filtered,
            updates_sent=peer.updates_sent,
            withdraws_received=peer.withdraws_received,
            withdraws_sent=peer.withdraws_sent,
            locks_recovery=self._speaker.recovery is not None and peer in self._speaker.recovery.locks,
            restarting=peer.restart is not None,
            restart_left=peer.restart.until - self._now if peer.restart is not None and not peer.up else 0.0,
        )


def _protocol_state(peer: Peer) -> str:
    if peer.up:
        return "wait" if peer.group is None else "up"
    return "down" if peer.disabled else "start"


def _count_told(group: UpdateGroup, peer: Peer) -> int:
    """How many paths a member holds; for all neighbours of a reflector at once: only its own routes are looked at."""
    table = sum(map(len, group.adj_rib_out)) - group.from_member(peer)
    missing = sum(
        not holds and (told := group.adj_rib_out[path_id].get(prefix)) is not None and told[1] is not peer
        for path_id, owed in (peer.owed or {}).items()
        for prefix, holds in owed.items()
    )
    return table - missing


def _agreed(session: Session, family: int) -> tuple[str, ...]:
    ways = {"add-path-rx": AddPath.RECEIVE, "add-path-tx": AddPath.SEND}
    return tuple(word for word, way in ways.items() if session.agreed(family, way))


def _words(offered: Capabilities) -> tuple[str, ...]:
    """BIRD's names for ``Neighbor caps``."""
    words = ["refresh"] if offered.route_refresh else []
    if offered.graceful_restart is not None:
        words.append("restart-able" if offered.graceful_restart.families else "restart-aware")
    if offered.long_lived is not None:
        words.append("llgr-able" if offered.long_lived else "llgr-aware")
    if offered.four_octet_as is not None:
        words.append("AS4")
    modes = [mode for _, mode in offered.add_path]
    words += ["add-path-rx"] * any(mode & AddPath.RECEIVE for mode in modes)
    words += ["add-path-tx"] * any(mode & AddPath.SEND for mode in modes)
    return tuple(words)
