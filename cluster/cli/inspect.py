"""``status``, ``events``, ``node status``, ``birdc`` and ``ip route``: looking into a running cluster.

The API writes the tables; these commands ask, print, and turn the answer into an exit code: 0, 1 when the cluster
is not there or says no, 2 for a command that cannot be understood.
"""

from __future__ import annotations

import click

from cluster.cli import client

_REFUSED, _NOT_UNDERSTOOD = 8000, 9000  # BIRD's reply codes


@click.command()
@client.name_option
@client.output_option
def status(name: str, output: str) -> None:
    """The cluster: its nodes, sessions, routes and shards.

    \b
    Examples:
      ./run status
      ./run status -o json
    """
    _print(client.ask(client.find(name), "GET", "/tortie/v1/status", output=output), output)


@click.command()
@click.argument("node", required=False)
@client.name_option
@client.output_option
def events(node: str | None, name: str, output: str) -> None:
    """What happened at NODE, or at all nodes, the oldest first: sessions, addresses, what was not followed.

    \b
    Examples:
      ./run events node-017
      ./run events -o json
    """
    path = client.node_path(node, "events") if node is not None else "/tortie/v1/events"
    _print(client.ask(client.find(name), "GET", path, output=output), output)


@click.group()
def node() -> None:
    """One node, as calicoctl sees it."""


@node.command("status")
@click.argument("node")
@client.name_option
@client.output_option
def node_status(node: str, name: str, output: str) -> None:
    """BGP peers of NODE, as `calicoctl node status` prints them.

    \b
    Examples:
      ./run node status node-017
      ./run node status node-017 -o json
    """
    _print(client.ask(client.find(name), "GET", client.node_path(node, "status"), output=output), output)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("command", nargs=-1, required=True)
@click.option("-6", "six", is_flag=True, help="Ask bird6, as birdc6 would.")
@client.name_option
def birdc(node: str, command: tuple[str, ...], six: bool, name: str) -> None:
    """Ask the BIRD of NODE (or of a router), as its birdc would.

    \b
    Commands (keywords may be abbreviated):
      show status
      show protocols [all] [NAME | "PATTERN"]
      show route [all] [for X | PREFIX] [protocol P] [export P] [primary] [count]

    \b
    Examples:
      ./run birdc node-017 show protocols all Mesh_10_77_0_9
      ./run birdc node-017 show route for 192.168.4.70
      ./run birdc node-017 'show protocols "Mesh*"'
      ./run birdc -6 node-017 show route
    """
    path = client.node_path(node, "birdc") + _query(six)
    reply = client.ask(client.find(name), "POST", path, body=" ".join(command))
    click.echo(reply.body, nl=False)
    code = int(reply.headers["Bird-Reply-Code"])
    if code >= _REFUSED:
        raise SystemExit(2 if code >= _NOT_UNDERSTOOD else 1)


@click.group()
@click.option("-6", "six", is_flag=True, help="IPv6.")
@click.pass_context
def ip(context: click.Context, six: bool) -> None:
    """One node's kernel, as iproute2 sees it."""
    context.obj = six


@ip.command()
@click.argument("node")
@client.name_option
@client.output_option
@click.pass_obj
def route(six: bool, node: str, name: str, output: str) -> None:
    """The forwarding table of NODE, as `ip route` prints it.

    \b
    Examples:
      ./run ip route node-017
      ./run ip -6 route node-017
      ./run ip route node-017 -o json
    """
    path = client.node_path(node, "routes") + _query(six)
    _print(client.ask(client.find(name), "GET", path, output=output), output)


def _query(six: bool) -> str:
    return "?family=6" if six else ""


def _print(reply: client.Reply, output: str) -> None:
    click.echo(reply.body, nl=output == "json")
