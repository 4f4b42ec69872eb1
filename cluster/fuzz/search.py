"""Looking for a scenario in which something is wrong, and for the smallest one like it.

Owns ``Search``: rounds of drawn examples until there is one with a finding of a kind that is not known yet, or enough
was tried. What is found is shrunk: fewer steps, fewer nodes, simpler ones, as long as a finding of that kind is left.
One seed is one search: the same scenarios in the same order, wherever and however often, but for when the time is over.

It knows nothing of clusters: what an example is, and what is wrong with it, is the caller's. Hypothesis draws and
shrinks.

Left out: writing it down (``cluster.cli.fuzz``).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import attrs
from hypothesis import HealthCheck, Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

ROUND: Final = 50
"""Examples between two looks at the clock that nothing hinges on; hypothesis forgets what it has drawn in between."""

E = TypeVar("E")
"""An example; those that are spelled alike are tried once."""


@attrs.frozen(kw_only=True)
class Found(Generic[E]):
    """``tried``: examples up to the first one that was like it, ``shrunk`` those after it."""

    example: E
    kind: str
    tried: int
    shrunk: int


@attrs.define(kw_only=True)
class Search(Generic[E]):
    """``kinds``: what is wrong with an example, sorted by importance; empty when nothing is.

    ``clock`` gives seconds, of any clock; ``shrinking`` is how many of them a finding may be made smaller for.
    """

    examples: st.SearchStrategy[E] = attrs.field(repr=False)  # hypothesis prints who asks, and a base is long
    kinds: Callable[[E], Sequence[str]]
    seed: int
    clock: Callable[[], float] = lambda: 0.0
    shrinking: float = math.inf
    known: set[str] = attrs.field(factory=set)
    """Kinds that are not looked for any more."""
    tried: int = 0
    _round: int = 0

    def next(self, *, until: float = math.inf, most: float = math.inf) -> Found[E] | None:
        """The next finding; None when the clock says ``until``, or ``most`` examples were tried, without one."""
        last = self.tried + most
        while self.clock() < until and self.tried < last:
            self._round += 1
            found = _Round(self, until, last).run(random.Random(f"{self.seed}/{self._round}"))
            if found is not None:
                return found
        return None


@attrs.define
class _Round(Generic[E]):
    search: Search[E]
    until: float
    last: float
    kind: str = ""
    first: int = 0
    verdicts: dict[str, bool] = attrs.field(factory=dict)

    def run(self, rng: random.Random) -> Found[E] | None:
        phases = (Phase.generate, Phase.shrink) if self.search.shrinking else (Phase.generate,)
        how = settings(
            max_examples=ROUND,
            phases=phases,
            database=None,
            deadline=None,
            suppress_health_check=[*HealthCheck],
            verbosity=Verbosity.quiet,
        )
        try:
            example = find(self.search.examples, self._is_wrong, settings=how, random=rng)
        except NoSuchExample:
            return None
        return Found(example=example, kind=self.kind, tried=self.first, shrunk=self.search.tried - self.first)

    def _is_wrong(self, example: E) -> bool:
        """Whether it has a finding, of the kind that is looked for. Once the time is over only what is known counts."""
        key = repr(example)
        verdict = self.verdicts.get(key)
        if verdict is not None:
            return verdict
        search = self.search
        if search.clock() >= self.until or search.tried >= self.last:
            return False
        search.tried += 1
        kinds = [kind for kind in search.kinds(example) if kind not in search.known]
        if kinds and not self.kind:
            self.kind, self.first = kinds[0], search.tried
            self.until, self.last = search.clock() + search.shrinking, math.inf
        verdict = self.verdicts[key] = bool(kinds) and self.kind in kinds
        return verdict
