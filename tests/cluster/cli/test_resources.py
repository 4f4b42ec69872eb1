"""``get``, ``apply`` and the others as somebody sits before them: transcripts, words and exit codes."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import trio
from click.testing import CliRunner, Result

from cluster.api import rundir
from cluster.api.control import ClusterControl
from cluster.api.server import serve
from cluster.cli import main
from cluster.datastore.memory import MemoryStore
from protocol.v3.codec import encode
from protocol.v3.loader import parse
from tests.conftest import Golden

THERE = """
- {apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, spec: {asNumber: 64513}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pods}, spec: {cidr: 10.244.0.0/16, natOutgoing: true}}
- apiVersion: projectcalico.org/v3
  kind: Node
  metadata: {name: node1}
  spec: {bgp: {ipv4Address: 172.18.0.2/16, ipv6Address: fd00::2/64}}
- apiVersion: projectcalico.org/v3
  kind: Node
  metadata: {name: node2, labels: {rack: b}}
  spec: {bgp: {ipv4Address: 172.18.0.3/16, asNumber: 65002}}
- apiVersion: projectcalico.org/v3
  kind: WorkloadEndpoint
  metadata: {name: node1-k8s-web-eth0, namespace: shop}
  spec:
    {node: node1, orchestrator: k8s, pod: web, endpoint: eth0, ipNetworks: [10.244.1.5/32], interfaceName: cali12d4a061371,
     profiles: [kns.shop]}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {clusterIP: 10.96.0.10, type: LoadBalancer, externalIPs: [203.0.113.7], ports: [{port: 80}, {port: 443, nodePort: 30443}]}
- apiVersion: lab.tortie/v1
  kind: Router
  metadata: {name: tor}
  spec: {addresses: [172.18.0.1/16], asNumber: 65000, announce: [0.0.0.0/0]}
"""

FILES = {
    "border.yaml": """
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata:
  name: pods-only
spec:
  exportV4:
  - {cidr: 10.244.0.0/16, matchOperator: In, action: Accept}
  - {action: Reject}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata:
  name: border-router
spec:
  peerIP: 192.168.100.254
  asNumber: 65000
  filters: [pods-only]
""",
    "pools.yaml": """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: external}
spec: {cidr: 192.168.64.0/24, blockSize: 29, nodeSelector: "!all()"}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: wide}
spec: {cidr: 10.0.0.0/8}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: more}
spec: {cidr: 10.245.0.0/16}
""",
    "typo.yaml": """
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: border-router}
spec:
  peerIP: 192.168.100.999
  asNumbre: 65000
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: fine}
spec: {cidr: 10.99.0.0/16}
""",
    "reflectors.yaml": """
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: peer-with-route-reflectors}
spec: {nodeSelector: all(), peerSelector: route-reflector == 'true'}
---
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {asNumber: 64513, nodeToNodeMeshEnabled: false}
""",
    "half.yaml": """
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: good}, spec: {cidr: 10.246.0.0/16}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: bad}, spec: {cidr: 10.246.4.0/24}}
""",
    "empty.yaml": "# nothing here\n",
    "more.yaml": "{apiVersion: v1, kind: Secret, metadata: {name: bgp}, stringData: {password: secret}}\n",
}


class Lab:
    """A served datastore, and somebody who types."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    async def run(self, command: str, stdin: str = "") -> Result:
        def invoke() -> Result:
            return CliRunner().invoke(main, shlex.split(command), input=stdin, prog_name="tortie")

        return await trio.to_thread.run_sync(invoke)

    async def session(self, text: str) -> str:
        """Every line is a comment or a command; what comes back is what the terminal shows."""
        shown = []
        for line in filter(None, map(str.strip, text.splitlines())):
            if line.startswith("#"):
                shown.append(f"{line}\n")
                continue
            result = await self.run(line)
            assert result.exception is None or isinstance(result.exception, SystemExit)
            ending = f"[exit {result.exit_code}]\n" if result.exit_code else ""
            shown.append(f"$ ./run {line}\n{result.output}{ending}")
        return "\n".join(shown)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FILES, where somebody works."""
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")
    for name, text in FILES.items():
        Path(name).write_text(text.lstrip())


@pytest.fixture
async def lab(files: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("cluster.cleanup.DRAIN", 0.0)
    store = MemoryStore(wall=lambda: 0.0)
    for resource in parse(THERE).resources:
        store.create(encode(resource))
    run_file = rundir.RunFile.claim(str(tmp_path / "tortie"), "default")
    async with trio.open_nursery() as nursery:
        # No control: nobody asks the cluster itself.
        await nursery.start(serve, cast("ClusterControl", None), store, run_file)
        yield Lab(store)
        nursery.cancel_scope.cancel()


async def test_getting(lab: Lab, golden: Golden) -> None:
    golden(
        "get",
        await lab.session("""
            # the seed's two questions
            get bgpconfiguration
            get bgpconfig -o yaml
            # tables
            get nodes
            get no -o wide
            get ippools
            get pool -o wide
            get node node1 node2 -o custom-columns=name,ipv6
            get router -o wide
            # namespaces
            get wep
            get wep -n shop
            get workloadendpoints -A -o wide
            get svc -A
            # one resource
            get node node2 -o json
            # what is not there
            get bgppeers
            get bgppeer border
            get node node1 node9
            get pods
            get ipamblocks
            get nodes -o xml
            get nodes -o custom-columns=AGE
        """),
    )


async def test_applying(lab: Lab, golden: Golden) -> None:
    golden(
        "apply",
        await lab.session("""
            apply -f border.yaml
            get bgppeer
            get bgpfilter
            # twice is once
            get bgppeer border-router -o custom-columns=NAME,ASN
            apply -f border.yaml
            # what is wrong with a file is said before anything is sent
            apply -f typo.yaml
            get pool fine
            # what only the cluster knows is said of each resource
            apply -f pools.yaml
            get pools
            apply -f half.yaml
            delete pool good
            create -f border.yaml
            create -f border.yaml --skip-exists
            replace -f pools.yaml
            # a filter that is in use may go; a peer cannot be made without it
            delete bgpfilter pods-only
            delete bgppeer border-router
            delete -f border.yaml
            delete -f border.yaml --skip-not-exists
            delete pool external more
            get pools
            apply -f empty.yaml
            apply -f nowhere.yaml
        """),
    )


async def test_from_a_mesh_to_reflectors(lab: Lab, golden: Golden) -> None:
    golden(
        "reflectors",
        await lab.session("""
            patch node node1 -p '{"spec": {"bgp": {"routeReflectorClusterID": "224.0.0.1"}}}'
            label node node1 route-reflector=true
            apply -f reflectors.yaml
            get bgpconfig
            get bgppeer
            get node node1 -o yaml
            # second thoughts
            label nodes node1 route-reflector=false
            label nodes node1 route-reflector=false --overwrite
            label nodes node1 route-reflector --remove
            label nodes node1 route-reflector --remove
            patch bgpconfig default -p '{"spec": {"nodeToNodeMeshEnabled": true}}'
            patch node node1 -p '{"spec": {"bgp": {"routeReflectorClusterID": null}}}'
            delete bgppeer peer-with-route-reflectors
            # slips of the pen
            patch node node1 -p '{"spec": {"bgp": {"routeReflectorClusterID": "one"}}}'
            patch node node9 -p '{}'
            patch node node1 -p '{'
            patch ippool pods -p '{"spec": {"cidr": "10.0.0.0/8"}}'
            label node node9 a=b
            label node node1 a
            label node node1 a=b=c
            label node node1 'a=no spaces'
        """),
    )


async def test_applying_twice_writes_once(lab: Lab) -> None:
    assert (await lab.run("apply -f border.yaml -f reflectors.yaml")).exit_code == 0
    revision = lab.store.revision
    again = await lab.run("apply -f border.yaml -f reflectors.yaml")
    assert (again.exit_code, again.output) == (0, "Successfully applied 4 resource(s)\n")
    assert lab.store.revision == revision


async def test_what_was_got_can_be_applied(lab: Lab) -> None:
    revision = lab.store.revision
    for kind in ("nodes", "ippools", "bgpconfig", "routers", "svc -A", "wep -A"):
        for form in ("yaml", "json"):
            text = (await lab.run(f"get {kind} -o {form}")).output
            applied = await lab.run("apply -f -", text)
            assert applied.exit_code == 0, applied.output
    assert lab.store.revision == revision


async def test_an_old_resource_version_is_a_conflict(lab: Lab) -> None:
    text = (await lab.run("get node node1 -o yaml")).output
    await lab.run("label node node1 a=b")
    for verb in ("apply", "replace"):
        refused = await lab.run(f"{verb} -f -", text)
        assert refused.exit_code == 1
        assert "<stdin>:1: update conflict: Node(node1)" in refused.stderr
    assert lab.store.get("Node", "node1")["metadata"]["labels"] == {"a": "b"}


async def test_a_secret_s_plain_text_is_not_kept_as_such(lab: Lab) -> None:
    await lab.run("apply -f more.yaml")
    (secret,) = lab.store.list("Secret")
    assert secret["data"] == {"password": "c2VjcmV0"}
    assert "stringData" not in secret
    revision = lab.store.revision
    await lab.run("apply -f more.yaml")
    assert lab.store.revision == revision


async def test_namespaces_of_files_and_of_names(lab: Lab) -> None:
    await lab.run("apply -f more.yaml")
    await lab.run("apply -f more.yaml -n shop")
    assert [one["metadata"]["namespace"] for one in lab.store.list("Secret")] == ["default", "shop"]
    assert (
        await lab.run("delete secret bgp -n shop")
    ).output == "Successfully deleted 1 'Secret' resource(s)\n"
    assert (await lab.run("label secret bgp a=b")).exit_code == 0
    assert (await lab.run("label secret bgp a=b -n shop")).exit_code == 1


@pytest.mark.parametrize(
    ("type_", "patch"),
    [
        ("strategic", '{"metadata": {"labels": {"a": "b"}}}'),
        ("merge", '{"metadata": {"labels": {"a": "b"}}}'),
        ("json", '[{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]'),
    ],
)
async def test_patch_types_mean_what_they_say(lab: Lab, type_: str, patch: str) -> None:
    assert (await lab.run(f"patch node node1 -t {type_} -p {shlex.quote(patch)}")).exit_code == 0
    assert lab.store.get("Node", "node1")["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    "command",
    [
        "apply",
        "delete",
        "delete node n -f x",
        "get",
        "patch node n",
        "patch node n -t yaml -p {}",
        "label node n",
    ],
)
async def test_bad_usage_is_exit_2(lab: Lab, command: str) -> None:
    assert (await lab.run(command)).exit_code == 2


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (f"patch node node1 -p {'[' * 100_000}", "the patch is not JSON"),
        ("patch node node1 -p null", "the patch must be a JSON object, not null"),
        ("patch node node1 -p 42", "the patch must be a JSON object, not 42"),
        ("get node no\udcffde", "resource does not exist: Node(no?de)"),
        ("delete node no\udcffde", "resource does not exist: Node(no?de)"),
        ("label node no\udcffde a=b", "resource does not exist: Node(no?de)"),
    ],
)
async def test_what_no_resource_can_be_is_refused_in_words(lab: Lab, command: str, complaint: str) -> None:
    result = await lab.run(command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert complaint in result.stderr


async def test_a_kind_goes_by_all_its_names(lab: Lab) -> None:
    usual = (await lab.run("get ippools")).output
    for word in ("ippool", "IPPool", "ipp", "IPPS", "pool", "pools"):
        assert (await lab.run(f"get {word}")).output == usual
