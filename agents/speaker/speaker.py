"""The BGP speaker of one node: all of its sessions and routes, with no socket and no clock.

Owns the peers, the Rib and the update groups, and couples them. One function per arrow:

    bytes ─ Session ─ UPDATE ─ policy.admit ─ Adj-RIB-In ─ decision ─ Loc-RIB ─┬─ Fib (BIRD's kernel protocol)
                                                                               └─ UpdateGroup ─ Adj-RIB-Out ─ bytes

The shell (``agent``) waits for its Links, hands every event of a batch to ``handle``, and then does what ``take_effects``
returns: dial, send, close. A batch is decided once: however many neighbours spoke, each changed prefix is exported once and
each neighbour is written to once.

Configuration is declarative: ``configure`` and ``set_workloads`` take everything there is, the difference is found here. A peer
whose stanza changed restarts; a changed export policy only re-tells.

Timers are one heap, with one live entry a session. It is looked at when it is due and put back at the session's real next
deadline, so a message that moves the hold timer costs nothing; an entry that is not the session's ``call_at`` is void.

Left out: graceful restart, BGPFilter, recursive next hops.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Iterable

import attrs

from agents.dataplane.fib import BLACKHOLE, Fib, Routes
from agents.speaker.config import NORMAL_PRIORITY, ExportPolicy, PeerConfig, SpeakerConfig
from agents.speaker.decision import PREFERENCE_KERNEL, PREFERENCE_STATIC, Path
from agents.speaker.groups import UpdateGroup
from agents.speaker.links import HIGH_WATER, Link, LinkChange, LinkEvent
from agents.speaker.peer import Peer
from agents.speaker.policy import ExportClass, PrefixFilter, admit
from agents.speaker.rib import Rib
from protocol.bgp.attributes import Attributes
from protocol.bgp.errors import Cease
from protocol.bgp.fsm import State
from protocol.bgp.messages import Capabilities, GracefulRestart, Open, RouteRefresh, Update
from protocol.bgp.session import Session, SessionConfig, Signal
from protocol.bgp.wire import Codec
from protocol.prefix import Address, Prefix


@attrs.define
class Effects:
    """What the shell has to do, in this order. All that a link is to be sent goes out together."""

    sends: dict[Link, bytes] = attrs.field(factory=dict)
    closes: list[Link] = attrs.field(factory=list)
    dials: list[tuple[Session, Address]] = attrs.field(factory=list)

    def send(self, link: Link, data: bytes) -> None:
        before = self.sends.get(link)
        self.sends[link] = data if before is None else before + data


class Speaker:
    """See the module."""

    def __init__(
        self, config: SpeakerConfig, *, fib: Fib, routes: Routes, codec: Codec, rng: random.Random, now: float
    ) -> None:
        self.config = config
        self.rib = Rib(_normal_priority(config))
        self.peers: dict[str, Peer] = {}
        self.established = 0
        self.started = self.reconfigured = now
        self.strangers = 0
        """Connections from addresses that are nobody's."""
        self._fib = fib
        self._routes = routes
        self._codec = codec
        self._rng = rng
        self._running = False
        self._early: list[LinkEvent] = []
        """What neighbours that started first sent before ``start``."""
        self._filter = PrefixFilter(config.policy or ExportPolicy())
        self._groups: dict[ExportClass, UpdateGroup] = {}
        self._by_address: dict[Address, list[Peer]] = {}
        self._session_configs: dict[tuple[int, int, bool], SessionConfig] = {}
        self._opens: dict[int, bytes] = {}
        self._timers: list[tuple[float, int, Session]] = []
        self._order = itertools.count()
        self._effects = Effects()
        self._now = now
        self._workloads: frozenset[Prefix] = frozenset()
        self._set_origin(config.address)
        self._set_peers(config.peers, now)
        self._set_local_routes()

    # --- what it is told --------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to dial and to accept."""
        self._running = True
        for peer in self.peers.values():
            self._start_peer(peer, now)
        early, self._early = self._early, []
        self.handle(early, now)

    def configure(self, config: SpeakerConfig, now: float) -> None:
        """Everything confd knows, anew. Only what changed is touched."""
        old, self.config = self.config, config
        if config == old:
            return
        self.reconfigured = now
        identity = (config.address, config.router_id, config.local_as, config.family, config.timers)
        if identity != (old.address, old.router_id, old.local_as, old.family, old.timers):
            for peer in list(self.peers.values()):
                self._remove(peer, Cease.OTHER_CONFIGURATION_CHANGE, now)
            self._session_configs.clear()
            self._opens.clear()
            self._groups.clear()
            self._set_origin(config.address)
        self._set_peers(config.peers, now)
        if config.policy != old.policy:
            self._filter = PrefixFilter(config.policy or ExportPolicy())
            priority = _normal_priority(config)
            if priority != _normal_priority(old):
                self.rib.set_normal_priority(priority)
            for group in self._groups.values():
                group.priority = priority
                self._offer_all(group)
        self._set_local_routes()
        self._flush(now)

    def set_workloads(self, prefixes: Iterable[Prefix], now: float) -> None:
        """The /32 routes that Felix programmed and BIRD's kernel protocol learned; all of them."""
        self._workloads = frozenset(prefixes)
        self._set_local_routes()
        self._flush(now)

    def handle(self, events: list[LinkEvent], now: float) -> None:
        """A batch of network events; then every timer that is due; then one decision and one write each."""
        self._now = now
        if not self._running:
            self._early += events
            return
        for link, what in events:
            session = link.session
            if type(what) is bytes:
                if session is not None:
                    session.receive(what, now)
                    self._after(session, now)
            elif what is LinkChange.ACCEPTED:
                self._accept(link, now)
            elif session is not None:
                if what is LinkChange.CONNECTED:
                    session.connected(now, outgoing=True)
                    self._after(session, now)
                elif what is LinkChange.FAILED:
                    self._forget_link(session, link)
                    session.connection_failed(link.error, now)
                    self._after(session, now)
        timers = self._timers
        while timers and timers[0][0] <= now:
            deadline, _, session = heapq.heappop(timers)
            if session.call_at == deadline and session.owner is not None:
                session.call_at = math.inf
                session.rearm = True
                session.handle_timer(now)
                self._after(session, now)
        self._flush(now)

    def dialled(self, session: Session, link: Link) -> None:
        """The shell began to dial: this is the link."""
        link.session = session
        session.link = link

    # --- what it wants ----------------------------------------------------------------------------------------------

    def next_timer(self) -> float:
        """When ``handle`` must be called at the latest; ``-inf`` when a neighbour can be told more at once."""
        for group in self._groups.values():
            for peer in group.lagging:
                if peer.link is not None and peer.link.queued <= HIGH_WATER:
                    return -math.inf
        return self._timers[0][0] if self._timers else math.inf

    def take_effects(self) -> Effects:
        effects, self._effects = self._effects, Effects()
        effects.dials = [(session, to) for session, to in effects.dials if session.state is State.CONNECT]
        return effects

    # --- peers ------------------------------------------------------------------------------------------------------

    def _set_peers(self, wanted: tuple[PeerConfig, ...], now: float) -> None:
        stanzas = {stanza.name: stanza for stanza in wanted}
        for name, peer in list(self.peers.items()):
            stanza = stanzas.get(name)
            if stanza is None:
                self._remove(peer, Cease.PEER_DECONFIGURED, now)
            elif stanza != peer.config:
                self._remove(peer, Cease.OTHER_CONFIGURATION_CHANGE, now)
        for name, stanza in stanzas.items():
            if name not in self.peers:
                peer = Peer(stanza, self._new_session(stanza), now)
                peer.session.owner = peer
                self.peers[name] = peer
                self._by_address.setdefault(stanza.address, []).append(peer)
                if self._running:
                    self._start_peer(peer, now)

    def _remove(self, peer: Peer, why: Cease, now: float) -> None:
        for session in (peer.session, peer.rival):
            if session is not None:
                session.stop(why, now)
                self._after(session, now)
                session.owner = None
        del self.peers[peer.config.name]
        group = peer.group
        if (
            group is not None
            and not group.members
            and all(each.group is not group for each in self.peers.values())
        ):
            del self._groups[group.key]
        same = self._by_address[peer.address]
        same.remove(peer)
        if not same:
            del self._by_address[peer.address]

    def _start_peer(self, peer: Peer, now: float) -> None:
        peer.session.start(now)
        self._after(peer.session, now)

    def _new_session(self, stanza: PeerConfig) -> Session:
        key = (stanza.local_as, stanza.peer_as, stanza.passive)
        config = self._session_configs.get(key)
        if config is None:
            timers = self.config.timers
            config = self._session_configs[key] = SessionConfig(
                local_as=stanza.local_as,
                peer_as=stanza.peer_as,
                identifier=self.config.router_id,
                capabilities=self._capabilities(stanza.local_as),
                passive=stanza.passive,
                hold_time=timers.hold,
                keepalive_time=timers.keepalive,
                start_delay=timers.start_delay,
                connect_delay=timers.connect_delay,
                connect_retry=timers.connect_retry,
                idle_hold_min=timers.error_wait_min,
                idle_hold_max=timers.error_wait_max,
                idle_hold_forget=timers.error_forget,
                open_hold=timers.open_hold,
            )
        wire_open = self._opens.get(stanza.local_as)
        if wire_open is None:
            wire_open = self._opens[stanza.local_as] = self._codec.encode(
                Open(
                    asn=stanza.local_as,
                    hold_time=round(config.hold_time),
                    identifier=self.config.router_id,
                    capabilities=config.capabilities,
                )
            )
        return Session(config, self._codec, self._rng, wire_open)

    def _capabilities(self, local_as: int) -> Capabilities:
        family = self.config.family
        return Capabilities(
            families=(family,),
            four_octet_as=local_as,
            graceful_restart=GracefulRestart(families=((family, False),)),
        )

    # --- connections ------------------------------------------------------------------------------------------------

    def _accept(self, link: Link, now: float) -> None:
        peer = self._acceptor(link.remote)
        if peer is None:
            self._effects.closes.append(link)
            return
        session = peer.session
        if session.state is not State.ACTIVE:
            # We are dialling, or have dialled: two connections, one too many (RFC 4271 6.8).
            session = peer.rival = self._new_session(peer.config)
            session.owner = peer
            session.wait(now)
        link.session = session
        session.link = link
        session.connected(now, outgoing=False)
        self._after(session, now)

    def _acceptor(self, remote: Address) -> Peer | None:
        """Who waits for a connection from this address. An Established or Idle neighbour does not: BIRD refuses too."""
        candidates = self._by_address.get(remote)
        if candidates is None:
            self.strangers += 1
            return None
        for peer in candidates:
            if peer.session.state is State.ACTIVE and peer.session.link is None:
                return peer
        for peer in candidates:
            if peer.rival is None and peer.session.state in (
                State.CONNECT,
                State.OPEN_SENT,
                State.OPEN_CONFIRM,
            ):
                return peer
        return None

    def _forget_link(self, session: Session, link: Link) -> None:
        link.session = session.link = None
        peer = session.owner
        if peer is not None and peer.link is link:
            peer.link = None

    def _after(self, session: Session, now: float) -> None:
        """What every input to a session is followed by: send, look at its events, re-arm."""
        if session.outbox:
            if session.link is not None:
                self._effects.send(session.link, b"".join(session.outbox))
            session.outbox.clear()
        if session.events:
            events, session.events = session.events, []
            peer = session.owner
            for event in events:
                if type(event) is Update:
                    if peer.up:
                        self._learn(peer, event)
                else:
                    self._signal(peer, session, event, now)
        if session.rearm:
            session.rearm = False
            deadline = session.next_timer()
            if deadline < session.call_at:
                session.call_at = deadline
                heapq.heappush(self._timers, (deadline, next(self._order), session))

    def _signal(self, peer: Peer, session: Session, event: object, now: float) -> None:
        if event is Signal.DIAL:
            self._effects.dials.append((session, peer.address))
        elif event is Signal.CLOSE:
            link = session.link
            if link is not None:
                self._forget_link(session, link)
                self._effects.closes.append(link)
            if session is peer.rival:
                peer.rival = None
                session.owner = None
            elif peer.rival is not None and session.state is not State.CONNECT:
                session.owner = None
                peer.promote_rival()
        elif event is Signal.OPENED:
            loser = peer.loser(session, self.config.router_id)
            if loser is not None:
                loser.collision_dump(now)
                self._after(loser, now)
        elif event is Signal.ESTABLISHED:
            # One batch of bytes can bring a session up and end it.
            if session.state is State.ESTABLISHED:
                self._came_up(peer, session, now)
        elif event is Signal.DOWN and peer.up:
            self._went_down(peer, now)
        elif isinstance(event, RouteRefresh) and event.family == self.config.family:
            self.group_of(peer).refresh(peer)

    def _came_up(self, peer: Peer, session: Session, now: float) -> None:
        if session is peer.rival:
            loser = peer.session
            peer.promote_rival()
            self._retire(loser, now)
        elif peer.rival is not None:
            loser, peer.rival = peer.rival, None
            self._retire(loser, now)
        assert session.peer_open is not None
        peer.identifier = session.peer_open.identifier
        peer.link = session.link
        peer.up = True
        peer.since = now
        self.established += 1
        self.group_of(peer).joined(peer)

    def _retire(self, session: Session, now: float) -> None:
        """The other connection is Established: this one is no more."""
        session.stop(Cease.COLLISION, now)
        if session.link is not None:
            session.link.session = None
            self._effects.send(session.link, b"".join(session.outbox))
            self._effects.closes.append(session.link)
        session.owner = session.link = None

    def _went_down(self, peer: Peer, now: float) -> None:
        peer.up = False
        peer.since = now
        self.established -= 1
        self.group_of(peer).left(peer)
        self.rib.forget(peer)

    # --- routes -----------------------------------------------------------------------------------------------------

    def _learn(self, peer: Peer, update: Update) -> None:
        if update.family != self.config.family:
            return  # we did not offer it (RFC 4760 section 8), so there is no table for it
        peer.updates_received += len(update.nlri)
        if update.withdrawn:
            peer.withdraws_received += len(update.withdrawn)
            self.rib.withdraw(peer, update.withdrawn)
        attributes = update.attributes
        if attributes is not None:
            if not peer.internal and attributes.local_pref is not None:
                # RFC 4271 5.1.5: LOCAL_PREF from an external peer is ignored.
                attributes = self._codec.attributes.intern(attrs.evolve(attributes, local_pref=None))
            if admit(attributes, peer, self.config.router_id):
                self.rib.learn(peer, update.nlri, attributes)
            else:
                self.rib.withdraw(peer, update.nlri)

    def _set_origin(self, address: Address) -> None:
        attributes = self._codec.attributes.intern(Attributes(next_hop=address))
        self._static = Path(None, attributes, (), PREFERENCE_STATIC)
        self._kernel = Path(None, attributes, (), PREFERENCE_KERNEL)

    def _set_local_routes(self) -> None:
        local = dict.fromkeys(self._workloads, self._kernel)
        local.update((route.prefix, self._static) for route in self.config.statics)
        self.rib.set_local(local)

    def group_of(self, peer: Peer) -> UpdateGroup:
        """Whose Adj-RIB-Out a neighbour is told."""
        if peer.group is not None:
            return peer.group
        stanza = peer.config
        key = ExportClass(
            internal=peer.internal,
            local_as=stanza.local_as,
            local_address=stanza.local_address,
            rr_client=stanza.rr_client,
            cluster_id=stanza.cluster_id,
        )
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = UpdateGroup(
                key,
                family=self.config.family,
                router_id=self.config.router_id,
                priority=_normal_priority(self.config),
                codec=self._codec,
                send=self._send_updates,
            )
            self._offer_all(group)
        peer.group = group
        return group

    def _offer_all(self, group: UpdateGroup) -> None:
        for prefix, path in self.rib.best.items():
            group.note((prefix,), path)

    def _send_updates(self, peer: Peer, data: bytes, announced: int, withdrawn: int) -> None:
        assert peer.link is not None
        peer.updates_sent += announced
        peer.withdraws_sent += withdrawn
        self._effects.send(peer.link, data)
        peer.session.sent_update(self._now)

    def _flush(self, now: float) -> None:
        """Decide once: the Loc-RIB's changes go to the kernel and to every update group, then out."""
        self._now = now
        groups = self._groups.values()
        for prefixes, path in self.rib.take_changes():
            if path is None or path is self._kernel:
                self._fib.program(prefixes, None)
            elif path is self._static:
                self._fib.program(prefixes, BLACKHOLE)
            else:
                self._fib.program(prefixes, self._routes.via(path.hops))
            for group in groups:
                group.note(prefixes, path)
        for group in groups:
            group.flush(self._filter.accepts)


def _normal_priority(config: SpeakerConfig) -> int:
    return config.policy.normal_priority if config.policy is not None else NORMAL_PRIORITY
