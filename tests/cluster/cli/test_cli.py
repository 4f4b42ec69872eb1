"""The thin clients against a served API: what they print, what they say when it goes wrong, their exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from cluster import views
from cluster.api import rundir
from cluster.api.control import NodeDown, NoSuchNode
from cluster.api.server import serve
from cluster.cli import client, down, main
from cluster.datastore.memory import MemoryStore
from cluster.faults import Faults
from cluster.losswatch import LossWatch
from cluster.views import ClusterStatus, EventRow, PeerRow, RouteRow
from cluster.whatif.state import State
from protocol.prefix import IPV4

REPLIES = {
    "show route for 10.0.0.1": "0001 BIRD 1.6.8 ready.\n8001 Network not in table\n",
    'show protocols "Mesh*"': "0001 BIRD 1.6.8 ready.\n2002-name\n1002-Mesh_10_77_0_2\n0000 \n",
    "foo": "0001 BIRD 1.6.8 ready.\n9001 No such command. Press `?' for help.\n",
    "bird6: show route": "0001 BIRD 1.6.8 ready.\n1007-six\n0000 \n",
    "-x": "0001 BIRD 1.6.8 ready.\n9001 syntax error\n",
}
STATUS = ClusterStatus(
    name="lab", pid=1, topology="full mesh", uptime=1.0, nodes=1, nodes_down=[], routers=0, routers_down=[],
    faults=[], notes={}, shards=[], sessions_expected=0, sessions_established=0, routes_expected=1, routes_programmed=1, convergence="converged",
)  # fmt: skip
PEERS = [PeerRow(address="10.77.0.2", type="global", state="up", since="12:00:00", info="Established")]
ROUTES = [RouteRow(type="blackhole", dst="192.168.9.0/26", protocol="bird", flags=[])]
ROUTES6 = [RouteRow(type="blackhole", dst="fd00::/122", protocol="bird", flags=[])]
EVENTS = [EventRow(time=0.0, node="node-001", type="Warning", reason="NodeDown", message="in use")]


class FakeControl:
    def __init__(self) -> None:
        self.down = trio.Event()

    def _check(self, node: str) -> None:
        if node == "node-002":
            raise NodeDown("node-002 is down: shard 1 (pid 8) was killed")
        if node != "node-001":
            raise NoSuchNode(f"no node {node!r} in this cluster")

    async def state(self) -> State:
        return State()

    async def status(self) -> ClusterStatus:
        return STATUS

    async def birdc(self, node: str, family: int, command: str) -> str:
        self._check(node)
        return REPLIES[command if family == IPV4 else f"bird6: {command}"]

    async def node_status(self, node: str) -> list[PeerRow]:
        self._check(node)
        return PEERS

    async def ip_route(self, node: str, family: int) -> list[RouteRow]:
        self._check(node)
        return ROUTES if family == IPV4 else ROUTES6

    async def events(self, node: str | None) -> list[EventRow]:
        self._check(node or "node-001")
        return EVENTS if node else EVENTS * 2

    @property
    def faults(self) -> Faults:
        raise NotImplementedError

    @property
    def losses(self) -> LossWatch:
        raise NotImplementedError

    async def fault(self, action: str, nodes: Sequence[str]) -> None:
        raise NotImplementedError

    def request_down(self) -> None:
        self.down.set()


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for variable in [name for name in os.environ if name.startswith("TORTIE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return str(tmp_path / "tortie")


@asynccontextmanager
async def cluster(directory: str, name: str = "default") -> AsyncIterator[FakeControl]:
    """A served cluster, until the end of the block."""
    control = FakeControl()
    run_file = rundir.RunFile.claim(directory, name)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, control, MemoryStore(wall=lambda: 0.0), run_file)
            yield control
            nursery.cancel_scope.cancel()
    finally:
        run_file.remove()


def run_here(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="tortie")


async def run(*arguments: str) -> Result:
    return await trio.to_thread.run_sync(run_here, *arguments)


async def test_what_they_print(directory: str) -> None:
    async with cluster(directory):
        assert (await run("status")).stdout == views.cluster_status(STATUS)
        assert (await run("node", "status", "node-001")).stdout == views.node_status(PEERS)
        assert (await run("ip", "route", "node-001")).stdout == "blackhole 192.168.9.0/26 proto bird\n"
        shown = await run("birdc", "node-001", "show", "protocols", '"Mesh*"')
        assert (shown.stdout, shown.exit_code) == ("BIRD 1.6.8 ready.\nname\nMesh_10_77_0_2\n", 0)
        assert (await run("birdc", "node-001", 'show protocols "Mesh*"')).stdout == shown.stdout
        assert (await run("ip", "-6", "route", "node-001")).stdout == "blackhole fd00::/122 proto bird\n"
        assert (await run("birdc", "-6", "node-001", "show", "route")).stdout == "BIRD 1.6.8 ready.\nsix\n"
        assert "node-001  Warning  NodeDown  in use\n" in (await run("events", "node-001")).stdout


async def test_json(directory: str) -> None:
    async with cluster(directory):
        assert json.loads((await run("status", "-o", "json")).stdout) == STATUS
        assert json.loads((await run("node", "status", "node-001", "-o", "json")).stdout) == PEERS
        text = (await run("ip", "route", "node-001", "--output", "json")).stdout
        assert json.loads(text) == ROUTES
        assert text.endswith("]\n")
        assert json.loads((await run("events", "-o", "json")).stdout) == EVENTS * 2


@pytest.mark.parametrize(
    ("command", "code"),
    [("show route for 10.0.0.1", 1), ("foo", 2), ("-x", 2), ('show protocols "Mesh*"', 0)],
)
async def test_birdc_s_refusals_are_exit_codes(directory: str, command: str, code: int) -> None:
    async with cluster(directory):
        result = await run("birdc", "node-001", command)
    assert result.exit_code == code
    assert len(result.stdout.splitlines()) >= 2
    assert result.stderr == ""


async def test_no_such_node_is_one_line(directory: str) -> None:
    async with cluster(directory):
        for arguments in (
            ("node", "status", "n/7"),
            ("ip", "route", "n/7"),
            ("birdc", "n/7", "show", "route"),
        ):
            result = await run(*arguments)
            assert result.exit_code == 1
            assert result.stdout == ""
            assert result.stderr.count("\n") == 1
            assert result.stderr.startswith("tortie: no node 'n/7'")
        assert (await run("ip", "route", "node-9")).stderr == "tortie: no node 'node-9' in this cluster\n"
        assert (
            await run("ip", "route", "node-002")
        ).stderr == "tortie: node-002 is down: shard 1 (pid 8) was killed\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("node", "status", "x"),
        ("ip", "route", "x"),
        ("birdc", "x", "show", "route"),
        ("down",),
        ("get", "node"),
        ("apply", "-f", "x"),
        ("delete", "node", "x"),
        ("patch", "node", "x", "-p", "{}"),
        ("label", "node", "x", "a=b"),
    ],
)
def test_no_cluster_is_one_line(arguments: tuple[str, ...]) -> None:
    result = run_here(*arguments)
    assert result.exit_code == 1
    assert result.stderr == "tortie: no cluster 'default' is running; start one with: ./run up\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("status", "--bogus"),
        ("status", "-o", "yaml"),
        ("status", "--name", "../x"),
        ("node", "status"),
        ("birdc", "node-001"),
        ("ip", "rule", "node-001"),
        ("down", "now"),
    ],
)
def test_bad_usage_is_exit_2(arguments: tuple[str, ...]) -> None:
    result = run_here(*arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


async def test_names_and_environment_choose_the_cluster(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(directory, "lab"):
        assert (await run("status")).exit_code == 1
        assert (await run("status", "--name", "lab")).exit_code == 0
        monkeypatch.setenv("TORTIE_STATUS_NAME", "lab")
        monkeypatch.setenv("TORTIE_IP_ROUTE_NAME", "lab")
        monkeypatch.setenv("TORTIE_IP_ROUTE_OUTPUT", "json")
        assert (await run("status")).exit_code == 0
        assert json.loads((await run("ip", "route", "node-001")).stdout) == ROUTES


async def test_down_returns_when_the_cluster_is_gone(directory: str) -> None:
    results: list[Result] = []

    async def run_down() -> None:
        results.append(await run("down"))

    async with trio.open_nursery() as nursery, cluster(directory) as control:
        nursery.start_soon(run_down)
        await control.down.wait()
        assert results == []
    assert results[0].exit_code == 0
    assert results[0].stdout.startswith("cluster 'default' is down (")


async def test_down_of_a_cluster_that_stays(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(down, "PATIENCE", 0.05)
    async with trio.open_nursery() as nursery:
        run_file = rundir.RunFile.claim(directory, "default")
        await nursery.start(serve, FakeControl(), MemoryStore(wall=lambda: 0.0), run_file)
        result = await run("down")
        nursery.cancel_scope.cancel()
    assert result.exit_code == 1
    assert "was asked to stop and is still there" in result.stderr


def test_down_of_a_cluster_that_stops_faster_than_it_answers(directory: str) -> None:
    run_file = rundir.RunFile.claim(directory, "default")

    def hang_up_and_go() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
        run_file.remove()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        run_file.publish(f"http://127.0.0.1:{listener.getsockname()[1]}", "t")
        server = threading.Thread(target=hang_up_and_go)
        server.start()
        result = run_here("down")
        server.join()
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_cluster_that_is_alive_and_deaf(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(down, "LAST_WORDS", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    rundir.RunFile.claim(directory, "default").publish(f"http://127.0.0.1:{port}", "t")
    for command in ("status", "down"):
        result = run_here(command)
        assert result.exit_code == 1
        assert result.stderr.startswith(
            f"tortie: the cluster (pid {os.getpid()}) does not answer at http://127.0.0.1:"
        )


def test_a_cluster_that_is_starting(directory: str) -> None:
    rundir.RunFile.claim(directory, "default")
    assert run_here("status").stderr == (
        f"tortie: cluster 'default' is starting (pid {os.getpid()}) and does not answer yet\n"
    )


def test_a_directory_of_somebody_else(directory: str) -> None:
    rundir.RunFile.claim(directory, "default").publish("u", "t")
    os.chmod(directory, 0o777)
    result = run_here("status")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "0700" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("status",), ("events",), ("node", "status"), ("birdc",), ("ip", "route"), ("down",), ("get",), ("apply",), ("create",),
        ("replace",), ("delete",), ("patch",), ("label",),
    ],
)  # fmt: skip
def test_help_has_examples(command: tuple[str, ...]) -> None:
    result = run_here(*command, "--help")
    assert result.exit_code == 0
    assert f"./run {' '.join(command)}" in result.stdout


def test_thin_clients_import_nothing_heavy() -> None:
    modules = "apply", "delete", "down", "get", "inspect", "patch"
    imports = ", ".join(f"cluster.cli.{module}" for module in modules)
    script = f"import sys, cluster.__main__, {imports}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "trio",
        "attr",
        "attrs",
        "cattrs",
        "starlette",
        "anycorn",
        "anyio",
        "rich",
        "yaml",
        "msgpack",
        "asyncio",
    }
    assert heavy.isdisjoint(loaded)
    assert "http.client" in loaded


def test_python_m_cluster_is_the_same_program(directory: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "cluster", "status"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "tortie: no cluster 'default' is running; start one with: ./run up\n"


@pytest.mark.parametrize("arguments", ["--help", "status --help"])
def test_a_full_disk_is_one_line(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "cluster", *arguments.split()],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (result.returncode, result.stderr) == (1, "tortie: No space left on device\n")


def test_a_name_that_is_no_text_is_asked_for_and_not_found() -> None:
    assert client.node_path("no\udcffde", "status") == "/tortie/v1/nodes/no%3Fde/status"
