"""``down``: stop a running cluster and wait until it is gone.

It asks the API; a cluster that does not serve yet gets SIGTERM instead, which is answered at any moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

import click

from cluster.api import rundir
from cluster.cli import client

PATIENCE = 10.0
"""Seconds until it says that the cluster is still there. Stopping takes less than one."""

LAST_WORDS = 5.0
"""Seconds for a cluster that hung up instead of answering to be gone: it may stop faster than it answers. Some of them,
because one that is still converging shares its processors with this command and has its kernel close 100,000 sockets."""


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
    endpoint = client.find(name, starting=True)
    start = time.monotonic()
    patience = PATIENCE
    problem = client.Refused(f"cluster {name!r} (pid {endpoint.pid}) was asked to stop and is still there")
    if endpoint.url:
        try:
            client.ask(endpoint, "POST", "/tortie/v1/down")
        except client.NoAnswer as error:
            patience, problem = LAST_WORDS, error
    else:
        with contextlib.suppress(ProcessLookupError):  # gone since it was found
            os.kill(endpoint.pid, signal.SIGTERM)
    while rundir.is_alive(endpoint, directory, name):
        if time.monotonic() - start > patience:
            raise problem
        time.sleep(0.01)
    click.echo(f"cluster {name!r} is down ({time.monotonic() - start:.1f} s)")
