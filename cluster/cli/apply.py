"""``apply``, ``create`` and ``replace``: manifests into a running cluster.

The manifests are read and checked here, by the loader that ``up`` uses: what is wrong with them is said line by line,
and then nothing is sent. What only the cluster can know (a pool that overlaps another, a filter that is not there) it
says of each resource, and the others are written all the same. calicoctl's words, exit codes and order.

``apply --plan`` tries it on a copy of the cluster first (``cli.plan``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from cluster.api import names
from cluster.api.rundir import Endpoint
from cluster.cli import client
from cluster.cli.client import Denied, Refused, Session
from cluster.cli.words import Failed, Outcome, tell, tell_replaced

RETRIES = 5
"""Times that apply starts over with a resource which somebody else creates or deletes meanwhile: calicoctl's."""

Document = dict[str, Any]


def files_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-f``: files, directories, ``-``."""
    return click.option(
        "-f", "--filename", "files", multiple=True, metavar="FILE|DIR|-", help="Manifests: YAML or JSON."
    )(command)


@click.command()
@files_option
@click.option("--plan", "planned", is_flag=True, help="Show what it would do, and ask first.")
@click.option("-y", "--yes", is_flag=True, help="With --plan: do not ask.")
@client.namespace_option
@client.name_option
def apply(files: tuple[str, ...], planned: bool, yes: bool, namespace: str, name: str) -> None:
    """Create what is not there, and replace what is.

    A resource that is there as the manifest says is left as it is.

    \b
    Examples:
      ./run apply -f pools.yaml
      ./run apply -f manifests/ -f - < more.yaml
      ./run apply --plan -f mesh-off.yaml
    """
    if yes and not planned:
        raise click.UsageError("--yes goes with --plan")
    endpoint = client.find(name)
    documents = read(files, namespace)
    if planned:
        _plan_first(endpoint, documents, ask=not yes)
    tell(_send_all(endpoint, documents, _apply), "apply", "applied")


@click.command()
@files_option
@click.option("--skip-exists", is_flag=True, help="Take a resource that exists already for created.")
@client.namespace_option
@client.name_option
def create(files: tuple[str, ...], skip_exists: bool, namespace: str, name: str) -> None:
    """Create resources that are not there yet.

    \b
    Examples:
      ./run create -f peers.yaml
      ./run create --skip-exists -f peers.yaml
    """

    def send(session: Session, document: Document) -> None:
        try:
            _create(session, document)
        except Denied as error:
            if not (skip_exists and error.reason == "AlreadyExists"):
                raise

    tell(_send_all(client.find(name), read(files, namespace), send), "create", "created")


@click.command()
@files_option
@client.namespace_option
@client.name_option
def replace(files: tuple[str, ...], namespace: str, name: str) -> None:
    """Replace resources that are there.

    \b
    Examples:
      ./run replace -f pools.yaml
    """
    tell_replaced(_send_all(client.find(name), read(files, namespace), _replace))


def read(files: tuple[str, ...], namespace: str) -> list[tuple[Document, str]]:
    """The documents and where they stand; warnings go to standard error.

    Raises Failed with all that is wrong, UsageError without files.
    """
    from protocol.v3.codec import encode  # 0.1 s, and most commands read no file
    from protocol.v3.loader import (
        DEFAULT_NAMESPACE,
        MAX_FILE,
        STDIN,
        ManifestError,
        load_for_cluster,
    )

    if not files:
        raise click.UsageError("Missing option '-f' / '--filename'.")
    stdin = sys.stdin.buffer.read(MAX_FILE + 1) if STDIN in files else b""
    try:
        loaded = load_for_cluster(files, stdin, namespace=namespace or DEFAULT_NAMESPACE)
    except ManifestError as error:
        lines = "\n  ".join(map(str, error.problems))
        raise Failed(f"failed to execute command: {lines}") from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return [
        (encode(resource), str(place))
        for resource, place in zip(loaded.resources, loaded.places, strict=True)
    ]


def path_of(document: Document) -> str:
    metadata = document["metadata"]
    return names.BY_KIND[document["kind"]].path(metadata.get("namespace", ""), metadata["name"])


def _send_all(
    endpoint: Endpoint, documents: Iterable[tuple[Document, str]], send: Callable[[Session, Document], None]
) -> Outcome:
    outcome = Outcome()
    with Session(endpoint) as session:
        for document, place in documents:
            outcome.of(document["kind"])
            try:
                send(session, document)
            except Denied as error:
                outcome.failure(error, place, f"{document['kind']}/{document['metadata']['name']}")
            else:
                outcome.success()
    return outcome


def _plan_first(endpoint: Endpoint, documents: Iterable[tuple[Document, str]], *, ask: bool) -> None:
    """Raises Failed when the cluster would refuse it, Refused when somebody who is asked says no."""
    from cluster.cli.plan import change_of, planned, show, state_of

    found = planned(state_of(endpoint), change_of(documents))
    show(found, "table")
    try:
        if not ask or click.confirm("\nApply it?"):
            return
    except click.Abort:  # nobody is there to be asked
        click.echo()
    raise Refused("nothing was applied")


def _create(session: Session, document: Document) -> None:
    kind = names.BY_KIND[document["kind"]]
    session.call("POST", kind.path(document["metadata"].get("namespace", "")), document)


def _replace(session: Session, document: Document) -> None:
    session.call("PUT", path_of(document), document)


def _apply(session: Session, document: Document) -> None:
    for _ in range(RETRIES):
        try:
            return _replace(session, document)
        except Denied as error:
            if error.reason != "NotFound":
                raise
        metadata = {key: value for key, value in document["metadata"].items() if key != "resourceVersion"}
        try:
            return _create(session, {**document, "metadata": metadata})
        except Denied as error:
            if error.reason != "AlreadyExists":
                raise
            again = error
    raise again
