"""A BIRD that starts among others: ``bird -R`` (RFC 4724 4.1, the restarting speaker).

Owns ``Recovery``, which says how long it lasts and who waits for its end. While it lasts

- the kernel keeps the routes that the BIRD before this one programmed, and they are right as long as neighbours believe so; after
  a boot it has none, and gets none: calico-node knows no difference;
- every OPEN says that this speaker has restarted and that its forwarding state is preserved (the R and F bits);
- a neighbour that is up, and does not recover itself, is told nothing (``Exports.hold``).

Each neighbour holds a lock, and gives it up when it has told everything (End-of-RIB), when it recovers itself, when it
knows nothing of graceful restarts, or when its session ends with a word. The last lock ends the recovery, and so does
``wait``: a neighbour that does not come holds everybody up for 240 s, as in life. Then the kernel gets what is right,
and the neighbours all that there is.

Left out: what the neighbours do meanwhile (``helper``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from agents.journal import Event
from agents.speaker.exports import Exports
from agents.speaker.kernel import Kernel
from agents.speaker.peer import Peer
from agents.speaker.rib import Rib
from agents.speaker.sessions import Sessions
from protocol.bgp.messages import Open

WAIT = 240.0
"""BIRD's ``graceful restart wait``, which Calico leaves as it is."""


@attrs.define
class Recovery:
    """See the module."""

    until: float = math.inf
    locks: dict[Peer, None] = attrs.field(factory=dict)
    _members: dict[Peer, None] = attrs.field(factory=dict)
    """The neighbours of the configuration that it began with; BIRD's ``gr_recovery``."""
    _begun: bool = False

    def begin(self, members: Iterable[Peer], locks: Iterable[Peer], now: float) -> Event:
        """``locks``: those that may have a session now, and do not wait for another stanza's."""
        self._members = dict.fromkeys(members)
        self.locks = dict.fromkeys(locks)
        self.until = now + WAIT
        self._begun = True
        return Event("Recovery", f"neighbours waited for, {WAIT:.0f} s at most: {len(self.locks)}")

    def has(self, peer: Peer) -> bool:
        """Whether its sessions say that this speaker has restarted."""
        return peer in self._members

    def holds(self, peer: Peer, opened: Open) -> bool:
        """Its session is Established: whether it is told nothing until the end."""
        offered = opened.capabilities.graceful_restart
        if peer not in self._members:
            return False
        if offered is None or offered.restarting:
            self.locks.pop(peer, None)
            return False
        return True

    def complete(self, peer: Peer) -> None:
        """End-of-RIB."""
        self.locks.pop(peer, None)

    def given_up(self, peer: Peer) -> None:
        """Its session ended with a word: the next one has nothing of all this."""
        self.locks.pop(peer, None)
        self._members.pop(peer, None)

    def is_over(self, now: float) -> bool:
        return self._begun and (not self.locks or self.until <= now)

    def end(
        self, peers: Iterable[Peer], sessions: Sessions, kernel: Kernel, exports: Exports, rib: Rib
    ) -> Event:
        """The kernel gets what is right, the neighbours everything, and nobody hears of a restart any more."""
        for peer in peers:
            for session in (peer.session, peer.rival):
                if session is not None:
                    session.wire_open = sessions.wire_open(peer.config)
        stale = kernel.resume(rib.best)
        exports.release()
        missing = "".join(f"without {peer.config.name}; " for peer in self.locks)
        return Event("RecoveryOver", f"{missing}stale routes taken out of the kernel: {stale}")
