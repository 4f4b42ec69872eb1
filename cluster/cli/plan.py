"""``plan``: what a change would do, tried on a copy of the cluster in virtual time.

    a running cluster | manifests | a plan's directory ─► State ─┐
    -f, read as `apply` reads it ─► Change ──────────────────────┴─► the copy ─► Plan ─► text | JSON | --to DIR

Owns the options and the exit codes, and ``planned``, which ``apply --plan`` asks too. The running cluster is only read,
with one request; the copy lives in this process.

Exit codes: 0 no pair of nodes loses traffic; 1 some do, or the cluster does not converge; 2 nothing was tried: bad
usage, bad input, no such cluster, or a change that it would refuse.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cluster.api.rundir import Endpoint
from cluster.cli import client
from cluster.cli.apply import files_option, read
from cluster.cli.client import Denied, Refused
from cluster.cli.paths import Target
from cluster.cli.words import Failed, Outcome, tell, tell_deleted

if TYPE_CHECKING:
    from cluster.whatif.change import Change, Written
    from cluster.whatif.plan import Plan
    from cluster.whatif.state import State


@click.command()
@files_option
@click.option("--delete", is_flag=True, help="The change deletes these resources.")
@click.option(
    "--from",
    "sources",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE|DIR",
    help="Manifests, or what --to wrote, instead of the running cluster.",
)
@click.option("--nodes", type=int, metavar="N", help="With --from: as `up` has it.")
@click.option("--pods-per-node", type=int, metavar="N", help="With --from: as `up` has it.")
@click.option("--route-reflectors", type=int, default=0, metavar="K", help="With --from: as `up` has it.")
@click.option("--hold-time", type=float, metavar="SECONDS", help="With --from: as `up` has it.")
@click.option(
    "--to",
    "directory",
    type=Target(directory=True, path_type=Path),
    metavar="DIR",
    help="Write the plan, the state of the cluster, and a scenario that plays both.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random choice.")
@client.output_option
@client.namespace_option
@client.name_option
def plan(
    *,
    files: tuple[str, ...],
    delete: bool,
    sources: tuple[Path, ...],
    nodes: int | None,
    pods_per_node: int | None,
    route_reflectors: int,
    hold_time: float | None,
    directory: Path | None,
    seed: int,
    output: str,
    namespace: str,
    name: str,
) -> None:
    """Try a change on a copy of the cluster, and tell what it would do.

    The copy has all documents of the running cluster, IPAM's included, and the faults that it is under. It converges,
    the change is applied, and what is different is told: sessions that go, come or start again, routes, pairs of nodes
    that lose traffic and for how long, addresses, warnings. The cluster itself is only read. What a birdc was told by
    hand is not in the copy.

    \b
    Examples:
      ./run plan -f mesh-off.yaml
      ./run plan --delete -f old-pool.yaml -o json
      ./run plan --from examples/reflectors.yaml --nodes 50 -f peers.yaml
      ./run plan -f mesh-off.yaml --to what-if/; ./run rehearse what-if/scenario.yaml

    Exit codes: 0 no pair loses traffic; 1 some do, or the cluster does not converge; 2 nothing was tried.
    """
    options = {
        "nodes": nodes,
        "pods_per_node": pods_per_node,
        "route_reflectors": route_reflectors or None,
        "hold_time": hold_time,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if given and not sources:
        raise click.UsageError("--nodes, --pods-per-node, --route-reflectors and --hold-time go with --from")
    try:
        endpoint = None if sources else client.find(name)
        change = change_of(read(files, namespace), delete=delete)
        state = state_of(endpoint) if endpoint is not None else _from(sources, given)
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        found = planned(state, change, seed=seed)
    except click.UsageError:
        raise
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except OSError as error:
        click.echo(f"tortie: {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
    show(found, output)
    if directory is not None:
        from cluster.whatif.files import write_plan

        write_plan(directory, found, state, change, seed)
        click.echo(f"written to {directory}; next: ./run rehearse {directory / 'scenario.yaml'}", err=True)
    sys.exit(0 if found.harmless else 1)


def change_of(documents: Iterable[tuple[dict[str, Any], str]], *, delete: bool = False) -> Change:
    """Of documents and where they stand."""
    from cluster.whatif.change import Change

    documents = [*documents]
    return Change(
        documents=tuple(document for document, _ in documents),
        places=tuple(place for _, place in documents),
        delete=delete,
    )


def state_of(endpoint: Endpoint) -> State:
    """Of a running cluster. Raises Refused."""
    from cluster.whatif.state import BadState, State

    try:
        return State.from_json(
            json.loads(client.ask(endpoint, "GET", "/tortie/v1/state", output="json").body)
        )
    except (BadState, ValueError) as error:
        raise Refused(f"the cluster's answer is of another version of this program: {error}") from None


def planned(state: State, change: Change, *, seed: int = 0) -> Plan:
    """Raises Failed with all that the cluster would refuse."""
    from cluster.whatif import trial
    from cluster.whatif.plan import make_plan

    began = time.monotonic()

    def progress(text: str) -> None:
        click.echo(f"  {time.monotonic() - began:5.1f} s  {text}", err=True)

    gc.disable()  # millions of objects come into being, and are all needed until the end
    try:
        return make_plan(state.name, trial.try_change(state, change, seed=seed, tell=progress))
    except trial.Refused as refusal:
        raise _refused(refusal.written, delete=change.delete) from None
    finally:
        gc.enable()


def show(found: Plan, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    from cluster.whatif.plan import plan_text

    click.echo(plan_text(found), nl=False)


def _refused(written: tuple[Written, ...], *, delete: bool) -> Failed:
    """In the words of the command that would be refused, had it nothing else to do."""
    outcome = Outcome()
    for each in written:
        assert each.error is not None
        outcome.of(each.key[0])
        outcome.failure(_denied(each.error), each.place, "" if delete else f"{each.key[0]}/{each.key[2]}")
    try:
        if delete:
            tell_deleted(outcome)
        else:
            tell(outcome, "apply", "applied")
    except Failed as failed:
        return failed
    raise AssertionError("nothing was refused")


def _denied(error: Exception) -> Denied:
    from protocol.v3.rules import format_path
    from protocol.v3.validate import InvalidResource

    faults = error.faults if isinstance(error, InvalidResource) else ()
    causes = [{"field": format_path(fault.path), "message": fault.message} for fault in faults]
    return Denied({"message": str(error), "details": {"causes": causes}})


def _from(sources: tuple[Path, ...], given: dict[str, Any]) -> State:
    """Raises Refused."""
    from cluster.remarks import remarks
    from cluster.spec import Spec, SpecError, build
    from cluster.whatif.files import read_state
    from cluster.whatif.state import BadState, of_manifests
    from protocol.v3.loader import ManifestError, load
    from protocol.v3.workload import WorkloadEndpoint

    try:
        state = read_state(sources[0]) if len(sources) == 1 else None
        if state is not None:
            if given:
                raise Refused(f"{sources[0]} is the state of a cluster, which has its nodes and pods")
            return state
        loaded = load([*map(str, sources)])
        if "pods_per_node" not in given and any(isinstance(it, WorkloadEndpoint) for it in loaded.resources):
            given = {**given, "pods_per_node": 0}  # these manifests say what pods there are
        spec = Spec(**given)
        world = build(spec, loaded.resources)
    except BadState as error:
        raise Refused(str(error)) from None
    except (ManifestError, SpecError) as error:
        raise Refused("\ntortie: ".join(map(str, error.problems))) from None
    for remark in remarks(loaded, world):
        click.echo(f"warning: {remark}", err=True)
    return of_manifests(spec, world)
