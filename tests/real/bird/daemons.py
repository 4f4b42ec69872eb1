"""Real BIRD 1.6 processes on a Wire, each with the files that confd made for it.

Owns ``Flock``: one daemon for each node and family, its control socket and its end.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.bird import Control
from tests.real.bird.namespaces import Wire
from tests.real.bird.routes import Route, Session, read, read_sessions

Daemon = tuple[str, int]
"""The node's name and the family."""

_ERROR = re.compile("Error:|Received:|Connection lost|Invalid|cannot", re.IGNORECASE)


class Flock:
    """A context manager; on its way out every daemon is dead and every file gone."""

    def __init__(
        self, wire: Wire, programs: Mapping[int, str], files: Mapping[Daemon, Mapping[str, str]]
    ) -> None:
        self._wire = wire
        self._programs = programs
        self._files = files
        self._processes: dict[Daemon, subprocess.Popen[bytes]] = {}
        self._controls: dict[Daemon, Control] = {}

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="tortie-bird16-")
        try:
            for daemon, files in self._files.items():
                place = self._place(daemon)
                place.mkdir()
                for name, text in files.items():
                    (place / name).write_text(text)
            for daemon in self._files:
                self._start(daemon)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for control in self._controls.values():
            control.close()
        for process in self._processes.values():
            process.kill()  # all of them before the first is waited for: a survivor would only mourn its neighbours
        for process in self._processes.values():
            process.wait()
        self._temporary.cleanup()

    def kill(self, daemon: Daemon) -> None:
        """As a container's are: without a word."""
        self._processes[daemon].kill()
        self._processes[daemon].wait()
        if (control := self._controls.pop(daemon, None)) is not None:
            control.close()
        (self._place(daemon) / "control").unlink(missing_ok=True)

    def recover(self, daemon: Daemon, files: Mapping[str, str]) -> None:
        """Start it again with these files, as calico-node starts it: ``bird -R``."""
        for name, text in files.items():
            (self._place(daemon) / name).write_text(text)
        self._start(daemon, "-R")

    def routes(self, daemon: Daemon) -> Counter[Route]:
        return read(self._ask(daemon, "show route all"))

    def sessions(self, daemon: Daemon) -> dict[str, Session]:
        return read_sessions(self._ask(daemon, "show protocols"))

    def complaint(self, daemon: Daemon, protocol: str) -> str:
        """The last error that a daemon logged of a session, with a colon before it."""
        errors = [
            line for line in self._log(daemon).splitlines() if _ERROR.search(line) and f" {protocol}:" in line
        ]
        return f": {errors[-1]}" if errors else ""

    def _log(self, daemon: Daemon) -> str:
        return (self._place(daemon) / "log").read_text(errors="replace")

    def _place(self, daemon: Daemon) -> Path:
        return Path(self._temporary.name) / f"{daemon[0]}-{daemon[1]}"

    def protocols(self, daemon: Daemon) -> str:
        return self._ask(daemon, "show protocols all")

    def status(self, daemon: Daemon) -> str:
        return self._ask(daemon, "show status")

    def _start(self, daemon: Daemon, *options: str) -> None:
        node, family = daemon
        place = self._place(daemon)
        main = "bird.cfg" if family == 4 else "bird6.cfg"
        command = [self._programs[family], "-d", "-c", main, "-s", "control", "-P", "pid", *options]
        with (place / "log").open("ab") as log:
            self._processes[daemon] = subprocess.Popen(
                self._wire.command(node, command),
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _ask(self, daemon: Daemon, command: str) -> str:
        """An answer, or "" from a daemon that does not listen yet. Raises OSError for one that is gone."""
        if daemon not in self._controls:
            try:
                self._controls[daemon] = Control(self._place(daemon) / "control")
            except (FileNotFoundError, ConnectionRefusedError):
                if self._processes[daemon].poll() is not None:
                    raise OSError(f"BIRD {daemon} ended: {self._log(daemon)[-2000:]}") from None
                return ""
        return self._controls[daemon].ask(command)
