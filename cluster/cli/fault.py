"""``fault``: stop, freeze and power off nodes of a running cluster, cut links, and undo it.

A thin client: each command is one request, and prints what is wrong with the cluster then. Exit codes as ``inspect``'s.
"""

from __future__ import annotations

import json

import click

from cluster.cli import client

_PATH = "/tortie/v1/faults"


@click.group()
def fault() -> None:
    """Break a running cluster on purpose, and mend it.

    \b
    Examples:
      ./run fault power-off node-003
      ./run fault cut node-001 node-002
      ./run fault show
      ./run fault heal
      ./run fault start node-003
    """


_OF_NODES = {
    "stop": "calico-node is gone, as when its container is killed: connections are closed, the kernel goes on forwarding.",
    "start": "Start what was stopped, on the kernel that is there, or boot what was powered off.",
    "power-off": "The machine is gone, silently: neighbours notice when their hold time is over.",
    "freeze": "The daemons hang, silently; the kernel goes on forwarding.",
    "thaw": "Let frozen daemons go on.",
}
"""What is done to any number of nodes, one after the other."""


def _strike(action: str, what: str) -> None:
    @fault.command(action, help=what)
    @click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
    @client.name_option
    @client.output_option
    def strike(nodes: tuple[str, ...], name: str, output: str) -> None:
        _act(action, nodes, name, output)


for _action, _what in _OF_NODES.items():
    _strike(_action, _what)


@fault.command()
@click.argument("nodes", nargs=2, metavar="NODE NODE")
@client.name_option
@client.output_option
def cut(nodes: tuple[str, ...], name: str, output: str) -> None:
    """Nothing gets from one node to the other, either way, packets of pods neither."""
    _act("cut", nodes, name, output)


@fault.command()
@click.argument("nodes", nargs=-1, metavar="[NODE NODE]")
@client.name_option
@client.output_option
def heal(nodes: tuple[str, ...], name: str, output: str) -> None:
    """End a cut; without names all of them."""
    if len(nodes) not in (0, 2):
        raise click.UsageError("name two nodes, or none for everything that is cut")
    _act("heal", nodes, name, output)


@fault.command()
@client.name_option
@client.output_option
def show(name: str, output: str) -> None:
    """Who is stopped, frozen or without power, and what is cut."""
    reply = client.ask(client.find(name), "GET", _PATH, output=output)
    click.echo(reply.body, nl=output == "json")


def _act(action: str, nodes: tuple[str, ...], name: str, output: str) -> None:
    body = json.dumps({"nodes": nodes})
    reply = client.ask(client.find(name), "POST", f"{_PATH}/{action}", body=body, output=output)
    click.echo(reply.body, nl=output == "json")
