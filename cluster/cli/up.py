"""``up``: start a cluster, show it converge, keep it until it is told to stop.

Owns the options and the exit codes; everything else is imported when it runs, so that ``up --help`` is quick, and
nothing but what it needs, because its start is part of what is measured.

Exit codes: 0 converged; 1 not within --timeout, or a shard was lost; 2 bad usage or input, nothing was started; 128 plus
the signal's number when one came before the cluster had settled (130 for Ctrl-C). ``down`` before that is a SIGTERM (143),
whether it had to send one or could ask the API; after that, like any signal, it leaves the 0 or 1 that was earned.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import click


class _Shards(click.ParamType[int | None]):
    name = "auto|K"

    def convert(
        self, value: str | int | None, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        if value == "auto" or value is None:
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'auto' nor a number", param, ctx)


@click.command()
@click.option(
    "--nodes",
    type=int,
    metavar="N",
    help="How many nodes; those of the manifests count. [default: the manifests', or 20]",
)
@click.option(
    "-f",
    "--filename",
    "manifests",
    multiple=True,
    metavar="FILE|DIR|-",
    help="Calico v3 YAML or JSON to load first; may be repeated.",
)
@click.option(
    "--pods-per-node", type=int, default=2, show_default=True, metavar="N", help="Pods on every node."
)
@click.option(
    "--blocks-per-node", type=int, default=1, hidden=True, help="Blocks that every node has claimed."
)
@click.option(
    "--route-reflectors",
    type=int,
    default=0,
    metavar="K",
    help="K route reflectors instead of the full mesh.",
)
@click.option(
    "--hold-time",
    type=float,
    default=90,
    show_default=True,
    metavar="SECONDS",
    help="BGP hold time; a keepalive is sent every third of it.",
)
@click.option(
    "--ip-family",
    type=click.Choice(["ipv4", "ipv6", "dual"]),
    default="ipv4",
    show_default=True,
    help="Addresses of generated nodes, and of their pods.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice.")
@click.option(
    "--shards",
    type=_Shards(),
    default="auto",
    show_default=True,
    metavar="auto|K",
    help="Processes that the nodes are spread over.",
)
@click.option(
    "--timeout",
    type=float,
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for convergence.",
)
@click.option("--once", is_flag=True, help="Exit after convergence: 0 when every FIB is right, else 1.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Output format.",
)
@click.option(
    "--bgp-port",
    type=int,
    default=1790,
    show_default=True,
    metavar="PORT",
    help="Where the nodes listen, on 127.77.x.y and 127.78.x.y: what stands for port 179.",
)
@click.option(
    "--name", default="default", show_default=True, help="The cluster's name, for the other commands."
)
def up(once: bool, output: str, **options: object) -> None:
    """Start a cluster of Calico nodes and show that it converges.

    \b
    Examples:
      ./run up --nodes 200
      ./run up --nodes 1000 --route-reflectors 4
      ./run up -f examples/racks.yaml
      ./run up --nodes 100 --once -o json
    """
    try:
        code = _up(once, output, options)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BaseExceptionGroup as group:
        from cluster.cli.words import unwritten

        raise unwritten(group) from None
    sys.exit(code)


def _terminated(number: int, frame: object) -> None:
    """SIGTERM, as long as no trio runs that could be told: unwind, as after Ctrl-C."""
    sys.exit(128 + number)


def _up(once: bool, output: str, options: dict[str, object]) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminated)

    from cluster.memory import process_age

    # The first ./run of all sets itself up in this same process: no part of a cluster's start.
    set_up_until = float(os.environ.get("TORTIE_SET_UP_UNTIL", "-inf"))
    born = max(time.monotonic() - process_age(), set_up_until)

    from cluster.api import rundir
    from cluster.cli import up_output
    from cluster.cli.up_screen import BarScreen, PlainScreen
    from cluster.interruption import Interrupted
    from cluster.launch import Refused, launch, prepare
    from cluster.spec import Spec

    spec = Spec(**options)  # type: ignore[arg-type]  # click has checked the types
    out = sys.stderr if output == "json" else sys.stdout
    run_file = None
    try:
        try:
            rundir.check_name(spec.name)
            if not once:
                run_file = rundir.RunFile.claim(rundir.run_directory(os.environ), spec.name)
        except (rundir.BadName, rundir.AlreadyRunning, rundir.RunDirectoryError) as error:
            raise Refused(str(error)) from None
        prepared = prepare(spec)
        for warning in prepared.warnings:
            click.echo(f"warning: {warning}", err=True)

        def settled(outcome: up_output.Outcome) -> None:
            if output == "json":
                print(json.dumps(up_output.json_object(outcome)), flush=True)
            else:
                for line in up_output.outcome_lines(outcome):
                    print(line, flush=True)

        def serving() -> None:
            names = [node.metadata.name for node in prepared.world.nodes]
            print(up_output.next_line(names, cluster=spec.name), file=out, flush=True)

        outcome = launch(
            prepared,
            screen=BarScreen(out) if out.isatty() else PlainScreen(out),
            run_file=run_file,
            born=born,
            settled=settled,
            serving=serving,
        )
    except Refused as error:
        for problem in error.problems:
            click.echo(f"tortie: {problem}", err=True)
        return 2
    except Interrupted as error:
        return 128 + error.number
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # whoever is that impatient: this is the end
        if run_file is not None:
            run_file.remove()
    return 0 if outcome.converged else 1
