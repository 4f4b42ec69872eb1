"""``bench differential``: what it prints and how it ends, without a daemon."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench import bird16
from bench.__main__ import main
from tests.real.bird import differential, namespaces


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many nodes' resources each comparison was given. With more than two nodes there is a difference."""
    sizes: list[int] = []

    def differences(resources: Any, env: Any, programs: Any) -> list[str]:
        sizes.append(sum(each.kind == "Node" for each in resources))
        return ["node-3 IPv4: only BIRD has it"] if sizes[-1] > 2 else []

    monkeypatch.setattr(bird16, "find", lambda: {4: "bird", 6: "bird6"})
    monkeypatch.setattr(namespaces, "missing", lambda: None)
    monkeypatch.setattr(differential, "differences", differences)
    return sizes


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["differential", *arguments])


def test_a_difference_is_shown_with_the_smallest_manifests(compared: list[int]) -> None:
    done = run("--examples", "100", "--seed", "1")
    assert done.exit_code == 1
    assert "only BIRD has it" in done.stdout
    assert done.stdout.count("kind: Node\n") == 3
    assert "seed 1" in done.stdout


def test_no_difference_is_a_line(compared: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differential, "differences", lambda *arguments: [])
    done = run("--examples", "3", "--seed", "7")
    assert done.exit_code == 0
    assert done.stdout.startswith("3 clusters, seed 7: no difference in ")
    assert "3/3" in done.stderr


@pytest.mark.parametrize(
    ("what", "answer", "complaint"),
    [
        ((bird16, "find"), None, bird16.INSTALL),
        ((namespaces, "missing"), "network namespaces need root", "namespaces need root"),
    ],
)
def test_what_is_missing_is_said(
    compared: list[int], monkeypatch: pytest.MonkeyPatch, what: tuple[Any, str], answer: Any, complaint: str
) -> None:
    monkeypatch.setattr(*what, lambda: answer)
    done = run()
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert compared == []
