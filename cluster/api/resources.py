"""``/api/v1`` and ``/apis/GROUP/VERSION``: the datastore by the conventions of Kubernetes.

Owns discovery (``/api``, ``/apis``, each group, its resources), the paths of all kinds, and reading: get, list and
watch; ``writes`` has the rest. A list carries the revision it was made at; ``?watch=1&resourceVersion=N`` streams what
came after N as JSON lines, ADDED, MODIFIED or DELETED; without a revision (or from 0) it begins with what is there. Too
old a revision is 410, and so is the last line to a reader that does not keep up: both mean «list again».

Flow of a watch: the store calls back inside a write, the change is queued for this reader, and the reader's own task
writes it out. So no reader can delay a write, and what a slow reader costs is bounded.

Left out: chunked lists (``limit`` may be ignored by a server), selectors (refused, because ignoring one would answer
another question), and the Table form of ``kubectl get``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cluster.api.errors import status_object
from cluster.api.names import NAMES, Name, base
from cluster.api.writes import Writes
from cluster.cleanup import Cleanup
from cluster.datastore.memory import Change, MemoryStore
from protocol.sync.messages import Document

QUEUE = 4096
"""Changes a watcher may lag behind: twice the store's history, so that whoever falls out could not resume anyway."""

_TRUE = ("1", "true", "True")
_READING = ["get", "list", "watch"]
_WRITING = ["create", "delete", "patch", "update"]


def routes(store: MemoryStore) -> list[Route]:
    """The routes of one cluster's datastore."""
    writes = Writes(store, Cleanup(store, wall=time.time))
    by_version: dict[str, list[Name]] = {}
    for name in NAMES:
        by_version.setdefault(name.api_version, []).append(name)
    groups = [_group(version) for version in by_version if "/" in version]
    found = [
        Route("/api", _constant({"kind": "APIVersions", "versions": ["v1"]})),
        Route("/apis", _constant({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})),
    ]
    for group in groups:
        document = {"kind": "APIGroup", "apiVersion": "v1", **group}
        found.append(Route(f"/apis/{group['name']}", _constant(document)))
    for version, names in by_version.items():
        found += _Resources(store, writes, names).routes(version)
    return found


def _constant(document: dict[str, Any]) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def answer(request: Request) -> JSONResponse:
        return JSONResponse(document)

    return answer


def _group(api_version: str) -> dict[str, Any]:
    name, _, version = api_version.partition("/")
    entry = {"groupVersion": api_version, "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def _discovery(api_version: str, names: list[Name]) -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version,
        "resources": [
            {
                "name": name.plural,
                "singularName": name.kind.lower(),
                "namespaced": name.namespaced,
                "kind": name.kind,
                "verbs": _READING if name.internal else sorted(_READING + _WRITING),
                "shortNames": list(name.short),
            }
            for name in names
        ],
    }


class _Resources:
    """The kinds of one group's version."""

    def __init__(self, store: MemoryStore, writes: Writes, names: list[Name]) -> None:
        self._store = store
        self._writes = writes
        self._names = {name.plural: name for name in names}

    def routes(self, api_version: str) -> list[Route]:
        path = base(api_version)
        whole, one = ["GET", "POST"], ["GET", "PUT", "PATCH", "DELETE"]
        return [
            Route(path, _constant(_discovery(api_version, [*self._names.values()]))),
            Route(f"{path}/namespaces/{{namespace}}/{{plural}}", self.kind, methods=whole),
            Route(f"{path}/namespaces/{{namespace}}/{{plural}}/{{name}}", self.resource, methods=one),
            Route(f"{path}/{{plural}}", self.kind, methods=whole),
            Route(f"{path}/{{plural}}/{{name}}", self.resource, methods=one),
        ]

    async def kind(self, request: Request) -> Response:
        kind, namespace = self._asked(request)
        if request.method == "POST":
            if kind.namespaced and not namespace:
                raise HTTPException(405)
            return await self._writes.create(request, kind, namespace)
        return self._list_or_watch(request, kind, namespace)

    async def resource(self, request: Request) -> Response:
        kind, namespace = self._asked(request)
        if kind.namespaced and not namespace:
            raise HTTPException(404)
        name: str = request.path_params["name"]
        match request.method:
            case "PUT":
                return await self._writes.replace(request, kind, namespace, name)
            case "PATCH":
                return await self._writes.patch(request, kind, namespace, name)
            case "DELETE":
                return await self._writes.delete(request, kind, namespace, name)
        return JSONResponse(self._store.get(kind.kind, name, namespace))

    def _list_or_watch(self, request: Request, kind: Name, namespace: str) -> Response:
        query = request.query_params
        for selector in ("labelSelector", "fieldSelector"):
            if query.get(selector):
                raise HTTPException(400, f"{selector} is not supported")

        if query.get("watch") in _TRUE:
            text = query.get("resourceVersion", "")
            if text and not (text.isascii() and text.isdecimal() and len(text) < 20):
                raise HTTPException(400, f"resourceVersion {text!r} is not a revision")
            return _Watch(self._store, kind.kind, namespace, int(text or 0))
        documents = [doc for doc in self._store.list(kind.kind) if _is_in(doc, namespace)]
        return JSONResponse(
            {
                "kind": f"{kind.kind}List",
                "apiVersion": kind.api_version,
                "metadata": {"resourceVersion": str(self._store.revision)},
                "items": documents,
            }
        )

    def _asked(self, request: Request) -> tuple[Name, str]:
        kind = self._names.get(request.path_params["plural"])
        namespace: str = request.path_params.get("namespace", "")
        if kind is None or (namespace and not kind.namespaced):
            raise HTTPException(404)
        if kind.internal and request.method not in ("GET", "HEAD"):
            raise HTTPException(405, f"{kind.plural} are IPAM's own, and only IPAM writes them")
        return kind, namespace


def _is_in(document: Document, namespace: str) -> bool:
    return not namespace or document["metadata"].get("namespace", "") == namespace


class _Watch(Response):
    """One reader of changes. Ends when the reader hangs up, falls behind, or the server stops."""

    media_type = "application/json"

    def __init__(self, store: MemoryStore, kind: str, namespace: str, revision: int) -> None:
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
