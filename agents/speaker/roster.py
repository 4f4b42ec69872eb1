"""The neighbours that a speaker is to have: by the stanzas of its configuration, and by an operator's word.

Owns ``Roster``: a Peer for each stanza, and the beginning and the end of its sessions.

    configure         the stanzas, all of them: only what differs is touched
    start             sessions may begin
    switch, restart   an operator's: disabled or enabled; the session ends, and begins anew
    clear             nobody is anybody's neighbour any more

Of several stanzas for one neighbour one has a session at a time (``turns``).

Left out: what happens in a session (``speaker``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agents.speaker.config import PeerConfig
from agents.speaker.peer import Peer
from agents.speaker.policy import ImportPolicy
from agents.speaker.turns import Turns
from protocol.bgp.errors import Cease
from protocol.bgp.session import Session
from protocol.prefix import Address


class Roster:
    """See the module. ``make`` gives a stanza its session and its import policy; ``after`` follows every input to a session."""

    def __init__(
        self,
        *,
        make: Callable[[PeerConfig], tuple[Session, ImportPolicy]],
        after: Callable[[Session, float], None],
    ) -> None:
        self.peers: dict[str, Peer] = {}
        self.running = False
        self._make = make
        self._after = after
        self._turns = Turns()
        self._delay = 0.0

    def leader(self, address: Address) -> Peer | None:
        """Whose a connection with this address is."""
        return self._turns.leader(address)

    def leaders(self) -> list[Peer]:
        """Those that may have a session."""
        return self._turns.leaders()

    def start(self, now: float) -> None:
        self.running = True
        for peer in self.peers.values():
            self._start(peer, now)

    def configure(self, stanzas: Iterable[PeerConfig], connect_delay: float, now: float) -> list[Peer]:
        """Returns those whose sessions live on and whose routes must go through other import filters."""
        self._delay = connect_delay
        wanted = {stanza.name: stanza for stanza in stanzas}
        waited = self._turns.waiting()
        changed = []
        for name, peer in list(self.peers.items()):
            stanza = wanted.get(name)
            if stanza is None:
                self._remove(peer, Cease.PEER_DECONFIGURED, now)
            elif stanza.session != peer.config.session:
                self._remove(peer, Cease.OTHER_CONFIGURATION_CHANGE, now)
            elif stanza != peer.config:
                if stanza.import_filters != peer.config.import_filters:
                    changed.append(peer)
                peer.config = stanza
        for name, stanza in wanted.items():
            if name not in self.peers:
                session, policy = self._make(stanza)
                peer = session.owner = self.peers[name] = Peer(stanza, session, policy, now)
                self._enter(peer, now, connect_delay if name in waited else 0.0)
        return changed

    def clear(self, now: float) -> None:
        for peer in list(self.peers.values()):
            self._remove(peer, Cease.OTHER_CONFIGURATION_CHANGE, now)

    def switch(self, peer: Peer, now: float, *, disabled: bool) -> None:
        self._leave(peer, Cease.ADMINISTRATIVE_SHUTDOWN, now)
        peer.disabled = disabled
        self._enter(peer, now)

    def restart(self, peer: Peer, now: float) -> None:
        self._stop(peer, Cease.ADMINISTRATIVE_RESET, now)
        self._start(peer, now)

    def _enter(self, peer: Peer, now: float, delay: float = 0.0) -> None:
        """It takes its turn: with a session, or behind who comes first by name."""
        displaced = self._turns.add(peer)
        if displaced is not None:
            self._stop(displaced, Cease.OTHER_CONFIGURATION_CHANGE, now)
        self._start(peer, now, delay)

    def _leave(self, peer: Peer, why: Cease, now: float) -> None:
        self._stop(peer, why, now)
        follower = self._turns.remove(peer)
        if follower is not None:
            # As a BIRD that has tried all the time: its next dial is a connect delay away at most.
            self._start(follower, now, self._delay)

    def _remove(self, peer: Peer, why: Cease, now: float) -> None:
        self._leave(peer, why, now)
        peer.session.owner = None
        del self.peers[peer.config.name]

    def _start(self, peer: Peer, now: float, delay: float = 0.0) -> None:
        """Harmless for who is not to have a session now."""
        if self.running and not peer.disabled and self._turns.leader(peer.address) is peer:
            peer.session.start(now, delay)
            self._after(peer.session, now)

    def _stop(self, peer: Peer, why: Cease, now: float) -> None:
        for session in (peer.rival, peer.session):
            if session is not None:
                session.stop(why, now)
                self._after(session, now)
