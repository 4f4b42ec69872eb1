"""What happened at a node: the last of its events, for whoever asks why.

Owns ``Event``, in the words of a Kubernetes event, and ``Journal``, which remembers the newest of them. A node that has
many neighbours has many events in its first second; they push out the old ones, but never a warning.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

REMEMBERED = 50
"""Warnings, and as many other events: 10 KB a node."""


class Event(NamedTuple):
    reason: str  # in one word: "SessionUp", "AddressMoved"
    message: str
    warning: bool = False


class Journal:
    """``wall`` is Unix time. ``reader`` is told every event as it happens."""

    def __init__(self, wall: Callable[[], float], reader: Callable[[Event], None] | None = None) -> None:
        self._wall = wall
        self.reader = reader
        self._usual: deque[tuple[float, Event]] = deque(maxlen=REMEMBERED)
        self._warnings: deque[tuple[float, Event]] = deque(maxlen=REMEMBERED)

    def add(self, events: Iterable[Event]) -> None:
        now = self._wall()
        for event in events:
            (self._warnings if event.warning else self._usual).append((now, event))
            if self.reader is not None:
                self.reader(event)

    def __iter__(self) -> Iterator[tuple[float, Event]]:
        """The oldest first."""
        return heapq.merge(self._usual, self._warnings, key=lambda entry: entry[0])
