"""Has the cluster converged? The words and the bookkeeping of that question.

Owns ``Progress`` (how far a shard or the cluster is: counts), ``Verdict`` (what a shard found when it held its own
nodes' FIBs against the oracle), ``Difference`` (one entry that is not as it should be) and ``Jury``, which gathers
both from the shards and answers the question.

Counts only say when it is worth judging: equal numbers prove nothing. A cluster has converged when every living
shard has judged all of its nodes exactly equal, from a view of the datastore that is not older than the last change.

Flow: ``coordinator`` polls the shards' progress, asks ``Jury.ready`` which of them to call ``judge`` on, and stops
when ``Jury.converged``. Pure; the shards judge in ``shard``, the expectation comes from ``oracle``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

MAX_DIFFERENCES = 10
"""What a shard reports of all that it found: enough to see a pattern, few enough to be read."""


@attrs.frozen(kw_only=True)
class Progress:
    """Counts, of one shard or summed over all. ``sessions`` are ends: two to an Established session.

    ``version`` grows whenever a FIB may have changed: as many routes as before need not be the same.
    """

    nodes: int = 0
    session_ends: int = 0
    routes: int = 0
    version: int = 0

    def to_wire(self) -> list[int]:
        return [self.nodes, self.session_ends, self.routes, self.version]

    @classmethod
    def from_wire(cls, value: Iterable[int]) -> Progress:
        nodes, session_ends, routes, version = value
        return cls(nodes=nodes, session_ends=session_ends, routes=routes, version=version)

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            nodes=self.nodes + other.nodes,
            session_ends=self.session_ends + other.session_ends,
            routes=self.routes + other.routes,
            version=self.version + other.version,
        )


@attrs.frozen(kw_only=True)
class Difference:
    """One entry of one FIB that is missing, wrong or too much; all of it text, for people."""

    node: str
    prefix: str
    expected: str  # "via 10.77.0.17", or "" when there should be no such route
    found: str  # "" when it is missing
    why: str

    def __str__(self) -> str:
        return f"{self.node}: {self.prefix}: expected {self.expected or 'nothing'}, found {self.found or 'nothing'}: {self.why}"


@attrs.frozen(kw_only=True)
class Verdict:
    """What a shard found, from its view of the datastore at ``revision``."""

    revision: int
    expected: int  # routes
    programmed: int  # routes in the FIBs, whatever they are
    missing: int  # expected, and absent or different
    extra: int  # there, and not expected
    differences: tuple[Difference, ...] = ()  # the first MAX_DIFFERENCES

    @property
    def equal(self) -> bool:
        return self.missing == 0 and self.extra == 0

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(
            revision=min(self.revision, other.revision),
            expected=self.expected + other.expected,
            programmed=self.programmed + other.programmed,
            missing=self.missing + other.missing,
            extra=self.extra + other.extra,
            differences=(self.differences + other.differences)[:MAX_DIFFERENCES],
        )

    def to_wire(self) -> list[Any]:
        """Plain values for the shard's answer; ``from_wire`` is the way back."""
        differences = [
            [each.node, each.prefix, each.expected, each.found, each.why] for each in self.differences
        ]
        return [self.revision, self.expected, self.programmed, self.missing, self.extra, differences]

    @classmethod
    def from_wire(cls, value: Iterable[Any]) -> Verdict:
        revision, expected, programmed, missing, extra, differences = value
        return cls(
            revision=revision,
            expected=expected,
            programmed=programmed,
            missing=missing,
            extra=extra,
            differences=tuple(
                Difference(node=node, prefix=prefix, expected=should, found=found, why=why)
                for node, prefix, should, found, why in differences
            ),
        )


NO_VERDICT = Verdict(revision=1 << 62, expected=0, programmed=0, missing=0, extra=0)


QUIET = 1.0
"""Seconds without a change after which a shard is judged, whatever was estimated for it. A shard that only waits for
its turn on a busy computer should not be disturbed; one that has converged is known by its counts, at once."""


@attrs.define
class _Witness:
    """What is known of one shard."""

    progress: Progress = Progress()
    changed: float = 0.0  # when the counts last moved
    verdict: Verdict | None = None
    counts: Progress | None = None  # its own when it judged
    judged: float = 0.0  # when that was heard


class Jury:
    """Gathers what the shards say. ``shards`` are those that live; a dead one is dismissed."""

    def __init__(self, shards: Iterable[int]) -> None:
        self._witnesses = {shard: _Witness() for shard in shards}

    def dismiss(self, shard: int) -> None:
        """It is dead. What the others should hold is something else now, so that they have to be asked anew."""
        self._witnesses.pop(shard, None)
        self.recall()

    def recall(self) -> None:
        """What was said counts no more: something else is right now."""
        for witness in self._witnesses.values():
            witness.verdict = None

    def report(self, shard: int, progress: Progress, now: float) -> None:
        witness = self._witnesses.get(shard)
        if witness is not None and progress != witness.progress:
            witness.progress = progress
            witness.changed = now

    def judge(self, shard: int, verdict: Verdict, counts: Progress, now: float) -> None:
        """``counts`` are the shard's at the moment of judging: a report that left after it may be heard before."""
        witness = self._witnesses.get(shard)
        if witness is not None:
            witness.verdict = verdict
            witness.counts = counts
            witness.judged = now

    def ready(self, shard: int, *, routes_expected: int, revision: int, now: float) -> bool:
        """Whether the shard's word is worth asking for.

        It is when the shard has the number of routes estimated for it or has been quiet; and when its last word was
        of an older datastore, or the counts have moved since, or it was bad and some time has passed.
        """
        witness = self._witnesses[shard]
        verdict = witness.verdict
        known = verdict is not None and verdict.revision >= revision and witness.counts == witness.progress
        if known and verdict is not None and (verdict.equal or now - witness.judged < QUIET):
            return False
        return witness.progress.routes == routes_expected or now - witness.changed >= QUIET

    @property
    def progress(self) -> Progress:
        return sum((witness.progress for witness in self._witnesses.values()), Progress())

    @property
    def judged(self) -> Progress:
        """The counts by which the shards gave their last words; as reported, of one that has given none."""
        witnesses = self._witnesses.values()
        return sum((each.progress if each.counts is None else each.counts for each in witnesses), Progress())

    def progress_of(self, shard: int) -> Progress:
        """Nothing, of a shard that was dismissed."""
        witness = self._witnesses.get(shard)
        return witness.progress if witness is not None else Progress()

    @property
    def verdict(self) -> Verdict:
        """All that was judged so far, together."""
        verdicts = (witness.verdict for witness in self._witnesses.values())
        return sum((verdict for verdict in verdicts if verdict is not None), NO_VERDICT)

    @property
    def current(self) -> bool:
        """Whether every word is of the counts as they are: nothing has moved since it was given."""
        return all(witness.counts == witness.progress for witness in self._witnesses.values())

    def quiet(self, now: float) -> bool:
        """Whether nothing has moved anywhere for a while."""
        return all(now - witness.changed >= QUIET for witness in self._witnesses.values())

    @property
    def moved_at(self) -> float:
        """When the counts last moved anywhere."""
        return max((witness.changed for witness in self._witnesses.values()), default=0.0)

    def converged(self, revision: int) -> bool:
        return bool(self._witnesses) and all(
            witness.verdict is not None and witness.verdict.equal and witness.verdict.revision >= revision
            for witness in self._witnesses.values()
        )
