"""``filter test`` from the outside: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main

MANIFEST = """\
# two resources in a list, so that lines must be looked for
apiVersion: v1
kind: List
items:
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata: {name: pods}
  spec: {cidr: 192.168.0.0/16}
- apiVersion: projectcalico.org/v3
  kind: BGPFilter
  metadata: {name: to-tor}
  spec:
    exportV4:
    - {action: Reject, cidr: 192.168.0.0/16, matchOperator: Equal}
    - action: Accept
      communities: {values: ["65000:100"]}
      operations:
      - prependASPath: {prefix: [65001, 65002]}
      - setPriority: {value: 256}
    importV4:
    - {action: Reject, peerType: eBGP}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "filters.yaml"
    path.write_text(MANIFEST)
    return str(path)


def run(manifest: str, route: str, *words: str, name: str = "to-tor", direction: str = "export") -> Result:
    arguments = ["filter", "test", name, "--direction", direction, "--route", route, "-f", manifest, *words]
    return CliRunner().invoke(main, arguments, input=MANIFEST if manifest == "-" else None)


def test_accepted(manifest: str) -> None:
    result = run(manifest, "{prefix: 10.0.0.0/24, asPath: [65009], communities: [65000:100]}")
    assert result.exit_code == 0
    assert result.stdout == (
        "verdict:     accepted\n"
        f"decided by:  exportV4[1], {manifest}:15\n"
        "reason:      exportV4[1] is the first rule that holds\n"
        "prefix:      10.0.0.0/24\n"
        "source:      RemotePeers\n"
        "asPath:      65001 65002 65009\n"
        "localPref:   2147483391 (priority 256)\n"
        "communities: 65000:100\n"
        "origin:      IGP\n"
        "interface:   eth0\n"
    )


def test_rejected(manifest: str) -> None:
    result = run(manifest, "{prefix: 192.168.0.0/16}")
    assert result.exit_code == 1
    assert f"verdict:    rejected\ndecided by: exportV4[0], {manifest}:14\n" in result.stdout
    assert "asPath" not in result.stdout


def test_calicos_default(manifest: str) -> None:
    inside, outside = (run(manifest, f"{{prefix: {each}}}") for each in ("192.168.4.0/26", "10.0.0.0/8"))
    assert (inside.exit_code, outside.exit_code) == (0, 1)
    assert "decided by:  Calico's default\n" in inside.stdout
    assert "IPPool pods" in inside.stdout


def test_json_and_standard_input() -> None:
    result = run("-", "{prefix: 10.0.0.0/24}", "-o", "json", "--peer-type", "eBGP", direction="import")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert said["verdict"] == "rejected"
    assert said["rule"] == {"list": "importV4", "index": 0, "file": "<stdin>", "line": 21}
    assert said["route"]["prefix"] == "10.0.0.0/24"


@pytest.mark.parametrize(
    ("name", "route", "direction", "complaint"),
    [
        ("to-tor", "{prefix: 10.0.0.0/99}", "export", "tortie: --route: prefix: '10.0.0.0/99' is not a CIDR"),
        (
            "to-tor",
            "{prefix: 10.0.0.0/8}",
            "import",
            "importV4[0] has a peerType: say --peer-type iBGP or eBGP",
        ),
        ("to-to", "{prefix: 10.0.0.0/8}", "export", "no BGPFilter to-to; did you mean to-tor?"),
        ("x", "{prefix: 10.0.0.0/8}", "export", "no BGPFilter x among the 1 of these files"),
        ("to-tor", "{prefix: 10.0.0.0/8}", "both", "'both' is not one of 'import', 'export'"),
    ],
)
def test_bad_input(manifest: str, name: str, route: str, direction: str, complaint: str) -> None:
    result = run(manifest, route, name=name, direction=direction)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stdout == ""


def test_bad_manifests(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(MANIFEST.replace("Reject, peerType", "Perhaps, peerType"))
    result = run(str(path), "{prefix: 10.0.0.0/8}")
    assert result.exit_code == 2
    assert f"{path}:21: BGPFilter/to-tor: spec.importV4[0].action" in result.stderr
    missing = run(str(tmp_path / "none.yaml"), "{prefix: 10.0.0.0/8}")
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)
