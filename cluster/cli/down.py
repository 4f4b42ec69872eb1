"""``down``: stop a running cluster and wait until it is gone."""

from __future__ import annotations

import os
import time

import click

from cluster.api import rundir
from cluster.cli import client

PATIENCE = 10.0
"""Seconds until it says that the cluster is still there. Stopping takes less than one."""

LAST_WORDS = 1.0
"""Seconds for a cluster that hung up instead of answering to be gone: it may stop faster than it answers."""


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
    patience = PATIENCE
    problem = client.Refused(f"cluster {name!r} (pid {endpoint.pid}) was asked to stop and is still there")
    try:
        client.ask(endpoint, "POST", "/tortie/v1/down")
    except client.NoAnswer as error:
        patience, problem = LAST_WORDS, error
    while rundir.is_alive(endpoint, directory, name):
        if time.monotonic() - start > patience:
            raise problem
        time.sleep(0.01)
    click.echo(f"cluster {name!r} is down ({time.monotonic() - start:.1f} s)")
