"""A neighbour restarts: its routes are kept meanwhile, and found out when they are stale (RFC 4724 4.2, the receiving
speaker).

Owns ``Helper``: which neighbours of a speaker are restarting, which of what they told is not confirmed yet, and until
when that is believed.

    lost        the connection went without a word: all that the neighbour told is stale, and stays in use
    came_up     it is back: with its forwarding state preserved it may tell anew what it has; else what is stale goes at once
    heard       what it tells is not stale any more
    complete    End-of-RIB: what is stale still goes
    given_up    its session ended with a word, by an error or by an operator: nothing is kept
    expire      the restart time that it had asked for is over

A second loss before End-of-RIB takes what was stale then, and makes stale what was told since. All as BIRD 1.6 does,
where no chance shortens this timer, as it does BGP's others. But a neighbour that comes back under another identifier
is somebody else.

Left out: the other side, which is ``recovery``; keeping routes for longer (RFC 9494), which Calico's BIRD does not do.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence

from agents.journal import Event
from agents.speaker.peer import Peer, Restart
from agents.speaker.rib import Rib
from protocol.bgp.messages import GracefulRestart, Open
from protocol.prefix import Prefix

NEIGHBOUR_RESTARTED = "Error: Graceful restart"
"""BIRD's words for a session that ends because its neighbour dials anew."""


class Helper:
    """See the module. One address family."""

    def __init__(self, rib: Rib, note: Callable[[Event], None]) -> None:
        self._rib = rib
        self._note = note
        self._due: list[tuple[float, int, Peer, Restart]] = []
        self._order = itertools.count()

    def lost(self, peer: Peer, now: float) -> bool:
        """Whether the neighbour's routes are kept."""
        seconds = peer.restart_time
        if seconds is None:
            return False
        if peer.restart is not None:
            self._flush(peer, "lost again")
        stale = {path_id: dict.fromkeys(table) for path_id, table in peer.adj_ribs_in() if table}
        peer.restart = Restart(stale, now + seconds)
        heapq.heappush(self._due, (peer.restart.until, next(self._order), peer, peer.restart))
        count = sum(map(len, stale.values()))
        self._note(
            Event("GracefulRestart", f"{peer.config.name}: routes kept for {seconds} s at most: {count}")
        )
        return True

    def came_up(self, peer: Peer, opened: Open, family: int) -> None:
        offered = opened.capabilities.graceful_restart
        preserved = _preserved(offered, family)
        peer.restart_time = None if offered is None or preserved is None else offered.time
        if peer.restart is not None:
            if not preserved:
                self._flush(peer, "back, with nothing preserved")
            elif opened.identifier != peer.identifier:
                self._flush(peer, "back as somebody else")
            else:
                peer.restart.until = math.inf

    def complete(self, peer: Peer) -> None:
        if peer.restart is not None:
            self._flush(peer, "back")

    def given_up(self, peer: Peer) -> None:
        if peer.restart is not None:
            self._flush(peer, "given up")

    def next_timer(self) -> float:
        due = self._due
        while due and due[0][2].restart is not due[0][3]:
            heapq.heappop(due)
        return due[0][0] if due else math.inf

    def expire(self, now: float) -> None:
        while self.next_timer() <= now:
            _, _, peer, restart = heapq.heappop(self._due)
            if restart.until <= now:
                self._flush(peer, "has not come back")

    def _flush(self, peer: Peer, how: str) -> None:
        assert peer.restart is not None
        stale, peer.restart = peer.restart.stale, None
        for path_id, prefixes in stale.items():
            self._rib.withdraw(peer, prefixes, path_id)
        count = sum(map(len, stale.values()))
        self._note(Event("GracefulRestartOver", f"{peer.config.name}: {how}; stale routes flushed: {count}"))


def heard(restart: Restart, path_id: int, prefixes: Sequence[Prefix]) -> None:
    """The neighbour said something of these."""
    stale = restart.stale.get(path_id)
    if stale:
        for prefix in prefixes:
            stale.pop(prefix, None)


def _preserved(offered: GracefulRestart | None, family: int) -> bool | None:
    """Its F bit for the family; None when the capability does not name it."""
    return None if offered is None else dict(offered.families).get(family)
