"""``/tortie/v1/faults`` and ``/tortie/v1/loss``, in front of real faults and a real count; and their clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from click.testing import CliRunner, Result

from cluster.api import rundir
from cluster.api.control import ClusterControl
from cluster.api.server import serve
from cluster.cli import main
from cluster.faults import Faults
from cluster.losswatch import LossWatch
from protocol.sync.errors import Unreachable
from tests.cluster.test_losswatch import World


class Control:
    """What these doors ask of a cluster; the rest is not asked."""

    def __init__(self, world: World) -> None:
        self.faults: Faults = world.faults
        self.losses: LossWatch = world.losses
        self.booted = True

    async def fault(self, action: str, nodes: Sequence[str]) -> None:
        if not self.booted:
            raise Unreachable("the cluster is starting")
        await self.faults.act(action, nodes)


@asynccontextmanager
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, Control]]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    world = World()
    control = Control(world)
    run_file = rundir.RunFile.claim(str(tmp_path / "tortie"), "default")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, cast("ClusterControl", control), world.store, run_file)
        yield world, control
        nursery.cancel_scope.cancel()
    run_file.remove()


def run_here(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="tortie")


async def run(*arguments: str) -> Result:
    return await trio.to_thread.run_sync(run_here, *arguments)


async def test_what_is_broken_is_said_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster(tmp_path, monkeypatch):
        assert (await run("fault", "show")).stdout == "no faults\n"
        assert (await run("fault", "power-off", "n2")).stdout == "without power: n2\n"
        assert (await run("fault", "stop", "n1")).stdout == "stopped: n1\nwithout power: n2\n"
        assert (await run("fault", "cut", "n2", "n1")).stdout.endswith("cut: n1 from n2\n")
        shown = json.loads((await run("fault", "show", "-o", "json")).stdout)
        assert shown == {"stopped": ["n1"], "off": ["n2"], "frozen": [], "cut": [["n1", "n2"]]}
        assert (await run("fault", "heal")).stdout == "stopped: n1\nwithout power: n2\n"
        assert (await run("fault", "start", "n1", "n2")).stdout == "no faults\n"
        assert (await run("fault", "freeze", "n1")).stdout == "frozen: n1\n"
        assert (await run("fault", "thaw", "n1", "-o", "json")).stdout.startswith('{"stopped":[]')


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("stop", "n1", "nobody"), 1, "tortie: no node 'nobody' in this cluster\n"),
        (("cut", "n1", "n1"), 1, "tortie: cut is of two nodes\n"),
        (("heal", "n1"), 2, "name two nodes, or none"),
        (("stop",), 2, "Missing argument"),
    ],
)
async def test_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: str
) -> None:
    async with cluster(tmp_path, monkeypatch) as (world, _):
        result = await run("fault", *arguments)
        assert result.exit_code == code
        assert words in result.stderr
        assert world.faults.lines == []


async def test_a_cluster_that_starts_cannot_be_broken_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path, monkeypatch) as (_, control):
        control.booted = False
        assert (await run("fault", "stop", "n1")).stderr == "tortie: the cluster is starting\n"


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "faults/explode", b'{"nodes": ["n1"]}', 400),
        ("POST", "faults/stop", b"[", 400),
        ("POST", "faults/stop", b'["n1"]', 400),
        ("POST", "faults/stop", b'{"nodes": [1]}', 400),
        ("POST", "faults/stop", b'{"nodes": ["n1", "n2", "n2", "n2"]}', 413),
        ("GET", "loss", b"", 404),
        ("DELETE", "loss", b"", 404),
        ("PATCH", "loss", b"", 405),
    ],
)
async def test_requests_that_are_none(  # noqa: PLR0917  # a case is four values
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: bytes, code: int
) -> None:
    import httpx  # noqa: PLC0415  # 0.1 s, which only these cases need

    monkeypatch.setattr("cluster.api.faults.MAX_BODY", 30)
    async with cluster(tmp_path, monkeypatch) as (world, _):
        endpoint = rundir.find(str(tmp_path / "tortie"), "default")
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        async with httpx.AsyncClient(base_url=endpoint.url, headers=headers, trust_env=False) as client:
            response = await client.request(method, f"/tortie/v1/{path}", content=body)
        assert (response.status_code, response.json()["kind"]) == (code, "Status")
        assert world.faults.lines == []


async def test_a_count_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx  # noqa: PLC0415  # as above

    async with cluster(tmp_path, monkeypatch) as (world, _):
        endpoint = rundir.find(str(tmp_path / "tortie"), "default")
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        async with httpx.AsyncClient(base_url=endpoint.url, headers=headers, trust_env=False) as client:

            async def ask(method: str, query: str = "") -> Any:
                return (await client.request(method, f"/tortie/v1/loss{query}")).json()

            assert await ask("POST") == {}
            assert (await ask("POST"))["code"] == 409
            await world.faults.cut("n1", "n2")
            world.now += 3
            assert (await ask("GET"))["total"] == 3.0
            few = await ask("GET", "?limit=0")
            assert (few["pairs"], few["lost_pairs"]) == ([], 1)
            for method in "GET", "DELETE":
                assert (await ask(method, "?limit=-1"))["code"] == 400
            assert (await ask("DELETE"))["pairs"][0]["source"] == "n1"
            assert world.losses.account is None


async def test_the_client_counts_for_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda number, action: None)  # the command is in a thread here
    async with cluster(tmp_path, monkeypatch) as (world, _):
        text = await run("loss", "--for", "0.1s")
        assert (text.exit_code, text.stdout) == (0, "lost: nothing, 1 pair of nodes in 0 s\n")
        assert json.loads((await run("loss", "--for", "0.1", "-o", "json")).stdout)["counted"] == 1
        await world.losses.begin()
        assert (await run("loss")).stderr == "tortie: somebody counts losses already; one count at a time\n"
        assert (await run("loss", "--for", "soon")).exit_code == 2
        assert (await run("loss", "--plot", "loss.txt")).exit_code == 2
