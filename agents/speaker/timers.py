"""When which session of a speaker must be called: one heap, with one live entry a session.

Owns ``Timers``. An entry is looked at when it is due, and the session is put back at its real next deadline, so a message
that moves the hold timer costs nothing; an entry that is not the session's ``call_at`` is void.

Left out: what a session does then (``protocol.bgp.session``).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator

from protocol.bgp.session import Session


class Timers:
    """See the module."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Session]] = []
        self._order = itertools.count()

    def arm(self, session: Session) -> None:
        """It may have to be called earlier than was known (``Session.rearm``)."""
        session.rearm = False
        deadline = session.next_timer()
        if deadline < session.call_at:
            session.call_at = deadline
            heapq.heappush(self._heap, (deadline, next(self._order), session))

    @staticmethod
    def disarm(session: Session) -> None:
        session.call_at = math.inf

    def due(self, now: float) -> Iterator[Session]:
        """Each is to be armed again when it has been called."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            deadline, _, session = heapq.heappop(heap)
            if session.call_at == deadline and session.owner is not None:
                session.call_at = math.inf
                session.rearm = True
                yield session

    def next(self) -> float:
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].call_at:
            heapq.heappop(heap)
        return heap[0][0] if heap else math.inf
