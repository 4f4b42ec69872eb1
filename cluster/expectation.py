"""What the datastore asks for now, found anew whenever something of which it follows is different.

Owns ``Expectation``, the oracle's answer with what it was an answer to, and ``Expectations``, which asks. The answer follows from
the datastore, from who is down, who is cut off from whom, and (the sums of the shards) from who hosts what.

Left out: the answer itself (``oracle``), who is held against it (``coordinator``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import attrs
import trio

from cluster.convergence import Jury
from cluster.datastore.memory import MemoryStore
from cluster.faults import Faults
from cluster.hosting import Hosting
from cluster.oracle import Expected, NodeCounts, Oracle, snapshot


@attrs.frozen(kw_only=True)
class Expectation:
    """What the oracle says of the datastore at ``revision``."""

    revision: int
    down: frozenset[str]
    cut: frozenset[tuple[str, str]]
    hosting: int  # the version of who hosts what
    oracle: Expected
    routes: Mapping[int, int]  # shard -> routes of all its FIBs
    session_ends: int

    @property
    def all_routes(self) -> int:
        return sum(self.routes.values())


@attrs.define(kw_only=True)
class Expectations:
    """``latest`` may be out of date; ``find`` is not. ``jury`` is told when what was right may be right no more."""

    store: MemoryStore
    hosting: Hosting
    faults: Faults
    jury: Jury
    shards: Collection[int]
    down: Callable[[], Collection[str]]
    oracle: Oracle
    latest: Expectation | None = None
    _asking: trio.Lock = attrs.field(factory=trio.Lock)

    async def find(self) -> Expectation:
        """What the datastore asks for now.

        In a thread: for a large cluster with filters it may take a second or two, in which others are served.
        """
        async with self._asking:
            old = self.latest
            if old is not None and self.is_current(old):
                return old
            down, cut = frozenset(self.down()), frozenset(self.faults.cuts)
            hosting, revision = self.hosting.version, self.store.revision
            if old is not None and (old.down, old.cut) != (down, cut):
                self.jury.recall()
            ask = partial(self.oracle.expect, snapshot(self.store.list), down=down, cut=sorted(cut))
            oracle, counts = await trio.to_thread.run_sync(
                _counted, ask, [*self.hosting.host_of], abandon_on_cancel=True
            )
            routes = dict.fromkeys(self.shards, 0)
            for node, count in counts.items():
                if node in self.hosting.host_of:  # it may have gone meanwhile
                    routes[self.hosting.host_of[node]] += count.routes
            self.latest = Expectation(
                revision=revision,
                down=down,
                cut=cut,
                hosting=hosting,
                oracle=oracle,
                routes=routes,
                session_ends=sum(count.sessions for count in counts.values()),
            )
            return self.latest

    def is_current(self, expectation: Expectation) -> bool:
        return (
            expectation.revision == self.store.revision
            and expectation.hosting == self.hosting.version
            and expectation.down == frozenset(self.down())
            and expectation.cut == self.faults.cuts.keys()
        )


def _counted(
    ask: Callable[[], Expected], nodes: Collection[str]
) -> tuple[Expected, Mapping[str, NodeCounts]]:
    oracle = ask()
    return oracle, oracle.counts(nodes)
