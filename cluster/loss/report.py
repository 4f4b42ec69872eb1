"""How much was lost, between whom, when and why: what an account says in the end.

Owns the values and their JSON. Times are the account's seconds. Three things are told apart:

    lost  a packet would not have arrived, and both ends had power
    off   an end had none: nobody to send, or nobody to reach
    new   an end is new (a node that joins, the first pods of a node), and no packet had arrived yet. That ends when one does;
          where none ever did, it was lost from the start, and is counted so

Left out: how it is found (``account``) and shown (``render``, ``plot``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import cattrs


@attrs.frozen(kw_only=True)
class Interval:
    """``reason`` is a ``Reason``'s word; ``cause`` what it has in common with others; ``why`` names the prefix and the
    hop.
    """

    start: float
    end: float
    reason: str
    cause: str
    why: str

    @property
    def seconds(self) -> float:
        return self.end - self.start


@attrs.frozen(kw_only=True)
class PairLoss:
    """Packets from ``source`` to the pods of ``destination``. ``lost_at_end``: it was still so when the report was
    made.
    """

    source: str
    destination: str
    seconds: float
    intervals: tuple[Interval, ...]
    lost_at_end: bool = False


@attrs.frozen(kw_only=True)
class CauseLoss:
    """``seconds`` summed over the pairs."""

    reason: str
    cause: str
    seconds: float
    pairs: int


@attrs.frozen(kw_only=True)
class Moment:
    """Pairs that are lost, new or off from ``at`` on, until the next moment; those that never arrived are lost."""

    at: float
    lost: int
    new: int = 0
    off: int = 0


@attrs.frozen(kw_only=True)
class LossReport:
    """``pairs``: who lost anything, worst first; ``lost_pairs`` of them there are, and ``lost_at_end`` were still lost
    then. ``counted``: all ordered pairs that there were at the end, and those that lost something before. ``off`` and
    ``new`` are seconds summed over pairs, and not in ``total``; ``powerless`` says when who had no power.
    """

    start: float
    end: float
    counted: int
    total: float
    off: float
    new: float
    lost_pairs: int
    lost_at_end: int
    pairs: tuple[PairLoss, ...]
    causes: tuple[CauseLoss, ...]
    timeline: tuple[Moment, ...]
    powerless: Mapping[str, tuple[tuple[float, float], ...]] = attrs.field(factory=dict)

    @property
    def worst(self) -> float:
        """Seconds of the pair that lost most."""
        return self.pairs[0].seconds if self.pairs else 0.0

    @property
    def reasons(self) -> dict[str, float]:
        """Seconds for each ``Reason``, most first."""
        found: dict[str, float] = {}
        for each in self.causes:
            found[each.reason] = found.get(each.reason, 0.0) + each.seconds
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def pair(self, source: str, destination: str) -> PairLoss | None:
        """None when it lost nothing."""
        wanted = source, destination
        return next((each for each in self.pairs if (each.source, each.destination) == wanted), None)

    def since(self, moment: float) -> LossReport:
        """The same on a clock that begins at ``moment``."""
        return attrs.evolve(
            self,
            start=self.start - moment,
            end=self.end - moment,
            pairs=tuple(
                attrs.evolve(
                    pair,
                    intervals=tuple(
                        attrs.evolve(each, start=each.start - moment, end=each.end - moment)
                        for each in pair.intervals
                    ),
                )
                for pair in self.pairs
            ),
            timeline=tuple(attrs.evolve(each, at=each.at - moment) for each in self.timeline),
            powerless={
                name: tuple((begin - moment, end - moment) for begin, end in spans)
                for name, spans in self.powerless.items()
            },
        )

    def to_json(self, *, limit: int | None = None) -> dict[str, Any]:
        """``limit``: no more than so many pairs, the worst ones."""
        kept = attrs.evolve(self, pairs=self.pairs[:limit])
        found: dict[str, Any] = cattrs.Converter().unstructure(kept)
        return {**found, "worst": self.worst, "reasons": self.reasons}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> LossReport:
        """What ``to_json`` made; with a limit, that many pairs."""
        return cattrs.Converter().structure(document, LossReport)
