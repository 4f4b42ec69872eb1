"""``delete``: resources out of a running cluster, by manifest or by name, with calicoctl's words and exit codes."""

from __future__ import annotations

import click

from cluster.cli import client
from cluster.cli.apply import files_option, path_of, read
from cluster.cli.client import Denied, Session
from cluster.cli.words import Failed, Outcome, kind_of, tell_deleted


@click.command()
@click.argument("kind", required=False)
@click.argument("resources", nargs=-1, metavar="[NAME]...")
@files_option
@click.option(
    "-s", "--skip-not-exists", is_flag=True, help="Take a resource that does not exist for deleted."
)
@client.namespace_option
@client.name_option
def delete(
    *,
    kind: str | None,
    resources: tuple[str, ...],
    files: tuple[str, ...],
    skip_not_exists: bool,
    namespace: str,
    name: str,
) -> None:
    """Delete resources, and what Calico deletes with them.

    A pool is disabled and its blocks are released first; a node takes its workload endpoints, blocks and own
    BGPPeers with it.

    \b
    Examples:
      ./run delete -f peers.yaml
      ./run delete ippool pool-b
      ./run delete node node-003 node-004
    """
    if bool(kind) == bool(files):
        raise click.UsageError("either KIND and NAME, or -f")
    endpoint = client.find(name)
    paths: list[tuple[str, str, str]] = []  # kind, path, where it stands
    if kind:
        known = kind_of(kind)
        if not resources:
            raise Failed("insufficient identifiers, missing values: Name")
        paths = [(known.kind, known.path(namespace or "default", resource), "") for resource in resources]
    else:
        paths = [(document["kind"], path_of(document), place) for document, place in read(files, namespace)]
    outcome = Outcome()
    with Session(endpoint) as session:
        for of_kind, path, place in paths:
            outcome.of(of_kind)
            try:
                session.call("DELETE", path)
            except Denied as error:
                if skip_not_exists and error.reason == "NotFound":
                    outcome.success()
                else:
                    outcome.failure(error, place)
            else:
                outcome.success()
    tell_deleted(outcome)
