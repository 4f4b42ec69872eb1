"""The API over real loopback HTTP, under trio, in front of the real datastore."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h11
import httpx
import pytest
import trio

from cluster import views
from cluster.api import rundir
from cluster.api.control import NodeDown, NoSuchNode
from cluster.api.server import serve
from cluster.datastore.memory import MemoryStore
from cluster.views import ClusterStatus, EventRow, PeerRow, RouteRow
from cluster.whatif.state import State
from protocol.prefix import IPV4, IPV6
from protocol.sync.errors import Unreachable
from protocol.v3.codec import KINDS

BASE = "/apis/projectcalico.org/v3"


class FakeControl:
    """A cluster of one node that answers, one that is down, and one with a bug."""

    def __init__(self) -> None:
        self.down = trio.Event()
        self.asked: list[tuple[str, int, str]] = []

    async def status(self) -> ClusterStatus:
        return ClusterStatus(
            name="default", pid=os.getpid(), topology="full mesh", uptime=1.0, nodes=2, nodes_down=["node-002"],
            routers=0, routers_down=[], faults=[], notes={},
            shards=[views.ShardRow(index=0, pid=7, up=True, nodes=2, sockets=4, memory_mb=30.0)],
            sessions_expected=1, sessions_established=0, routes_expected=8, routes_programmed=4,
            convergence="not converged",
        )  # fmt: skip

    async def state(self) -> State:
        node = {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": "node-001"}}
        return State(name="lab", revision=7, documents=(node,), off=("node-002",), hold_time=9.0)

    def _check(self, node: str) -> None:
        if node == "node-002":
            raise NodeDown("node-002 is down: shard 1 (pid 8) was killed")
        if node == "node-003":
            raise Unreachable("shard 1 hung up")
        if node == "node-666":
            raise RuntimeError("a bug")
        if node != "node-001":
            raise NoSuchNode(f"no node {node!r} in this cluster")

    async def birdc(self, node: str, family: int, command: str) -> str:
        self._check(node)
        self.asked.append((node, family, command))
        return (
            "0001 BIRD 1.6.8 ready.\n9001 syntax error\n"
            if command == "foo"
            else "0001 BIRD 1.6.8 ready.\n0000 \n"
        )

    async def node_status(self, node: str) -> list[PeerRow]:
        self._check(node)
        return [
            PeerRow(
                address="10.77.0.2",
                type="node-to-node mesh",
                state="up",
                since="12:00:00",
                info="Established",
            )
        ]

    async def ip_route(self, node: str, family: int) -> list[RouteRow]:
        self._check(node)
        if family == IPV6:
            return [RouteRow(dst="fd00::40/122", gateway="fd00:77::11", protocol="bird", flags=[])]
        return [RouteRow(dst="192.168.4.64/26", gateway="10.77.0.17", protocol="bird", flags=[])]

    async def events(self, node: str | None) -> list[EventRow]:
        self._check(node or "node-001")
        row = EventRow(time=1.0, node="node-001", type="Normal", reason="SessionUp", message="Mesh_10_77_0_2")
        return [row] if node else [row, {**row, "node": "node-009"}]

    def request_down(self) -> None:
        self.down.set()


class Served:
    def __init__(
        self, client: httpx.AsyncClient, store: MemoryStore, control: FakeControl, endpoint: rundir.Endpoint
    ) -> None:
        self.client = client
        self.store = store
        self.control = control
        self.endpoint = endpoint

    async def get(self, path: str) -> Any:
        response = await self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[Watch]:
        port = httpx.URL(self.endpoint.url).port
        assert port is not None
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.endpoint.token}\r\n\r\n"
            await stream.send_all(head.encode())
            yield Watch(stream)


class Watch:
    """A watch's reader, close to the wire: httpx under trio cannot leave a stream half read."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._http.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._http.send(h11.EndOfMessage())
        self._text = b""

    async def next(self) -> Any:
        """The next event; None at the end of the stream."""
        while b"\n" not in self._text:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._stream.receive_some())
            elif isinstance(event, h11.Data):
                self._text += event.data
            elif isinstance(event, h11.Response):
                assert event.status_code == 200
            else:
                assert isinstance(event, h11.EndOfMessage)
                return None
        line, self._text = self._text.split(b"\n", 1)
        return json.loads(line)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    control, store = FakeControl(), MemoryStore(wall=lambda: 0.0, history=8)
    directory = str(tmp_path / "run")
    run_file = rundir.RunFile.claim(directory, "default")
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve, control, store, run_file)
        endpoint = rundir.find(directory, "default")
        assert endpoint.url == url
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
            with trio.fail_after(20):
                yield Served(client, store, control, endpoint)
        nursery.cancel_scope.cancel()


def pool(name: str, cidr: str = "10.0.0.0/16") -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"cidr": cidr},
    }


def workload(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "WorkloadEndpoint",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"node": "node-001"},
    }


def assert_status(response: httpx.Response, code: int, reason: str, words: str = "") -> None:
    assert response.status_code == code
    status = response.json()
    assert (status["kind"], status["status"], status["code"], status["reason"]) == (
        "Status",
        "Failure",
        code,
        reason,
    )
    assert words in status["message"]


async def test_only_the_token_opens(served: Served) -> None:
    for value in (
        "",
        "Bearer",
        "Bearer x",
        served.endpoint.token,
        f"bearer {served.endpoint.token}",
        "Bearer é",
    ):
        headers = {b"Authorization": value.encode("latin-1")}
        for path in ("/tortie/v1/status", BASE, "/nowhere"):
            assert_status(await served.client.get(path, headers=headers), 401, "Unauthorized")
    assert_status(
        await served.client.post("/tortie/v1/down", headers={"Authorization": ""}), 401, "Unauthorized"
    )
    assert not served.control.down.is_set()
    assert served.endpoint.url.startswith("http://127.0.0.1:")


async def test_discovery(served: Served) -> None:
    assert (await served.get("/api"))["versions"] == ["v1"]
    groups = {group["name"]: group for group in (await served.get("/apis"))["groups"]}
    assert [*groups] == ["projectcalico.org", "discovery.k8s.io", "lab.tortie"]
    for name, group in groups.items():
        assert (await served.get(f"/apis/{name}"))["preferredVersion"] == group["preferredVersion"]
    found = {}
    for version in (
        "api/v1",
        *(f"apis/{group['preferredVersion']['groupVersion']}" for group in groups.values()),
    ):
        for entry in (await served.get(f"/{version}"))["resources"]:
            found[entry["kind"]] = f"{version}/{entry['name']}", entry["namespaced"], entry["verbs"]
    assert {kind: entry[:2] for kind, entry in found.items()} == {
        info.kind: (f"api{'s' * ('/' in info.api_version)}/{info.api_version}/{info.plural}", info.namespaced)
        for info in KINDS.values()
    }
    reading = {kind for kind, (_, _, verbs) in found.items() if "create" not in verbs}
    assert reading == {"BlockAffinity", "IPAMBlock", "IPAMHandle"}, "IPAM's own"


async def test_get_and_list_carry_revisions(served: Served) -> None:
    served.store.create(pool("b"))
    served.store.create(pool("a", "10.1.0.0/16"))
    listed = await served.get(f"{BASE}/ippools")
    assert listed["kind"] == "IPPoolList"
    assert listed["metadata"]["resourceVersion"] == "2"
    assert [(item["metadata"]["name"], item["metadata"]["resourceVersion"]) for item in listed["items"]] == [
        ("a", "2"),
        ("b", "1"),
    ]
    assert await served.get(f"{BASE}/ippools/a") == listed["items"][0]
    assert (await served.get(f"{BASE}/bgppeers"))["items"] == []


async def test_namespaces(served: Served) -> None:
    served.store.create(workload("blue", "w1"))
    served.store.create(workload("green", "w2"))

    async def names(path: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await served.get(BASE + path))["items"]]

    assert await names("/workloadendpoints") == ["w1", "w2"]
    assert await names("/namespaces/green/workloadendpoints") == ["w2"]
    assert await names("/namespaces/red/workloadendpoints") == []
    assert (await served.get(f"{BASE}/namespaces/blue/workloadendpoints/w1"))["metadata"][
        "namespace"
    ] == "blue"
    for path in (
        "/namespaces/green/workloadendpoints/w1",
        "/workloadendpoints/w1",
        "/namespaces/blue/ippools",
    ):
        assert_status(await served.client.get(BASE + path), 404, "NotFound")


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("GET", "/nowhere", 404, "NotFound"),
        ("GET", f"{BASE}/pods", 404, "NotFound"),
        ("GET", f"{BASE}/ippools/none", 404, "NotFound"),
        ("GET", f"{BASE}/ippools/", 404, "NotFound"),
        ("DELETE", f"{BASE}/ippools/none", 404, "NotFound"),
        ("DELETE", f"{BASE}/ippools", 405, "MethodNotAllowed"),
        ("POST", f"{BASE}/ippools/none", 405, "MethodNotAllowed"),
        ("POST", f"{BASE}/workloadendpoints", 405, "MethodNotAllowed"),
        ("POST", f"{BASE}/ipamblocks", 405, "MethodNotAllowed"),
        ("DELETE", f"{BASE}/blockaffinities/none", 405, "MethodNotAllowed"),
        ("GET", "/api/v1/services/none", 404, "NotFound"),
        ("GET", f"{BASE}/ippools?labelSelector=a%3Db", 400, "BadRequest"),
        ("GET", f"{BASE}/ippools?watch=1&resourceVersion=x", 400, "BadRequest"),
        ("GET", f"{BASE}/ippools?watch=1&resourceVersion=-1", 400, "BadRequest"),
        ("GET", f"{BASE}/ippools?watch=1&resourceVersion=99", 400, "BadRequest"),
        ("GET", "/tortie/v1/down", 405, "MethodNotAllowed"),
        ("GET", "/tortie/v1/nodes/node-009/status", 404, "NotFound"),
        ("GET", "/tortie/v1/nodes/node-009/routes", 404, "NotFound"),
        ("POST", "/tortie/v1/nodes/node-009/birdc", 404, "NotFound"),
        ("GET", "/tortie/v1/nodes/node-002/status", 503, "ServiceUnavailable"),
        ("GET", "/tortie/v1/nodes/node-003/routes", 503, "ServiceUnavailable"),
        ("GET", "/tortie/v1/nodes/%C3%A9%2F..%20/status", 404, "NotFound"),
    ],
)
async def test_refusals_are_status_objects(
    served: Served, method: str, path: str, code: int, reason: str
) -> None:
    assert_status(await served.client.request(method, path), code, reason)


async def test_a_document_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.api.writes.MAX_BODY", 300)
    too_long = await served.client.post(f"{BASE}/ippools", content=b" " * 400)
    assert_status(too_long, 413, "RequestEntityTooLarge")
    assert (await served.client.post(f"{BASE}/ippools", json=pool("a"))).status_code == 201


async def test_a_bug_is_one_answer_and_not_the_end(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    assert_status(await served.client.get("/tortie/v1/nodes/node-666/status"), 500, "InternalError", "a bug")
    assert (await served.get("/api"))["kind"] == "APIVersions"
    assert "RuntimeError: a bug" in caplog.text


async def test_watch_from_a_revision(served: Served) -> None:
    store = served.store
    made = store.create(pool("a"))
    store.create(pool("b"))
    async with served.watch(f"{BASE}/ippools?watch=1&resourceVersion=1") as watch:
        event = await watch.next()
        assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "b")
        store.create(workload("blue", "w1"))  # another kind: not told
        store.update({**made, "spec": {"cidr": "10.9.0.0/16"}})
        event = await watch.next()
        assert (event["type"], event["object"]["spec"]["cidr"]) == ("MODIFIED", "10.9.0.0/16")
        store.delete("IPPool", "a")
        event = await watch.next()
        assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "a")
        assert event["object"]["metadata"]["resourceVersion"] == "5"


async def test_watch_from_nothing_begins_with_what_is_there(served: Served) -> None:
    served.store.create(workload("blue", "w1"))
    served.store.create(workload("green", "w2"))
    async with served.watch(f"{BASE}/namespaces/green/workloadendpoints?watch=true") as watch:
        first = await watch.next()
        assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "w2")
        served.store.create(workload("blue", "w3"))
        served.store.create(workload("green", "w4"))
        assert (await watch.next())["object"]["metadata"]["name"] == "w4"


async def test_a_compacted_revision_is_gone(served: Served) -> None:
    for index in range(10):  # the history is 8
        served.store.create(pool(f"p{index}"))
    assert_status(await served.client.get(f"{BASE}/ippools?watch=1&resourceVersion=1"), 410, "Expired")


async def test_a_watcher_that_hangs_up_is_forgotten(served: Served) -> None:
    served.store.create(pool("a"))
    async with served.watch(f"{BASE}/ippools?watch=1") as watch:
        await watch.next()
        assert len(served.store._watchers) == 1
    while served.store._watchers:
        await trio.lowlevel.checkpoint()


async def test_a_watcher_that_cannot_keep_up_is_told_so(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.api.resources.QUEUE", 3)
    async with served.watch(f"{BASE}/ippools?watch=1&resourceVersion=0") as watch:
        while not served.store._watchers:
            await trio.lowlevel.checkpoint()
        for index in range(8):  # in one breath: the reader's task does not run in between
            served.store.create(pool(f"p{index}"))
        events = []
        while (event := await watch.next()) is not None:
            events.append(event)
    assert [event["type"] for event in events[:-1]] == ["ADDED"] * 3
    assert (events[-1]["type"], events[-1]["object"]["code"]) == ("ERROR", 410)


async def test_views_are_text_or_json(served: Served) -> None:
    client, control = served.client, served.control
    text = (await client.get("/tortie/v1/status")).text
    assert text == views.cluster_status(await control.status())
    assert (
        await client.get("/tortie/v1/nodes/node-001/routes")
    ).text == "192.168.4.64/26 via 10.77.0.17 proto bird\n"
    assert (
        "| 10.77.0.2    | node-to-node mesh |" in (await client.get("/tortie/v1/nodes/node-001/status")).text
    )
    json_only = {"Accept": "application/json"}
    assert (await client.get("/tortie/v1/status", headers=json_only)).json() == await control.status()
    routes = await client.get("/tortie/v1/nodes/node-001/routes", headers=json_only)
    assert routes.json() == await control.ip_route("node-001", IPV4)
    peers = await client.get("/tortie/v1/nodes/node-001/status", headers=json_only)
    assert peers.json() == await control.node_status("node-001")


async def test_all_that_a_copy_is_made_of(served: Served) -> None:
    found = State.from_json(await served.get("/tortie/v1/state"))
    assert found == await served.control.state()
    assert found.off == ("node-002",)


async def test_routes_are_of_one_family(served: Served) -> None:
    path = "/tortie/v1/nodes/node-001/routes"
    six = await served.client.get(f"{path}?family=6")
    assert six.text == "fd00::40/122 via fd00:77::11 proto bird\n"
    assert (await served.client.get(f"{path}?family=4")).text == (await served.client.get(path)).text
    assert_status(await served.client.get(f"{path}?family=5"), 400, "BadRequest", "must be 4 or 6")


async def test_events_of_one_and_of_all(served: Served) -> None:
    json_only = {"Accept": "application/json"}
    one = (await served.client.get("/tortie/v1/nodes/node-001/events", headers=json_only)).json()
    assert one == await served.control.events("node-001")
    everybody = (await served.client.get("/tortie/v1/events", headers=json_only)).json()
    assert [row["node"] for row in everybody] == ["node-001", "node-009"]
    text = (await served.client.get("/tortie/v1/events")).text
    assert "SessionUp  Mesh_10_77_0_2" in text


async def test_birdc(served: Served) -> None:
    path = "/tortie/v1/nodes/node-001/birdc"
    good = await served.client.post(path, content="show route for 10.0.0.1")
    assert (good.text, good.headers["Bird-Reply-Code"]) == ("BIRD 1.6.8 ready.\n", "0000")
    bad = await served.client.post(path, content="foo")
    assert (bad.text, bad.headers["Bird-Reply-Code"]) == ("BIRD 1.6.8 ready.\nsyntax error\n", "9001")
    odd = await served.client.post(path, content=b"\xff\x00")
    assert odd.status_code == 200
    assert served.control.asked == [
        ("node-001", IPV4, "show route for 10.0.0.1"), ("node-001", IPV4, "foo"), ("node-001", IPV4, "\ufffd\x00"),
    ]  # fmt: skip
    await served.client.post(f"{path}?family=6", content="foo")
    assert served.control.asked[-1] == ("node-001", IPV6, "foo")
    assert_status(await served.client.post(path, content="x" * 5000), 413, "RequestEntityTooLarge")


async def test_down(served: Served) -> None:
    assert (await served.client.post("/tortie/v1/down")).status_code == 202
    assert served.control.down.is_set()


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /tortie/v1/down HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: !!\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 50,
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_one_malformed_request_never_ends_the_server(served: Served, garbage: bytes) -> None:
    url = httpx.URL(served.endpoint.url)
    assert url.port is not None
    stream = await trio.open_tcp_stream("127.0.0.1", url.port)
    async with stream:
        try:
            await stream.send_all(garbage)
            await stream.send_eof()
            with trio.move_on_after(0.05):
                while await stream.receive_some():
                    pass
        except trio.BrokenResourceError:
            pass
    assert (await served.get("/api"))["kind"] == "APIVersions"
    assert not served.control.down.is_set()


async def test_cancelling_ends_watches_at_once(tmp_path: Path) -> None:
    control, store = FakeControl(), MemoryStore(wall=lambda: 0.0)
    store.create(pool("a"))
    directory = str(tmp_path / "run")
    run_file = rundir.RunFile.claim(directory, "default")
    async with trio.open_nursery() as nursery, httpx.AsyncClient() as client:
        await nursery.start(serve, control, store, run_file)
        served = Served(client, store, control, rundir.find(directory, "default"))
        async with served.watch(f"{BASE}/ippools?watch=1") as watch:
            assert (await watch.next())["type"] == "ADDED"
            began = trio.current_time()
            nursery.cancel_scope.cancel()
    assert trio.current_time() - began < 0.5
    assert not store._watchers
