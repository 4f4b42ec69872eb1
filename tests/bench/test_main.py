"""The command line of bench: alternation, what is printed, exit codes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import bench.__main__ as bench_main
from bench import bird, tortie
from bench.rows import BenchError, Case, Run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was measured, in order; ours takes 1 s a node, theirs 4 s."""
    made: list[str] = []

    def ours(case: Case, *, reflectors: int = 0) -> Run:
        made.append(f"tortie {case.nodes} {reflectors}")
        return Run(wall_s=case.nodes, cpu_s=1.0, pss_mb=1.0)

    def theirs(case: Case, *, reflectors: int = 0) -> Run:
        made.append(f"bird {case.nodes} {reflectors}")
        return Run(wall_s=4 * case.nodes, cpu_s=2.0, pss_mb=8.0)

    monkeypatch.setattr(tortie, "up", ours)
    monkeypatch.setattr(bird, "converge", theirs)
    monkeypatch.setattr(bird, "find_bird", lambda: "bird")
    return made


def test_tools_take_turns(calls: list[str]) -> None:
    result = CliRunner().invoke(
        bench_main.main, ["mesh", "--nodes", "3,5", "--repeat", "2", "--against", "bird", "-o", "json"]
    )
    assert result.exit_code == 0, result.output
    assert calls == ["tortie 3 0", "bird 3 0"] * 2 + ["tortie 5 0", "bird 5 0"] * 2
    rows = json.loads(result.stdout)
    assert [(row["tool"], row["nodes"], row["sessions"], row["wall_s"]) for row in rows if "tool" in row] == [
        ("tortie", 3, 3, 3.0), ("bird", 3, 3, 12.0), ("tortie", 5, 10, 5.0), ("bird", 5, 10, 20.0),
    ]  # fmt: skip
    assert [row for row in rows if "tool" not in row] == [
        {
            "bench": "mesh",
            "nodes": nodes,
            "against": "bird",
            "wall_ratio": 0.25,
            "cpu_ratio": 0.5,
            "memory_ratio": 0.125,
        }
        for nodes in (3, 5)
    ]


def test_reflectors_and_their_sessions(calls: list[str]) -> None:
    result = CliRunner().invoke(
        bench_main.main, ["reflectors", "--nodes", "100", "--repeat", "1", "-o", "json"]
    )
    assert calls == ["tortie 100 4"]
    assert json.loads(result.stdout)[0]["sessions"] == 4 * 96 + 6


def test_bird_is_spared_the_meshes_it_cannot_do(calls: list[str]) -> None:
    result = CliRunner().invoke(
        bench_main.main, ["mesh", "--nodes", "1000", "--repeat", "1", "--against", "bird"]
    )
    assert result.exit_code == 0
    assert calls == ["tortie 1000 0"]
    assert "without bird" in result.stderr


def test_what_fails_is_said_once_and_the_rest_is_printed(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(case: Case) -> Run:
        calls.append("failed")
        raise BenchError("port 1790 is taken")

    monkeypatch.setattr(tortie, "up", fail)
    result = CliRunner().invoke(
        bench_main.main, ["mesh", "--nodes", "3", "--repeat", "2", "--against", "bird", "-o", "json"]
    )
    assert result.exit_code == 1
    assert calls == ["failed", "bird 3 0", "bird 3 0"]
    assert "mesh 3 tortie 1/2: port 1790 is taken" in result.stderr
    assert [row["tool"] for row in json.loads(result.stdout)] == ["bird"]


@pytest.mark.parametrize("nodes", ["", "50,", "1", "many", "-3"])
def test_nodes_that_are_no_numbers(calls: list[str], nodes: str) -> None:
    assert CliRunner().invoke(bench_main.main, ["mesh", "--nodes", nodes]).exit_code == 2
    assert calls == []


def test_a_missing_bird_is_bad_usage(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bird, "find_bird", lambda: None)
    result = CliRunner().invoke(bench_main.main, ["mesh", "--nodes", "3", "--against", "bird"])
    assert result.exit_code == 2
    assert "apt install bird2" in result.stderr
    assert calls == []


def test_ctrl_c_is_a_word_wherever_it_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*errors: BaseException) -> None:
        def raises(**_: object) -> None:
            raise BaseExceptionGroup("a nursery", [BaseExceptionGroup("a node", errors)])

        monkeypatch.setattr(bench_main, "main", raises)

    interrupted(KeyboardInterrupt())
    with pytest.raises(SystemExit) as caught:
        bench_main.run()
    assert (caught.value.code, capsys.readouterr().err) == (1, "\nAborted!\n")
    interrupted(KeyboardInterrupt(), ValueError("of ours"))
    with pytest.raises(BaseExceptionGroup):
        bench_main.run()
