"""``validate``: its report, its words and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main

NODE = (
    "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: %s}, spec: {bgp: {ipv4Address: %s}}}\n"
)
POOL = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: p
spec:
  cidr: 192.168.0.0/16
  nodeSelector: rack == 'x'
"""


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["validate", *arguments], input=stdin)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    (tmp_path / "pools.yaml").write_text(POOL)
    (tmp_path / "below" / "deeper" / "nodes.yaml").write_text(
        NODE % ("a", "10.0.0.1") + "---\n" + NODE % ("b", "10.0.0.2")
    )
    return tmp_path


def test_valid_manifests(files: Path) -> None:
    result = run("-f", str(files))
    assert (result.stdout, result.stderr, result.exit_code) == (
        "Successfully validated 1 'IPPool' resource(s)\n",
        "",
        0,
    )


def test_warnings_are_of_all_files_together_and_no_failure(files: Path) -> None:
    result = run("-R", "-f", str(files))
    assert result.stdout == "Successfully validated 3 resource(s)\n"
    (line,) = result.stderr.splitlines()
    assert line.startswith(
        f"warning: {files}/pools.yaml:7: IPPool/p: spec.nodeSelector: matches none of the 2 nodes"
    )
    assert result.exit_code == 0


def test_everything_that_is_wrong_at_once(files: Path) -> None:
    (files / "a.yaml").write_text(NODE % ("A", "10.0.0.300"))
    (files / "z.yaml").write_text("kind: BGPPeer\napiVersion: v3\nmetadata: {name: p}\n")
    result = run("-f", str(files / "a.yaml"), "-f", str(files / "z.yaml"), "-f", str(files / "none.yaml"))
    assert result.stdout == ""
    assert [line.removeprefix(f"{files}/").split(": ")[:3] for line in result.stderr.splitlines()] == [
        ["a.yaml:1", "Node/A", "metadata.name"],
        ["a.yaml:1", "Node/A", "spec.bgp.ipv4Address"],
        ["z.yaml:2", "BGPPeer/p", "apiVersion"],
        ["none.yaml", "No such file or directory"],
    ]
    assert result.exit_code == 1


def test_warnings_stand_beside_errors() -> None:
    text = "{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, spec: {exportFilter: []}}\n---\n{}\n"
    result = run("-f", "-", stdin=text)
    *errors, warning = result.stderr.splitlines()
    assert errors == [
        "<stdin>:3: kind: required, but missing",
        "<stdin>:3: apiVersion: required, but missing",
    ]
    assert warning.startswith("warning: <stdin>:1: BGPConfiguration: metadata: no name")
    assert result.exit_code == 1


def test_pools_that_overlap_are_valid_each_by_itself(files: Path) -> None:
    (files / "more.yaml").write_text(POOL.replace("name: p", "name: q").replace("/16", "/17"))
    result = run("-f", str(files))
    assert result.stdout == "Successfully validated 2 'IPPool' resource(s)\n"
    (line,) = result.stderr.splitlines()
    assert line == (
        f"warning: {files}/pools.yaml:6: IPPool/p: spec.cidr: 192.168.0.0/16 overlaps with IPPool q, 192.168.0.0/17, "
        f"at {files}/more.yaml:1: Calico refuses to create the second"
    )


def test_json(files: Path) -> None:
    good = json.loads(run("-R", "-f", str(files), "-o", "json").stdout)
    (warning,) = good.pop("warnings")
    assert good == {"valid": True, "resources": 3, "errors": []}
    assert (warning["file"], warning["line"]) == (f"{files}/pools.yaml", 7)
    assert (warning["resource"], warning["path"]) == ("IPPool/p", "spec.nodeSelector")
    result = run("-f", "-", "-o", "json", stdin="- 1\n")
    assert json.loads(result.stdout)["errors"] == [
        {
            "file": "<stdin>",
            "line": 1,
            "resource": "",
            "path": "",
            "message": "expected a resource, found a single value",
        }
    ]
    assert result.exit_code == 1


def test_nothing_to_validate() -> None:
    result = run(
        "-f", "-", stdin="{apiVersion: operator.tigera.io/v1, kind: APIServer, metadata: {name: default}}"
    )
    assert (result.stdout, result.exit_code) == ("No resources specified\n", 0)
    assert run("-f", "-", stdin="").exit_code == 1


def test_bad_usage() -> None:
    assert run().exit_code == 2
    assert run("-f", "-", "-o", "yaml").exit_code == 2


def test_it_starts_without_trio() -> None:
    """Half of the time that it takes would be trio's."""
    code = "import sys; sys.argv[1:] = ['validate', '-f', '-']; from cluster.cli import main; main(standalone_mode=False)"
    script = f"import atexit, sys; atexit.register(lambda: print('trio' in sys.modules)); {code}"
    result = subprocess.run(
        [sys.executable, "-c", script], input=POOL, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines() == ["Successfully validated 1 'IPPool' resource(s)", "False"]
