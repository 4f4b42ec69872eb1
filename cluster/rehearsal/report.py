"""What came of a rehearsal: which steps were done when, what was expected and what was found, what was lost.

Owns the values and their JSON. ``play`` makes them. Times are seconds since the cluster first converged; before that,
and in ``converged``, since its first node was started.

Left out: text for people (``cluster.cli.rehearse_output``), JUnit's XML (``junit``).
"""

from __future__ import annotations

from typing import Any

import attrs

from cluster.loss.report import LossReport

MAX_PAIRS = 100
"""Of those who lost something, in JSON: the worst ones."""


@attrs.frozen(kw_only=True)
class Finding:
    """A clause, and what was found instead or all the same. ``at``: when it was decided."""

    text: str
    ok: bool
    found: str
    at: float


@attrs.frozen(kw_only=True)
class Done:
    """An action, and what of it did not work."""

    text: str
    at: float
    problems: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Ends:
    """Ends of sessions that were up when a step began and when the next one did, and how many came and went between."""

    before: int
    after: int
    ups: int | None = None  # None: nobody has counted
    downs: int | None = None


@attrs.frozen(kw_only=True)
class StepReport:
    """``trouble``: why it was not done, or what did not work and no clause expects. ``skipped``: a step before it
    waited in vain. ``sessions`` and ``loss`` are of the time from its beginning until the next one's, or until the end.
    """

    name: str
    began: float
    ended: float
    waited_for: str = ""
    done: tuple[Done, ...] = ()
    findings: tuple[Finding, ...] = ()
    trouble: tuple[str, ...] = ()
    skipped: bool = False
    sessions: Ends | None = None
    loss: LossReport | None = None

    @property
    def ok(self) -> bool:
        return not self.trouble and not self.skipped and all(finding.ok for finding in self.findings)


@attrs.frozen(kw_only=True)
class Report:
    """``start``: the cluster's own convergence. ``digest`` is that of the event log: the same for the same seed."""

    scenario: str
    description: str
    seed: int
    how: str  # "virtual time, links in memory"
    nodes: int
    routers: int
    converged: float
    ended: float
    start: StepReport
    steps: tuple[StepReport, ...]
    end: tuple[Finding, ...]
    loss: LossReport | None
    file: str = ""
    warnings: tuple[str, ...] = ()
    events: int = 0
    digest: str = ""
    took: float = 0.0
    """Seconds of the computer's own time."""

    @property
    def ok(self) -> bool:
        return (
            self.start.ok and all(step.ok for step in self.steps) and all(finding.ok for finding in self.end)
        )

    def failures(self) -> list[str]:
        """One line each."""
        found = []
        for step in (self.start, *self.steps):
            found += [f"{step.name}: {each}" for each in step.trouble]
            found += [f"{step.name}: {each.text} — {each.found}" for each in step.findings if not each.ok]
        return found + [f"at the end: {each.text} — {each.found}" for each in self.end if not each.ok]

    def to_json(self) -> dict[str, Any]:
        document = attrs.asdict(self, value_serializer=lambda _, field, value: _plain(value))
        steps = [self.start, *self.steps]
        for written, step in zip([document["start"], *document["steps"]], steps, strict=True):
            written["ok"] = step.ok
        return {"ok": self.ok, **document}


@attrs.frozen(kw_only=True)
class Unplayed:
    """Of a scenario whose cluster could not be started, or broke down: why."""

    scenario: str
    file: str
    why: str

    def to_json(self) -> dict[str, Any]:
        return {"ok": False, "scenario": self.scenario, "file": self.file, "error": self.why}


def _plain(value: Any) -> Any:
    return value.to_json(limit=MAX_PAIRS) if isinstance(value, LossReport) else value
