"""``/apis/projectcalico.org/v3``: the datastore by the conventions of Kubernetes, read-only.

Owns discovery (``/api``, ``/apis``, the group, its resources), get, list and watch. A list carries the revision it
was made at; ``?watch=1&resourceVersion=N`` streams what came after N as JSON lines, ADDED, MODIFIED or DELETED;
without a revision (or from 0) it begins with what is there. Too old a revision is 410, and so is the last line to a
reader that does not keep up: both mean «list again».

Flow of a watch: the store calls back inside a write, the change is queued for this reader, and the reader's own task
writes it out. So no reader can delay a write, and what a slow reader costs is bounded.

Left out: writes (the next storey of this API), chunked lists (``limit`` may be ignored by a server), selectors
(refused, because ignoring one would answer another question), and the Table form of ``kubectl get``.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cluster.api.control import Store
from cluster.api.errors import status_object
from cluster.datastore.memory import Change
from protocol.sync.messages import Document
from protocol.v3.codec import KINDS, KindInfo

GROUP = "projectcalico.org"
VERSION = "v3"
BASE = f"/apis/{GROUP}/{VERSION}"

QUEUE = 4096
"""Changes a watcher may lag behind: twice the store's history, so that whoever falls out could not resume anyway."""

_TRUE = ("1", "true", "True")


def routes(store: Store) -> list[Route]:
    """The routes of one cluster's datastore."""
    resources = _Resources(store)
    return [
        Route("/api", _constant({"kind": "APIVersions", "versions": []})),
        Route("/apis", _constant({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]})),
        Route(f"/apis/{GROUP}", _constant({"kind": "APIGroup", "apiVersion": "v1", **_group()})),
        Route(BASE, _constant(_discovery())),
        Route(f"{BASE}/namespaces/{{namespace}}/{{plural}}", resources.list_or_watch),
        Route(f"{BASE}/namespaces/{{namespace}}/{{plural}}/{{name}}", resources.get),
        Route(f"{BASE}/{{plural}}", resources.list_or_watch),
        Route(f"{BASE}/{{plural}}/{{name}}", resources.get),
    ]


def _constant(document: dict[str, Any]) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def answer(request: Request) -> JSONResponse:
        return JSONResponse(document)

    return answer


def _group() -> dict[str, Any]:
    version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}


def _discovery() -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [
            {
                "name": info.plural,
                "singularName": info.kind.lower(),
                "namespaced": info.namespaced,
                "kind": info.kind,
                "verbs": ["get", "list", "watch"],
            }
            for info in sorted(KINDS.values(), key=lambda info: info.plural)
        ],
    }


class _Resources:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._kinds = {info.plural: info for info in KINDS.values()}

    async def get(self, request: Request) -> Response:
        info, namespace = self._kind(request)
        if info.namespaced and not namespace:
            raise HTTPException(404)
        return JSONResponse(self._store.get(info.kind, request.path_params["name"], namespace))

    async def list_or_watch(self, request: Request) -> Response:
        info, namespace = self._kind(request)
        query = request.query_params
        for selector in ("labelSelector", "fieldSelector"):
            if query.get(selector):
                raise HTTPException(400, f"{selector} is not supported")

        if query.get("watch") in _TRUE:
            text = query.get("resourceVersion", "")
            if text and not (text.isascii() and text.isdecimal() and len(text) < 20):
                raise HTTPException(400, f"resourceVersion {text!r} is not a revision")
            return _Watch(self._store, info.kind, namespace, int(text or 0))
        documents = [doc for doc in self._store.list(info.kind) if _is_in(doc, namespace)]
        return JSONResponse(
            {
                "kind": f"{info.kind}List",
                "apiVersion": f"{GROUP}/{VERSION}",
                "metadata": {"resourceVersion": str(self._store.revision)},
                "items": documents,
            }
        )

    def _kind(self, request: Request) -> tuple[KindInfo, str]:
        info = self._kinds.get(request.path_params["plural"])
        namespace: str = request.path_params.get("namespace", "")
        if info is None or (namespace and not info.namespaced):
            raise HTTPException(404)
        return info, namespace


def _is_in(document: Document, namespace: str) -> bool:
    return not namespace or document["metadata"].get("namespace", "") == namespace


class _Watch(Response):
    """One reader of changes. Ends when the reader hangs up, falls behind, or the server stops."""

    media_type = "application/json"

    def __init__(self, store: Store, kind: str, namespace: str, revision: int) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._kind = kind
        self._namespace = namespace
        self._push, self._changes = trio.open_memory_channel[Change](QUEUE)
        # Listed and watched in one go, here, where no write can come between; and a refusal is still a plain answer.
        self._first = [] if revision else [doc for doc in store.list(kind) if _is_in(doc, namespace)]
        self._cancel = store.watch(self._note, revision or None)

    def _note(self, change: Change) -> None:
        document = change.new or change.old
        if change.key[0] != self._kind or document is None or not _is_in(document, self._namespace):
            return
        try:
            self._push.send_nowait(change)
        except trio.WouldBlock:
            self._push.close()  # what is queued still goes out, then the reader is told
        except trio.ClosedResourceError:
            pass

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._until_hang_up, receive, nursery.cancel_scope)
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                for event in self._beginning():
                    await self._write(send, event)
                async for change in self._changes:
                    await self._write(send, _event(change))
                await self._write(
                    send, {"type": "ERROR", "object": status_object(410, "too slow: list again")}
                )
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                nursery.cancel_scope.cancel()
        finally:
            self._cancel()
            self._push.close()
            self._changes.close()

    def _beginning(self) -> Iterator[dict[str, Any]]:
        return ({"type": "ADDED", "object": document} for document in self._first)

    async def _write(self, send: Send, event: dict[str, Any]) -> None:
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": True})

    @staticmethod
    async def _until_hang_up(receive: Receive, scope: trio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


def _event(change: Change) -> dict[str, Any]:
    if change.new is None:
        assert change.old is not None
        # Kubernetes: the last state of the object, with the revision of its deletion.
        metadata = {**change.old["metadata"], "resourceVersion": str(change.revision)}
        return {"type": "DELETED", "object": {**change.old, "metadata": metadata}}
    return {"type": "ADDED" if change.old is None else "MODIFIED", "object": change.new}
