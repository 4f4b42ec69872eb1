"""The run directory: how a command in one terminal finds the cluster of another.

One JSON file per cluster name holds the API's address, its token and the pid of ``up``. Only its user can read it: the
directory is 0700 and theirs, the files are 0600, and a directory that is anything else is refused, because the
token in it is all that guards the API.

A pid is a process only together with when that was started, where the system tells (/proc): pids come again, and
what a file names may be sent a signal.

Life of a file: ``RunFile.claim`` takes the name before anything is started (a second ``up`` of that name is refused
here), ``publish`` adds the address when the API listens, ``remove`` ends it. What a killed ``up`` left is known by its
dead pid and replaced. Files appear whole (write aside, rename); claims are one at a time (a lock on the directory).

Imported by commands that have 100 ms in all, so it imports little.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Mapping
from typing import NamedTuple

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class RunDirectoryError(Exception):
    """The run directory cannot be used. The text names it and says why."""


class BadName(ValueError):
    """Not a name for a cluster."""


class AlreadyRunning(Exception):
    """A live process has this name."""


class NotRunning(Exception):
    """No live process has this name, or it does not serve yet."""


class Endpoint(NamedTuple):
    url: str  # "" as long as it does not serve
    token: str
    pid: int
    started: str = ""  # when that process was, in the system's own measure; "": not known


def run_directory(environ: Mapping[str, str]) -> str:
    """``$XDG_RUNTIME_DIR/tortie``, or ``/tmp/tortie-<uid>`` where the system has no such directory."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    return os.path.join(runtime, "tortie") if runtime else f"/tmp/tortie-{os.getuid()}"


class RunFile:
    """The claim of this process on one cluster name."""

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    def claim(cls, directory: str, name: str) -> RunFile:
        """Takes the name. Raises BadName, AlreadyRunning, RunDirectoryError; then nothing is left behind."""
        path = _path(directory, name)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            _check_private(directory)
            handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                entry = _read(path)
                if entry is not None and _is_alive(entry):
                    raise AlreadyRunning(
                        f"cluster {name!r} is already running (pid {entry.pid}): stop it with `down`, or choose another --name"
                    )
                _write(path, Endpoint("", "", os.getpid(), _started(os.getpid())))
            finally:
                os.close(handle)
        except OSError as error:
            raise RunDirectoryError(f"cannot use the run directory {directory}: {error.strerror}") from None
        return cls(path)

    def publish(self, url: str, token: str) -> None:
        """Says where the API is."""
        _write(self._path, Endpoint(url, token, os.getpid(), _started(os.getpid())))

    def remove(self) -> None:
        """Gives the name back. Harmless when somebody already took the file away."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass


def find(directory: str, name: str, *, starting: bool = False) -> Endpoint:
    """The running cluster of that name; with ``starting`` also one that does not serve yet.

    Raises BadName, NotRunning, RunDirectoryError.
    """
    path = _path(directory, name)
    try:
        entry = _read(path)
        if entry is not None:
            _check_private(directory)
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror}") from None
    if entry is None or not _is_alive(entry):
        option = "" if name == "default" else f" --name {name}"
        raise NotRunning(f"no cluster {name!r} is running; start one with: ./run up{option}")
    if not entry.url and not starting:
        raise NotRunning(f"cluster {name!r} is starting (pid {entry.pid}) and does not answer yet")
    return entry


def is_alive(endpoint: Endpoint, directory: str, name: str) -> bool:
    """Whether this very cluster still has its name and its process."""
    entry = _read(_path(directory, name))
    return entry is not None and entry.pid == endpoint.pid and _is_alive(endpoint)


def check_name(name: str) -> None:
    """Raises BadName."""
    if not _NAME.fullmatch(name):
        raise BadName(f"{name!r} is not a cluster name: letters, digits, '-', '_' and '.', 63 at most")


def _path(directory: str, name: str) -> str:
    check_name(name)
    return os.path.join(directory, f"{name}.json")


def _check_private(directory: str) -> None:
    state = os.lstat(directory)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise RunDirectoryError(
            f"the run directory {directory} must be a directory that only you can enter (mode 0700)"
        )


def _read(path: str) -> Endpoint | None:
    """None when there is no file, or none that this program wrote whole."""
    try:
        with open(path, "rb") as file:
            entry = json.load(file)
        endpoint = Endpoint(entry["url"], entry["token"], entry["pid"], entry.get("started", ""))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(endpoint.pid, int) or not all(
        isinstance(text, str) for text in (endpoint.url, endpoint.token, endpoint.started)
    ):
        return None
    return endpoint


def _write(path: str, endpoint: Endpoint) -> None:
    aside = f"{path}.{os.getpid()}"
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(handle, "w") as file:
            json.dump(endpoint._asdict(), file)
        os.replace(aside, path)
    except OSError:
        try:
            os.unlink(aside)
        except OSError:
            pass
        raise


def _is_alive(entry: Endpoint) -> bool:
    if entry.pid <= 0:
        return False
    try:
        os.kill(entry.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's process is alive too
    return not entry.started or entry.started == _started(entry.pid)


def _started(pid: int) -> str:
    """Clock ticks from the system's start to the process's; "" without /proc."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
