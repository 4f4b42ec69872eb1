"""``up`` from outside: real processes, real TCP, real signals.

Every cluster has a run directory and a port of its own, so that tests may run beside each other; and a session of
its own, by which whatever it leaves behind is found.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protocol.bgp.attributes import Attributes
from protocol.bgp.messages import Capabilities, Keepalive, Open, Update
from protocol.bgp.wire import Codec
from protocol.prefix import IPV4, Address, parse_prefix
from tests.real.clusters import PATIENCE, ROOT, Start, Up, free_port

pytestmark = pytest.mark.slow


def test_thirty_nodes_converge_and_say_so_in_json(start: Start) -> None:
    up = start("--nodes", "30", "--once", "-o", "json")
    out, err = up.process.communicate(timeout=PATIENCE)
    assert up.end() == 0, err
    result = json.loads(out)
    assert (result["nodes"], result["topology"]) == (30, "full mesh")
    assert result["sessions"] == {"expected": 435, "established": 435}
    assert result["routes"] == {"expected": 960, "programmed": 960, "missing": 0, "extra": 0}
    assert result["differences"] == []
    assert 0 < result["seconds"]["start"] < result["seconds"]["converged"]
    assert result["cpu_seconds"] > 0
    assert result["memory_mb"] > 10
    assert err.startswith("tortie: 30 nodes, full mesh: 435 sessions, 870 sockets; limit ")


def test_two_hundred_nodes_in_three_shards(start: Start) -> None:
    up = start("--nodes", "200", "--once", "--shards", "3")
    header = up.read_until("tortie:")
    assert header.startswith("tortie: 200 nodes, full mesh: 19,900 sessions, 39,800 sockets; limit ")
    assert header.endswith("-> 3 shards")
    line = up.read_until("converged in ")
    assert line.endswith(": all 200 FIBs are exactly what the datastore asks for")
    assert up.end() == 0


def test_reflectors_converge(start: Start) -> None:
    up = start("--nodes", "40", "--route-reflectors", "3", "--once", "-o", "json", "--shards", "2")
    out, err = up.process.communicate(timeout=PATIENCE)
    assert up.end() == 0, err
    result = json.loads(out)
    assert result["topology"] == "3 route reflectors"
    assert result["sessions"] == {"expected": 37 * 3 + 3, "established": 37 * 3 + 3}


def test_claimed_blocks_are_announced(start: Start) -> None:
    up = start("--nodes", "4", "--blocks-per-node", "25", "--once", "-o", "json")
    out, err = up.process.communicate(timeout=PATIENCE)
    assert up.end() == 0, err
    assert json.loads(out)["routes"]["expected"] == 4 * (4 * 25 + 2)


def test_a_running_cluster_answers_and_goes_down(start: Start) -> None:
    up = start("--nodes", "5")
    assert up.read_until("next: ") == (
        "next: ./run status · ./run node status node-005 · ./run birdc node-005 show route · "
        "./run ip route node-005 · Ctrl-C or ./run down"
    )
    assert "all 5 FIBs are exactly what the datastore asks for" in up.ask("status").stdout
    assert up.ask("node", "status", "node-002").stdout.count("Established") == 4
    assert "8 of 8 routes for 8 networks" in up.ask("birdc", "node-003", "show", "route", "count").stdout
    routes = up.ask("ip", "route", "node-004").stdout
    assert routes.count("proto bird") == 5
    assert routes.count("via 10.77.0.") == 4
    nobody = up.ask("ip", "route", "node-9")
    assert (nobody.returncode, nobody.stderr.count("\n")) == (1, 1)
    assert up.ask("down").returncode == 0
    assert up.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [None, 0.0, 0.03, 0.1, 0.2, 0.4])
def test_a_signal_at_any_moment_leaves_nothing(
    start: Start, delay: float | None, number: signal.Signals
) -> None:
    """To the whole process group, as a terminal sends it: before it has said a word, or so long after its first line."""
    up = start("--nodes", "60", "--shards", "2", "--once")
    if delay is not None:
        up.read_until("tortie: ")
    try:
        up.process.wait(delay or 0.02)
    except subprocess.TimeoutExpired:
        os.killpg(up.process.pid, number)
    before = time.monotonic()
    code = up.end()
    assert time.monotonic() - before < 5, "a second on an idle machine"
    error = up.process.communicate()[1]
    # Python that has not begun to run the program yet, or has come no further than `import signal` in its main module,
    # ends its own way, with whatever code and words.
    assert str(ROOT / "cluster") not in error.replace(str(ROOT / "cluster" / "__main__.py"), ""), (
        "no traceback of ours"
    )
    assert code in (128 + number, 0) or delay is None


def stop_a_shard(up: Up) -> int:
    """Keeps a cluster of two shards from converging. Gives the pid."""
    up.read_until("tortie: ")
    deadline = time.monotonic() + PATIENCE
    while len(pids := up.session()) < 3:
        assert time.monotonic() < deadline
    os.kill(max(pids), signal.SIGSTOP)
    return max(pids)


def status_of_an_unsettled(up: Up) -> str:
    deadline = time.monotonic() + PATIENCE
    while (answer := up.ask("status")).returncode:
        assert "is starting" in answer.stderr
        assert time.monotonic() < deadline
    return answer.stdout


def test_a_cluster_that_does_not_converge_answers_and_goes_down(start: Start) -> None:
    up = start("--nodes", "100", "--shards", "2")
    stop_a_shard(up)
    status = status_of_an_unsettled(up)
    assert "converged" not in status
    assert status.count(" up ") >= 2, "the stopped shard is there too"
    assert up.ask("birdc", "node-001", "show", "status").returncode == 0
    assert up.ask("ip", "route", "node-001").returncode == 0
    assert up.ask("down").returncode == 0
    assert up.end() == 128 + signal.SIGTERM
    assert not [line for line in up.out if line.startswith(("next: ", "converged", "not converged"))]


def test_a_cluster_that_converges_late_says_what_is_next_once_and_last(start: Start) -> None:
    up = start("--nodes", "100", "--shards", "2")
    stopped = stop_a_shard(up)
    status_of_an_unsettled(up)
    os.kill(stopped, signal.SIGCONT)
    up.read_until("converged in ")
    assert not [line for line in up.lines if line.startswith("next: ")]
    assert next(up.out).startswith("next: ")
    assert up.ask("down").returncode == 0
    assert up.end() == 0
    assert up.out.read() == ""


def test_down_of_a_cluster_that_still_reads_its_manifests(start: Start, tmp_path: Path) -> None:
    manifest = tmp_path / "pipe.yaml"
    os.mkfifo(manifest)
    up = start("-f", str(manifest))
    deadline = time.monotonic() + PATIENCE
    while (answer := up.ask("down")).returncode:
        assert "no cluster 'default' is running" in answer.stderr
        assert time.monotonic() < deadline
    assert up.end() == 128 + signal.SIGTERM
    assert up.process.communicate() == ("", "")


def test_a_process_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    script = """
import errno, os, sys
real = os.fork
def fork(made=[]):
    if made:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    made.append(real())
    return made[-1]
os.fork = fork
from cluster.cli import main
main(sys.argv[1:], prog_name="tortie")
"""
    options = ["up", "--nodes", "4", "--shards", "2", "--bgp-port", str(free_port())]
    result = subprocess.run(
        [sys.executable, "-c", script, *options], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (
        2,
        "tortie: cannot make the process of shard 2 of 2: Resource temporarily unavailable; "
        "raise the limit of processes (ulimit -u) or give fewer --shards\n",
    )
    assert list((tmp_path / "tortie").iterdir()) == []


def test_ctrl_c_ends_a_converged_cluster_well(start: Start) -> None:
    up = start("--nodes", "3")
    up.read_until("next: ")
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.end() == 0


def test_a_killed_coordinator_takes_its_shards_along(start: Start, tmp_path: Path) -> None:
    up = start("--nodes", "6", "--shards", "2")
    up.read_until("next: ")
    assert len(up.session()) == 3
    up.process.kill()
    assert up.end() == -signal.SIGKILL
    again = start("--nodes", "2")
    again.read_until("next: ")  # the dead one's run file is no obstacle
    again.process.terminate()
    assert again.end() == 0


SHORT_RESTART = """
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeMeshMaxRestartTime: 2s}
"""
"""The sockets of a process that is killed close as those of a BIRD that is: neighbours wait for it to restart."""


def test_a_killed_shard_is_reported_and_the_rest_converges(start: Start) -> None:
    up = start("--nodes", "12", "--shards", "2", "-f", "-", stdin=SHORT_RESTART)
    up.read_until("next: ")
    shards = json.loads(up.ask("status", "-o", "json").stdout)["shards"]
    os.kill(shards[1]["pid"], signal.SIGKILL)
    assert up.read_until("shard 2 ") == (
        "shard 2 was killed by SIGKILL: 6 nodes went down with it: node-007, node-008 … node-012"
    )
    deadline = time.monotonic() + PATIENCE
    while "converged: all 6 FIBs are exactly" not in (status := up.ask("status").stdout):
        assert time.monotonic() < deadline, status
    assert "nodes     6/12 up; down: node-007" in status
    assert up.ask("ip", "route", "node-001").stdout.count("proto bird") == 6, "nothing of the dead is left"
    gone = up.ask("birdc", "node-009", "show", "status")
    assert gone.returncode == 1
    assert "node-009 is down" in gone.stderr
    os.killpg(up.process.pid, signal.SIGINT)
    assert up.end() == 0


def test_a_route_that_nothing_asks_for_ends_convergence(start: Start) -> None:
    """Nothing but the tables changes: the datastore stays, no session that is expected goes."""
    port = free_port()
    up = start("--nodes", "4", "--shards", "2", "-f", "-", port=port, stdin=SHORT_RESTART)
    up.read_until("next: ")
    shards = json.loads(up.ask("status", "-o", "json").stdout)["shards"]
    os.kill(shards[1]["pid"], signal.SIGKILL)
    up.read_until("shard 2 ")
    while "converged: all 2 FIBs are exactly" not in up.ask("status").stdout:
        pass
    codec, dead = Codec(), Address(bytes((10, 77, 0, 3)))
    opening = Open(asn=64512, hold_time=90, identifier=dead, capabilities=Capabilities(families=(IPV4,)))
    lie = Update(
        family=IPV4,
        attributes=Attributes(next_hop=dead, local_pref=100),
        nlri=(parse_prefix("203.0.113.0/24"),),
    )
    with socket.socket() as impostor:  # node-003's address is free: its process is dead
        impostor.bind(("127.77.0.3", 0))
        impostor.connect(("127.77.0.1", port))
        impostor.sendall(b"".join(codec.encode(each) for each in (opening, Keepalive(), lie)))
        deadline = time.monotonic() + PATIENCE
        while "1 too many; first: node-001: 203.0.113.0/24" not in (status := up.ask("status").stdout):
            assert time.monotonic() < deadline, status
    while "converged: all 2 FIBs are exactly" not in up.ask("status").stdout:
        assert time.monotonic() < deadline
    up.process.terminate()
    assert up.end() == 0


def test_a_second_cluster_of_the_name_is_refused(start: Start) -> None:
    up = start("--nodes", "2")
    up.read_until("next: ")
    second = start("--nodes", "2")
    assert second.end() == 2
    assert "already running" in second.process.communicate()[1]
    up.process.terminate()
    assert up.end() == 0


def test_time_that_is_up_is_said_with_what_is_missing(start: Start) -> None:
    up = start("--nodes", "30", "--once", "--timeout", "0.001")
    out, _ = up.process.communicate(timeout=PATIENCE)
    assert up.end() == 1
    last = out.splitlines()[-1]
    assert last.startswith("not converged after ")
    assert last.endswith(
        ": the nodes were still starting, 0 of 435 sessions Established, 960 of 960 routes missing or wrong"
    )


def test_manifests_come_from_standard_input_too(start: Start) -> None:
    node = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: a}, spec: {bgp: {ipv4Address: 172.18.0.2}}}"
    up = start("-f", "-", "--nodes", "3", "--once", stdin=node)
    assert up.read_until("tortie:").startswith("tortie: 3 nodes, full mesh: 3 sessions")
    assert up.end() == 0


def test_a_full_disk_is_said_and_a_reader_that_hung_up_is_not_bothered(start: Start) -> None:
    full = start("--nodes", "3", "--once", target="/dev/full")
    hung_up = start("--nodes", "3", "--once", hang_up=True)
    assert (full.end(), hung_up.end()) == (1, 1)
    assert full.process.communicate()[1] == "tortie: No space left on device\n"
    assert hung_up.process.communicate()[1] == ""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_obstacle(tmp_path: Path, closed: str) -> None:
    command = f'"$0" -m cluster up --nodes 2 --once --bgp-port {free_port()} {closed}'
    result = subprocess.run(
        ["sh", "-c", command, sys.executable], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    assert ("all 2 FIBs are exactly" in result.stdout) == (">&-" not in closed or closed == "2>&-")


@pytest.fixture
def bad_manifest(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: p\nspec:\n  cidr: 10.0.0.0/33\n  colour: red\n"
    )
    return path


def test_bad_input_is_refused_line_by_line_and_nothing_is_started(start: Start, bad_manifest: Path) -> None:
    up = start("-f", str(bad_manifest), "--nodes", "3")
    assert up.end() == 2
    out, err = up.process.communicate()
    assert out == ""
    assert f"{bad_manifest}:6: IPPool/p: spec.cidr: " in err
    assert f"{bad_manifest}:7: IPPool/p: spec.colour: " in err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--nodes", "0"], "--nodes 0: "),
        (["--nodes", "200", "--shards", "1"], "needs ~39,800 sockets, the limit is"),
        (["--nodes", "3", "--name", "../x"], "is not a cluster name"),
        (["--nodes", "3", "--name", "../x", "--once"], "is not a cluster name"),
        (["--nodes", "many"], "'many' is not a valid integer"),
    ],
)
def test_what_cannot_be_is_one_clear_line(start: Start, options: list[str], text: str) -> None:
    limit = subprocess.run(["sh", "-c", "ulimit -Hn"], capture_output=True, text=True, check=True).stdout
    if "--shards" in options and (limit.strip() == "unlimited" or int(limit) > 39_800):
        pytest.skip("a process may have enough descriptors for it here")
    up = start(*options)
    assert up.end() == 2
    assert text in up.process.communicate()[1]


def test_a_busy_port_is_named(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.77.0.2", port := free_port()))
        taken.listen()
        up = start("--nodes", "3", port=port)
        assert up.end() == 2
    assert f"127.77.0.2:{port} (for node-002) is in use" in up.process.communicate()[1]


def test_a_terminal_gets_bars(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster", "up", "--nodes", "3", "--once", "--bgp-port", str(free_port())],
        cwd=ROOT,
        env={
            **os.environ,
            "TERM": "xterm",
            "COLUMNS": "120",
            "NO_COLOR": "1",
            "XDG_RUNTIME_DIR": str(tmp_path),
        },
        stdin=subprocess.DEVNULL,
        stdout=theirs,
    )
    os.close(theirs)
    drawn = b""
    try:
        while data := os.read(ours, 65536):
            drawn += data
    except OSError:
        pass  # Linux's way to say that the other end of a terminal is closed
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    text = drawn.decode()
    assert "━" in text
    assert "3/3 Established" in text
    assert "all 3 FIBs are exactly what the datastore asks for" in text
