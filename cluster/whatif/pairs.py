"""What becomes of pairs of nodes: who loses traffic because of a change, for how long, and whether it comes back.

Owns ``compare_pairs``, which makes the report of an account (``cluster.loss``) into what a change did: a pair that had
no traffic before it has lost nothing by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from cluster.loss.report import Interval, LossReport, PairLoss
from cluster.whatif.words import between, counted, seconds

MANY = 5
"""So many of the worst pairs are shown, and so many reasons."""


@attrs.frozen(kw_only=True)
class PairChange:
    """Packets from ``source`` to pods of ``destination`` did not arrive for ``seconds``; ``for_good``: nor do they in
    the end.
    """

    source: str
    destination: str
    seconds: float
    for_good: bool
    intervals: tuple[Interval, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "destination": self.destination,
            "seconds": round(self.seconds, 6),
            "forGood": self.for_good,
            "why": [*dict.fromkeys(each.why for each in self.intervals)],
        }


@attrs.frozen(kw_only=True)
class Pairs:
    """``all``: how many ordered pairs there are in the end. ``before``: who had no traffic before the change;
    ``regained``: those of them who have it now.
    """

    all: int
    lost: tuple[PairChange, ...]
    before: tuple[tuple[str, str], ...] = ()
    regained: tuple[tuple[str, str], ...] = ()

    @property
    def for_good(self) -> tuple[PairChange, ...]:
        return tuple(each for each in self.lost if each.for_good)

    def to_json(self) -> dict[str, Any]:
        return {
            "all": self.all,
            "lost": [each.to_json() for each in self.lost],
            "withoutTrafficBefore": [[*pair] for pair in self.before],
            "regained": [[*pair] for pair in self.regained],
        }


def compare_pairs(report: LossReport, changed: float) -> Pairs:
    """``changed``: when the change began. For good first, then the longest."""
    lost, before, regained = [], [], []
    for pair in report.pairs:
        ends = pair.source, pair.destination
        if pair.intervals[0].start < changed:
            before.append(ends)
            if not pair.lost_at_end:
                regained.append(ends)
            continue
        lost.append(_change(pair))
    lost.sort(key=lambda each: (not each.for_good, -each.seconds, each.source, each.destination))
    return Pairs(
        all=report.counted, lost=tuple(lost), before=tuple(sorted(before)), regained=tuple(sorted(regained))
    )


def _change(pair: PairLoss) -> PairChange:
    return PairChange(
        source=pair.source,
        destination=pair.destination,
        seconds=pair.seconds,
        for_good=pair.lost_at_end,
        intervals=pair.intervals,
    )


def pair_lines(pairs: Pairs) -> Iterator[str]:
    for_good = pairs.for_good
    passing = [each for each in pairs.lost if not each.for_good]
    if for_good:
        yield f"{_of(for_good, pairs)} and {_do(for_good, 'does', 'do')} not get it back: {_whom(for_good)}"
        yield from _reasons(for_good)
    if passing:
        longest = max(each.seconds for each in passing)
        upto = "up to " if len(passing) > 1 else ""
        total = (
            f", {seconds(sum(each.seconds for each in passing))} over all of them" if len(passing) > 1 else ""
        )
        yield f"{_of(passing, pairs)} for {upto}{seconds(longest)}{total}: {_whom(passing)}"
        yield from _reasons(passing)
    if pairs.regained:
        yield f"{counted(len(pairs.regained), 'pair')} without traffic before the change {_do(pairs.regained, 'has', 'have')} it now: {between(pairs.regained)}"
    left = len(pairs.before) - len(pairs.regained)
    if left:
        yield f"{counted(left, 'pair')} had no traffic before the change either"


def _of(changes: Sequence[PairChange], pairs: Pairs) -> str:
    return f"{len(changes):,} of {counted(pairs.all, 'pair')} {_do(changes, 'loses', 'lose')} traffic"


def _do(many: Sequence[object], one: str, more: str) -> str:
    return one if len(many) == 1 else more


def _whom(changes: Sequence[PairChange]) -> str:
    if len(changes) == 1:
        return f"{changes[0].source} -> {changes[0].destination}"
    return between([(each.source, each.destination) for each in changes])


def _reasons(changes: Sequence[PairChange]) -> Iterator[str]:
    """The last that went wrong for each pair, the most frequent first."""
    found: dict[str, list[PairChange]] = {}
    for each in changes:
        found.setdefault(each.intervals[-1].reason, []).append(each)
    for reason, members in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))[:MANY]:
        example = members[0].intervals[-1]
        many = f"{counted(len(members), 'pair')}, {reason}; such as: " if len(members) > 1 else ""
        yield f"  {many}{example.why}"
