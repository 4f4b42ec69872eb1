"""``rehearse``: what people read, and what their CI does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main
from cluster.cli.rehearse import Watch
from cluster.cli.rehearse_output import moment
from tests.conftest import Golden
from tests.real.clusters import free_port

ROOT = Path(__file__).parents[3]
HEAD = "apiVersion: lab.tortie/v1\nkind: Scenario\nmetadata: {name: %s}\nspec:\n  cluster: {nodes: 3}\n"
GOOD = HEAD % "good" + "  steps:\n  - {name: a wait, do: [wait: 1h], expect: [converged]}\n"
BAD = (
    HEAD % "bad"
    + "  steps:\n  - {name: a stop, do: [power-off: node-002], expect: [sessions: {count: 6}, converged]}\n"
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["rehearse", *map(str, arguments)])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD.replace("count: 6", "count: 5"))
    return tmp_path


def test_what_people_read(golden: Golden) -> None:
    ended = run(ROOT / "examples" / "scenarios" / "silent-death.yaml")
    assert ended.exit_code == 0
    *lines, last = ended.stdout.splitlines()
    assert last.startswith("silent-death: as expected; 6:")
    golden("rehearse", "\n".join(lines) + "\n")


def test_several_are_played_one_after_the_other_and_one_that_fails_fails_all(files: Path) -> None:
    ended = run(files)
    assert ended.exit_code == 1
    assert ended.stdout.splitlines()[-1] == "2 scenarios, 1 not as expected: bad"
    assert "FAIL  sessions of all: 5 Established — 4 Established\n" in ended.stdout
    assert "good: as expected; 1:00:00.0" in ended.stdout
    assert run(files / "good.yaml").exit_code == 0


def test_json(files: Path) -> None:
    ended = run(files / "bad.yaml", files / "good.yaml", "-o", "json")
    assert ended.exit_code == 1
    document = json.loads(ended.stdout)
    bad, good = document["rehearsals"]
    assert (document["ok"], bad["ok"], good["ok"]) == (False, False, True)
    [step] = bad["steps"]
    assert (step["ok"], [finding["ok"] for finding in step["findings"]]) == (False, [False, True])
    assert bad["loss"]["total"] == 0
    assert bad["file"] == str(files / "bad.yaml")


def test_files_for_others(files: Path) -> None:
    junit, events = files / "report.xml", files / "events.log"
    assert run(files, "--junit", junit, "--events", events, "--seed", "3").exit_code == 1
    assert [suite.get("name") for suite in ElementTree.parse(junit).getroot()] == ["bad", "good"]
    text = events.read_text()
    assert text.startswith("# bad\n0.000000 ")
    assert "\n# good\n" in text
    again = files / "again.log"
    run(files, "--events", again, "--seed", "3")
    assert again.read_text() == text


def test_what_cannot_be_started_hinders_nobody_and_is_in_the_files(files: Path) -> None:
    (files / "larger.yaml").write_text(GOOD.replace("nodes: 3", "nodes: 4").replace("good", "larger"))
    junit, port = files / "report.xml", free_port()
    with socket.create_server(("127.77.0.4", port)):
        both = [files / "larger.yaml", files / "good.yaml"]
        arguments = [*map(str, both), "--tcp", "--bgp-port", str(port), "--junit", str(junit)]
        ended = run(*arguments, "-o", "json")
        told = run(*arguments)
    assert (ended.exit_code, told.exit_code) == (2, 2)
    larger, good = json.loads(ended.stdout)["rehearsals"]
    assert (larger["ok"], larger["scenario"], good["ok"]) == (False, "larger", True)
    assert f"127.77.0.4:{port} (for node-004) is in use" in larger["error"]
    assert f"tortie: {files}/larger.yaml: {larger['error']}" in ended.stderr
    first, second = ElementTree.parse(junit).getroot()
    assert [first.get(count) for count in ("tests", "errors", "failures")] == ["1", "1", "0"]
    assert first.findtext("testcase/error") == larger["error"]
    assert second.get("failures") == "0"
    assert told.stdout.splitlines()[-1] == "2 scenarios, 1 not played: larger"


def test_nothing_is_started_when_one_file_is_wrong(files: Path) -> None:
    (files / "worse.yaml").write_text(GOOD.replace("wait", "weight"))
    ended = run(files, files / "nowhere.yaml")
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        f"tortie: {files}/worse.yaml:7: Scenario/good: spec.steps[0].do[0].weight: unknown field; did you mean wait?",
        f"tortie: {files}/nowhere.yaml: No such file or directory",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument 'FILE|DIR...'"),
        (("--tcp", "--real", "."), "--tcp is in virtual time, --real is not"),
        (("--real", "--events", "x", "."), "--events needs virtual time"),
        (("--seed", "-1", "."), "-1 is not in the range"),
    ],
)
def test_usage(arguments: tuple[str, ...], words: str) -> None:
    ended = run(*arguments)
    assert ended.exit_code == 2
    assert words in ended.stderr


def test_one_plot_is_of_one_scenario(files: Path) -> None:
    ended = run(files, "--plot", files / "x.svg")
    assert ended.exit_code == 2
    assert "--plot" in ended.stderr


def test_of_a_cluster_that_did_not_start_there_is_no_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    reserved = "apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata: {name: all}\nspec: {reservedCIDRs: [0.0.0.0/0]}\n"
    (tmp_path / "full.yaml").write_text(f"{HEAD % 'full'}---\n{reserved}")
    ended = run(tmp_path / "full.yaml", "--plot", tmp_path / "x.svg")
    assert ended.exit_code == 1
    assert "no step was played" in ended.stdout
    assert ended.stderr.endswith("tortie: full: no step was played, and nothing is drawn\n")
    assert not (tmp_path / "x.svg").exists()


@pytest.mark.parametrize("option", ["--events", "--junit", "--plot"])
def test_what_cannot_be_written_is_said_before_anything_is_played(files: Path, option: str) -> None:
    ended = run(files / "good.yaml", option, files / "no" / "where.svg")
    assert ended.exit_code == 2
    assert f"Error: Invalid value for '{option}': there is no directory {files}/no\n" in ended.stderr
    assert run(files / "good.yaml", option, files).exit_code == 2
    assert ended.stdout == ""


@pytest.mark.slow
def test_ctrl_c_ends_what_is_played_and_what_was_played_is_told(files: Path) -> None:
    (files / "long.yaml").write_text(
        HEAD.replace("nodes: 3", "nodes: 40") % "long"
        + "  steps:\n  - do: [restart: {nodes: all}, wait: 20h]\n"
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "cluster",
            "rehearse",
            "good.yaml",
            "long.yaml",
            "good.yaml",
            "--junit",
            "it.xml",
        ],
        cwd=files,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    while line and not line.startswith("long: "):
        line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.endswith("\n2 scenarios, 1 not played: long\n")
    assert err.splitlines()[-1].startswith("tortie: long: interrupted at ")
    written = (files / "it.xml").read_text()
    assert written.count("<testsuite ") == 2
    assert "<error" in written
    assert "interrupted at" in written


def test_progress_fits_into_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    watch = Watch()
    monkeypatch.setattr(watch, "_interval", 0.0)
    watch.name = "some"
    watch.step("step 1 of 2: all that is done in the first of its steps")
    watch.tick(1.0)
    assert capsys.readouterr().err == ""  # so soon nobody asks
    monkeypatch.setattr(watch, "_next", 0.0)
    watch.tick(2.0)
    assert capsys.readouterr().err == "\rsome: 0:02.0, step 1 of 2: al"
    watch.clear()
    assert capsys.readouterr().err == "\r" + " " * 29 + "\r"


def test_progress_in_a_file_is_a_line_for_each_step_and_now_and_then_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("cluster.cli.rehearse.time.monotonic", lambda: now)
    watch = Watch()
    watch.name = "some"
    for second in range(70):
        watch.step("one" if second < 3 else "two")
        watch.tick(float(second))
        now += 1.0
    assert capsys.readouterr().err.splitlines() == [
        "some: 0:01.0, one", "some: 0:03.0, two", "some: 0:33.0, two", "some: 1:03.0, two",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (754.04, "12:34.0"), (7262.5, "2:01:02.5")]
)
def test_moments(seconds: float, text: str) -> None:
    assert moment(seconds) == text
