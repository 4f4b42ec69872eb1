"""``patch`` and ``label``: a part of one resource, with calicoctl's words and exit codes.

calicoctl accepts ``-t`` and merges strategically all the same. Here it means what it says.
"""

from __future__ import annotations

import json

import click

from cluster.cli import client
from cluster.cli.client import Denied, Session
from cluster.cli.words import Failed, kind_of, reason

_TYPES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
}

RETRIES = 5


@click.command()
@click.argument("kind")
@click.argument("resource", metavar="NAME")
@click.option("-p", "--patch", "text", required=True, metavar="JSON", help="What to change.")
@click.option(
    "-t", "--type", "type_", type=click.Choice([*_TYPES]), default="strategic", show_default=True,
    help="How the patch is meant.",
)  # fmt: skip
@client.namespace_option
@client.name_option
def patch(*, kind: str, resource: str, text: str, type_: str, namespace: str, name: str) -> None:
    """Change a part of one resource.

    \b
    Examples:
      ./run patch node node-001 -p '{"spec": {"bgp": {"routeReflectorClusterID": "224.0.0.1"}}}'
      ./run patch bgpconfig default -p '{"spec": {"nodeToNodeMeshEnabled": false}}'
    """
    known = kind_of(kind)
    try:
        change = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(f"failed to execute command: the patch is not JSON: {error}") from None
    if not isinstance(change, dict | list):
        raise Failed(f"failed to execute command: the patch must be a JSON object, not {text}")
    with Session(client.find(name)) as session:
        try:
            session.call("PATCH", known.path(namespace or "default", resource), change, _TYPES[type_])
        except Denied as error:
            raise Failed(f"hit error: {reason(error)}") from None
    click.echo(f"Successfully patched 1 '{known.kind}' resource")


@click.command()
@click.argument("kind")
@click.argument("resource", metavar="NAME")
@click.argument("label", metavar="KEY=VALUE|KEY")
@click.option("--overwrite", is_flag=True, help="Replace the value of a label that is there.")
@click.option("--remove", is_flag=True, help="Remove the label KEY.")
@client.namespace_option
@client.name_option
def label(
    *, kind: str, resource: str, label: str, overwrite: bool, remove: bool, namespace: str, name: str
) -> None:
    """Set, change or remove a label of one resource.

    \b
    Examples:
      ./run label node node-001 rack=a
      ./run label node node-001 rack=b --overwrite
      ./run label node node-001 rack --remove
    """
    if overwrite and remove:
        raise click.UsageError("--overwrite and --remove exclude each other")
    known = kind_of(kind)
    key, equals, value = label.partition("=")
    if remove == bool(equals) or "=" in value:
        raise Failed(f"invalid label {label}")
    path = known.path(namespace or "default", resource)
    with Session(client.find(name)) as session:
        for _ in range(RETRIES):
            try:
                metadata = session.call("GET", path)["metadata"]
            except Denied as error:
                raise Failed(f"failed to get {kind} {resource}, error {error}") from None
            labels = metadata.get("labels", {})
            if remove and key not in labels:
                raise Failed(f"cannot remove label of {kind} {resource}, key {key} does not exist")
            if not remove and not overwrite and labels.get(key, value) != value:
                raise Failed(
                    f"failed to update label of {kind} {resource}, key {key} is already present. "
                    "please use '--overwrite' to set a new value."
                )
            change = {
                "resourceVersion": metadata["resourceVersion"],
                "labels": {key: None if remove else value},
            }
            try:
                session.call("PATCH", path, {"metadata": change}, _TYPES["merge"])
                break
            except Denied as error:
                if error.reason != "Conflict":
                    raise Failed(
                        f"failed to update {kind} {resource}, label not changed: {reason(error)}"
                    ) from None
        else:
            raise Failed(f"failed to update {kind} {resource}, label not changed")
    if remove:
        click.echo(f"Successfully removed label {key} from {kind} {resource}")
    elif key in labels:
        click.echo(f"Successfully updated label {key} on {kind} {resource}")
    else:
        click.echo(f"Successfully set label {key} on {kind} {resource}")
