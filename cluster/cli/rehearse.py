"""``rehearse``: play scenarios, and say whether it went as they expect.

All files are read before anything is started. A cluster that cannot be started, or on the real clock loses a shard,
hinders no other, and is told in every output. Exit codes: 0 everything as expected; 1 something was not; 2 a file that
is no scenario, or such a cluster; 128 plus the signal's number when one came first, and then what was played before it
is written all the same.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cluster.cli.paths import Target

if TYPE_CHECKING:
    from cluster.rehearsal.report import Report, Unplayed
    from cluster.scenario.read import Read

PORT = 1795
"""Not that of ``up``, which may be running."""
STILL = 30.0
"""Seconds after which a file is told of a step once more."""


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="FILE|DIR...")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Instead of the scenario's own.")
@click.option("--tcp", is_flag=True, help="Over real TCP on this computer, still in virtual time.")
@click.option("--real", is_flag=True, help="On the real clock, with shard processes as `up` has them.")
@click.option(
    "--bgp-port", type=click.IntRange(1, 65535), default=PORT, show_default=True, metavar="PORT",
    help="Where the nodes listen, with --tcp and --real.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Output format.",
)  # fmt: skip
@click.option("--junit", type=Target(), metavar="FILE", help="Write JUnit's XML there, for a CI.")
@click.option("--events", type=Target(), metavar="FILE", help="Write all that happened there, line by line.")
@click.option(
    "--plot", type=Target(), metavar="FILE.svg|png", help="Draw there what was lost when; of one scenario."
)
def rehearse(sources: tuple[str, ...], **options: Any) -> None:
    """Play scenarios: a cluster, what is done to it, what is expected of it.

    In virtual time an hour takes seconds, and the same seed is the same run, line by line; with real sockets (--tcp,
    --real) the kernel has a say. Of a directory all files that have a Scenario are played, one after the other.

    \b
    Examples:
      ./run rehearse examples/scenarios/silent-death.yaml
      ./run rehearse examples/scenarios --junit report.xml
      ./run rehearse examples/scenarios/partition.yaml --seed 7 --events partition.log
    """
    try:
        code = _rehearse(sources, options)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseExceptionGroup as group:
        from cluster.cli.words import unwritten

        raise unwritten(group) from None
    sys.exit(code)


def _rehearse(sources: tuple[str, ...], options: dict[str, Any]) -> int:
    from cluster.interruption import Interrupted
    from cluster.rehearsal.rehearse import CannotRun
    from cluster.rehearsal.report import Report, Unplayed

    if options["tcp"] and options["real"]:
        raise click.UsageError("--tcp is in virtual time, --real is not: one of them")
    if options["events"] and options["real"]:
        raise click.UsageError(
            "--events needs virtual time: on the real clock there is no one order of events"
        )
    read = _read(sources)
    if read is None:
        return 2
    if options["plot"]:
        from cluster.loss.plot import CannotPlot, check

        if len(read) != 1:
            raise click.UsageError(f"--plot draws one scenario, and there are {len(read)}")
        try:
            check(options["plot"])
        except CannotPlot as error:
            raise click.UsageError(f"--plot: {error}") from None
    for each in read:
        for warning in each.warnings:
            click.echo(f"warning: {warning}", err=True)
    reports: list[Report | Unplayed] = []
    text = options["output"] == "text"
    interrupted = 0
    with _Events(options["events"], several=len(read) > 1) as events:
        for each in read:
            watch = Watch()
            try:
                report = _play(each, options, events.sink(each), watch)
            except CannotRun as error:
                watch.clear()
                for line in str(error).splitlines():
                    click.echo(f"tortie: {each.path}: {line}", err=True)
                reports.append(Unplayed(scenario=each.scenario.name, file=each.path, why=str(error)))
                continue
            except Interrupted as error:
                watch.clear()
                why = f"interrupted at {watch.where()}"
                click.echo(f"tortie: {each.scenario.name}: {why}", err=True)
                reports.append(Unplayed(scenario=each.scenario.name, file=each.path, why=why))
                interrupted = 128 + error.number
                break
            watch.clear()
            reports.append(report)
            if text:
                _show(report, last=each is read[-1])
    _write_files(reports, options)
    played = [report for report in reports if isinstance(report, Report)]
    ok = len(played) == len(reports) and all(report.ok for report in played)
    if not text:
        document = {"ok": ok, "rehearsals": [report.to_json() for report in reports]}
        click.echo(json.dumps(document))
    elif len(reports) > 1:
        from cluster.cli.rehearse_output import summary

        click.echo(f"\n{summary(reports)}")
    return interrupted or (2 if len(played) < len(reports) else 0 if ok else 1)


def _read(sources: tuple[str, ...]) -> list[Read] | None:
    """None when something is wrong, which is said."""
    from cluster.scenario.read import find, read
    from protocol.v3.loader import ManifestError

    found, wrong = [], False
    for source in sources:
        try:
            paths = find(source)
        except ManifestError as error:
            paths, wrong = [], True
            _complain(error.problems)
        for path in paths:
            try:
                found.append(read(path))
            except ManifestError as error:
                wrong = True
                _complain(error.problems)
    return None if wrong else found


def _complain(problems: Any) -> None:
    for problem in problems:
        click.echo(f"tortie: {problem}", err=True)


def _play(read: Read, options: dict[str, Any], sink: Callable[[str], object] | None, watch: Watch) -> Report:
    import attrs

    scenario = read.scenario
    if options["seed"] is not None:
        scenario = attrs.evolve(scenario, seed=options["seed"])
    watch.name = scenario.name
    if options["real"]:
        from cluster.rehearsal.rehearse_live import rehearse_live

        report = rehearse_live(scenario, bgp_port=options["bgp_port"], progress=watch.step, tick=watch.tick)
    else:
        from cluster.rehearsal import rehearse as virtual

        report = virtual.rehearse(
            scenario,
            bgp_port=options["bgp_port"] if options["tcp"] else None,
            sink=sink,
            progress=watch.step,
            tick=watch.tick,
        )
    return attrs.evolve(report, file=read.path, warnings=read.warnings)


def _show(report: Report, *, last: bool) -> None:
    from cluster.cli.rehearse_output import lines, verdict

    for line in lines(report):
        click.echo(line)
    click.echo(f"\n{verdict(report)}" + ("" if last else "\n"))


def _write_files(reports: list[Report | Unplayed], options: dict[str, Any]) -> None:
    if options["junit"]:
        from cluster.rehearsal.junit import junit

        with open(options["junit"], "w", encoding="utf-8") as file:
            file.write(junit(reports))
    if options["plot"]:
        from cluster.loss.plot import plot

        [report] = reports
        loss = getattr(report, "loss", None)
        if loss is None:
            click.echo(f"tortie: {report.scenario}: no step was played, and nothing is drawn", err=True)
        else:
            plot(loss, options["plot"], title=report.scenario)


class _Events:
    """The file of the event logs, if one is asked for."""

    def __init__(self, path: str | None, *, several: bool) -> None:
        self._file = None if path is None else open(path, "w", encoding="utf-8")  # noqa: SIM115  # closed by __exit__
        self._several = several

    def sink(self, read: Read) -> Callable[[str], object] | None:
        if self._file is None:
            return None
        if self._several:
            self._file.write(f"# {read.scenario.name}\n")
        return self._file.write

    def __enter__(self) -> _Events:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


class Watch:
    """What is shown on standard error while it lasts: one line that changes on a terminal; elsewhere a line for each
    step, and one each half a minute; none of what is over within a second.
    """

    def __init__(self) -> None:
        self.name = ""
        self._what = "starting"
        self._now = 0.0
        self._terminal = sys.stderr.isatty()
        self._interval = 0.1 if self._terminal else 1.0
        self._next = time.monotonic() + self._interval
        self._shown = 0
        self._told = ""
        self._tell = 0.0

    def step(self, what: str) -> None:
        self._what = what

    def tick(self, now: float) -> None:
        self._now = now
        moment = time.monotonic()
        if moment >= self._next:
            self._next = moment + self._interval
            if self._terminal or self._what != self._told or moment >= self._tell:
                self._told, self._tell = self._what, moment + STILL
                self._show()

    def where(self) -> str:
        from cluster.cli.rehearse_output import moment

        return f"{moment(self._now)}, {self._what}"

    def clear(self) -> None:
        if self._shown:
            click.echo("\r" + " " * self._shown + "\r", nl=False, err=True)
            self._shown = 0

    def _show(self) -> None:
        line = f"{self.name}: {self.where()}"
        if self._terminal:
            line = line[: shutil.get_terminal_size().columns - 1]  # or it wraps, and cannot be written over
            click.echo(f"\r{line:<{self._shown}}", nl=False, err=True)
            self._shown = len(line)
        else:
            click.echo(line, err=True)
