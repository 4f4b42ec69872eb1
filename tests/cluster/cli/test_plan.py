"""``plan`` as somebody sits before it: words, files, exit codes. On a running cluster: ``tests/real/test_plan.py``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main
from cluster.scenario.read import read
from cluster.whatif.state import State

CLUSTER = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {asNumber: 64512, nodeToNodeMeshEnabled: true}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.244.0.0/16}
"""
MESH_OFF = CLUSTER.partition("---")[0].replace("true", "false")
SPARE = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: spare}
spec: {cidr: 10.245.0.0/16}
"""
REFUSED = SPARE.replace("10.245.0.0/16", "10.244.4.0/24")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with files, and nothing that runs."""
    for name, text in (
        ("cluster.yaml", CLUSTER),
        ("mesh-off.yaml", MESH_OFF),
        ("spare.yaml", SPARE),
        ("refused.yaml", REFUSED),
        (
            "typo.yaml",
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: x}\nspec: {cdr: 1}\n",
        ),
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


def plan(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["plan", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


FROM = ("--from", "cluster.yaml", "--nodes", "3")


@pytest.mark.usefixtures("here")
def test_the_exit_code_says_whether_traffic_is_lost() -> None:
    harmless = plan(*FROM, "-f", "spare.yaml")
    assert harmless.exit_code == 0, harmless.output
    assert "IPPool spare (10.245.0.0/16) is new: 0 blocks of 1,024 claimed\n" in harmless.stdout
    assert "no pair of nodes loses traffic\n" in harmless.stdout
    assert "the copy has converged" in harmless.stderr
    lossy = plan(*FROM, "-f", "mesh-off.yaml", "-o", "json")
    assert lossy.exit_code == 1, lossy.output
    found = json.loads(lossy.stdout)
    assert (found["loss"], len(found["pairs"]["lost"]), found["sessions"][0]["fate"]) == (True, 6, "gone")
    assert found["change"] == [
        {"resource": "BGPConfiguration/default", "place": "mesh-off.yaml:1", "does": "replaced"}
    ]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*FROM,), "Missing option '-f'"),
        (("-f", "spare.yaml", "--nodes", "3"), "go with --from"),
        ((*FROM, "-f", "nowhere.yaml"), "nowhere.yaml: No such file or directory"),
        ((*FROM, "-f", "typo.yaml"), "failed to execute command: typo.yaml:4: IPPool/x: spec.cidr: required"),
        (("--from", "typo.yaml", "-f", "spare.yaml"), "typo.yaml:4: IPPool/x: spec.cdr"),
        (("--from", "nowhere", "-f", "spare.yaml"), "Path 'nowhere' does not exist"),
        (("--from", "cluster.yaml", "--nodes", "0", "-f", "spare.yaml"), "--nodes 0: must be 1 to 60,000"),
        (("-f", "spare.yaml"), "no cluster 'default' is running"),
        (
            (*FROM, "-f", "refused.yaml"),
            "failed to apply 'IPPool' resource: [refused.yaml:1: IPPool/spare: spec.cidr: ",
        ),
        ((*FROM, "--delete", "-f", "spare.yaml"), "Failed to delete 'IPPool' resource: spare.yaml:1: resource does not exist"),
        ((*FROM, "-f", "spare.yaml", "--to", "cluster.yaml"), "is a file"),
    ],
)  # fmt: skip
def test_what_is_not_tried(arguments: tuple[str, ...], words: str) -> None:
    result = plan(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stdout == ""
    assert "converged" not in result.stderr


def test_a_plan_is_written_and_its_state_read_again(here: Path) -> None:
    first = plan(*FROM, "-f", "mesh-off.yaml", "--to", "what/if")
    assert first.exit_code == 1, first.output
    assert "./run rehearse what/if/scenario.yaml" in first.stderr
    directory = here / "what" / "if"
    assert (directory / "plan.txt").read_text() == first.stdout
    written = json.loads((directory / "plan.json").read_text())
    assert State.from_json(json.loads((directory / "state.json").read_text())).pods_per_node == 2
    assert {file.stat().st_mode & 0o077 for file in directory.iterdir()} == {0}, "Secrets are in them"
    scenario = read(str(directory / "scenario.yaml")).scenario
    assert [step.name for step in scenario.steps] == ["the change"]

    again = plan("--from", "what/if", "-f", "mesh-off.yaml", "-o", "json")
    assert json.loads(again.stdout) == written
    with_numbers = plan("--from", "what/if", "--nodes", "3", "-f", "mesh-off.yaml")
    assert (with_numbers.exit_code, with_numbers.stderr) == (
        2, "tortie: what/if is the state of a cluster, which has its nodes and pods\n",
    )  # fmt: skip
    (directory / "state.json").write_text("{}")
    broken = plan("--from", "what/if", "-f", "mesh-off.yaml")
    assert broken.exit_code == 2
    assert "state.json: not the state of a cluster: KeyError: 'version'" in broken.stderr


def test_warnings_of_the_manifests_are_told(here: Path) -> None:
    (here / "peer.yaml").write_text(
        "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: p}\n"
        "spec: {nodeSelector: has(nothing), peerIP: 10.9.9.9, asNumber: 65000}\n"
    )
    result = plan("--from", "cluster.yaml", "--from", "peer.yaml", "--nodes", "2", "-f", "spare.yaml")
    assert result.exit_code == 0, result.output
    assert "warning: peer.yaml:1: BGPPeer/p: spec.nodeSelector: " in result.stderr
    assert "warnings" not in result.stdout, "not the change's doing"
