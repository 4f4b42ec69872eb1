"""A thin client of a running cluster's API: find it, ask it, say in one line what went wrong.

Imports http.client and nothing heavier; a command that asks and prints starts in well under 100 ms.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import click

from cluster.api import rundir
from cluster.api.rundir import Endpoint

TIMEOUT = 30.0
"""Seconds. A cluster that is starting is busy, and answers between its own work."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Reply(NamedTuple):
    body: str
    headers: http.client.HTTPMessage


class Refused(click.ClickException):
    """One line on stderr, exit 1: nobody is there, or the answer is no."""

    def show(self, file: Any = None) -> None:
        click.echo(f"tortie: {self.message}", err=True)


class NoAnswer(Refused):
    """The cluster could not be reached, or hung up before it answered."""


def name_option(command: _Function) -> _Function:
    """``--name``: which cluster."""
    option = click.option(
        "--name", default="default", show_default=True, help="The cluster's name, as given to `up`."
    )
    return option(command)


def output_option(command: _Function) -> _Function:
    """``-o``: for people or for programs."""
    choice = click.Choice(["table", "json"])
    return click.option(
        "-o", "--output", type=choice, default="table", show_default=True, help="Output format."
    )(command)


def find(name: str, *, starting: bool = False) -> Endpoint:
    """The running cluster of that name; with ``starting`` also one that has no URL yet. Raises Refused, or UsageError for what cannot be a name."""
    try:
        return rundir.find(rundir.run_directory(os.environ), name, starting=starting)
    except rundir.BadName as error:
        raise click.UsageError(str(error)) from None
    except (rundir.NotRunning, rundir.RunDirectoryError) as error:
        raise Refused(str(error)) from None


def node_path(node: str, view: str) -> str:
    """Raises Refused for what can be no node's name, and would be the path of something else."""
    if not node or "/" in node:
        raise Refused(f"no node {node!r}: that is not the name of one")
    return f"/tortie/v1/nodes/{quote(node, safe='')}/{view}"


def ask(endpoint: Endpoint, method: str, path: str, *, body: str = "", output: str = "table") -> Reply:
    """One request. Raises Refused with the cluster's reason, or with why there is none."""
    headers = {
        "Authorization": f"Bearer {endpoint.token}",
        "Accept": "application/json" if output == "json" else "text/plain",
        "Connection": "close",
    }
    connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc, timeout=TIMEOUT)
    try:
        connection.request(method, path, body.encode(errors="replace") if body else None, headers)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise NoAnswer(
            f"the cluster (pid {endpoint.pid}) does not answer at {endpoint.url}: {reason}"
        ) from None
    finally:
        connection.close()
    if response.status >= 400:
        raise Refused(_reason(text) or f"the cluster answers {response.status} {response.reason}")
    return Reply(text, response.headers)


def _reason(text: str) -> str:
    """The message of a Kubernetes Status."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
