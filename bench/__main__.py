"""``python -m bench``: how fast, measured from outside, and beside what.

    mesh, reflectors, routes   a cluster from nothing to exact convergence
    churn, change              what one change of routes, of a filter takes in a converged mesh
    derive                     the configurations of all nodes, without any session
    rehearse                   an hour in virtual time
    plan                       changes that concern everybody, tried on a copy
    floor                      the same connections and messages over bare sockets
    attack                     coverage-guided fuzzing of the decoder, a session, a speaker: findings, and how much was tried
    siege                      what strangers, slow, mute and flooding neighbours cost a converged mesh
    soak                       minutes of everything that can happen to a cluster: is it right each time, and does anything grow
    differential               no figures: whether real BIRD 1.6, given the same manifests, knows the same routes

With ``--against bird`` every run of tortie is followed by one of real BIRD daemons, so that both meet the same
computer in the same mood. Progress goes to stderr, the result to stdout: a table, or rows of JSON.

Exit code: 0; 1 when a run gave no figure (the others are still printed); 2 for bad usage, and when bird is missing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click

from bench import bird, tortie
from bench.attack import attack as run_attack
from bench.attack import replay
from bench.derive import derive as run_derive
from bench.differential import run as run_differential
from bench.floor import floor as run_floor
from bench.plan import plan as run_plan
from bench.rehearse import KINDS
from bench.rehearse import tool as rehearse_tool
from bench.rows import BenchError, Case, Row, Run, as_json, as_table, ratios, summarize

Tool = Callable[[Case], Sequence[Run]]

REFLECTORS = 4
BIRD_LARGEST_MESH = 400
"""Sessions of BIRD cost more the more there are (a mesh of 300 takes 20 s and 2.2 GB): beyond this nobody waits."""


class Numbers(click.ParamType[list[int]]):
    """``50,100,200``."""

    name = "N,N,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            numbers = [int(number) for number in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers like 50,100,200", param, ctx)
        if min(numbers) < 2:
            self.fail("a cluster to be measured has at least two nodes", param, ctx)
        return numbers


def common(nodes: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options of every bench; ``nodes`` is the default."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option(
                "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
            ),
            click.option(
                "--repeat", type=click.IntRange(1), default=3, show_default=True, help="Runs of each case."
            ),
            click.option("--nodes", type=Numbers(), default=nodes, show_default=True),
        ):
            command = option(command)
        return command

    return decorate


against = click.option(
    "--against", type=click.Choice(["bird"]), help="Measure this too, alternately, and compare."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measures tortie, and real BIRD beside it."""


@main.command()
@common("50,100,200,300")
@against
def mesh(nodes: list[int], repeat: int, output: str, against: str | None) -> None:
    """A full mesh, to exact convergence."""
    cases = [Case(bench="mesh", nodes=count, sessions=mesh_sessions(count)) for count in nodes]
    compare(cases, {"tortie": tortie_up}, repeat=repeat, output=output, against=against, bird_tool=bird_mesh)


@main.command()
@common("100,500,1000")
@against
def reflectors(nodes: list[int], repeat: int, output: str, against: str | None) -> None:
    """The same behind four route reflectors."""
    if min(nodes) <= REFLECTORS:
        raise click.UsageError(f"{REFLECTORS} of the nodes are the reflectors: more than that, please")
    cases = [Case(bench="reflectors", nodes=count, sessions=reflector_sessions(count)) for count in nodes]
    compare(
        cases,
        {"tortie": lambda case: [tortie.up(case, reflectors=REFLECTORS)]},
        repeat=repeat,
        output=output,
        against=against,
        bird_tool=lambda case: [bird.converge(case, reflectors=REFLECTORS)],
    )


@main.command()
@common("50")
@click.option(
    "--routes", type=click.IntRange(1), default=1000, show_default=True, help="Blocks of each node."
)
@against
def routes(nodes: list[int], repeat: int, output: str, against: str | None, routes: int) -> None:
    """A full mesh whose nodes have many blocks each."""
    cases = [
        Case(bench="routes", nodes=count, sessions=mesh_sessions(count), routes=routes) for count in nodes
    ]
    compare(cases, {"tortie": tortie_up}, repeat=repeat, output=output, against=against, bird_tool=bird_mesh)


@main.command()
@common("100,200")
@against
def churn(nodes: list[int], repeat: int, output: str, against: str | None) -> None:
    """A converged mesh: one new block, one withdrawn, one node killed; the time until the last table shows it."""
    cases = [Case(bench="churn", nodes=count, sessions=mesh_sessions(count)) for count in nodes]
    compare(
        cases, {"tortie": tortie.churn}, repeat=repeat, output=output, against=against, bird_tool=bird.churn
    )


@main.command()
@common("200")
def change(nodes: list[int], repeat: int, output: str) -> None:
    """A converged mesh by BGPPeer: its BGPFilter rejects a block and accepts it again; until the last table shows it."""
    cases = [Case(bench="change", nodes=count, sessions=mesh_sessions(count)) for count in nodes]
    compare(cases, {"tortie": tortie.change}, repeat=repeat, output=output)


@main.command()
@common("1000")
def derive(nodes: list[int], repeat: int, output: str) -> None:
    """What every node is to be told, derived one node after the other in one process."""
    cases = [Case(bench="derive", nodes=count, sessions=mesh_sessions(count)) for count in nodes]
    compare(cases, {"tortie": run_derive}, repeat=repeat, output=output)


@main.command()
@common("20,200")
def rehearse(nodes: list[int], repeat: int, output: str) -> None:
    """A mesh in virtual time: until it has converged, and an hour in which four things befall it; in one process."""
    cases = [Case(bench="rehearse", nodes=count, sessions=mesh_sessions(count)) for count in nodes]
    compare(cases, {kind: rehearse_tool(kind) for kind in KINDS}, repeat=repeat, output=output)


@main.command()
@common("20,200")
def plan(nodes: list[int], repeat: int, output: str) -> None:
    """A copy of a mesh, and a change that concerns everybody tried on it."""
    cases = [Case(bench="plan", nodes=count, sessions=mesh_sessions(count)) for count in nodes]
    compare(cases, {"tortie": run_plan}, repeat=repeat, output=output)


@main.command()
@common("200")
def floor(nodes: list[int], repeat: int, output: str) -> None:
    """The mesh's connections and messages over bare sockets, in plain Python."""
    cases = [Case(bench="floor", nodes=count, sessions=mesh_sessions(count)) for count in nodes]
    compare(cases, {"sockets": lambda case: [run_floor(case)]}, repeat=repeat, output=output)


@main.command()
@click.option("--examples", type=click.IntRange(1), default=100, show_default=True, help="Drawn clusters.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
def differential(examples: int, seed: int) -> None:
    """Real BIRD 1.6 daemons beside emulated ones, given the same manifests: does everybody know the same routes?

    Needs root and BIRD 1.6. Exit code 1: something is missing or different; the smallest manifests that show it are printed.
    """
    try:
        same = run_differential(examples, seed)
    except BenchError as error:
        click.echo(error, err=True)
        sys.exit(2)
    click.echo(f"{examples} clusters, seed {seed}: {'no difference' if same else 'stopped'}")
    sys.exit(0 if same else 1)


@main.command()
@click.option("--nodes", type=click.IntRange(3), default=50, show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=20, show_default=True, help="Of each attack.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def siege(nodes: int, seconds: int, output: str) -> None:
    """A converged mesh under attack: connections of strangers, a neighbour who says his OPEN octet by octet, one who asks and never
    reads, one who floods. What a change of the others' routes takes, before and meanwhile, and what it costs in memory.
    """
    from bench.siege import siege as run_siege  # noqa: PLC0415  # half the house

    try:
        found = run_siege(nodes, seconds, say=partial(click.echo, err=output == "json"))
    except BenchError as error:
        click.echo(error, err=True)
        sys.exit(1)
    if output == "json":
        click.echo(json.dumps([attrs.asdict(each) for each in found], indent=1))
    sys.exit(1 if any(each.sessions_lost for each in found) else 0)


@main.command()
@click.option("--nodes", type=click.IntRange(4), default=100, show_default=True)
@click.option("--minutes", type=click.FloatRange(0), default=10, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what happens.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def soak(nodes: int, minutes: float, seed: int, output: str) -> None:
    """A mesh on real TCP whose pods, nodes, links, sessions and configuration change all the time.

    Every round ends with exact tables, sound IPAM and all sessions, or that is the end. Exit code 1: something was wrong
    then, or there are more tasks, descriptors, objects or memory at the end than after the first third.
    """
    from bench.soak import soak as run_soak  # noqa: PLC0415  # half the house

    try:
        found = run_soak(nodes, minutes * 60, seed, say=partial(click.echo, err=True))
    except BenchError as error:
        click.echo(error, err=True)
        sys.exit(2)
    click.echo(found.as_json() if output == "json" else found.as_text())
    sys.exit(1 if found.wrong else 0)


@main.command()
@click.option("--seconds", type=click.IntRange(1), default=60, show_default=True, help="For each target.")
@click.option("--seed", type=click.IntRange(1), default=1, show_default=True, help="Of what is tried.")
@click.option(
    "--to", type=click.Path(path_type=Path, file_okay=False), default=".", help="Where findings are kept."
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False, exists=True))
def attack(seconds: int, seed: int, to: Path, files: tuple[Path, ...]) -> None:
    """Random, mutated and truncated neighbours: the frame decoder, a session, a speaker, each fuzzed by what it covers.

    With FILES these findings are tried again. Needs atheris. Exit code 1: something was found.
    """
    try:
        for file in files:
            replay(file)
            click.echo(f"{file}: nothing wrong")
        if files:
            return
        to.mkdir(parents=True, exist_ok=True)
        found = 0
        for each in run_attack(seconds, seed):
            if each.finding is None:
                click.echo(f"{each.target}: {each.runs:,} inputs, {each.branches} branches, nothing found")
                continue
            found += 1
            (to / each.name).write_bytes(each.finding)
            click.echo(f"{each.target}: FOUND\n{each.why}\nagain: ./run bench attack {to / each.name}")
    except BenchError as error:
        click.echo(error, err=True)
        sys.exit(2)
    sys.exit(1 if found else 0)


def tortie_up(case: Case) -> list[Run]:
    return [tortie.up(case)]


def bird_mesh(case: Case) -> list[Run]:
    return [bird.converge(case)]


def mesh_sessions(nodes: int) -> int:
    return nodes * (nodes - 1) // 2


def reflector_sessions(nodes: int) -> int:
    """Every other node has one to each reflector, and the reflectors have a mesh."""
    return REFLECTORS * (nodes - REFLECTORS) + mesh_sessions(REFLECTORS)


def compare(
    cases: Iterable[Case],
    tools: dict[str, Tool],
    *,
    repeat: int,
    output: str,
    against: str | None = None,
    bird_tool: Tool | None = None,
) -> None:
    """Runs every case with every tool, prints, and leaves with the exit code."""
    if against and bird_tool is not None:
        if bird.find_bird() is None:
            click.echo(bird.INSTALL, err=True)
            sys.exit(2)
        tools = {**tools, against: bird_tool}
    say = partial(click.echo, err=True)
    rows: list[Row] = []
    failed = False
    for case in cases:
        chosen = tools
        if against in tools and case.sessions > mesh_sessions(BIRD_LARGEST_MESH):
            say(
                f"{case.bench} {case.nodes}: without bird, which is not run in a mesh above {BIRD_LARGEST_MESH} nodes"
            )
            chosen = {name: tool for name, tool in tools.items() if name != against}
        measured, complaints = alternate(case, chosen, repeat, say)
        rows += measured
        failed = failed or bool(complaints)
    found = ratios(rows, ours="tortie", theirs=against) if against else []
    if output == "json":
        click.echo(as_json([*rows, *found]))
    else:
        for table in filter(None, (rows, found)):
            click.echo(as_table(table) + "\n")
    if failed:
        sys.exit(1)


def alternate(
    case: Case, tools: dict[str, Tool], repeat: int, say: Callable[[str], None]
) -> tuple[list[Row], list[str]]:
    """``repeat`` rounds, in each of which every tool has its turn. A tool that failed once is not tried again.

    Returns the rows, and the complaints of the tools that gave none.
    """
    runs: dict[str, list[Run]] = {name: [] for name in tools}
    complaints: dict[str, str] = {}
    for number in range(1, repeat + 1):
        for name, tool in tools.items():
            if name in complaints:
                continue
            label = f"{case.bench} {case.nodes} {name} {number}/{repeat}"
            try:
                measured = tool(case)
            except BenchError as error:
                complaints[name] = f"{label}: {error}"
                say(complaints[name])
                continue
            runs[name] += measured
            say(f"{label}: " + ", ".join(f"{run.event or 'wall'} {run.wall_s:.3g} s" for run in measured))
    rows = [row for name in tools if runs[name] for row in summarize(case, name, runs[name])]
    return rows, list(complaints.values())


def run() -> None:
    """Ctrl-C in the middle of a trio.run comes out as a group, which click knows nothing of."""
    try:
        main(prog_name="bench")
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        click.echo("\nAborted!", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
