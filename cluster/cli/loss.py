"""``loss``: count what is lost in a running cluster, from now until Ctrl-C or for a time.

A thin client: it begins the count, asks how far it is once a second, which also says that somebody is still there, and
ends it.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from cluster.cli import client
from cluster.cli.paths import Target

if TYPE_CHECKING:
    from cluster.api.rundir import Endpoint
    from cluster.loss.report import LossReport

_PATH = "/tortie/v1/loss"
_STEP = 1.0
_SHOWN = 1000
"""Pairs in the report that text and picture are made of; they show twenty at most."""


def _seconds(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    from cluster.scenario.form import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option("--for", "duration", metavar="TIME", callback=_seconds, help="Count so long, as 30s or 2m.")
@click.option("--plot", type=Target(), metavar="FILE.svg|png", help="Draw there what was lost when.")
@client.name_option
@client.output_option
def loss(duration: float | None, plot: str | None, name: str, output: str) -> None:
    """Count what is lost from now until Ctrl-C: for each ordered pair of nodes the time in which a packet from one
    would not have reached a pod of the other.

    \b
    Examples:
      ./run loss --for 30s
      ./run loss -o json > loss.json
      ./run loss --for 2m --plot loss.svg
    """
    if plot is not None:
        from cluster.loss.plot import CannotPlot, check

        try:
            check(plot)
        except CannotPlot as error:
            raise click.UsageError(str(error)) from None
    endpoint = client.find(name)
    # Not an exception: wherever it comes, the count is ended and the report printed.
    stop = threading.Event()

    def stopped(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stopped)
    client.ask(endpoint, "POST", _PATH, output="json")
    began = time.monotonic()
    deadline = float("inf") if duration is None else began + duration
    if sys.stderr.isatty():
        click.echo("counting; Ctrl-C ends it and prints the report", err=True)
    while not stop.wait(max(0.0, min(_STEP, deadline - time.monotonic()))) and time.monotonic() < deadline:
        _progress(_asked(endpoint, "GET", 0), time.monotonic() - began)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    _show(_asked(endpoint, "DELETE", _SHOWN if output == "table" else None), output, plot)


def _asked(endpoint: Endpoint, method: str, limit: int | None) -> dict[str, Any]:
    query = "" if limit is None else f"?limit={limit}"
    document: dict[str, Any] = json.loads(client.ask(endpoint, method, _PATH + query, output="json").body)
    return document


def _progress(document: dict[str, Any], seconds: float) -> None:
    if sys.stderr.isatty():
        now = document["timeline"][-1]["lost"] if document["timeline"] else 0
        text = f"{seconds:5.0f} s  {now:,} pairs lost now, {document['total']:,.1f} s together"
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)


def _show(document: dict[str, Any], output: str, plot: str | None) -> None:
    if output == "json":
        click.echo(json.dumps(document))
    else:
        from cluster.loss.render import lines

        for line in lines(_report(document)):
            click.echo(line)
    if plot is not None:
        from cluster.loss.plot import plot as draw

        draw(_report(document), plot)
        click.echo(f"drawn: {plot}", err=True)


def _report(document: dict[str, Any]) -> LossReport:
    from cluster.loss.report import LossReport

    return LossReport.from_json(document)
