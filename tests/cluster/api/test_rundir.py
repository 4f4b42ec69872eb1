"""The run directory: one live cluster a name, and nobody else reads its token."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.api import rundir
from cluster.api.rundir import RunFile


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "tortie")


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def leave(directory: str, text: str, name: str = "lab") -> None:
    """A file as another process would have left it."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    Path(directory, f"{name}.json").write_text(text)


def test_claim_publish_find_remove(directory: str) -> None:
    run_file = RunFile.claim(directory, "lab")
    with pytest.raises(rundir.NotRunning, match=rf"'lab' is starting \(pid {os.getpid()}\)"):
        rundir.find(directory, "lab")
    run_file.publish("http://127.0.0.1:1", "secret")
    assert rundir.find(directory, "lab")[:3] == ("http://127.0.0.1:1", "secret", os.getpid())
    run_file.remove()
    run_file.remove()
    with pytest.raises(
        rundir.NotRunning, match=r"no cluster 'lab' is running; start one with: \./run up --name lab"
    ):
        rundir.find(directory, "lab")
    assert os.listdir(directory) == []


def test_only_the_user_can_look(directory: str) -> None:
    old = os.umask(0)
    try:
        RunFile.claim(directory, "lab").publish("u", "t")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{directory}/lab.json").st_mode) == 0o600


def test_a_second_up_of_the_name_is_refused_and_harms_nothing(directory: str) -> None:
    RunFile.claim(directory, "lab").publish("u", "t")
    with pytest.raises(
        rundir.AlreadyRunning, match=rf"'lab' is already running \(pid {os.getpid()}\).*--name"
    ):
        RunFile.claim(directory, "lab")
    assert rundir.find(directory, "lab").url == "u"
    RunFile.claim(directory, "other")


def test_what_a_killed_up_left_is_replaced(directory: str) -> None:
    leave(directory, json.dumps({"url": "u", "token": "t", "pid": dead_pid()}))
    with pytest.raises(rundir.NotRunning):
        rundir.find(directory, "lab")
    RunFile.claim(directory, "lab").publish("v", "s")
    assert rundir.find(directory, "lab").url == "v"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"url": 1, "token": "", "pid": 1}', '{"pid": -1}', "\xff"]
)
def test_a_file_that_is_none_is_replaced(directory: str, text: str) -> None:
    leave(directory, text)
    with pytest.raises(rundir.NotRunning):
        rundir.find(directory, "lab")
    RunFile.claim(directory, "lab")


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_no_such_pid_is_dead(directory: str, pid: int) -> None:
    leave(directory, json.dumps({"url": "u", "token": "t", "pid": pid}))
    with pytest.raises(rundir.NotRunning):
        rundir.find(directory, "lab")


def test_a_process_that_was_given_the_pid_later_is_another(directory: str) -> None:
    RunFile.claim(directory, "lab")
    found = rundir.find(directory, "lab", starting=True)
    assert (found.url, found.pid) == ("", os.getpid())
    if not found.started:
        pytest.skip("this system does not tell when a process was started")
    leave(directory, json.dumps({**found._asdict(), "started": str(int(found.started) - 1)}))
    with pytest.raises(rundir.NotRunning, match="no cluster 'lab' is running"):
        rundir.find(directory, "lab", starting=True)
    assert not rundir.is_alive(found._replace(started="1"), directory, "lab")
    RunFile.claim(directory, "lab")


def test_is_alive_means_this_very_cluster(directory: str) -> None:
    run_file = RunFile.claim(directory, "lab")
    run_file.publish("u", "t")
    endpoint = rundir.find(directory, "lab")
    assert rundir.is_alive(endpoint, directory, "lab")
    assert not rundir.is_alive(endpoint._replace(pid=1), directory, "lab")
    run_file.remove()
    assert not rundir.is_alive(endpoint, directory, "lab")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "x" * 64, "a\n", "é"])
def test_names(directory: str, name: str) -> None:
    for use in (RunFile.claim, rundir.find):
        with pytest.raises(rundir.BadName):
            use(directory, name)
    assert not os.path.exists(directory)


def test_a_directory_others_can_enter_is_refused(directory: str) -> None:
    RunFile.claim(directory, "lab").publish("u", "t")
    os.chmod(directory, 0o755)
    with pytest.raises(rundir.RunDirectoryError, match="0700"):
        RunFile.claim(directory, "other")
    with pytest.raises(rundir.RunDirectoryError, match="0700"):
        rundir.find(directory, "lab")


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(rundir.RunDirectoryError):
        RunFile.claim(str(tmp_path / "link"), "lab")


@pytest.mark.parametrize("obstacle", ["/proc/tortie", "/dev/null/tortie"])
def test_a_directory_that_cannot_be_made_is_one_clear_error(obstacle: str) -> None:
    with pytest.raises(rundir.RunDirectoryError, match=f"cannot use the run directory {obstacle}: "):
        RunFile.claim(obstacle, "lab")


def test_a_file_that_cannot_be_written_leaves_nothing(directory: str) -> None:
    os.makedirs(f"{directory}/lab.json", mode=0o700)  # a directory where the file should be
    with pytest.raises(rundir.RunDirectoryError):
        RunFile.claim(directory, "lab")
    assert os.listdir(directory) == ["lab.json"]


def test_where_it_is() -> None:
    assert rundir.run_directory({"XDG_RUNTIME_DIR": "/run/user/7"}) == "/run/user/7/tortie"
    assert rundir.run_directory({}) == f"/tmp/tortie-{os.getuid()}"
    assert rundir.run_directory({"XDG_RUNTIME_DIR": ""}) == f"/tmp/tortie-{os.getuid()}"
