"""Counting what is lost in a cluster of several processes while it runs.

Owns ``LossWatch``, which asks the shards for the changes of their tables and tells an account of them.

    shard 1 ── "fibs", a batch every 50 ms ──┐
    shard k ── and the time up to which ─────┼─► LateAccount: facts wait until no older one can come
    datastore, faults ── at once ────────────┘

All processes have the same clock, time.monotonic. What the tables are at the beginning counts from the beginning,
whenever it arrives. Nothing is paid while nobody counts.

Who counts for somebody that may be gone without a word (``lease``) stops when nobody has asked for so long.

Left out: what is made of it (``cluster.loss``), HTTP (``cluster.api.loss``).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from agents.dataplane.fib import FibRoute, Routes
from cluster.datastore.memory import MemoryStore
from cluster.faults import Faults, State
from cluster.oracle.tables import unspell
from cluster.spec import HOSTED
from protocol.prefix import Prefix
from protocol.sync.errors import Conflict, NotFound

if TYPE_CHECKING:
    from cluster.loss.late import LateAccount
    from cluster.loss.report import LossReport

Ask = Callable[[str, Any], Awaitable[Sequence[Any]]]
"""A method and its parameters, to all shards that live."""


class LossWatch:
    """One count at a time. ``shards`` are those that live, ``dead`` the nodes of the others."""

    def __init__(
        self,
        *,
        store: MemoryStore,
        faults: Faults,
        ask_all: Ask,
        shards: Callable[[], Iterable[int]],
        dead: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.account: LateAccount | None = None
        self._store = store
        self._faults = faults
        self._ask_all = ask_all
        self._shards = shards
        self._dead = dead
        self._clock = clock
        self._origin = self._start = 0.0
        self._routes = Routes()
        self._begun: set[int] = set()
        """Shards whose tables have been heard."""
        self._off: dict[str, None] = {}
        self._beginning = False
        """What is there already is told, as of the start."""
        self._stop: Callable[[], None] = lambda: None
        self._lease = float("inf")
        self._asked = 0.0
        self._news = trio.Event()

    def now(self) -> float:
        """The account's seconds."""
        return self._clock() - self._origin

    async def begin(self, *, origin: float | None = None, lease: float = float("inf")) -> LateAccount:
        """Count from now on. ``origin``: when the account's seconds begin, in the clock's; now, when it does not
        matter.

        Raises Conflict when somebody else counts.
        """
        from cluster.loss.feed import follow  # noqa: PLC0415  # 0.03 s, most clusters never count
        from cluster.loss.late import LateAccount  # noqa: PLC0415  # as above

        if self.account is not None:
            raise Conflict("somebody counts losses already; one count at a time")
        now = self._clock()
        self._origin = now if origin is None else origin
        self._lease, self._asked = lease, now
        self._begun.clear()
        start = self._start = now - self._origin
        account = self.account = LateAccount(start, self._shards())
        self._off = dict.fromkeys([*self._dead(), *self._faults.names_of(State.OFF)])
        for name in self._off:
            account.set_power(start, name, False)
        for pair in self._faults.cuts:
            account.set_cut(start, *pair, True)
        self._beginning = True
        self._stop = follow(account, self._store, self._fact_time)
        self._beginning = False
        self._faults.linked = self._linked
        self._news.set()
        await self._ask("watch_fibs", [True])
        await self.catch_up()
        return account

    async def catch_up(self) -> None:
        """Until the shards have told all that has happened up to now."""
        self._asked = self._clock()
        await self._ask("report_fibs", None)

    async def report(self) -> LossReport:
        """Up to now. Raises NotFound when nobody counts."""
        if self.account is not None:
            await self.catch_up()
        if self.account is None:
            raise NotFound("nobody counts losses")
        return self.account.report(self.now())

    async def end(self) -> None:
        if self.account is None:
            return
        self.account = None
        self._stop()
        self._faults.linked = None
        await self._ask("watch_fibs", [False])

    async def _ask(self, method: str, params: Any) -> None:
        """A process that stands still holds nobody up for longer than the account waits for its facts."""
        from cluster.loss.late import PATIENCE  # noqa: PLC0415  # as above

        with trio.move_on_after(PATIENCE):
            await self._ask_all(method, params)

    async def run(self) -> None:
        """Ends counts that nobody asks for any more; until cancelled."""
        while True:
            self._news = trio.Event()
            left = self._asked + self._lease - self._clock() if self.account is not None else float("inf")
            if left <= 0:
                await self.end()
                continue
            with trio.move_on_after(left):
                await self._news.wait()

    # --- what is heard ----------------------------------------------------------------------------------------------

    def reported(self, shard: int, params: Any) -> None:
        """A batch of ``cluster.fibfeed``."""
        account = self.account
        if account is None:
            return  # sent before the shard was told
        until, changes = params
        first = shard not in self._begun
        self._begun.add(shard)
        for at, name, rows in changes:
            now = self._start if first else at - self._origin
            if rows is None:
                self._off[name] = None
                account.set_power(now, name, False)
            # Who was deleted has no table any more, and lacks no power.
            if name in self._off and (rows is not None or not self._is_member(name)):
                del self._off[name]
                account.set_power(now, name, True)
            if rows:
                account.set_routes(now, name, *self._changed(rows))
        account.heard(shard, until - self._origin)

    def shard_lost(self, shard: int, nodes: Iterable[str]) -> None:
        """With its process their machines are gone."""
        if self.account is not None:
            for name in nodes:
                self.account.set_power(self.now(), name, False)
            self.account.gone(shard)

    def _is_member(self, name: str) -> bool:
        return any(self._store.find((kind, "", name)) is not None for kind in HOSTED)

    def _fact_time(self) -> float:
        return self._start if self._beginning else self.now()

    def _changed(self, rows: Any) -> tuple[list[Prefix], dict[Prefix, FibRoute]]:
        prefixes: list[Prefix] = []
        table: dict[Prefix, FibRoute] = {}
        for spelled, some in rows:
            prefixes += some
            if spelled is not None:
                kind, gateways, device = spelled
                table.update(dict.fromkeys(some, unspell(kind, gateways, device, self._routes.via)))
        return prefixes, table

    def _linked(self, one: str, other: str, works: bool) -> None:
        if self.account is not None:
            self.account.set_cut(self.now(), one, other, not works)
