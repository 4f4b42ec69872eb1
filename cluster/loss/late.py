"""An account of which some facts come late: those of other processes.

Owns ``LateAccount``. Each source says up to which time it has told everything; a fact waits until no older one can
come, and then the account is told of all in the order of their times. Reports are of the time up to which all have been
heard.

Left out: where the facts come from (``cluster.losswatch``).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from agents.dataplane.fib import FibRoute
from cluster.loss.account import Account
from cluster.loss.report import LossReport
from protocol.prefix import Address, Prefix

PATIENCE: Final = 5.0
"""Seconds after which a source that says nothing is not waited for: what it tells later counts from when it is heard."""


class LateAccount(Account):
    """An account whose facts wait for older ones from ``sources``. Reports are of the time up to which all have been
    heard.
    """

    def __init__(self, start: float, sources: Iterable[int]) -> None:
        super().__init__(start)
        self._heard = dict.fromkeys(sources, start)
        self._until = start
        self._waiting: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()

    def heard(self, source: int, until: float) -> None:
        """All facts of the source up to this time have been told."""
        if source in self._heard:
            self._heard[source] = max(until, self._heard[source])
            self._release()

    def gone(self, source: int) -> None:
        self._heard.pop(source, None)
        self._release()

    def _release(self) -> None:
        times = self._heard.values()
        self._until = max(self._until, min(times), max(times) - PATIENCE) if times else float("inf")
        while self._waiting and self._waiting[0][0] <= self._until:
            now, _, tell = heapq.heappop(self._waiting)
            tell(now)

    def _wait(self, now: float, tell: Callable[[float], None]) -> None:
        heapq.heappush(self._waiting, (now, next(self._order), tell))

    # --- facts ------------------------------------------------------------------------------------------------------

    def set_member(self, now: float, name: str, addresses: Iterable[Address], *, source: bool = True) -> None:
        tell = super().set_member
        self._wait(now, lambda at: tell(at, name, addresses, source=source))

    def remove_member(self, now: float, name: str) -> None:
        tell = super().remove_member
        self._wait(now, lambda at: tell(at, name))

    def set_pods(self, now: float, name: str, addresses: Iterable[Address]) -> None:
        tell = super().set_pods
        self._wait(now, lambda at: tell(at, name, addresses))

    def set_power(self, now: float, name: str, on: bool) -> None:
        tell = super().set_power
        self._wait(now, lambda at: tell(at, name, on))

    def set_cut(self, now: float, one: str, other: str, cut: bool) -> None:
        tell = super().set_cut
        self._wait(now, lambda at: tell(at, one, other, cut))

    def set_routes(
        self, now: float, name: str, prefixes: Iterable[Prefix], table: Mapping[Prefix, FibRoute]
    ) -> None:
        tell = super().set_routes
        self._wait(now, lambda at: tell(at, name, prefixes, table))

    def set_table(self, now: float, name: str, table: Mapping[Prefix, FibRoute]) -> None:
        tell = super().set_table
        self._wait(now, lambda at: tell(at, name, table))

    # --- questions --------------------------------------------------------------------------------------------------

    def report(self, now: float, since: float | None = None) -> LossReport:
        at = min(now, self._until)
        return super().report(at, None if since is None else min(since, at))

    def failing(self, now: float) -> dict[tuple[str, str], str]:
        return super().failing(min(now, self._until))
