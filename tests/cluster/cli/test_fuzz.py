"""``fuzz`` on the command line: what is found is a file that ``rehearse`` plays again."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.speaker.peer import Peer
from agents.speaker.rib import Rib
from cluster.cli.fuzz import fuzz
from cluster.fuzz.trial import Outcome, attempt
from cluster.interruption import Interrupted
from cluster.scenario.model import Scenario
from cluster.scenario.read import read


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(fuzz, arguments)
    return result.exit_code, result.stdout, result.stderr


BASE = """\
apiVersion: lab.tortie/v1
kind: Scenario
metadata: {name: base}
spec:
  cluster: {nodes: 3, podsPerNode: 1}
"""


@pytest.fixture
def base(tmp_path: Path) -> str:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return str(path)


@pytest.mark.slow
def test_nothing_is_found(base: str, tmp_path: Path) -> None:
    code, out, _ = run("-f", base, "--examples", "3", "--seed", "5", "--to", str(tmp_path / "found"))
    assert code == 0
    assert out.startswith("3 scenarios in ")
    assert out.endswith("seed 5: nothing found\n")
    assert not (tmp_path / "found").exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_finding_is_a_scenario_that_shows_it(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ends leaves its routes behind."""

    def wrong(self: Rib, peer: Peer) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(Rib, "forget", wrong)
        patch.setattr("cluster.cli.fuzz.SHRINKING", 3.0)
        found = str(tmp_path / "found")
        code, out, _ = run("-f", base, "--examples", "15", "--seed", "1", "--to", found, "-o", "json")
        assert code == 1, out
        finding = json.loads(out)["findings"][0]
        scenario = read(finding["file"]).scenario
        again = attempt(scenario)
        assert [each.text for each in again.findings if each.kind == finding["kind"]] == finding["texts"]
        assert 1 <= len(scenario.steps) <= 3
    assert not attempt(scenario).findings  # it was the fault, not the scenario


def test_a_signal_ends_the_search(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def attempt(scenario: Scenario) -> Outcome:
        raise KeyboardInterrupt from Interrupted(signal.SIGTERM)

    monkeypatch.setattr("cluster.fuzz.trial.attempt", attempt)
    code, out, err = run("-f", base, "--seed", "5")
    assert (code, err) == (128 + signal.SIGTERM, "tortie: interrupted\n")
    assert out.endswith(" s, seed 5: nothing found\n"), "what came of it until then"


def test_where_findings_cannot_be_kept_nothing_is_looked_for(base: str) -> None:
    code, out, err = run("-f", base, "--to", f"{base}/found")
    assert (code, out) == (2, "")
    assert "Invalid value for '--to'" in err


def problems(words: Sequence[str], text: str) -> None:
    assert all(word in text for word in words), text


def test_a_base_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(
        BASE.replace("nodes: 3", "nodes: many").replace("kind: Scenario", 'kind: "Scenario"  # a cluster')
    )
    code, _, err = run("-f", str(path))
    assert code == 2
    problems(["wrong.yaml:5", "spec.cluster.nodes"], err)
    code, _, err = run("-f", str(tmp_path / "none.yaml"))
    assert code == 2
    problems(["none.yaml", "No such file"], err)
