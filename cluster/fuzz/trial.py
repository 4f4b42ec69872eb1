"""One scenario tried out: played as ``rehearse`` plays it, looked at when it is over.

Owns ``attempt`` and ``Outcome``. The run is byte for byte the one that ``rehearse`` makes of the same file, up to the
last step; what ``checks`` adds comes behind.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

import attrs

from cluster.fuzz.checks import Checks, Finding
from cluster.fuzz.oscillation import Cycle
from cluster.interruption import Interrupted
from cluster.rehearsal.play import CONVERGING, THE_END
from cluster.rehearsal.rehearse import rehearse
from cluster.scenario.model import Scenario
from cluster.spec import SpecError

DETOUR: Final = 20_000
MOST: Final = 150_000
"""Twelve nodes to which something happens every other minute have a thousand."""
_STILL: Final = CONVERGING, THE_END
_LAST: Final = 4
"""Of them are told."""


@attrs.frozen(kw_only=True)
class Outcome:
    """``cycles`` are the configuration's fault, and no findings. ``impossible``: there is no such cluster, and why. ``endless``:
    it was given up.
    """

    findings: tuple[Finding, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    impossible: str = ""
    endless: bool = False


class _Endless(Exception):
    """Too many events. The last of them."""


def attempt(scenario: Scenario) -> Outcome:
    """Play it, and look."""
    checks = Checks(scenario)
    events = 0
    told = ""

    def hear(text: str) -> None:
        nonlocal events
        lines = text.splitlines()
        checks.downs += (line.split(" ", 1)[1] for line in lines if line.split(" ", 3)[2] == "SessionDown")
        events += len(lines)
        if events > (MOST if told in _STILL else DETOUR):
            raise _Endless("; ".join(lines[-_LAST:]))

    def progress(what: str) -> None:
        nonlocal told, events
        told, events = what, 0

    try:
        rehearse(scenario, sink=hear, progress=progress, afterwards=checks)
    except SpecError as error:
        return Outcome(impossible=str(error))
    except Interrupted as interrupted:
        raise KeyboardInterrupt from interrupted  # of which hypothesis makes no finding
    except Exception as error:  # whatever it is: a task of the cluster died of it
        endless = [each for each in _leaves(error) if isinstance(each, _Endless)]
        if endless and told in _STILL:
            return Outcome(findings=(Finding("oscillation", f"there is no end to it: {endless[0]}"),))
        if endless:
            return Outcome(endless=True)
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
