"""Files and directories that a command is to write: wrong on the command line, and not when the work is done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class Target(click.Path):
    """Where a file can be written, or a directory be made (``directory=True``, with those above it). Exit code 2 where
    not.
    """

    def __init__(self, *, directory: bool = False, path_type: type[Any] = str) -> None:
        super().__init__(dir_okay=directory, file_okay=not directory, writable=True, path_type=path_type)
        self._directory = directory

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        above = Path(os.path.abspath(os.fsdecode(found))).parent
        while self._directory and not above.exists() and above != above.parent:
            above = above.parent
        if not above.is_dir():
            self.fail(f"there is no directory {above}", param, ctx)
        if not os.access(above, os.W_OK) and not os.path.exists(found):
            self.fail(f"nothing can be written to {above}", param, ctx)
        return found
