"""One scenario tried out: played as ``rehearse`` plays it, looked at when it is over.

Owns ``attempt`` and ``Outcome``. The run is byte for byte the one that ``rehearse`` makes of the same file, up to the
last step; what ``checks`` adds comes behind.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import PurePath

import attrs

from cluster.fuzz.checks import Checks, Finding
from cluster.fuzz.oscillation import Cycle
from cluster.rehearsal.rehearse import Interrupted, rehearse
from cluster.scenario.model import Scenario
from cluster.spec import SpecError


@attrs.frozen(kw_only=True)
class Outcome:
    """``cycles`` are the configuration's fault, and no findings. ``impossible``: there is no such cluster, and why."""

    findings: tuple[Finding, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    impossible: str = ""


def attempt(scenario: Scenario) -> Outcome:
    """Play it, and look."""
    checks = Checks(scenario)

    def hear(text: str) -> None:
        checks.downs += (
            line.split(" ", 1)[1] for line in text.splitlines() if line.split(" ", 3)[2] == "SessionDown"
        )

    try:
        rehearse(scenario, sink=hear, afterwards=checks)
    except SpecError as error:
        return Outcome(impossible=str(error))
    except Interrupted as interrupted:
        raise KeyboardInterrupt from interrupted  # of which hypothesis makes no finding
    except Exception as error:  # whatever it is: a task of the cluster died of it
        return Outcome(findings=tuple(Finding("dead", _told(each)) for each in _leaves(error)))
    return Outcome(findings=tuple(checks.findings), cycles=tuple(checks.cycles))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
