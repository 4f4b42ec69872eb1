"""One seed is one run; signals end it; the same scenario over TCP and on the real clock."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import trio

from cluster.interruption import Interrupted
from cluster.rehearsal.rehearse import OVER_TCP, CannotRun, rehearse
from cluster.rehearsal.virtual import Virtual
from cluster.scenario.model import (
    Cluster,
    Converged,
    Freeze,
    PowerOff,
    Restart,
    Scenario,
    Sessions,
    Start,
    Step,
    Wait,
)
from tests.real.clusters import free_port

ROOT = Path(__file__).parents[3]

BUSY = Scenario(
    name="busy",
    cluster=Cluster(nodes=4),
    steps=(
        Step(at=10.0, do=(Restart(("all",), 2, 3.0), PowerOff(("node-002",))), expect=(Converged(),)),
        Step(do=(Start(("node-002",)), Freeze(("node-003",)), Wait(200.0)), expect=(Converged(),)),
    ),
)  # fmt: skip


def log(scenario: Scenario) -> str:
    pieces: list[str] = []
    report = rehearse(scenario, sink=pieces.append)
    text = "".join(pieces)
    assert report.events == text.count("\n") > 100
    return text


def test_one_seed_is_one_run_and_another_seed_another() -> None:
    first, again, other = log(BUSY), log(BUSY), log(attrs.evolve(BUSY, seed=1))
    assert first == again
    assert first != other


def test_nothing_is_left_of_a_run_that_fails() -> None:
    def fails(what: str) -> None:
        if what.startswith("step 2"):
            raise OSError("the screen is gone")

    before = rehearse(BUSY).digest
    with pytest.raises(BaseExceptionGroup):
        rehearse(BUSY, progress=fails)
    assert rehearse(BUSY).digest == before


def test_a_signal_ends_it() -> None:
    def interrupt(what: str) -> None:
        if what.startswith("step 2"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        rehearse(BUSY, progress=interrupt)
    assert caught.value.number == signal.SIGINT


def test_a_signal_ends_it_when_all_is_played_but_not_looked_at() -> None:
    async def looking(_: Virtual) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep(1)

    with pytest.raises(Interrupted) as caught:
        rehearse(attrs.evolve(BUSY, steps=()), afterwards=looking)
    assert caught.value.number == signal.SIGTERM


def test_time_is_told_as_it_passes() -> None:
    times: list[float] = []
    rehearse(BUSY, tick=times.append)
    assert times == sorted(times)
    assert times[-1] > 200


@pytest.mark.slow
def test_over_tcp_time_is_virtual_too() -> None:
    scenario = attrs.evolve(
        BUSY,
        steps=(
            Step(do=(PowerOff(("node-002",)),), expect=(Converged(within=95.0), Sessions(count=6))),
            Step(at=3600.0, do=(Start(("node-002",)),), expect=(Converged(), Sessions(count=12))),
        ),
    )
    report = rehearse(scenario, bgp_port=free_port())
    assert report.ok, report.failures()
    assert report.how == OVER_TCP
    assert report.ended > 3600
    assert report.took < 60


def test_a_port_that_is_taken_is_said_before_anything_is_started() -> None:
    with socket.socket() as taken:
        taken.bind(("127.77.0.1", port := free_port()))
        taken.listen()
        with pytest.raises(CannotRun, match=rf"127\.77\.0\.1:{port} \(for node-001\) is in use"):
            rehearse(BUSY, bgp_port=port)


@pytest.mark.slow
def test_on_the_real_clock(tmp_path: Path) -> None:
    """In a process of its own: it forks, which a test runner with threads must not."""
    (tmp_path / "live.yaml").write_text(
        "apiVersion: lab.tortie/v1\nkind: Scenario\nmetadata: {name: live}\n"
        "spec:\n  holdTime: 3s\n  cluster: {nodes: 3, off: node-003}\n  steps:\n"
        "  - do: [power-off: node-002]\n    expect: [converged: {within: 20s}, sessions: {count: 0}]\n"
        "  - do: [start: [node-002, node-003]]\n    expect: [converged: {within: 20s}, sessions: {count: 6, within: 10s}]\n"
    )
    command = [sys.executable, "-P", "-m", "cluster", "rehearse", "--real", "--bgp-port", str(free_port())]
    ended = subprocess.run(
        [*command, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "live: 3 nodes, real time, shards" in ended.stdout
