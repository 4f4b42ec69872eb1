"""The real daemon, for comparison: N BIRD processes on loopback addresses, configured as Calico configures them.

Owns the configuration texts, the processes and the questions to their control sockets. Every daemon has an address of
its own in 127.78.0.0/16, static blackhole routes in place of its blocks, and Calico's template: every session multihop,
connect delay 2 s, connect retry 5 s, error wait 5 to 30 s. In the mesh the end with the smaller address, compared as
text, is passive. Reflectors share a cluster ID, hold one another as plain neighbours and everybody else as clients. All
sessions have add-path (``add paths on``), as Calico's have.
There is no kernel protocol: no route leaves the daemon.

A herd has converged when every process shows every network (``show route count``). One process is asked until it
does, with rests, and only then all the others at once, so that 200 daemons on two cores are not kept busy answering.
What this adds to the time: the rest, at most 2 % of it, and a round of questions (about 0.1 ms of CPU a daemon).

Left out, because neither side of the comparison has it here: graceful restart. Calico turns it on, and then nobody
would notice a killed daemon for two minutes.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from bench.process import cpu_seconds, pss_mb
from bench.rows import BenchError, Case, Run
from cluster.memory import descriptor_limit

AS_NUMBER = 64512
PORT = 17900  # high, so that nobody needs to be root
CLUSTER_ID = "244.0.0.1"
HOLD_TIME = 90  # tortie's default too; Calico leaves BIRD at 240, which changes no figure here
CONNECT_DELAY = 2  # Calico's; nothing is dialled before, so it is part of every wall clock here
INSTALL = "bird is not installed; on Debian and Ubuntu: apt install bird2 (https://bird.network.cz elsewhere)"
TIMEOUT_S = 900.0
_FIRST_BLOCK = 10 << 24 | 128 << 16  # 10.128.0.0/9 has room for 131,072 blocks of 64 addresses


def find_bird() -> str | None:
    """Debian puts it where only root's PATH looks."""
    return shutil.which("bird") or shutil.which("bird", path="/usr/sbin:/usr/local/sbin")


def address(node: int) -> str:
    """Of the node with this number, from 1."""
    high, low = divmod(node, 256)
    return f"127.78.{high}.{low}"


def block(index: int) -> str:
    network = _FIRST_BLOCK + index * 64
    return f"{socket.inet_ntoa(network.to_bytes(4))}/26"


@attrs.frozen(kw_only=True)
class Topology:
    nodes: int
    reflectors: int = 0  # 0: a full mesh; else the nodes 1 to reflectors
    routes: int = 1  # a node
    port: int = PORT

    def peers(self, node: int) -> Iterator[tuple[int, str]]:
        """The neighbours of a node and what their stanza says beyond the template."""
        for peer in range(1, self.nodes + 1):
            if peer == node:
                continue
            if not self.reflectors or (node <= self.reflectors and peer <= self.reflectors):
                yield peer, " passive on;" if address(peer) > address(node) else ""
            elif node <= self.reflectors:
                # A reflector's peers are chosen by selector: Calico makes neither end of these passive.
                yield peer, f" rr client; rr cluster id {CLUSTER_ID};"
            elif peer <= self.reflectors:
                yield peer, ""

    def blocks(self, node: int) -> list[str]:
        return [block(index) for index in range((node - 1) * self.routes, node * self.routes)]


def configuration(topology: Topology, node: int) -> str:
    lines = [
        "log stderr { error, fatal, bug };",
        f"router id {address(node).replace('127', '10', 1)};",
        "protocol device { scan time 3600; }",
        "protocol static { ipv4;",
        f'include "{node}.routes";',  # on a line of its own, or BIRD does not see it
        "}",
        "template bgp calico {",
        f"  local {address(node)} port {topology.port} as {AS_NUMBER}; strict bind; multihop;",
        f"  hold time {HOLD_TIME}; connect delay time {CONNECT_DELAY}; connect retry time 5; error wait time 5,30;",
        "  ipv4 { import all; export all; add paths on; };",
        "}",
    ]
    for peer, more in topology.peers(node):
        lines.append(
            f"protocol bgp peer{peer} from calico {{ neighbor {address(peer)} port {topology.port} as {AS_NUMBER};{more} }}"
        )
    return "\n".join(lines) + "\n"


class Control:
    """A control socket, spoken to as birdc does: a line out; lines in, of which the last has a blank after its code."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(60)
            self._socket.connect(str(path))
            self._reader = self._socket.makefile("r", encoding="utf-8", newline="\n")
            self.answer()  # the greeting
        except BaseException:
            self._socket.close()
            raise

    def ask(self, command: str) -> str:
        self.send(command)
        return self.answer()

    def send(self, command: str) -> None:
        self._socket.sendall(command.encode() + b"\n")

    def answer(self) -> str:
        lines = []
        for line in self._reader:
            lines.append(line)
            if re.match(r"\d{4} ", line):
                return "".join(lines)
        raise ConnectionError("the daemon closed its control socket")

    def close(self) -> None:
        self._reader.close()
        self._socket.close()


class Herd:
    """N daemons in a directory of their own; a context manager that leaves neither behind."""

    def __init__(self, topology: Topology, *, timeout: float = TIMEOUT_S) -> None:
        bird = find_bird()
        if bird is None:
            raise BenchError(INSTALL)
        descriptor_limit()  # raises it: a control socket for each daemon here, a socket for each session there
        self._topology = topology
        self._timeout = timeout
        self._bird = bird
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._controls: dict[int, Control] = {}

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix="tortie-bird-")
        self.directory = Path(self._temporary.name)
        for node in range(1, self._topology.nodes + 1):
            self.write_routes(node, self._topology.blocks(node))
            (self.directory / f"{node}.conf").write_text(configuration(self._topology, node))
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

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            for node in range(1, self._topology.nodes + 1):
                self._processes[node] = subprocess.Popen(
                    [self._bird, "-f", "-c", f"{node}.conf", "-s", f"{node}.ctl", "-P", f"{node}.pid"],
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes.values()]

    def write_routes(self, node: int, blocks: Collection[str]) -> None:
        text = "".join(f"route {each} blackhole;\n" for each in blocks)
        (self.directory / f"{node}.routes").write_text(text)

    def configure(self, node: int) -> None:
        answer = self._control(node).ask("configure")
        if "0003" not in answer:
            raise BenchError(f"bird {node} does not take its configuration: {answer.strip()}")

    def kill(self, node: int) -> None:
        """A power cut; nobody waits for this node from now on."""
        process = self._processes.pop(node)
        process.kill()
        process.wait()
        if node in self._controls:
            self._controls.pop(node).close()

    def wait_for(self, networks: int, *, rest: float | None = None) -> None:
        """Returns as soon as every daemon shows so many networks.

        ``rest`` is the time between two questions to the same daemon; None: 2 % of the time that has passed.
        """
        started = time.perf_counter()
        waiting = list(self._processes)
        while waiting:
            there = self._showing(waiting[:1], networks)
            if there:
                there = self._showing(waiting, networks)
                waiting = [node for node in waiting if node not in there]
            passed = time.perf_counter() - started
            if waiting and passed > self._timeout:
                raise BenchError(f"bird {waiting[0]} does not show {networks} networks: {self._log()}")
            if waiting:
                time.sleep(max(0.005, passed / 50) if rest is None else rest)

    def _showing(self, nodes: Collection[int], networks: int) -> set[int]:
        """Which of these daemons show so many networks. All are asked before the first answer is read."""
        wanted = f"for {networks} networks"
        asked = []
        for node in nodes:
            try:
                self._control(node).send("show route count")
                asked.append(node)
            except (FileNotFoundError, ConnectionError):  # not listening yet
                self._check_alive(node)
        try:
            return {node for node in asked if wanted in self._control(node).answer()}
        except ConnectionError:
            for node in asked:
                self._check_alive(node)
            raise

    def _check_alive(self, node: int) -> None:
        if self._processes[node].poll() is not None:
            raise BenchError(f"bird {node} ended: {self._log()}") from None

    def _control(self, node: int) -> Control:
        if node not in self._controls:
            self._controls[node] = Control(self.directory / f"{node}.ctl")
        return self._controls[node]

    def _log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "log").read_text(errors="replace")[-500:].strip() or "nothing logged"
        return "nothing logged"


def converge(case: Case, *, reflectors: int = 0) -> Run:
    """From no process to every route in every process."""
    topology = Topology(nodes=case.nodes, reflectors=reflectors, routes=case.routes or 1)
    with Herd(topology) as herd:
        started = time.perf_counter()
        herd.start()
        herd.wait_for(topology.nodes * topology.routes)
        wall = time.perf_counter() - started
        return Run(wall_s=wall, cpu_s=cpu_seconds(herd.pids), pss_mb=pss_mb(herd.pids))


def churn(case: Case) -> list[Run]:
    """In a converged mesh: one new block, the same block withdrawn, one daemon killed."""
    topology = Topology(nodes=case.nodes)
    with Herd(topology) as herd:
        herd.start()
        herd.wait_for(case.nodes)
        blocks = topology.blocks(1)
        runs = []
        for event, now, expected in (
            ("announce", [*blocks, block(case.nodes)], case.nodes + 1),
            ("withdraw", blocks, case.nodes),
        ):
            herd.write_routes(1, now)
            started = time.perf_counter()
            herd.configure(1)
            herd.wait_for(expected, rest=0.001)
            runs.append(Run(event=event, wall_s=time.perf_counter() - started))
        started = time.perf_counter()
        herd.kill(case.nodes)
        herd.wait_for(case.nodes - 1, rest=0.001)
        return [*runs, Run(event="kill", wall_s=time.perf_counter() - started)]
