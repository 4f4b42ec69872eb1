"""What ``rehearse`` says: every line of it, made from a report.

    when     what was done and what came of it
    ok/FAIL  what was expected, and what was found

Pure functions; ``cli.rehearse`` prints them. The account of what was lost is ``cluster.loss.render``'s.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import click

from cluster.cli.up_output import counted
from cluster.loss import render
from cluster.loss.report import LossReport
from cluster.rehearsal.report import Ends, Finding, Report, StepReport, Unplayed
from cluster.scenario.write import span

_INDENT = " " * 12
MANY_PROBLEMS = 5
WIDTH = 100
WORST = 5
"""Pairs, and causes, that are told."""


def moment(seconds: float) -> str:
    """``"1:02.5"``, and ``"2:01:02.5"`` from an hour on."""
    tenths = round(max(seconds, 0.0) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    ending = f"{rest // 10:02}.{rest % 10}"
    return f"{hours}:{minutes:02}:{ending}" if hours else f"{minutes}:{ending}"


def title(report: Report) -> str:
    routers = f", {counted(report.routers, 'router')}" if report.routers else ""
    name = click.style(report.scenario, bold=True)
    return f"{name}: {counted(report.nodes, 'node')}{routers}, {report.how}, seed {report.seed}"


def lines(report: Report) -> Iterator[str]:
    yield title(report)
    if report.description:
        yield from textwrap.wrap(report.description, WIDTH, initial_indent="  ", subsequent_indent="  ")
    yield ""
    yield from _start(report)
    for step in report.steps:
        yield from _step(step)
    if report.end:
        yield _at(report.ended, "at the end")
        yield from map(_finding, report.end)
    if report.loss is not None:
        yield ""
        yield from (f"  {line}".rstrip() for line in render.lines(report.loss, worst=WORST))


def _at(seconds: float, what: str) -> str:
    return f"{moment(seconds):>10}  {what}"


def _start(report: Report) -> Iterator[str]:
    if report.start.ok:
        yield _at(0.0, f"converged, {report.converged:.1f} s after the first node was started")
    else:
        yield _at(0.0, "the cluster did not start as it should: no step was played")
        yield from _problems(report.start.trouble)
        yield from map(_finding, report.start.findings)


def _step(step: StepReport) -> Iterator[str]:
    name = click.style(step.name, bold=True)
    if step.skipped:
        yield _at(step.began, f"{name}: not done, since a step before it waited in vain")
        return
    yield _at(step.began, name + (f" (when {step.waited_for})" if step.waited_for else ""))
    for done in step.done:
        yield f"{_INDENT}{done.text}"
    yield from _problems(step.trouble)
    what = [*_sessions(step.sessions), *_lost(step.loss)]
    if what:
        yield f"{_INDENT}      {'; '.join(what)}"
    yield from map(_finding, step.findings)


def _problems(problems: Sequence[str]) -> Iterator[str]:
    for problem in problems[:MANY_PROBLEMS]:
        yield f"{_INDENT}{_mark(False)}  {problem}"
    if len(problems) > MANY_PROBLEMS:
        yield f"{_INDENT}      and {len(problems) - MANY_PROBLEMS:,} more"


def _sessions(ends: Ends | None) -> Iterator[str]:
    if ends is None:
        return
    moved = [f"{count:,} {way}" for count, way in ((ends.downs, "went"), (ends.ups, "came")) if count]
    if moved or ends.before != ends.after:
        more = f" ({', '.join(moved)})" if moved else ""
        yield f"ends of sessions {ends.before:,} -> {ends.after:,}{more}"


def _lost(loss: LossReport | None) -> Iterator[str]:
    if loss is not None and loss.pairs:
        worst = loss.pairs[0]
        yield (
            f"{counted(len(loss.pairs), 'pair')} lost traffic, {worst.source} to {worst.destination} "
            f"for {span(worst.seconds)}"
        )


def _finding(finding: Finding) -> str:
    found = f" — {finding.found}" if finding.found else ""
    return f"{_INDENT}{_mark(finding.ok)}  {finding.text}{found}"


def _mark(ok: bool) -> str:
    return click.style("ok  ", fg="green") if ok else click.style("FAIL", fg="red", bold=True)


def verdict(report: Report) -> str:
    """The last line of one scenario."""
    failures = report.failures()
    ended = (
        click.style("as expected", fg="green")
        if report.ok
        else click.style(f"NOT as expected ({len(failures)})", fg="red", bold=True)
    )
    log = f"; event log {report.digest[:12]}" if report.digest else ""
    return f"{report.scenario}: {ended}; {moment(report.ended)} in {report.took:.1f} s{log}"


def summary(reports: Sequence[Report | Unplayed]) -> str:
    """The last line of several."""
    bad = [report.scenario for report in reports if isinstance(report, Report) and not report.ok]
    unplayed = [report.scenario for report in reports if isinstance(report, Unplayed)]
    found = [f"{len(bad)} not as expected: {', '.join(bad)}"] if bad else []
    found += [f"{len(unplayed)} not played: {', '.join(unplayed)}"] if unplayed else []
    return f"{counted(len(reports), 'scenario')}, {'; '.join(found) or 'all as expected'}"
