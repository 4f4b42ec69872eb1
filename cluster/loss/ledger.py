"""The book of an account: from when until when each pair was lost, and why.

Owns ``Ledger``. It is told, instant by instant, which pairs changed (``note``) and how many are what (``moment``),
keeps what is over as plain tuples, and makes the report. An interval that ends when it begins is none.

The book grows with what is lost, and with nothing else: one entry for each pair and interruption.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import attrs

from cluster.loss.failure import Common, Why, words
from cluster.loss.report import CauseLoss, Interval, LossReport, Moment, PairLoss

_Entry = tuple[int, int, float, float, Why, bool]  # destination, source, from, until, why, new
_Moment = tuple[float, int, int, int]  # from, pairs that are lost, new, off


class Ledger:
    """Nodes are numbers; ``names`` has their names."""

    def __init__(self, start: float, names: Sequence[str]) -> None:
        self.start = start
        self._names = names
        self._open: dict[int, dict[int, tuple[float, Why, bool]]] = {}
        self._closed: list[_Entry] = []
        self._moments: list[_Moment] = [(start, 0, 0, 0)]
        self._off_since: dict[int, float] = {}
        self._off: list[tuple[int, float, float]] = []

    def note(self, now: float, destination: int, source: int, why: Why | None, new: bool) -> None:
        """The pair's state from now on; ``why`` None: packets arrive, or there is no such pair."""
        pairs = self._open.get(destination)
        if pairs is None:
            if why is None:
                return
            pairs = self._open[destination] = {}
        before = pairs.get(source)
        if before is not None:
            since, what, was_new = before
            if why is not None and was_new and new:
                # As long as nothing has arrived it is one interval, so that one decision is made about all of it.
                pairs[source] = since, why, True
                return
            if why == what and was_new is new:
                return
            del pairs[source]
            if since < now:
                self._closed.append((destination, source, since, now, what, was_new))
        if why is not None:
            pairs[source] = now, why, new

    def power(self, now: float, number: int, on: bool) -> None:
        since = self._off_since.pop(number, None)
        if since is not None and since < now:
            self._off.append((number, since, now))
        if not on:
            self._off_since[number] = now

    def moment(self, now: float, lost: int, new: int, off: int) -> None:
        last = self._moments[-1]
        if last[1] == lost and last[2] == new and last[3] == off:
            return
        if last[0] == now:
            self._moments.pop()
        self._moments.append((now, lost, new, off))

    def report(self, now: float, since: float | None, sources: int, destinations: int) -> LossReport:
        """``sources`` and ``destinations``: between whom packets go now."""
        start = self.start if since is None else min(max(self.start, since), now)
        # In the order of their ends: what ended before the window is not looked at.
        entries = self._closed[bisect_right(self._closed, start, key=lambda entry: entry[3]) :]
        for destination, pairs in self._open.items():
            # What has not arrived by now is lost, however new it is.
            entries += [(destination, source, at, now, why, False) for source, (at, why, _) in pairs.items()]
        new = 0.0
        lost: list[tuple[tuple[int, int], float, float, Why]] = []
        for destination, source, begun, end, why, was_new in entries:
            begin = max(begun, start)
            if begin < end and was_new:
                new += end - begin
            elif begin < end:
                lost.append(((source, destination), begin, end, why))
        found = self._intervals(lost)
        timeline = self._timeline(start)
        pairs_lost = [self._pair(pair, intervals) for pair, intervals in found.items()]
        gone = sum(not (sources >> source & destinations >> destination & 1) for source, destination in found)
        pairs_lost.sort(key=lambda each: (-each.seconds, each.source, each.destination))
        return LossReport(
            start=start,
            end=now,
            counted=pairs_between(sources, destinations) + gone,
            total=sum(each.seconds for each in pairs_lost),
            off=_integrate(timeline, now),
            new=new,
            lost_pairs=len(pairs_lost),
            lost_at_end=sum(each.lost_at_end for each in pairs_lost),
            pairs=tuple(pairs_lost),
            causes=_causes(found),
            timeline=timeline,
            powerless=self._powerless(start, now),
        )

    def _intervals(
        self, lost: Sequence[tuple[tuple[int, int], float, float, Why]]
    ) -> dict[tuple[int, int], list[Interval]]:
        common = Common((why for _, _, _, why in lost), self._names)
        said: dict[Why, tuple[str, str, str]] = {}
        found: dict[tuple[int, int], list[Interval]] = {}
        for pair, start, end, why in lost:
            known = said.get(why)
            if known is None:
                known = said[why] = why[0].value, common.of(why), words(why, self._names)
            reason, cause, text = known
            found.setdefault(pair, []).append(
                Interval(start=start, end=end, reason=reason, cause=cause, why=text)
            )
        return found

    def _pair(self, pair: tuple[int, int], intervals: list[Interval]) -> PairLoss:
        source, destination = pair
        return PairLoss(
            source=self._names[source],
            destination=self._names[destination],
            seconds=sum(each.seconds for each in intervals),
            intervals=tuple(sorted(intervals, key=lambda each: each.start)),
            lost_at_end=source in self._open.get(destination, ()),
        )

    def _timeline(self, start: float) -> tuple[Moment, ...]:
        never = sorted(
            max(since, start) for each in self._open.values() for since, _, new in each.values() if new
        )
        first = bisect_right(self._moments, start, key=lambda moment: moment[0]) - 1
        counts = {max(at, start): counts for at, *counts in self._moments[first:]}
        found: list[Moment] = []
        lost = new = off = 0
        for at in sorted({*counts, *never}):
            lost, new, off = counts.get(at, (lost, new, off))
            late = bisect_right(never, at)  # that never arrived: not new, but lost
            moment = Moment(at=at, lost=lost + late, new=new - late, off=off)
            if not found or attrs.evolve(found[-1], at=at) != moment:
                found.append(moment)
        return tuple(found)

    def _powerless(self, start: float, now: float) -> Mapping[str, tuple[tuple[float, float], ...]]:
        entries = [*self._off, *((number, since, now) for number, since in self._off_since.items())]
        found: dict[str, list[tuple[float, float]]] = {}
        for number, begin, end in entries:
            if max(begin, start) < end:
                found.setdefault(self._names[number], []).append((max(begin, start), end))
        return {name: tuple(sorted(found[name])) for name in sorted(found)}


def pairs_between(sources: int, destinations: int) -> int:
    """How many ordered pairs there are, of sets as bitmaps."""
    return sources.bit_count() * destinations.bit_count() - (sources & destinations).bit_count()


def _integrate(timeline: Sequence[Moment], now: float) -> float:
    """Pair-seconds without power."""
    ends = [*(each.at for each in timeline[1:]), now]
    return sum(each.off * (end - each.at) for each, end in zip(timeline, ends, strict=True))


def _causes(found: Mapping[tuple[int, int], Sequence[Interval]]) -> tuple[CauseLoss, ...]:
    seconds: dict[tuple[str, str], float] = {}
    pairs: dict[tuple[str, str], dict[tuple[int, int], None]] = {}
    for pair, intervals in found.items():
        for each in intervals:
            what = each.reason, each.cause
            seconds[what] = seconds.get(what, 0.0) + each.seconds
            pairs.setdefault(what, {})[pair] = None
    causes = [
        CauseLoss(reason=what[0], cause=what[1], seconds=total, pairs=len(pairs[what]))
        for what, total in seconds.items()
    ]
    return tuple(sorted(causes, key=lambda each: (-each.seconds, each.reason, each.cause)))
