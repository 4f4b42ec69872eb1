"""The loss account: for every ordered pair of nodes the time in which a packet from one would not have reached a pod of
the other.

Owns ``Account``, which is told facts (tables, addresses, pods, power, cuts; in any order, each with its time) and
knows at any instant which pairs are lost, by walking the tables as they are. Nothing is sampled: a state lasts until
the fact that ends it, and what happens in one instant is one change.

    set_routes ─► Ground ─┬─► classes of pods ─► Walk (one a class) ─► pairs of each destination ─► Ledger ─► LossReport
    set_pods ─────────────┘                       ▲
    set_member, set_power, set_cut ───────────────┘

A pair is lost while any pod of the destination, of any family, is not reached; with ECMP, while any branch fails. While
an end has no power it is off, and not lost; while nothing has arrived yet it is new (``report``). What is there in the
first instant, ``start``, counts as old; where something else may happen in that instant, ``begin`` says when all was
told.

A change costs what hangs on it: the classes of pods that its prefix holds, and in each of them the nodes whose packets
pass that way.

Left out: a node's packets to its own pods; addresses of nodes and Services; what the fabric does with a packet that has
no route, which is to lose it here. Who feeds it: ``feed`` from resources, and the stages from tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agents.dataplane.fib import FibRoute
from cluster.loss.classes import Classes
from cluster.loss.failure import Why, words
from cluster.loss.ground import Ground, bits
from cluster.loss.ledger import Ledger, pairs_between
from cluster.loss.report import LossReport
from protocol.prefix import Address, Prefix


class Account:
    """See the module. ``now`` is in seconds, of any clock; a fact that comes late counts from the latest instant that
    was told.

    A node has power unless it is said to have none, and an empty table until it is told of.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._ground = Ground()
        self._classes = Classes(self._ground)
        self._ledger = Ledger(start, self._ground.names)
        self._start = self._now = start
        self._begun = False
        self._told = False  # something that has not been looked at yet
        self._members = 0
        self._sources = 0
        self._powerless = 0
        self._links: dict[int, int] = {}  # cut or healed since
        self._hops = 0  # powered on or off since
        self._concerned: dict[int, None] = {}  # destinations to be looked at anew, besides those of classes
        self._lost: dict[int, int] = {}
        self._new: dict[int, int] = {}
        self._lost_pairs = 0
        self._new_pairs = 0

    def begin(self) -> None:
        """All has been told that is there already. What comes from now on is new, in this very instant too."""
        self._settle()
        self._begun = True

    # --- facts ------------------------------------------------------------------------------------------------------

    def set_member(self, now: float, name: str, addresses: Iterable[Address], *, source: bool = True) -> None:
        """There is this node, and it has these addresses: its own and those of its tunnels, whatever a gateway may be.
        ``source``: whether its own packets are counted (a router's are not).
        """
        number, bit = self._at(now, name)
        if not self._members & bit:
            self._members |= bit
            self._classes.forget(number)
            self._alive()
            self._hops |= bit
            self._concern_all()
        if bool(self._sources & bit) is not source:
            self._sources ^= bit
            self._concern_all()
        stale = self._ground.set_addresses(number, addresses)
        if stale:
            self._classes.reroute(stale)

    def remove_member(self, now: float, name: str) -> None:
        """The node was deleted. Its table goes with it; its pods are to be told (``set_pods``)."""
        number, bit = self._at(now, name)
        if not self._members & bit:
            return
        self._members &= ~bit
        self._sources &= ~bit
        self._alive()
        self._hops |= bit
        self._classes.reroute(self._ground.set_addresses(number, ()))
        self._ground.program(number, self._ground.table(number), {})
        self._concern_all()

    def set_pods(self, now: float, name: str, addresses: Iterable[Address]) -> None:
        """The node's pods have these addresses, all of them."""
        number, _ = self._at(now, name)
        self._classes.set_pods(number, addresses)

    def set_power(self, now: float, name: str, on: bool) -> None:
        """A node that loses power loses its table. What is told of its table after that is of its next life."""
        number, bit = self._at(now, name)
        if bool(self._powerless & bit) is not on:
            return
        self._powerless ^= bit
        self._alive()
        self._hops |= bit
        self._concern_all()
        self._ledger.power(self._now, number, on)
        if not on:
            self._ground.program(number, self._ground.table(number), {})

    def set_cut(self, now: float, one: str, other: str, cut: bool) -> None:
        """Whether the link between them is cut, either way; a node has none to itself."""
        (left, _), (right, _) = self._at(now, one), self._at(now, other)
        if left != right and self._ground.cut(left, right, cut):
            self._links[left] = self._links.get(left, 0) | 1 << right
            self._links[right] = self._links.get(right, 0) | 1 << left

    def set_routes(
        self, now: float, name: str, prefixes: Iterable[Prefix], table: Mapping[Prefix, FibRoute]
    ) -> None:
        """For these prefixes the node has the routes that ``table`` has, which may be none. Others stay what they are."""
        number, _ = self._at(now, name)
        self._ground.program(number, prefixes, table)

    def set_table(self, now: float, name: str, table: Mapping[Prefix, FibRoute]) -> None:
        """All that the node has."""
        number, _ = self._at(now, name)
        self._ground.program(number, dict.fromkeys([*self._ground.table(number), *table]), table)

    # --- questions --------------------------------------------------------------------------------------------------

    def report(self, now: float, since: float | None = None) -> LossReport:
        """What was lost until now, from the start or from ``since``. The account goes on."""
        self._settle_until(now)
        self._settle()
        for number, sources in self._new.items():
            for source in bits(sources):
                self._ledger.note(self._now, number, source, self._why(number, source, True), True)
        alive = self._ground.alive
        return self._ledger.report(
            self._now, since, self._sources & alive, self._classes.destinations & alive
        )

    def failing(self, now: float) -> dict[tuple[str, str], str]:
        """Pairs (source, destination) whose packets do not arrive now, new ones too, and why; in order."""
        self._settle_until(now)
        self._settle()
        names = self._ground.names
        found: dict[tuple[str, str], str] = {}
        for number in bits(self._classes.destinations):
            for mask, new in ((self._lost.get(number, 0), False), (self._new.get(number, 0), True)):
                for source in bits(mask):
                    found[names[source], names[number]] = words(self._why(number, source, new), names)
        return dict(sorted(found.items()))

    @property
    def lost_pairs(self) -> int:
        """How many are lost now: of what happened in this very instant nothing is counted yet."""
        return self._lost_pairs

    # --- instants ---------------------------------------------------------------------------------------------------

    def _at(self, now: float, name: str) -> tuple[int, int]:
        if now > self._now:
            self._settle_until(now)
        self._told = True
        number = self._ground.numbers.get(name)
        if number is None:
            number = self._ground.number(name)
            self._classes.grow()
        return number, 1 << number

    def _settle_until(self, now: float) -> None:
        if now > self._now:
            if self._told:
                self._settle()
            self._now = now

    def _settle(self) -> None:
        """All that was told of this instant is known."""
        self._told = False
        self._classes.sort(self._hops, self._links)
        self._hops = 0
        self._links = {}
        changed = self._classes.settle()
        if self._now == self._start and not self._begun:
            self._classes.all_seen(self._members)
        for number in self._concerned:
            changed[number] = -1
        self._concerned = {}
        for number, sources in changed.items():
            self._look(number, sources)
        self._ledger.moment(self._now, self._lost_pairs, self._new_pairs, self._off_pairs())

    def _look(self, destination: int, changed: int) -> None:
        """Bring the pairs of one destination to what its classes say."""
        lost = failing = 0
        if self._ground.alive >> destination & 1:
            who = self._sources & self._ground.alive & ~(1 << destination)
            for walk in self._classes.of(destination):
                failed = ~walk.ok & who
                failing |= failed
                lost |= failed & walk.seen
        new = failing & ~lost
        was_lost, was_new = self._lost.get(destination, 0), self._new.get(destination, 0)
        self._lost[destination], self._new[destination] = lost, new
        self._lost_pairs += lost.bit_count() - was_lost.bit_count()
        self._new_pairs += new.bit_count() - was_new.bit_count()
        # Why what is new has not been reached is asked at the end.
        for source in bits((lost ^ was_lost) | (new ^ was_new) | (changed & lost)):
            is_new = bool(new >> source & 1)
            why = self._why(destination, source, is_new) if failing >> source & 1 else None
            self._ledger.note(self._now, destination, source, why, is_new)

    def _why(self, destination: int, source: int, new: bool) -> Why:
        """Of the first class that is not reached."""
        bit = 1 << source
        return next(
            walk.why[source]
            for walk in self._classes.of(destination)
            if not walk.ok & bit and (new or walk.seen & bit)
        )

    def _off_pairs(self) -> int:
        if not self._powerless:
            return 0
        alive, sources = self._ground.alive, self._sources
        destinations = self._classes.destinations & self._members
        return pairs_between(sources, destinations) - pairs_between(sources & alive, destinations & alive)

    def _alive(self) -> None:
        self._ground.alive = self._members & ~self._powerless

    def _concern_all(self) -> None:
        self._concerned.update(dict.fromkeys(bits(self._classes.destinations)))
