"""The BGP speaker of one node and address family: all of its sessions and routes, with no socket and no clock.

Owns the Rib, the sessions' events and the update groups, and couples them. One function per arrow:

    bytes ─ Session ─ UPDATE ─ ImportPolicy ─ Adj-RIB-In ─ decision ─ Loc-RIB ─┬─ KernelExport ─ Fib
                                                                               └─ Exports ─ Adj-RIB-Out ─ bytes

The shell (``agent``) waits for its Links, hands every event of a batch to ``handle``, and then does what ``take_effects``
returns: dial, send, close. A batch is decided once: however many neighbours spoke, each changed prefix is exported once and
each neighbour is written to once.

Configuration is declarative: ``configure`` and ``set_kernel`` take everything there is, the difference is found here, and each
difference takes the shortest way. A peer whose session is another one restarts; one with new import filters is asked for
its routes again (RFC 2918); new export filters, or another policy, tell again what differs; another kernel policy programs
again. ``reload``, ``disable``, ``enable`` and ``restart`` are an operator's (``birdc_control``).

A speaker that is made ``recovering`` takes over the Fib of the one before it (``recovery``).

Left out: which neighbours there are, and whose turn it is (``roster``); what becomes of a neighbour's routes while it restarts
(``helper``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from agents.dataplane.fib import Fib, FibRoute, Routes
from agents.journal import Event
from agents.speaker.config import DEFAULT_PORT, PeerConfig, SpeakerConfig
from agents.speaker.decision import RouteSource
from agents.speaker.effects import Effects
from agents.speaker.exports import Exports
from agents.speaker.helper import NEIGHBOUR_RESTARTED, Helper
from agents.speaker.imports import Imports
from agents.speaker.kernel import Kernel
from agents.speaker.links import Link, LinkChange, LinkEvent, LinkOptions, expectations
from agents.speaker.own import OwnRoutes
from agents.speaker.peer import Peer
from agents.speaker.policy import ImportPolicy
from agents.speaker.recovery import Recovery
from agents.speaker.rib import Rib
from agents.speaker.roster import Roster
from agents.speaker.sessions import Sessions
from agents.speaker.timers import Timers
from protocol.bgp.attributes import Attributes
from protocol.bgp.errors import Cease
from protocol.bgp.fsm import State
from protocol.bgp.messages import RouteRefresh, Update
from protocol.bgp.session import Session
from protocol.bgp.signals import Signal
from protocol.bgp.wire import Codec
from protocol.prefix import Address, Prefix


class Speaker:
    """See the module. One address family: ``config.family``."""

    def __init__(
        self,
        config: SpeakerConfig,
        *,
        fib: Fib,
        routes: Routes,
        codec: Codec,
        rng: random.Random,
        now: float,
        recovering: bool = False,
    ) -> None:
        self.config = config
        self.recovery = Recovery() if recovering else None
        self._roster = Roster(make=self._make, after=self._after)
        self.peers: Mapping[str, Peer] = self._roster.peers
        self.established = 0
        self.started = self.reconfigured = now
        self.strangers = 0
        """Connections from addresses that are nobody's."""
        self._codec = codec
        self._rng = rng
        self._early: list[LinkEvent] = []
        """What neighbours that started first sent before ``start``."""
        self._expected: Mapping[Address, LinkOptions] = {}
        self._timers = Timers()
        self._effects = Effects()
        self._now = now
        self._learned: Mapping[Prefix, FibRoute] = {}
        self.rib = Rib(config.address, _normal_priority(config))
        self._helper = Helper(self.rib, self._note)
        self._imports = Imports(self.rib, self._helper, config.family)
        self._kernel = Kernel(fib, config.family, config.kernel, routes, held=recovering)
        self._become(config)
        self._set_peers(config, now)
        self._set_local_routes()

    # --- what it is told --------------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to dial and to accept."""
        if self.recovery is not None:
            self._note(self.recovery.begin(self.peers.values(), self._roster.leaders(), now))
        self._roster.start(now)
        early, self._early = self._early, []
        self.handle(early, now)

    def configure(self, config: SpeakerConfig, now: float) -> None:
        """Everything confd knows, anew. Only what changed is touched."""
        old, self.config = self.config, config
        if config == old:
            return
        self._now = self.reconfigured = now
        anew = _identity(config) != _identity(old)
        if anew:
            self._roster.clear(now)
            self._become(config)
        if anew or config.peers != old.peers:
            self._set_peers(config, now)
        self._exports.reconfigured(config.policy, self.peers.values())
        if _normal_priority(config) != _normal_priority(old):
            self.rib.set_normal_priority(_normal_priority(config))
        self._set_local_routes()
        if config.kernel != old.kernel:
            self._kernel.set_policy(config.kernel, self.rib.best)
        self._flush(now)

    def set_kernel(self, routes: Mapping[Prefix, FibRoute], now: float) -> None:
        """What others than BIRD programmed and its kernel protocol learned: all of it."""
        if routes == self._learned:
            return
        self._learned = dict(routes)
        self.rib.set_local(RouteSource.KERNEL, self._own.kernel(routes))
        self._flush(now)

    def reload(self, name: str, now: float, *, into: bool = True, out: bool = True) -> bool:
        """Ask a neighbour for its routes again, tell it ours again, or both; False when its session is not up."""
        peer = self.peers[name]
        if not peer.up or peer.session.peer_open is None:
            return False
        if into and not peer.session.peer_open.capabilities.route_refresh:
            self.restart(name, now)  # a new session brings both
            return True
        if into and peer.link is not None:
            self._effects.send(peer.link, self._codec.encode(RouteRefresh(self.config.family)))
        if out and peer.group is not None:  # else it will be told everything when we have recovered
            peer.group.refresh(peer)
            self._flush(now)
        return True

    def disable(self, name: str, now: float) -> bool:
        """End the session and have none until ``enable``; False when that is so already."""
        return self._switch(self.peers[name], now, disabled=True)

    def enable(self, name: str, now: float) -> bool:
        """The contrary."""
        return self._switch(self.peers[name], now, disabled=False)

    def _switch(self, peer: Peer, now: float, *, disabled: bool) -> bool:
        if peer.disabled is disabled:
            return False
        self._roster.switch(peer, now, disabled=disabled)
        self._expect()
        self._flush(now)
        return True

    def restart(self, name: str, now: float) -> bool:
        """End the session, and begin anew; False when it is disabled."""
        peer = self.peers[name]
        if peer.disabled:
            return False
        self._roster.restart(peer, now)
        self._flush(now)
        return True

    def handle(self, events: list[LinkEvent], now: float) -> None:
        """A batch of network events; then every timer that is due; then one decision and one write each."""
        self._now = now
        if not self._roster.running:
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
                elif what is LinkChange.TRUSTED:
                    self._rest(session, now)
                elif what is LinkChange.DOUBTED:
                    session.doubt(now)
                    self._after(session, now)
        for session in self._timers.due(now):
            session.handle_timer(now)
            self._after(session, now)
        self._helper.expire(now)
        self._flush(now)

    def dialled(self, session: Session, link: Link) -> None:
        """The shell began to dial: this is the link."""
        link.session = session
        session.link = link

    # --- what it wants ----------------------------------------------------------------------------------------------

    def next_timer(self) -> float:
        """When ``handle`` must be called at the latest; ``-inf`` when a neighbour can be told more at once."""
        if self._exports.has_room():
            return -math.inf
        until = self.recovery.until if self.recovery is not None else math.inf
        return min(self._timers.next(), self._helper.next_timer(), until)

    def waits_for(self, peer: Peer) -> Peer | None:
        """Who has the session with its neighbour instead of it."""
        leader = self._roster.leader(peer.address)
        return None if leader is peer else leader

    def to_kernel(self, prefix: Prefix) -> FibRoute | None:
        """What BIRD's kernel protocol programs for a prefix."""
        path = self.rib.best.get(prefix)
        return None if path is None else self._kernel.route(prefix, path)

    def take_effects(self) -> Effects:
        effects, self._effects = self._effects, Effects()
        effects.dials = [dial for dial in effects.dials if dial[0].state is State.CONNECT]
        return effects

    # --- peers ------------------------------------------------------------------------------------------------------

    def _set_peers(self, config: SpeakerConfig, now: float) -> None:
        self._imports.renew(config.router_id, self._codec.attributes.intern)
        for peer in self._roster.configure(config.peers, config.timers.connect_delay, now):
            # What it told is asked for again (RFC 2918), and goes through the new filters then.
            peer.import_policy = self._imports.policy(peer.config)
            self.reload(peer.config.name, now, out=False)
        self._expect()

    def _make(self, stanza: PeerConfig) -> tuple[Session, ImportPolicy]:
        recovering = self.recovery is not None and not self._roster.running
        return self._sessions.new(stanza, recovering=recovering), self._imports.policy(stanza)

    def _expect(self) -> None:
        expected = expectations(peer.config for peer in self._roster.leaders())
        if expected != self._expected:
            self._effects.expect = self._expected = expected

    # --- connections ------------------------------------------------------------------------------------------------

    def _accept(self, link: Link, now: float) -> None:
        peer = self._roster.leader(link.remote)
        self.strangers += peer is None
        if peer is None or not peer.accepts:
            self._effects.closes.append(link)
            return
        session = peer.session
        if peer.rival is not None:  # of an Established one: the neighbour has restarted again
            self._retire(peer.rival, now)
        if session.state is not State.ACTIVE:
            # We are dialling, or have dialled: two connections, one too many (RFC 4271 6.8).
            recovering = self.recovery is not None and self.recovery.has(peer)
            session = peer.rival = self._sessions.new(peer.config, recovering=recovering)
            session.owner = peer
            session.wait(now)
        link.session = session
        session.link = link
        session.connected(now, outgoing=False)
        self._after(session, now)

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
            events = session.events[:]
            session.events.clear()
            peer = session.owner
            for event in events:
                if type(event) is Update:
                    if peer.up and self._imports.learn(peer, event) and self.recovery is not None:
                        self.recovery.complete(peer)
                else:
                    self._signal(peer, session, event, now)
        if session.rearm:
            self._timers.arm(session)

    def _signal(self, peer: Peer, session: Session, event: object, now: float) -> None:
        if event is Signal.DIAL:
            self._effects.dials.append((session, peer.address, peer.config.port or DEFAULT_PORT))
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
            elif session.state is State.IDLE:
                self._given_up(peer)
        elif event is Signal.OPENED:
            loser = peer.loser(session, self.config.router_id)
            if loser is not None:
                loser.collision_dump(now)
                self._after(loser, now)
        elif event is Signal.ESTABLISHED:
            # One batch of bytes can bring a session up and end it.
            if session.state is State.ESTABLISHED:
                self._came_up(peer, session, now)
        elif (event is Signal.DOWN or event is Signal.LOST) and peer.up:
            self._went_down(peer, now, session.last_error, lost=event is Signal.LOST)
        elif (
            isinstance(event, RouteRefresh) and event.family == self.config.family and peer.group is not None
        ):
            peer.group.refresh(peer)

    def _came_up(self, peer: Peer, session: Session, now: float) -> None:
        if session is peer.rival:
            loser = peer.session
            if peer.up:
                loser.connection_failed(NEIGHBOUR_RESTARTED, now)  # it has no other end any more
                self._went_down(peer, now, NEIGHBOUR_RESTARTED, lost=True)
            peer.promote_rival()
            self._retire(loser, now)
        elif peer.rival is not None:
            loser, peer.rival = peer.rival, None
            self._retire(loser, now)
        assert session.peer_open is not None
        self._helper.came_up(peer, session.peer_open, self.config.family)
        peer.identifier = session.peer_open.identifier
        peer.link = session.link
        peer.up = True
        peer.since = now
        self.established += 1
        if session.link is not None and session.link.vouched:
            self._rest(session, now)
        if self.recovery is not None and self.recovery.holds(peer, session.peer_open):
            self._exports.hold(peer)
        else:
            self._exports.came_up(peer)
        self._effects.came_up.append(peer.config.name)

    def _rest(self, session: Session, now: float) -> None:
        """Nobody has to be woken for a session that is vouched for: its entry is void."""
        session.rest(now)
        if session.next_timer() == math.inf:
            self._timers.disarm(session)

    def _retire(self, session: Session, now: float) -> None:
        """The other connection is Established: this one is no more."""
        session.stop(Cease.COLLISION, now)
        if session.link is not None:
            session.link.session = None
            self._effects.send(session.link, b"".join(session.outbox))
            self._effects.closes.append(session.link)
        session.outbox.clear()
        session.events.clear()
        session.owner = session.link = None

    def _went_down(self, peer: Peer, now: float, why: str, *, lost: bool) -> None:
        peer.up = False
        peer.since = now
        self.established -= 1
        self._exports.went_down(peer)
        text = f"{peer.config.name}: {why or 'stopped'}"
        self._effects.events.append(Event("SessionDown", text, warning=True))
        if not lost or not self._helper.lost(peer, now):
            peer.restart = None
            self.rib.forget(peer)

    def _given_up(self, peer: Peer) -> None:
        """Its session ended with a word, and so do restarts, its own and ours."""
        self._helper.given_up(peer)
        if self.recovery is not None and self.recovery.has(peer):
            self.recovery.given_up(peer)
            peer.session.wire_open = self._sessions.wire_open(peer.config)

    # --- routes -----------------------------------------------------------------------------------------------------

    def _become(self, config: SpeakerConfig) -> None:
        """What depends on who this is: address, identifier, family."""
        own = self._codec.attributes.intern(Attributes(next_hop=config.address))
        self._own = OwnRoutes(own)
        self._sessions = Sessions(config, self._codec, self._rng)
        self.rib.set_address(config.address)
        self.rib.set_local(RouteSource.KERNEL, self._own.kernel(self._learned))
        self._exports = Exports(
            self.rib, family=config.family, router_id=config.router_id, policy=config.policy,
            codec=self._codec, send=self._send_updates,
        )  # fmt: skip

    def _set_local_routes(self) -> None:
        self.rib.set_local(RouteSource.STATIC, self._own.statics(self.config))
        self.rib.set_local(RouteSource.DIRECT, self._own.direct(self.config))

    def _note(self, event: Event) -> None:
        self._effects.events.append(event)

    def _send_updates(self, peer: Peer, data: bytes, announced: int, withdrawn: int) -> None:
        assert peer.link is not None
        peer.updates_sent += announced
        peer.withdraws_sent += withdrawn
        self._effects.send(peer.link, data)
        peer.session.sent_update(self._now)

    def _flush(self, now: float) -> None:
        """Decide once: the Loc-RIB's changes go to the kernel and to every update group, then out."""
        self._now = now
        changes = self.rib.take_changes()
        self._kernel.follow(changes)
        if self.recovery is not None and self.recovery.is_over(now):
            recovery, self.recovery = self.recovery, None
            self._note(
                recovery.end(self.peers.values(), self._sessions, self._kernel, self._exports, self.rib)
            )
        self._exports.flush(changes)


def _identity(config: SpeakerConfig) -> tuple[object, ...]:
    """What cannot change under a session."""
    return config.address, config.router_id, config.family, config.timers, config.add_path


def _normal_priority(config: SpeakerConfig) -> int | None:
    return config.policy.normal_priority if config.policy is not None else None
