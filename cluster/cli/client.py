"""A thin client of a running cluster's API: find it, ask it, say in one line what went wrong.

``ask`` is one question; ``Session`` is a connection for many, as the commands about resources need it: a document out,
a document in, and a refusal with its reason.

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


def namespace_option(command: _Function) -> _Function:
    """``-n``: for kinds that are in namespaces."""
    return click.option(
        "-n", "--namespace", default="", metavar="NS", help="Namespace of the resource (default: default)."
    )(command)


def output_option(command: _Function) -> _Function:
    """``-o``: for people or for programs."""
    choice = click.Choice(["table", "json"])
    return click.option(
        "-o", "--output", type=choice, default="table", show_default=True, help="Output format."
    )(command)


def find(name: str, *, starting: bool = False) -> Endpoint:
    """The running cluster of that name; with ``starting`` also one that has no URL yet. Raises Refused, or UsageError
    for what cannot be a name.
    """
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
    return f"/tortie/v1/nodes/{quote(node, safe='', errors='replace')}/{view}"


def ask(endpoint: Endpoint, method: str, path: str, *, body: str = "", output: str = "table") -> Reply:
    """One request. Raises Refused with the cluster's reason, or with why there is none."""
    headers = {
        "Accept": "application/json" if output == "json" else "text/plain",
        "Connection": "close",
    }
    with Session(endpoint) as session:
        response, text = session.exchange(method, path, body.encode(errors="replace"), headers)
    if response.status >= 400:
        raise Refused(_message(text) or f"the cluster answers {response.status} {response.reason}")
    return Reply(text, response.headers)


class Denied(Exception):
    """The API's no to a request about a resource: its Status."""

    def __init__(self, status: dict[str, Any]) -> None:
        super().__init__(status.get("message", ""))
        self.reason: str = status.get("reason", "")
        causes = (status.get("details") or {}).get("causes") or ()
        self.causes = [(cause.get("field", ""), cause.get("message", "")) for cause in causes]


class Session:
    """One connection, for as many requests as it takes."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection = http.client.HTTPConnection(urlsplit(endpoint.url).netloc, timeout=TIMEOUT)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def exchange(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, str]:
        """Raises NoAnswer."""
        headers = {"Authorization": f"Bearer {self._endpoint.token}", **headers}
        try:
            self._connection.request(method, path, body or None, headers)
            response = self._connection.getresponse()
            return response, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise NoAnswer(
                f"the cluster (pid {self._endpoint.pid}) does not answer at {self._endpoint.url}: {reason}"
            ) from None

    def call(
        self, method: str, path: str, document: object = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """The document that is the answer. Raises Denied, NoAnswer."""
        body = b"" if document is None else json.dumps(document).encode()
        headers = {"Accept": "application/json", "Content-Type": content_type}
        response, text = self.exchange(method, path, body, headers)
        try:
            answer: dict[str, Any] = json.loads(text)
        except ValueError:
            raise NoAnswer(f"the cluster answers {response.status}, and not in JSON") from None
        if response.status >= 400:
            raise Denied(answer)
        return answer


def _message(text: str) -> str:
    """The message of a Kubernetes Status."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return ""
