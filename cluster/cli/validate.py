"""``validate``: what is wrong with manifests, before any cluster has to.

They are read as ``up`` reads them, and looked at as a whole cluster. Everything that is wrong is said at once, a line each:
``file:line: Kind/name: path: what is wrong``. What is valid but surely wrong is a warning, and keeps nobody from loading it.
Both go to stderr.

Exit codes: 0 valid, with warnings or without; 1 invalid; 2 bad usage.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from protocol.v3.loader import Problem


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="FILE|DIR|-",
    help="Manifests: YAML or JSON; may be repeated.",
)
@click.option("-R", "--recursive", is_flag=True, help="Also the directories inside directories.")
@click.option("-o", "--output", type=click.Choice(["json"]), help="One object on stdout instead of lines.")
def validate(files: tuple[str, ...], recursive: bool, output: str | None) -> None:
    """Check manifests without a cluster: everything that is wrong, and what is surely not meant.

    Calico's own resources, Services, EndpointSlices, Secrets and Nodes of Kubernetes, kind's Cluster, the operator's
    Installation, and lab Routers. A selector that matches no node or a filter that is named nowhere is asked of all files
    together.

    \b
    Examples:
      ./run validate -f pools.yaml
      ./run validate -R -f manifests/
      kubectl get nodes,services -A -o yaml | ./run validate -f - -f calico.yaml
      ./run validate -f manifests/ -o json | jq '.warnings[].message'

    Exit codes: 0 valid (warnings allowed), 1 invalid, 2 bad usage.
    """
    from cluster.cli.words import Outcome, tell
    from protocol.v3.loader import MAX_FILE, STDIN, Loaded, ManifestError, load

    stdin = sys.stdin.buffer.read(MAX_FILE + 1) if STDIN in files else b""
    errors: tuple[Problem, ...] = ()
    try:
        loaded = load(files, stdin, recursive=recursive, linted=True)
        warnings = loaded.warnings
    except ManifestError as error:
        loaded, errors, warnings = Loaded(), error.problems, error.warnings
    outcome = Outcome()
    for resource in loaded.resources:
        outcome.of(resource.kind)
        outcome.success()
    if output == "json":
        report = {
            "valid": not errors,
            "resources": outcome.handled,
            "errors": [_as_json(problem) for problem in errors],
            "warnings": [_as_json(problem) for problem in warnings],
        }
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for problem in errors:
            click.echo(problem, err=True)
        for problem in warnings:
            click.echo(f"warning: {problem}", err=True)
        if not errors:
            tell(outcome, "validate", "validated")
    raise SystemExit(1 if errors else 0)


def _as_json(problem: Problem) -> dict[str, str | int]:
    return {
        "file": problem.file,
        "line": problem.line,
        "resource": problem.subject,
        "path": problem.path,
        "message": problem.message,
    }
