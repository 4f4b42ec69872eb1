"""``render bird`` and ``render peers``: what manifests mean for one node, without a cluster.

    manifests ─► loader ─► StillView ─► Confd ─► SpeakerConfig of each family ─► BIRD's files | a table of peers

The manifests are read as ``up`` reads them. What confd could not follow is said on stderr; the output is what it
made of the rest. Exit codes: 0; 1 where DIR cannot be written; 2 for bad usage, bad manifests and a node that is
not in them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from agents.speaker.config import Filter, PeerConfig, SpeakerConfig
    from protocol.v3.ipam import BlockAffinity

_Function = TypeVar("_Function", bound=Callable[..., Any])

_STATES = ("confirmed", "pending", "pendingDeletion", "")
_ENVIRONMENT = ("CALICO_ROUTER_ID", "CALICO_ADVERTISE_CLUSTER_IPS", "NAMESPACE")


class _Pair(click.ParamType[tuple[str, str]]):
    """``KEY=VALUE``; ``values``, where given, are all there are."""

    def __init__(self, name: str, keys: Sequence[str] = (), values: Sequence[str] = ()) -> None:
        self.name = name
        self._keys, self._values = keys, values

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        left, equals, right = value.partition("=")
        if not equals:
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        if self._keys and left not in self._keys:
            self.fail(f"{left}: confd reads {', '.join(self._keys)} only", param, ctx)
        if self._values and right not in self._values:
            known = ", ".join(repr(each) for each in self._values)
            self.fail(f"{value!r}: the state is one of {known}", param, ctx)
        return left, right


def _inputs(command: _Function) -> _Function:
    """What both commands are made from."""
    for option in (
        click.option(
            "--env",
            multiple=True,
            type=_Pair("K=V", keys=_ENVIRONMENT),
            metavar="K=V",
            help=f"Of calico-node's environment: {', '.join(_ENVIRONMENT)}.",
        ),
        click.option(
            "--affinity",
            "affinities",
            multiple=True,
            type=_Pair("CIDR=STATE", values=_STATES),
            metavar="CIDR=STATE",
            help="A block of NODE besides those of the manifests, and its state: confirmed, pending, pendingDeletion or nothing.",
        ),
        click.option(
            "-f",
            "--filename",
            "manifests",
            multiple=True,
            required=True,
            metavar="FILE|DIR|-",
            help="Calico v3 YAML or JSON; may be repeated.",
        ),
        click.option("--node", required=True, help="Whose configuration."),
    ):
        command = option(command)
    return command


@click.group()
def render() -> None:
    """What Calico's confd makes of manifests, for one node. Needs no cluster."""


@render.command("bird")
@_inputs
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the six files go; made if it is not there.",
)
def bird(out: Path, **inputs: Any) -> None:
    """BIRD's configuration, as Calico writes it: bird.cfg, bird_aggr.cfg, bird_ipam.cfg and the three of IPv6.

    \b
    Examples:
      ./run render bird --node rr-1 -f cluster.yaml --out /tmp/rr-1
      ./run render bird --node node-2 -f manifests/ --affinity 192.168.4.64/26=confirmed --out out
      kubectl get bgppeers,nodes,ippools -o yaml | ./run render bird --node node-2 -f - --out out
    """
    from agents.confd.bird import files

    for config in _configs(**inputs):
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files(config).items():
            (out / name).write_text(text)
            click.echo(out / name)


@render.command("peers")
@_inputs
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Output format.",
)
def peers(output: str, **inputs: Any) -> None:
    """The sessions that a node is configured to have, of both families.

    \b
    Examples:
      ./run render peers --node rr-1 -f cluster.yaml
      ./run render peers --node node-2 -f nodes.yaml -f peerings.yaml -o json
    """
    stanzas = [peer for config in _configs(**inputs) for peer in config.peers]
    if output == "json":
        click.echo(json.dumps([_as_json(peer) for peer in stanzas], indent=2))
    else:
        click.echo(_as_table(stanzas))


def _configs(
    node: str,
    manifests: tuple[str, ...],
    affinities: tuple[tuple[str, str], ...],
    env: tuple[tuple[str, str], ...],
) -> list[SpeakerConfig]:
    """Of both families; what could not be followed is said."""
    import difflib

    from agents.confd.derive import Confd
    from agents.confd.still import StillView
    from agents.speaker.config import Timers
    from protocol.prefix import IPV4, IPV6
    from protocol.v3.lab import Router
    from protocol.v3.loader import MAX_FILE, STDIN, ManifestError, load
    from protocol.v3.node import Node

    stdin = sys.stdin.buffer.read(MAX_FILE + 1) if STDIN in manifests else b""
    try:
        loaded = load(manifests, stdin)
    except ManifestError as error:
        click.echo(error, err=True)
        raise SystemExit(2) from None
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    resources = loaded.resources
    nodes = {each.metadata.name for each in resources if isinstance(each, Node)}
    if node not in nodes:
        if any(isinstance(each, Router) and each.metadata.name == node for each in resources):
            complaint = f"{node} is a lab Router: what it does is not configured by Calico"
        else:
            close = difflib.get_close_matches(node, sorted(nodes), n=3)
            hint = (
                f"; did you mean {', '.join(close)}?"
                if close
                else f" among the {len(nodes)} of the manifests"
            )
            complaint = f"no node {node}{hint}"
        click.echo(f"tortie: {complaint}", err=True)
        raise SystemExit(2)
    own = [_affinity(node, cidr, state) for cidr, state in affinities]
    confd = Confd(StillView([*resources, *own]), Timers(), env=dict(env))
    configs = [config for family in (IPV4, IPV6) if (config := confd.derive(node, family)) is not None]
    for note in dict.fromkeys(note for config in configs for note in config.notes):
        click.echo(f"note: {note}", err=True)
    return configs


def _affinity(node: str, cidr: str, state: str) -> BlockAffinity:
    """A resource like any other: checked as if it stood in a manifest."""
    from protocol.v3.ipam import BlockAffinity, affinity_name
    from protocol.v3.metadata import API_VERSION
    from protocol.v3.validate import InvalidResource, resource_of

    try:
        resource = resource_of(
            {
                "apiVersion": API_VERSION,
                "kind": BlockAffinity.kind,
                "metadata": {"name": affinity_name(node, cidr)},
                "spec": {"node": node, "cidr": cidr, "state": state},
            }
        )
    except InvalidResource as error:
        # The name is ours, and wrong only where the CIDR is.
        reasons = "; ".join(fault.message for fault in error.faults if fault.path[:1] != ("metadata",))
        raise click.UsageError(f"--affinity {cidr}={state}: {reasons}") from None
    assert isinstance(resource, BlockAffinity)
    return resource


# -- peers for people and programs --------------------------------------------------------------------------------


def _as_json(peer: PeerConfig) -> dict[str, Any]:
    """Everything but the password, of which only is said that there is one."""
    from agents.speaker.config import DEFAULT_PORT, NextHop
    from protocol.prefix import address_family, format_address

    return {
        "name": peer.name,
        "type": peer.kind.value,
        "family": address_family(peer.address),
        "address": format_address(peer.address),
        "port": peer.port or DEFAULT_PORT,
        "asNumber": peer.peer_as,
        "localAddress": format_address(peer.local_address) if peer.source_address else None,
        "localAsNumber": peer.local_as,
        "passive": peer.passive,
        "routeReflectorClient": peer.rr_client,
        "clusterID": None if peer.cluster_id is None else format_address(peer.cluster_id),
        "ttlSecurity": peer.ttl_security,
        "nextHop": None if peer.next_hop is NextHop.AUTO else peer.next_hop.value,
        "allowLocalAs": peer.allow_local_as,
        "restartTime": peer.restart_time,
        "keepaliveTime": peer.keepalive_time,
        "password": peer.password is not None,
        "importFilters": _names(peer.import_filters),
        "exportFilters": _names(peer.export_filters),
    }


def _names(filters: Sequence[Filter]) -> list[str]:
    return [each.name for each in filters]


def _as_table(stanzas: Sequence[PeerConfig]) -> str:
    rows = [("NAME", "PEER", "PORT", "AS", "LOCAL AS", "OPTIONS")]
    for peer in stanzas:
        row = _as_json(peer)
        columns = (row[key] for key in ("name", "address", "port", "asNumber", "localAsNumber"))
        name, address, port, as_number, local_as = map(str, columns)
        rows.append((name, address, port, as_number, local_as, ", ".join(_options(row))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("   ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _options(row: dict[str, Any]) -> list[str]:
    """What is not as it is without being asked for."""
    return [
        text
        for said, text in (
            (row["passive"], "passive"),
            (row["routeReflectorClient"], f"client of {row['clusterID']}"),
            (row["localAddress"] is None, "no source address"),
            (row["ttlSecurity"] is not None, f"ttl security {row['ttlSecurity']}"),
            (row["nextHop"], row["nextHop"]),
            (row["allowLocalAs"], f"allow local as {row['allowLocalAs']}"),
            (row["restartTime"] is not None, f"restart time {row['restartTime']}"),
            (row["keepaliveTime"] is not None, f"keepalive {row['keepaliveTime']}"),
            (row["password"], "password"),
            (row["importFilters"], f"import {' '.join(row['importFilters'])}"),
            (row["exportFilters"], f"export {' '.join(row['exportFilters'])}"),
        )
        if said
    ]
