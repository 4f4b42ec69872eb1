"""``get``: the resources of a running cluster, as calicoctl prints them."""

from __future__ import annotations

import json
from typing import Any

import click

from cluster.api import names
from cluster.cli import client, tables
from cluster.cli.client import Denied, Session
from cluster.cli.words import Failed, kind_of, reason

_COLUMNS = "custom-columns"


@click.command()
@click.argument("kind")
@click.argument("resources", nargs=-1, metavar="[NAME]...")
@click.option(
    "-o", "--output", default="ps", show_default=True, metavar="FORMAT",
    help="ps, wide, yaml, json or custom-columns=A,B.",
)  # fmt: skip
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@client.namespace_option
@client.name_option
def get(
    *, kind: str, resources: tuple[str, ...], output: str, all_namespaces: bool, namespace: str, name: str
) -> None:
    """Resources of a KIND: all, or those that are named.

    \b
    Examples:
      ./run get bgpconfig -o yaml
      ./run get ippools -o wide
      ./run get node node-003 node-004 -o custom-columns=NAME,IPV4
      ./run get wep -A
    """
    columns = _check_output(output)
    known = kind_of(kind, "failed to get resources: ")
    place = "" if all_namespaces else namespace or "default"
    found, missing = [], []
    as_number = tables.DEFAULT_AS
    with Session(client.find(name)) as session:
        for path in [known.path(place, resource) for resource in resources] or [known.path(place)]:
            try:
                found.append(session.call("GET", path))
            except Denied as error:
                missing.append(reason(error))
        if known.kind == "Node":
            as_number = _default_as(session)
    if output in ("yaml", "json"):
        if found:
            click.echo(_dump(found[0] if len(found) == 1 else found, output), nl=False)
    else:
        for one in found:
            try:
                text = tables.table(
                    known.kind,
                    one.get("items", [one]),
                    wide=output == "wide",
                    namespaces=all_namespaces or bool(namespace),
                    columns=columns,
                    as_number=as_number,
                )
            except tables.UnknownColumn as error:
                raise Failed(str(error)) from None
            click.echo(text, nl=False)
    if missing:
        raise Failed("\n".join(missing))


def _check_output(output: str) -> list[str]:
    """The columns that it names. Raises Failed."""
    form, _, value = output.partition("=")
    if form == _COLUMNS:
        if not value:
            raise Failed("need to specify at least one column")
        return value.split(",")
    if output not in ("ps", "wide", "yaml", "json"):
        raise Failed(f"unrecognized output format '{output}'")
    return []


def _default_as(session: Session) -> int:
    """The AS of nodes that do not say theirs."""
    try:
        default = session.call("GET", names.BY_KIND["BGPConfiguration"].path(name="default"))
    except Denied:
        return tables.DEFAULT_AS
    return int(default["spec"].get("asNumber", tables.DEFAULT_AS))


def _dump(documents: Any, output: str) -> str:
    if output == "json":
        return json.dumps(documents, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    from protocol.v3.yamltext import dump  # 10 ms that only this format pays

    return dump(documents)
