"""The command line. Each command lives in its own module and is imported when it is asked for.

``up`` needs trio and the whole house; the commands that look into a running cluster are thin clients of its HTTP API
and must start in 100 ms, so that nothing here imports more than click.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any

import click

_COMMANDS = {
    "up": "cluster.cli.up",
    "status": "cluster.cli.inspect",
    "events": "cluster.cli.inspect",
    "node": "cluster.cli.inspect",
    "birdc": "cluster.cli.inspect",
    "ip": "cluster.cli.inspect",
    "down": "cluster.cli.down",
    "fault": "cluster.cli.fault",
    "loss": "cluster.cli.loss",
    "render": "cluster.cli.render",
    "filter": "cluster.cli.filter",
    "validate": "cluster.cli.validate",
    "rehearse": "cluster.cli.rehearse",
    "fuzz": "cluster.cli.fuzz",
    "get": "cluster.cli.get",
    "plan": "cluster.cli.plan",
    "apply": "cluster.cli.apply",
    "create": "cluster.cli.apply",
    "replace": "cluster.cli.apply",
    "delete": "cluster.cli.delete",
    "patch": "cluster.cli.patch",
    "label": "cluster.cli.patch",
}


class _LazyGroup(click.Group):
    def main(self, *args: Any, **kwargs: Any) -> Any:
        """What cannot be written is said in a line. Click itself keeps silent to a reader that hung up."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            with contextlib.suppress(OSError):
                click.echo(f"tortie: {what}{error.strerror or error}", err=True)
            # What could not be written is still in the buffer, and must not be tried, and fail, again at the end.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command = getattr(importlib.import_module(module), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_LazyGroup, context_settings={"auto_envvar_prefix": "TORTIE", "max_content_width": 100})
def main() -> None:
    """A Calico network control plane on one computer: what will my routes do?

    \b
    Examples:
      ./run up --nodes 200
      ./run status
      ./run birdc node-017 show route for 192.168.4.70

    Every flag is also an environment variable: TORTIE_<COMMAND>_<FLAG>, as in TORTIE_UP_NODES=200.
    """
