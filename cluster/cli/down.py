"""``down``: stop a running cluster and wait until it is gone."""

from __future__ import annotations

import os
import time

import click

from cluster.api import rundir
from cluster.cli import client

PATIENCE = 10.0
"""Seconds until it says that the cluster is still there. Stopping takes less than one."""


@click.command()
@client.name_option
def down(name: str) -> None:
    """Stop the cluster, and return when it is gone.

    \b
    Examples:
      ./run down
      ./run down --name lab
    """
    directory = rundir.run_directory(os.environ)
    endpoint = client.find(name)
    start = time.monotonic()
    try:
        client.ask(endpoint, "POST", "/tortie/v1/down")
    except client.Refused:
        if rundir.is_alive(endpoint, directory, name):
            raise  # else it was on its way out already
    while rundir.is_alive(endpoint, directory, name):
        if time.monotonic() - start > PATIENCE:
            raise client.Refused(
                f"cluster {name!r} (pid {endpoint.pid}) was asked to stop and is still there"
            )
        time.sleep(0.01)
    click.echo(f"cluster {name!r} is down ({time.monotonic() - start:.1f} s)")
