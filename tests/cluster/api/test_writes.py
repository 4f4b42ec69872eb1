"""Create, replace, patch and delete, by the application itself, without a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import trio.testing
from starlette.applications import Starlette

from cluster.api import resources
from cluster.api.errors import HANDLERS
from cluster.datastore.memory import MemoryStore

CALICO = "/apis/projectcalico.org/v3"
POOLS = f"{CALICO}/ippools"
SERVICES = "/api/v1/namespaces/shop/services"


class Api:
    def __init__(self, client: httpx.AsyncClient, store: MemoryStore) -> None:
        self.client = client
        self.store = store

    async def ask(self, method: str, path: str, document: Any = None, **headers: str) -> httpx.Response:
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        return await self.client.request(method, path, json=document, headers=headers)

    async def made(self, path: str, document: Any) -> Any:
        response = await self.ask("POST", path, document)
        assert response.status_code == 201, response.text
        return response.json()

    async def refused(self, method: str, path: str, document: Any, code: int, *words: str) -> Any:
        """``words``: the reason, and what the message has."""
        before = self.store.revision
        response = await self.ask(method, path, document)
        status = response.json()
        assert (response.status_code, status["kind"], status["code"]) == (code, "Status", code), status
        assert status["status"] == "Failure"
        assert status["reason"] == words[0]
        assert all(text in status["message"] for text in words[1:])
        assert self.store.revision == before, "a refusal writes nothing"
        return status


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    store = MemoryStore(wall=lambda: 0.0)
    app = Starlette(routes=resources.routes(store), exception_handlers=HANDLERS)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api"
    ) as client:
        yield Api(client, store)


def calico(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec}


def pool(name: str = "p", cidr: str = "10.0.0.0/16", **spec: Any) -> dict[str, Any]:
    return calico("IPPool", name, cidr=cidr, **spec)


async def test_create_stamps_and_fills_in(api: Api) -> None:
    made = await api.made(POOLS, pool())
    assert made["metadata"]["resourceVersion"] == "1"
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"] == "1970-01-01T00:00:00Z"
    assert made["spec"]["blockSize"] == 26
    assert (await api.ask("GET", f"{POOLS}/p")).json() == made == api.store.get("IPPool", "p")


async def test_every_group_has_its_path(api: Api) -> None:
    for path, document in (
        (
            SERVICES,
            {"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}},
        ),
        ("/api/v1/namespaces", {"metadata": {"name": "shop"}}),
        ("/api/v1/namespaces/shop/secrets", {"metadata": {"name": "s"}, "data": {"password": "c2VjcmV0"}}),
        (
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
            {
                "metadata": {"name": "web-1"},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.0.0.1"]}],
            },
        ),
        (
            "/apis/lab.tortie/v1/routers",
            {"metadata": {"name": "tor"}, "spec": {"addresses": ["10.9.0.1/24"], "asNumber": 65000}},
        ),
    ):
        made = await api.made(path, document)
        listed = (await api.ask("GET", path)).json()
        assert (listed["items"], listed["kind"]) == ([made], f"{made['kind']}List")
        assert made["metadata"].get("namespace", "shop") == "shop"
        assert listed["apiVersion"] == made["apiVersion"]
        deleted = (await api.ask("DELETE", f"{path}/{made['metadata']['name']}")).json()
        assert (deleted["kind"], deleted["status"]) == ("Status", "Success")
        assert (await api.ask("GET", path)).json()["items"] == []


async def test_yaml_is_a_document_too(api: Api) -> None:
    text = "kind: IPPool\nmetadata: {name: p, labels: {a: yes}}\nspec: {cidr: 10.0.0.0/16}\n"
    headers = {"Content-Type": "application/yaml; charset=utf-8"}
    response = await api.client.post(POOLS, content=text, headers=headers)
    assert response.status_code == 201, response.text
    assert response.json()["metadata"]["labels"] == {"a": "true"}
    for bad in (b"a: [", b"- 1", b"", b"\xff", b"a: 1\n---\nb: 1\n"):
        assert (await api.client.post(POOLS, content=bad, headers=headers)).status_code == 400


async def test_what_cannot_be_created(api: Api) -> None:
    made = await api.made(POOLS, pool())
    await api.refused("POST", POOLS, pool(), 409, "AlreadyExists", "resource already exists: IPPool(p)")
    await api.refused("POST", POOLS, made, 400, "BadRequest", "resourceVersion should not be set")
    await api.refused("POST", POOLS, [], 400, "BadRequest", "one resource")
    await api.refused("POST", POOLS, {"spec": {}}, 400, "BadRequest", "metadata")
    await api.refused("POST", POOLS, {"metadata": {}}, 400, "BadRequest", "metadata.name")
    await api.refused("POST", POOLS, calico("BGPPeer", "x"), 400, "BadRequest", "kind must be IPPool")
    there = {"metadata": {"name": "web", "namespace": "lab"}, "spec": {}}
    await api.refused("POST", SERVICES, there, 400, "BadRequest", "does not match the namespace")
    status = await api.refused(
        "POST", POOLS, pool("q", "10.0.0.0/33", colour="red"), 422, "Invalid", 'IPPool.projectcalico.org "q"'
    )
    assert status["details"]["kind"] == "IPPool"
    assert [cause["field"] for cause in status["details"]["causes"]] == ["spec.cidr", "spec.colour"]
    assert all(cause["message"] for cause in status["details"]["causes"])
    status = await api.refused(
        "POST", POOLS, pool("q", "10.0.128.0/17"), 422, "Invalid", "overlaps with IPPool p"
    )
    assert [cause["field"] for cause in status["details"]["causes"]] == ["spec.cidr"]


@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"{", "application/json", 400),
        (b'{"metadata": {"name": NaN}}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"<pool/>", "text/xml", 415),
    ],
)
async def test_bodies_that_are_none(api: Api, content: bytes, content_type: str, code: int) -> None:
    response = await api.client.post(POOLS, content=content, headers={"Content-Type": content_type})
    assert (response.status_code, response.json()["kind"]) == (code, "Status")
    assert api.store.revision == 0


async def test_replace(api: Api) -> None:
    made = await api.made(POOLS, pool())
    new = {**made, "spec": {**made["spec"], "natOutgoing": True}}
    replaced = (await api.ask("PUT", f"{POOLS}/p", new)).json()
    assert replaced["spec"]["natOutgoing"] is True
    for field in ("uid", "creationTimestamp"):
        assert replaced["metadata"][field] == made["metadata"][field]
    assert replaced["metadata"]["resourceVersion"] == "2"
    await api.refused("PUT", f"{POOLS}/p", new, 409, "Conflict", "update conflict: IPPool(p)")
    other = {**replaced, "metadata": {**replaced["metadata"], "uid": "another"}}
    await api.refused("PUT", f"{POOLS}/p", other, 409, "Conflict")
    unconditional = (await api.ask("PUT", f"{POOLS}/p", pool(ipipMode="Always"))).json()
    assert unconditional["spec"]["ipipMode"] == "Always"
    assert "natOutgoing" not in unconditional["spec"], "a replacement is whole"
    await api.refused("PUT", f"{POOLS}/q", pool("q"), 404, "NotFound", "resource does not exist: IPPool(q)")
    await api.refused("PUT", f"{POOLS}/p", pool("q"), 400, "BadRequest", "does not match the name on the URL")
    await api.refused(
        "PUT", f"{POOLS}/p", pool(cidr="10.1.0.0/16"), 422, "Invalid", "CIDR cannot be modified"
    )
    await api.refused("PUT", f"{POOLS}/p", pool(blockSize=28), 422, "Invalid", "BlockSize cannot be modified")


async def test_what_does_not_change_is_not_written(api: Api) -> None:
    made = await api.made(POOLS, pool())
    assert (await api.ask("PUT", f"{POOLS}/p", made)).json() == made
    assert (await api.ask("PUT", f"{POOLS}/p", pool())).json() == made, "defaults are no change"
    merge = {"Content-Type": "application/merge-patch+json"}
    for patch in ("{}", '{"spec": {"blockSize": 26}}', '{"metadata": {"labels": {"a": null}}}'):
        response = await api.client.patch(f"{POOLS}/p", content=patch, headers=merge)
        assert response.json() == made
    assert api.store.revision == 1


@pytest.mark.parametrize(
    ("content_type", "patch"),
    [
        ("application/strategic-merge-patch+json", {"spec": {"disabled": True}}),
        ("application/merge-patch+json", {"spec": {"disabled": True}}),
        ("application/json-patch+json", [{"op": "add", "path": "/spec/disabled", "value": True}]),
    ],
)
async def test_patch(api: Api, content_type: str, patch: Any) -> None:
    made = await api.made(POOLS, pool())
    headers = {"Content-Type": content_type}
    patched = await api.client.patch(f"{POOLS}/p", content=json.dumps(patch), headers=headers)
    assert patched.json()["spec"] == {**made["spec"], "disabled": True}
    assert api.store.revision == 2


@pytest.mark.parametrize(
    ("content_type", "patch", "code"),
    [
        ("application/json", {}, 415),
        ("application/apply-patch+yaml", {}, 415),
        ("application/merge-patch+json", [], 400),
        ("application/merge-patch+json", {"metadata": {"name": "q"}}, 400),
        ("application/merge-patch+json", {"kind": "BGPPeer"}, 400),
        ("application/merge-patch+json", {"metadata": None}, 400),
        ("application/merge-patch+json", {"metadata": {"resourceVersion": "7"}}, 409),
        ("application/merge-patch+json", {"spec": {"cidr": "10.9.0.0/16"}}, 422),
        ("application/merge-patch+json", {"spec": {"colour": "red"}}, 422),
        ("application/json-patch+json", [{"op": "test", "path": "/spec/cidr", "value": "x"}], 400),
    ],
)
async def test_patches_that_are_refused(api: Api, content_type: str, patch: Any, code: int) -> None:
    await api.made(POOLS, pool())
    headers = {"Content-Type": content_type}
    response = await api.client.patch(f"{POOLS}/p", content=json.dumps(patch), headers=headers)
    assert (response.status_code, response.json()["kind"]) == (code, "Status"), response.text
    assert api.store.revision == 1


async def test_delete_with_preconditions(api: Api) -> None:
    made = await api.made(f"{CALICO}/bgppeers", calico("BGPPeer", "a", peerIP="10.0.0.1", asNumber=1))
    path = f"{CALICO}/bgppeers/a"
    for wrong in ({"uid": "another"}, {"resourceVersion": "9"}):
        await api.refused("DELETE", path, {"preconditions": wrong}, 409, "Conflict")
    right = {name: made["metadata"][name] for name in ("uid", "resourceVersion")}
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": right}
    deleted = (await api.ask("DELETE", path, options)).json()
    assert deleted["details"] == {
        "name": "a", "group": "projectcalico.org", "kind": "bgppeers", "uid": made["metadata"]["uid"]
    }  # fmt: skip
    await api.refused("DELETE", path, None, 404, "NotFound", "resource does not exist: BGPPeer(a)")


async def test_a_dry_run_is_refused_and_not_run(api: Api) -> None:
    await api.refused("POST", f"{POOLS}?dryRun=All", pool(), 400, "BadRequest", "dryRun")
    await api.made(POOLS, pool())
    await api.refused("DELETE", f"{POOLS}/p?dryRun=All", None, 400, "BadRequest", "dryRun")


async def test_a_pool_is_deleted_when_its_blocks_are(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    await api.made(POOLS, pool())
    started = trio.current_time()
    assert (await api.ask("DELETE", f"{POOLS}/p")).status_code == 200
    assert trio.current_time() - started == 0.5
    assert api.store.list("IPPool") == []
