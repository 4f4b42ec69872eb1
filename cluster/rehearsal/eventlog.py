"""What happened in a run, line by line, the same bytes for the same seed.

Owns ``EventLog``. A line is the virtual time, who it is about, and what happened:

    0.001500 node-1 SessionUp Mesh_10_77_0_2
    0.001500 node-1 route 192.168.0.64/26 via 10.77.0.2
    95.000000 node-2 loses its power

Left out: what else is worth a line (``virtual``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

from agents.dataplane.fib import FibRoute
from cluster.judge import route_text
from protocol.prefix import Prefix, format_prefix

_CHUNK = 1024


class EventLog:
    """``sink`` gets the text piece by piece; without one the lines leave nothing but their digest."""

    def __init__(self, sink: Callable[[str], object] | None = None) -> None:
        self.lines = 0
        self._sink = sink
        self._hash = hashlib.sha256()
        self._waiting: list[str] = []
        self._tables: dict[str, dict[Prefix, FibRoute]] = {}
        """What the lines so far say that nodes have."""
        self._texts: dict[Prefix, str] = {}

    def add(self, now: float, subject: str, what: str) -> None:
        self._waiting.append(f"{now:.6f} {subject} {what}\n")
        if len(self._waiting) >= _CHUNK:
            self.flush()

    def boots(self, name: str) -> None:
        """The node has a new, empty table."""
        self._tables[name] = {}

    def routes(
        self, now: float, name: str, prefixes: Iterable[Prefix], table: Mapping[Prefix, FibRoute]
    ) -> None:
        """The node may have other routes for these prefixes: those of ``table``. A line for each that is different."""
        told = self._tables[name]
        for prefix in prefixes:
            route, before = table.get(prefix), told.get(prefix)
            if route is before or route == before:
                continue
            if route is None:
                del told[prefix]
            else:
                told[prefix] = route
            text = self._texts.get(prefix)
            if text is None:
                text = self._texts[prefix] = format_prefix(prefix)
            self.add(now, name, f"route {text} {route_text(route) or 'none'}")

    def flush(self) -> None:
        """Give the sink what it does not have yet."""
        text = "".join(self._waiting)
        self.lines += len(self._waiting)
        self._waiting.clear()
        self._hash.update(text.encode())
        if self._sink is not None and text:
            self._sink(text)

    def digest(self) -> str:
        """SHA-256 of all lines so far."""
        self.flush()
        return self._hash.hexdigest()
