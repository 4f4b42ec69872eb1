"""What changes in the forwarding tables of a process, entry by entry, for somebody who wants to know.

Owns ``FibFeed``: the changes that were made and not yet taken, each with its time (time.monotonic's seconds, which all
processes of a computer share). Who begins to listen gets every table whole, as a change of that moment.

    Fib ── watcher ──► FibFeed ── take(): a batch ──► the coordinator's ``losswatch``

Until somebody asks no Fib has a watcher, and nothing is paid.

A change is plain values: ``[time, node, [[route, [prefix, …]], …]]``. The route is None where there is none any more,
and None instead of the list says that the table itself is gone: the machine has no power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from agents.dataplane.fib import Fib, FibRoute
from cluster.oracle.tables import spell
from protocol.prefix import Prefix


class FibFeed:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.listening = False
        self._clock = clock
        self._changes: list[list[Any]] = []

    def begin(self, fibs: Mapping[str, Fib]) -> None:
        """From now on, these tables and all that are made."""
        self.listening = True
        for name, fib in fibs.items():
            self.made(name, fib)

    def end(self, fibs: Mapping[str, Fib]) -> None:
        self.listening = False
        self._changes.clear()
        for fib in fibs.values():
            fib.watcher = None

    def made(self, name: str, fib: Fib) -> None:
        """There is one more table."""
        if self.listening:
            fib.watcher = partial(self._changed, name, fib)
            self._changes.append([self._clock(), name, rows(fib.routes)])

    def gone(self, name: str) -> None:
        """The table went with its machine."""
        if self.listening:
            self._changes.append([self._clock(), name, None])

    def take(self) -> list[list[Any]]:
        """What has changed since it was last taken, the oldest first."""
        changes, self._changes = self._changes, []
        return changes

    def _changed(self, name: str, fib: Fib, prefixes: Iterable[Prefix]) -> None:
        routes = fib.routes
        self._changes.append([self._clock(), name, rows({prefix: routes.get(prefix) for prefix in prefixes})])


def rows(routes: Mapping[Prefix, FibRoute | None]) -> list[list[Any]]:
    """A table, or a part of it, by route: few routes stand for many prefixes."""
    found: dict[FibRoute | None, list[Prefix]] = {}
    for prefix, route in routes.items():
        found.setdefault(route, []).append(prefix)
    return [[None if route is None else spell(route), prefixes] for route, prefixes in found.items()]
