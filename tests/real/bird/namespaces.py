"""Network namespaces on one wire, for daemons that want port 179 and routing tables of their own.

Owns ``Wire``: one namespace with a bridge, and one for each node with a leg ``eth0`` on it. The namespaces carry the pid
of who made them, go away on the way out however that is taken, and those of dead processes go when the next Wire is made.
Nothing is changed outside of them. Making one for six nodes takes 50 ms, so every example has its own.

Needs root and iproute2; ``missing`` says what is not there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PREFIX = "tortie"
LEG = "eth0"
_NAMES = re.compile(rf"{PREFIX}-(\d+)-\w+")
_RUN = Path("/run/netns")


def missing() -> str | None:
    """What keeps a Wire from being made, in words."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            return f"{program} is not installed; on Debian and Ubuntu: apt install {package}"
    done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
    if done.returncode:
        return f"no network namespaces here: {done.stderr.strip()}"
    return None


class Wire:
    """A context manager. Nodes go by names of any kind."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self._bridge = f"{PREFIX}-{os.getpid()}-wire"
        self._namespaces = {node: f"{PREFIX}-{os.getpid()}-{index}" for index, node in enumerate(nodes)}

    def __enter__(self) -> Self:
        _remove(name for name, pid in _all() if not _lives(pid) or pid == os.getpid())
        try:
            _batch(None, [f"netns add {name}" for name in (self._bridge, *self._namespaces.values())])
            _batch(self._bridge, ["link add br0 type bridge mcast_snooping 0", "link set br0 up"])
            for index, name in enumerate(self._namespaces.values()):
                _batch(
                    self._bridge,
                    [
                        f"link add n{index} type veth peer name {LEG} netns {name}",
                        f"link set n{index} master br0 up",
                    ],
                )
                _batch(name, ["link set lo up", f"link set {LEG} addrgenmode none"])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(name for name, pid in _all() if pid == os.getpid())

    def lay(self, node: str, addresses: Iterable[str], devices: Sequence[str], routes: Iterable[str]) -> None:
        """Give a node addresses (with lengths), interfaces that lead nowhere, and routes (as ``ip route add`` has them)."""
        _batch(
            self._namespaces[node],
            [
                *(f"addr add {each} dev {LEG}{' nodad' if ':' in each else ''}" for each in addresses),
                f"link set {LEG} up",
                *(
                    f"link add {each} type veth peer name other{number}"
                    for number, each in enumerate(devices)
                ),
                *(f"link set {each} addrgenmode none up" for each in devices),
                *(f"link set other{number} addrgenmode none up" for number in range(len(devices))),
                *(f"route add {each}" for each in routes),
            ],
        )

    def command(self, node: str, program: Sequence[str]) -> list[str]:
        """The program in the node's namespace; it dies with the process that starts it."""
        return [
            "setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={_RUN / self._namespaces[node]}", "--", *program,
        ]  # fmt: skip


def _all() -> list[tuple[str, int]]:
    """Namespaces of this kind and the pids that they carry."""
    names = os.listdir(_RUN) if _RUN.is_dir() else []
    return [(name, int(match[1])) for name in names if (match := _NAMES.fullmatch(name))]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove(names: Iterable[str]) -> None:
    for name in names:
        subprocess.run(["ip", "netns", "delete", name], check=False)


def _batch(name: str | None, commands: Sequence[str]) -> None:
    """All of them in one process."""
    arguments = ["ip", *(("-n", name) if name else ()), "-batch", "-"]
    text = "".join(f"{command}\n" for command in commands)
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(arguments)}: {done.stderr.strip()} in:\n{text}")
