"""All states in which BGP can rest, for one prefix.

Owns ``resting``. Where only the best path is told, what a daemon says can hinge on what it hears, and round a ring of such
daemons on what it said itself; so there may be one state that lasts, or none, or several of which the history decides.
Trying orders finds that out by luck. Here it is proved, by two tables that enclose whatever happens:

    low    what everybody surely holds in the end
    high   what anybody might hold

A daemon surely tells its best path if that is the best of all it might hold, and it might tell any that
nothing it surely holds is better than. Thus ``high`` follows from ``low``, ``low`` from ``high``, and each step brings them nearer.
Once they are equal there is one state, and every history ends in it, whatever the delays: each step of the proof is a time
after which it is so. (This is the well-founded semantics of logic programs, by its alternating fixpoint.)

When they stay apart, some daemon's best is a matter of history. Each path that it might be is then taken for granted in
turn, and what follows is a state if the daemon comes to prefer that path.

Counted on: the better of two paths is so whoever else is there. MEDs would break that; no policy here makes any.

Left out: prefixes that somebody might tell more than WIDEST paths of, as proof would be dear (``TooWide``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from agents.speaker.decision import BETTER, PREFERENCE_STATIC, UNDECIDED, Path, compare, select
from cluster.oracle.telling import ROUNDS, Choose, Imported, Site, Table, candidates, spread
from protocol.prefix import Prefix

WIDEST = 16
BRANCHES = 128
"""How many assumptions are followed before a prefix is given up."""

_Granted = Mapping[Site, Path | None]
"""What is assumed to be somebody's best; None: that there is none."""


class TooWide(Exception):
    """Too much to look through."""


def resting(prefix: Prefix, origins: Sequence[Site], sites: int) -> Iterator[Table]:
    """Every state, perhaps more than once. ``origins`` are the sites with routes of their own, of ``sites`` in all.

    Raises:
        TooWide: it would take too long.
    """
    search = _Search(prefix, origins, ROUNDS * sites)
    return search.states({}, search.table({}, _sure_by_itself(prefix)))


@attrs.define
class _Search:
    prefix: Prefix
    origins: Sequence[Site]
    turns: int
    left: int = BRANCHES
    imported: Imported = attrs.Factory(dict)

    def table(self, granted: _Granted, choose: Choose) -> Table:
        table = Table(self.prefix, self.imported)
        if not spread(table, dict.fromkeys((*self.origins, *granted)), choose, turns=self.turns):
            raise TooWide
        return table

    def states(self, granted: _Granted, low: Table) -> Iterator[Table]:
        """``low`` is what is sure without the latest that was granted."""
        if not self.left:
            raise TooWide
        self.left -= 1
        before = -1
        while True:
            might = _Might(low, granted)
            high = self.table(granted, might)
            if not granted and not might.open:
                yield high  # with one path to choose, at most, there is one thing to do: low would be the same
                return
            low = self.table(granted, _surely(high, granted))
            held, possible = _held(low), _held(high)
            if not held <= possible or not all(_stands(*each, low, high) for each in granted.items()):
                return  # what was granted cannot be
            if held == possible:
                yield high
                return
            if len(held) == before:
                break
            before = len(held)
        site, options = self._open(granted, low, high)
        for option in options:
            yield from self.states({**granted, site: option}, low)

    @staticmethod
    def _open(granted: _Granted, low: Table, high: Table) -> tuple[Site, list[Path | None]]:
        """A site whose best is open, and what it might be: the one with the least choice."""
        might = _Might(low, granted)
        found: list[tuple[Site, list[Path | None]]] = []
        for site in high.heard:
            if site not in granted and not all(each.add_path for each in site.classes):
                options: list[Path | None] = [*might(site, candidates(site, high))]
                if not candidates(site, low):
                    options.append(None)
                if len(options) > 1:
                    found.append((site, options))
        return min(found, key=lambda each: len(each[1]))


def _sure_by_itself(prefix: Prefix) -> Choose:
    """What a neighbour says is never better than a static route."""

    def choose(site: Site, _: Sequence[Path]) -> Sequence[Path]:
        return [path for path in site.own.get(prefix, ())[:1] if path.preference >= PREFERENCE_STATIC]

    return choose


def _surely(high: Table, granted: _Granted) -> Choose:
    best: dict[Site, Path | None] = {**granted}

    def choose(site: Site, paths: Sequence[Path]) -> Sequence[Path]:
        if site not in best:
            best[site] = _best(candidates(site, high))
        path = best[site]
        return [path] if path is not None and (path in paths or site in granted) else ()

    return choose


@attrs.define
class _Might:
    """``open``: who told more than one path in the end."""

    low: Table
    granted: _Granted
    open: set[Site] = attrs.Factory(set)
    floors: dict[Site, Path | None] = attrs.Factory(dict)

    def __call__(self, site: Site, paths: Sequence[Path]) -> Sequence[Path]:
        if site in self.granted:
            return [path for path in paths if path is self.granted[site]]
        if site not in self.floors:
            self.floors[site] = _best(candidates(site, self.low))
        told = [path for path in paths if _stays(path, self.floors[site])]
        if len(told) > WIDEST:
            raise TooWide
        (self.open.add if len(told) > 1 else self.open.discard)(site)
        return told


def _stands(site: Site, path: Path | None, low: Table, high: Table) -> bool:
    """Whether what was granted can be."""
    if path is None:
        return not candidates(site, low)
    return path in candidates(site, high) and _stays(path, _best(candidates(site, low)))


def _stays(path: Path, floor: Path | None) -> bool:
    """Whether it is the better one."""
    if floor is None or path is floor:
        return True
    verdict = compare(path, floor)
    return verdict == BETTER if verdict != UNDECIDED else select((floor, path))[0] is path


def _best(paths: Sequence[Path]) -> Path | None:
    best = None
    for path in paths:
        if _stays(path, best):
            best = path
    return best


def _held(table: Table) -> set[tuple[object, Path]]:
    return {(ear, path) for told in table.heard.values() for ear, paths in told.items() for path in paths}
