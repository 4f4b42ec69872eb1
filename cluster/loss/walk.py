"""All walks to one class of pods: which nodes' packets arrive, and why the others' do not.

Owns ``Walk``. A class is the pods of one node that no table anywhere tells apart: the same prefixes hold them
(``chain``, longest first), and all are at home or none is. At home is a pod whose /32 (or /128) its own node has on an
interface, and nobody else; that route is in no chain, or each pod would be a class of its own.

A node's packet arrives when its route is the pod's interface on the pod's node, or leads to gateways that have power,
that no cut keeps it from, and from all of which it arrives. With ECMP one branch that fails is enough to fail: some
flows take it. That is the least fixed point, so what goes round does not arrive.

``refresh`` takes a node's route as it is now; ``settle`` computes anew what hangs on it: the nodes that came with it
and those whose packets pass through them (``users``), nobody else.

Left out: what a route's gateways are (``ground``), which pods are alike and what is made of the answers (``account``).
"""

from __future__ import annotations

from agents.dataplane.fib import FibRoute, RouteKind, device
from cluster.loss.failure import Reason, Why
from cluster.loss.ground import Ground, bits
from protocol.prefix import Address, Prefix, sort_key

HOME = device("home")
"""What the route of a pod's own node is, whatever the interface is called."""

Kind = tuple[int, tuple[Prefix, ...], bool]
"""Of a class: the pods' node, its chain, and whether they are at home."""

_NOWHERE = Address(b"")

_ENDS = {RouteKind.BLACKHOLE: Reason.BLACKHOLE, RouteKind.UNREACHABLE: Reason.UNREACHABLE}


class Walk:
    """``ok`` are the nodes that reach the pods, ``why`` says what it is for each of the others (and what it was),
    ``seen`` are those that have ever reached them.
    """

    def __init__(self, ground: Ground, kind: Kind) -> None:
        self.destination, self.chain, self.at_home = kind
        self.kind = kind
        self.pods: dict[Prefix, None] = {}
        self.ok = 0
        self.seen = 0
        self.why: dict[int, Why] = {}
        self._ground = ground
        self._routes: list[FibRoute | None] = []
        self._users: dict[int, int] = {}
        self._waiting = 0  # nodes to be settled
        self._fill()

    @property
    def order(self) -> tuple[tuple[object, ...], bool, tuple[Prefix, ...]]:
        """The classes of a node have an order that does not depend on their history."""
        return sort_key(self.chain[0]) if self.chain else (), self.at_home, self.chain

    @property
    def _subject(self) -> Prefix:
        """What to name where there is no route."""
        return self.chain[0] if self.chain else min(self.pods, key=sort_key)

    # --- facts ------------------------------------------------------------------------------------------------------

    def grow(self) -> None:
        """There are nodes that were not there before."""
        for number in range(len(self._routes), len(self._ground.names)):
            self._routes.append(None)
            self._waiting |= 1 << number
            self.refresh(number)

    def refresh(self, number: int) -> None:
        """The node may have another route."""
        route = self._route(number)
        before = self._routes[number]
        bit = 1 << number
        if route is before:
            if not self.ok & bit:
                self._waiting |= bit  # it may be another prefix's, and then that is the one to name
            return
        self._routes[number] = route
        self._waiting |= bit
        users, ahead = self._users, self._ground.ahead
        if before is not None and before.gateways:
            for hop in bits(ahead(before)[0]):
                users[hop] &= ~bit
        if route is not None and route.gateways:
            for hop in bits(ahead(route)[0]):
                users[hop] = users.get(hop, 0) | bit

    def reroute(self, routes: set[FibRoute]) -> None:
        """These routes lead elsewhere than they did."""
        concerned = [number for number, route in enumerate(self._routes) if route in routes]
        for number in concerned:
            for hop in self._users:
                self._users[hop] &= ~(1 << number)
            self._routes[number] = None
            self._waiting |= 1 << number  # if it has none any more either, too
            self.refresh(number)

    def doubt(self, hops: int, links: dict[int, int]) -> None:
        """Power of these nodes, or whether there are these links, is not what it was."""
        self._waiting |= hops  # and with them whoever goes through them
        for hop, others in links.items():
            self._waiting |= self._users.get(hop, 0) & others

    def _route(self, number: int) -> FibRoute | None:
        if self.at_home and number == self.destination:
            return HOME
        tables = self._ground.tables
        for prefix in self.chain:
            held = tables.get(prefix)
            if held is not None and (route := held.get(number)) is not None:
                return route
        return None

    def _fill(self) -> None:
        self._routes = [None] * len(self._ground.names)
        self._waiting = (1 << len(self._routes)) - 1
        for prefix in reversed(self.chain):
            for number, route in self._ground.tables.get(prefix, {}).items():
                self._routes[number] = route
        if self.at_home:
            self._routes[self.destination] = HOME
        users, ahead = self._users, self._ground.ahead
        for number, found in enumerate(self._routes):
            if found is not None and found.gateways:
                for hop in bits(ahead(found)[0]):
                    users[hop] = users.get(hop, 0) | 1 << number

    # --- answers ----------------------------------------------------------------------------------------------------

    def settle(self) -> int:
        """Compute anew what waits for it. Returns the nodes for which the answer, or the reason, is another one."""
        if not self._waiting:
            return 0
        affected = self._hanging_on(self._waiting)
        self._waiting = 0
        before = self.ok
        ok = before & ~affected
        todo = affected
        while todo:
            low = todo & -todo
            todo ^= low
            number = low.bit_length() - 1
            if self._arrives(number, ok):
                ok |= low
                todo |= self._users.get(number, 0) & affected & ~ok
        self.ok = ok
        self.seen |= ok
        changed = before ^ ok
        failing = affected & ~ok
        if failing:
            changed |= self._explain(failing)
        return changed

    def _hanging_on(self, numbers: int) -> int:
        """These, and all whose packets pass through any of them."""
        found = frontier = numbers
        while frontier:
            low = frontier & -frontier
            frontier ^= low
            through = self._users.get(low.bit_length() - 1, 0) & ~found
            found |= through
            frontier |= through
        return found

    def _arrives(self, number: int, ok: int) -> bool:
        route = self._routes[number]
        if route is None:
            return False
        if route.gateways:
            ground = self._ground
            ahead, complete = ground.ahead(route)
            return complete and not ahead & ~(ok & ground.alive & ~ground.cuts[number])
        return route.kind is RouteKind.DEVICE and number == self.destination

    def _explain(self, failing: int) -> int:
        """Follow each of them to where it ends. Returns those for which that is not what it was."""
        changed = 0
        done: dict[int, Why] = {}
        for start in bits(failing):
            path: dict[int, None] = {}
            number = start
            while (end := self._end(number, failing, done, path)) is None:
                path[number] = None
                blamed = self._blame(number)
                if not isinstance(blamed, int):
                    end = blamed
                    break
                number = blamed
            done.update(dict.fromkeys(path, end))
        for number, why in done.items():
            if self.why.get(number) != why:
                self.why[number] = why
                changed |= 1 << number
        return changed

    def _end(self, number: int, failing: int, done: dict[int, Why], path: dict[int, None]) -> Why | None:
        """Where it ends for this node, as far as that is known: on the way there is ``path``."""
        if not failing >> number & 1:
            return self.why[number]
        return done.get(number) or (self._loop(path, number) if number in path else None)

    def _blame(self, number: int) -> Why | int:
        """What is wrong at this node, or the node behind which something is."""
        ground = self._ground
        route = self._routes[number]
        if route is None:
            return Reason.NO_ROUTE, number, self._subject, _NOWHERE, ()
        prefix = next(each for each in self.chain if number in ground.tables.get(each, ()))
        if route.kind in _ENDS:
            return _ENDS[route.kind], number, prefix, _NOWHERE, ()
        for gateway in route.gateways:
            owner = ground.owners.get(gateway)
            if owner is None:
                return Reason.STRANGER, number, prefix, gateway, ()
            if not ground.alive >> owner & 1:
                return Reason.DEAD_HOP, number, prefix, gateway, (owner,)
            if ground.cuts[number] >> owner & 1:
                return Reason.CUT_LINK, number, prefix, gateway, (owner,)
            if not self.ok >> owner & 1:
                return owner
        return Reason.WRONG_NODE, number, prefix, _NOWHERE, (self.destination,)

    def _loop(self, path: dict[int, None], entry: int) -> Why:
        members = [*path]
        members = members[members.index(entry) :]
        first = members.index(min(members, key=self._ground.names.__getitem__))
        members = members[first:] + members[:first]
        return Reason.LOOP, members[0], self._subject, _NOWHERE, tuple(members)
