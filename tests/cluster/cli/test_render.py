"""``render``: manifests in, files and tables out, and what is wrong said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cluster.cli import main
from tests.conftest import Golden

CLUSTER = """\
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: spine-1, labels: {reflector: "true"}}
spec: {bgp: {ipv4Address: 172.20.0.1/24, ipv6Address: "fd20::1/64", routeReflectorClusterID: 244.0.0.1}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: leaf-1}
spec: {bgp: {ipv4Address: 172.20.0.11/24, ipv6Address: "fd20::11/64"}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: leaf-2}
spec: {bgp: {ipv4Address: 172.20.0.12/24}}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {nodeToNodeMeshEnabled: false, asNumber: 65010}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pods}
spec: {cidr: 10.4.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: guard}
spec: {exportV4: [{action: Reject, matchOperator: In, cidr: 10.4.9.0/24}]}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: spines}
spec: {nodeSelector: "!has(reflector)", peerSelector: has(reflector), filters: [guard], nextHopMode: Self}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: upstream}
spec: {node: spine-1, peerIP: "192.0.2.1:1790", asNumber: 65020, ttlSecurity: 2, sourceAddress: None, maxRestartTime: 9s}
"""


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return str(path)


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(main, ["render", *arguments], input=stdin)


def test_six_files(manifest: str, tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    affinity = ("--affinity", "10.4.0.64/26=confirmed", "--affinity", "fd80::/122=")
    done = run("bird", "--node", "leaf-1", "-f", manifest, *affinity, "--out", str(out))
    assert done.exit_code == 0, done.output
    names = ["bird.cfg", "bird_aggr.cfg", "bird_ipam.cfg", "bird6.cfg", "bird6_aggr.cfg", "bird6_ipam.cfg"]
    assert done.stdout.split() == [str(out / name) for name in names]
    assert "   route 10.4.0.64/26 blackhole;" in (out / "bird_aggr.cfg").read_text()
    assert "# Block fd80::/122 is implicitly confirmed." in (out / "bird6_aggr.cfg").read_text()
    assert "protocol bgp Node_172_20_0_1 from" in (out / "bird.cfg").read_text()
    assert "if (net ~ 10.4.0.0/16) then { accept; }" in (out / "bird_ipam.cfg").read_text()


def test_affinities_of_the_manifest_count_and_those_of_the_command_line_win(
    manifest: str, tmp_path: Path
) -> None:
    blocks = tmp_path / "blocks.yaml"
    blocks.write_text(
        "\n---\n".join(
            "apiVersion: projectcalico.org/v3\nkind: BlockAffinity\n"
            f"metadata: {{name: leaf-1-10-4-{index}-0-26}}\n"
            f"spec: {{node: leaf-1, cidr: 10.4.{index}.0/26, state: confirmed}}"
            for index in (0, 1)
        )
    )
    done = run(
        "bird", "--node", "leaf-1", "-f", manifest, "-f", str(blocks),
        "--affinity", "10.4.1.0/26=pendingDeletion", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "bird_aggr.cfg").read_text()
    assert "# Block 10.4.0.0/26 is confirmed" in text
    assert "# Block 10.4.1.0/26 is pendingDeletion" in text


def test_the_environment_of_calico_node(manifest: str, tmp_path: Path) -> None:
    done = run(
        "bird", "--node", "leaf-1", "-f", "-", "--env", "CALICO_ROUTER_ID=10.9.9.9",
        "--env", "CALICO_ADVERTISE_CLUSTER_IPS=10.96.0.0/12", "--out", str(tmp_path), stdin=CLUSTER,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "router id 10.9.9.9;" in (tmp_path / "bird6.cfg").read_text()
    assert "route 10.96.0.0/12 blackhole;" in (tmp_path / "bird_aggr.cfg").read_text()


def test_a_table_of_peers(manifest: str, golden: Golden) -> None:
    done = run("peers", "--node", "spine-1", "-f", manifest)
    assert done.exit_code == 0, done.output
    golden("render_peers", done.output)


def test_peers_for_programs(manifest: str) -> None:
    done = run("peers", "--node", "leaf-1", "-f", manifest, "-o", "json")
    first, second = json.loads(done.output)
    assert (first["name"], first["address"], first["port"]) == ("Node_172_20_0_1", "172.20.0.1", 179)
    assert (first["exportFilters"], first["importFilters"]) == (["guard"], [])
    assert first["nextHop"] == "next hop self"
    assert (second["family"], second["exportFilters"]) == (6, [])


def test_passwords_are_not_told() -> None:
    secret = "password: {secretKeyRef: {name: bgp, key: k}}"
    with_secret = CLUSTER.replace("maxRestartTime: 9s", secret) + (
        "---\napiVersion: v1\nkind: Secret\n"
        "metadata: {name: bgp, namespace: kube-system}\nstringData: {k: hushhush}\n"
    )
    done = run("peers", "--node", "spine-1", "-f", "-", "-o", "json", stdin=with_secret)
    assert done.exit_code == 0, done.output
    assert "hushhush" not in done.output
    assert [each["password"] for each in json.loads(done.stdout) if each["asNumber"] == 65020] == [True]


def test_what_could_not_be_followed_is_said_beside_the_output(manifest: str) -> None:
    broken = CLUSTER.replace("maxRestartTime: 9s", "password: {secretKeyRef: {name: gone, key: k}}")
    done = run("peers", "--node", "spine-1", "-f", "-", stdin=broken)
    assert done.exit_code == 0
    assert done.stderr.startswith("note: ")
    assert "gone" in done.stderr
    assert "note" not in done.stdout


def test_a_node_that_is_not_there(manifest: str, tmp_path: Path) -> None:
    done = run("peers", "--node", "leaf-3", "-f", manifest)
    assert done.exit_code == 2
    assert done.stderr == "tortie: no node leaf-3; did you mean leaf-2, leaf-1?\n"
    done = run("bird", "--node", "quux", "-f", manifest, "--out", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert done.stderr == "tortie: no node quux among the 3 of the manifests\n"
    assert not (tmp_path / "out").exists()


def test_bad_manifests_are_all_named_and_nothing_is_written(tmp_path: Path) -> None:
    broken = CLUSTER.replace("asNumber: 65010", "asNumber: much").replace("10.4.0.0/16", "10.4.0.1/16")
    done = run("bird", "--node", "leaf-1", "-f", "-", "--out", str(tmp_path / "out"), stdin=broken)
    assert done.exit_code == 2
    assert "<stdin>:19: BGPConfiguration/default: spec.asNumber: " in done.stderr
    assert "<stdin>:24: IPPool/pods: spec.cidr: " in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--out", "x", "--affinity", "10.4.0.0/26"], "is not CIDR=STATE"),
        (["--out", "x", "--affinity", "10.4.0.0/26=mine"], "the state is one of 'confirmed', 'pending'"),
        (["--out", "x", "--affinity", "10.4.0.1/26=confirmed"], "has host bits set"),
        (["--out", "x", "--affinity", "there=confirmed"], "there=confirmed: 'there' is not a CIDR\n"),
        (["--out", "x", "--env", "CALICO_ROUTER_ID"], "is not K=V"),
        (["--out", "x", "--env", "HOME=/"], "confd reads CALICO_ROUTER_ID, "),
        ([], "Missing option '--out'"),
    ],
)
def test_bad_usage(manifest: str, arguments: list[str], complaint: str) -> None:
    done = run("bird", "--node", "leaf-1", "-f", manifest, *arguments)
    assert done.exit_code == 2
    assert complaint in done.stderr


def test_it_needs_no_trio(manifest: str) -> None:
    """A second that is spent on imports is a second that somebody waits."""
    code = (
        "import sys; from cluster.cli import main\n"
        f"try: main(['render', 'peers', '--node', 'leaf-1', '-f', {manifest!r}])\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'trio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
