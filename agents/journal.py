"""What happened at a node: the last of its events, for whoever asks why.

Owns ``Event``, in the words of a Kubernetes event, and ``Journal``, which remembers the newest of them. A node that has
many neighbours has many events in its first second; the old ones go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import attrs

REMEMBERED = 256


@attrs.frozen
class Event:
    reason: str  # in one word: "SessionUp", "AddressMoved"
    message: str
    warning: bool = False


class Journal:
    """``wall`` is Unix time."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._events: deque[tuple[float, Event]] = deque(maxlen=REMEMBERED)

    def add(self, events: Iterable[Event]) -> None:
        now = self._wall()
        self._events.extend((now, event) for event in events)

    def __iter__(self) -> Iterator[tuple[float, Event]]:
        return iter(self._events)
