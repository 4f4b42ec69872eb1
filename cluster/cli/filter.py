"""``filter test``: what a BGPFilter does with a route, without a cluster.

Reads manifests as ``apply`` does, finds the filter, asks ``cluster.filtertrial`` and says which rule decided and where it
stands. Exit codes: 0 accepted, 1 rejected, 2 for bad usage, a bad route and bad manifests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import click

if TYPE_CHECKING:
    from protocol.v3.loader import Loaded, Place
    from protocol.v3.yamltree import Map, Tree


@click.group("filter")
def filter_() -> None:
    """BGPFilters, looked at without a cluster."""


@filter_.command("test")
@click.argument("name", metavar="FILTER")
@click.option(
    "--direction", required=True, type=click.Choice(["import", "export"]), help="Which of the filter's rules."
)
@click.option(
    "--route",
    "route_text",
    required=True,
    metavar="'{prefix: …}'",
    help="The route, as YAML or JSON; the fields are below.",
)
@click.option(
    "-f",
    "--filename",
    "manifests",
    multiple=True,
    required=True,
    metavar="FILE|DIR|-",
    help="Calico v3 YAML or JSON; may be repeated.",
)
@click.option(
    "--peer-type",
    type=click.Choice(["iBGP", "eBGP"]),
    help="The session's; needed when a rule has a peerType.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Output format.",
)
def test(
    *,
    name: str,
    direction: Literal["import", "export"],
    route_text: str,
    manifests: tuple[str, ...],
    peer_type: str | None,
    output: str,
) -> None:
    """What FILTER does with a route: the verdict, the rule that decided, and the attributes that go on.

    \b
    A route has these fields; only prefix must be there:
      prefix       10.0.0.0/24
      asPath       [65001, 65002], as the filter sees it: by eBGP an export has the own AS in front
      communities  [65000:100, 65000:1:2], normal and large
      priority     or localPref, which is 2147483647 - priority
      source       RemotePeers or Local (a route of the node itself)
      nextHop, med, origin, interface

    \b
    Examples:
      ./run filter test from-tor --direction import --route '{prefix: 10.9.0.0/16, asPath: [65001]}' -f filters.yaml
      ./run filter test to-tor --direction export --peer-type eBGP -o json -f manifests/ \\
        --route '{"prefix": "192.168.4.64/26", "communities": ["65000:100"]}'

    Exit codes: 0 accepted, 1 rejected, 2 bad input.
    """
    import difflib

    from cluster import filtertrial
    from protocol.prefix import family_of
    from protocol.v3.bgp import BGPFilter
    from protocol.v3.ippool import IPPool
    from protocol.v3.loader import MAX_FILE, STDIN, ManifestError, load_for_cluster

    try:
        route = filtertrial.read_route(route_text, direction)
    except ValueError as error:
        _refuse(f"--route: {error}")
    stdin = sys.stdin.buffer.read(MAX_FILE + 1) if STDIN in manifests else b""
    try:
        loaded = load_for_cluster(manifests, stdin)
    except ManifestError as error:
        click.echo(error, err=True)
        raise SystemExit(2) from None
    filters = {each.metadata.name: each for each in loaded.resources if isinstance(each, BGPFilter)}
    resource = filters.get(name)
    if resource is None:
        close = difflib.get_close_matches(name, sorted(filters), n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else f" among the {len(filters)} of these files"
        _refuse(f"no BGPFilter {name}{hint}")
    rules, found = filtertrial.rules_of(resource, direction, family_of(route.prefix))
    if peer_type is None and found is not None:
        asking = filtertrial.asks_peer_type(found.rules)
        if asking is not None:
            _refuse(f"{rules}[{asking}] has a peerType: say --peer-type iBGP or eBGP")
    pools = [each for each in loaded.resources if isinstance(each, IPPool)]
    outcome = filtertrial.try_filter(resource, direction, route, internal=peer_type != "eBGP", pools=pools)

    place = _place(loaded, resource)
    line = _line(place, stdin, ("spec", rules, outcome.index)) if outcome.index is not None else 0
    if output == "json":
        click.echo(filtertrial.outcome_json(outcome, place.file, line))
    else:
        deciding = (
            "Calico's default" if outcome.index is None else f"{rules}[{outcome.index}], {place.file}:{line}"
        )
        shown = [
            ("verdict", "accepted" if outcome.accepted else "rejected"),
            ("decided by", deciding),
            ("reason", outcome.reason),
            *(filtertrial.rows(outcome.route) if outcome.accepted else []),
        ]
        width = max(len(word) for word, _ in shown) + 1
        for word, text in shown:
            click.echo(f"{word + ':':{width}} {text}")
    raise SystemExit(0 if outcome.accepted else 1)


def _refuse(message: str) -> NoReturn:
    click.echo(f"tortie: {message}", err=True)
    raise SystemExit(2)


def _place(loaded: Loaded, resource: object) -> Place:
    """The last of that name, which is the one that would be applied."""
    return [place for each, place in zip(loaded.resources, loaded.places, strict=True) if each is resource][
        -1
    ]


def _line(place: Place, stdin: bytes, path: tuple[str | int, ...]) -> int:
    """Of what the path leads to, in the resource that stands at ``place``."""
    from protocol.v3 import yamltree

    data = stdin if place.file == "<stdin>" else Path(place.file).read_bytes()
    for document in yamltree.read(data.decode("utf-8-sig")):
        for tree in _maps(document):
            if tree.line == place.line:
                return yamltree.line_of(tree, path)
    return place.line


def _maps(tree: Tree) -> Iterator[Map]:
    """The resources of a document, lists taken apart."""
    from protocol.v3.yamltree import Map, Seq

    if isinstance(tree, Seq):
        for item in tree.items:
            yield from _maps(item)
    elif isinstance(tree, Map):
        items = tree.entries.get("items")
        if isinstance(items, Seq):
            yield from _maps(items)
        else:
            yield tree


filter = filter_  # the verb, under its name
