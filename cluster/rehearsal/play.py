"""A scenario played on a stage.

Owns ``play``: one loop over the steps of a scenario, over any ``Stage`` that has been started. It waits until the
cluster has converged, which is second 0 of everything that follows, and counts what is lost from then on. Then each
step: its moment, its actions, its clauses.

What does not come about is not an exception: it is in the report. A step that waits in vain is not done, nor are those
after it; a clause that does not hold and an action that does not work hinder nobody.

Left out: what actions do (``doing``), whether clauses hold (``judging``), stages and clocks (``rehearse``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from cluster.loss.report import LossReport
from cluster.rehearsal.doing import Doing
from cluster.rehearsal.judging import Judge
from cluster.rehearsal.report import Done, Ends, Finding, Report, StepReport
from cluster.rehearsal.stage import Stage
from cluster.scenario import model
from cluster.scenario.model import PATIENCE, Scenario
from cluster.scenario.write import span, words
from cluster.spec import World

START = "the start"
CONVERGING, THE_END = "converging", "the end"
"""What is told when nobody does anything."""

Progress = Callable[[str], object]
"""Is told what comes next, in words."""

Ups = Callable[[], int]
"""How many ends of sessions came up so far."""


async def play(
    scenario: Scenario,
    stage: Stage,
    world: World,
    *,
    wall: Callable[[], float],
    how: str,
    progress: Progress = lambda _: None,
    ups: Ups | None = None,
    trouble: Sequence[str] = (),
) -> Report:
    """``stage`` has ``world`` and was started. ``trouble``: what did not work then. ``wall`` is Unix time."""
    player = _Player(scenario, stage, Doing(stage, wall), progress, ups)
    start = await player.start(trouble)
    end: tuple[Finding, ...] = ()
    if start.ok:
        await stage.watch_loss()
        for number, step in enumerate(scenario.steps, 1):
            await player.step(step, number)
        end = await player.end()
    return Report(
        scenario=scenario.name,
        description=scenario.description,
        seed=scenario.seed,
        how=how,
        nodes=len(world.nodes),
        routers=len(world.routers),
        converged=player.judge.start,
        ended=player.now,
        start=start,
        steps=tuple(player.steps),
        end=end,
        loss=player.loss(player.judge.start),
    )


@attrs.define
class _Player:
    scenario: Scenario
    stage: Stage
    doing: Doing
    progress: Progress
    ups: Ups | None
    judge: Judge = attrs.field(init=False)
    stuck: bool = False
    """A step has waited in vain."""
    last: float = 0.0
    """When the step before was done."""
    steps: list[StepReport] = attrs.field(factory=list)
    _ends_before: _Ends | None = None
    """The last of ``steps`` has begun with these, and what it does goes on."""

    def __attrs_post_init__(self) -> None:
        self.judge = Judge(self.stage, 0.0, tolerant=_tolerates(self.scenario.expect))

    @property
    def now(self) -> float:
        return self.stage.now() - self.judge.start

    async def start(self, trouble: Sequence[str]) -> StepReport:
        self.progress(CONVERGING)
        finding = await self.judge.look(model.Converged(PATIENCE))
        settled = self.stage.now()
        self.judge.start = self.judge.step = self.judge.done = settled
        return StepReport(name=START, began=-settled, ended=0.0, findings=(finding,), trouble=tuple(trouble))

    async def step(self, step: model.Step, number: int) -> None:
        name = step.name or f"step {number}"
        if self.stuck:
            self.steps.append(StepReport(name=name, began=self.now, ended=self.now, skipped=True))
            return
        self.progress(f"step {number} of {len(self.scenario.steps)}: {name}")
        self._tolerate(step.expect)
        why = await self._moment(step)
        ends = await self._close()
        began = self.now
        waited = " and ".join(map(words, step.when))
        if why:
            self.stuck = True
            text = f"waited {span(step.within)} for {waited}: {why}"
            self.steps.append(
                StepReport(name=name, began=began, ended=began, waited_for=waited, trouble=(text,))
            )
            return
        self.judge.step = self.stage.now()
        done = [await self._do(action) for action in step.do]
        self.judge.done = self.last = self.stage.now()
        self.judge.problems = tuple(problem for each in done for problem in each.problems)
        findings = await self._look(step.expect)
        self._ends_before = ends
        self.steps.append(
            StepReport(
                name=name,
                began=began,
                ended=self.now,
                waited_for=waited,
                done=tuple(done),
                findings=findings,
                trouble=_not_allowed(self.judge.problems, step.expect),
            )
        )

    async def end(self) -> tuple[Finding, ...]:
        self.progress(THE_END)
        findings = await self._look(self.scenario.expect)
        await self._close()
        return findings

    async def _close(self) -> _Ends:
        """Whatever has come until now is the last step's."""
        ends = await self._ends()
        if self._ends_before is not None:
            sessions = _compared(self._ends_before, ends)
            self.steps[-1] = attrs.evolve(self.steps[-1], sessions=sessions, loss=self.loss(self.judge.step))
            self._ends_before = None
        return ends

    def loss(self, since: float) -> LossReport | None:
        """What was lost since then, until now."""
        account = self.stage.account
        return None if account is None else account.report(self.stage.now(), since).since(self.judge.start)

    async def _moment(self, step: model.Step) -> str:
        """Wait for it; why it never came."""
        if step.at is not None:
            await self._sleep_until(self.judge.start + step.at)
        elif step.after is not None:
            await self._sleep_until(max(self.last, self.judge.start) + step.after)
        began = self.stage.now()
        self.judge.done = began
        while True:
            for condition in step.when:
                why = await self.judge.comes_true(condition, max(0.0, began + step.within - self.stage.now()))
                if why:
                    return f"{words(condition)}: {why}" if len(step.when) > 1 else why
            # While one was waited for another may have come to an end.
            if len(step.when) < 2 or not any([await self.judge.comes_true(each, 0.0) for each in step.when]):
                return ""

    async def _sleep_until(self, moment: float) -> None:
        left = moment - self.stage.now()
        if left > 0:
            await self.stage.sleep(left)

    async def _do(self, action: model.Action) -> Done:
        at = self.now
        problems = await self.doing.do(action)
        return Done(text=words(action), at=at, problems=tuple(problems))

    async def _look(self, clauses: Sequence[model.Clause]) -> tuple[Finding, ...]:
        self._tolerate(clauses)
        asked = [clause for clause in clauses if not isinstance(clause, model.UnsettledAllowed)]
        return tuple([await self.judge.look(clause) for clause in asked])

    def _tolerate(self, clauses: Sequence[model.Clause]) -> None:
        self.judge.tolerant = _tolerates(clauses) or _tolerates(self.scenario.expect)

    async def _ends(self) -> _Ends:
        up = sum(each.state == "Established" for each in await self.stage.sessions())
        return _Ends(up, None if self.ups is None else self.ups())


@attrs.frozen
class _Ends:
    up: int
    ups: int | None


def _compared(before: _Ends, after: _Ends) -> Ends:
    if before.ups is None or after.ups is None:
        return Ends(before=before.up, after=after.up)
    ups = after.ups - before.ups
    # No journal has the ends of those who died; but who came and is not there has gone.
    return Ends(before=before.up, after=after.up, ups=ups, downs=before.up + ups - after.up)


def _tolerates(clauses: Sequence[model.Clause]) -> bool:
    return any(isinstance(clause, model.UnsettledAllowed) for clause in clauses)


def _not_allowed(problems: Sequence[str], clauses: Sequence[model.Clause]) -> tuple[str, ...]:
    """Those that no clause expects."""
    allowed = [clause.text for clause in clauses if isinstance(clause, model.Refused)]
    return tuple(problem for problem in problems if not any(text in problem for text in allowed))
