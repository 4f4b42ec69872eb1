"""Create, replace, patch and delete: the writing half of the Kubernetes API.

Every request goes the same way: the body is read and decoded, the resource is looked up, the new document made, and
``cluster.writing`` writes it, or says why not.

Left out: ``dryRun``, which is refused because whoever asks for it does not want a write; ``generateName``, server-side
apply, deletion of whole collections.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cluster.api import patches
from cluster.api.bodies import read_body
from cluster.api.errors import NotAdmitted
from cluster.api.names import Name
from cluster.cleanup import Cleanup
from cluster.datastore.memory import MemoryStore
from cluster.writing import Writing
from protocol.sync.errors import Conflict
from protocol.sync.messages import Document
from protocol.v3 import yamltree
from protocol.v3.validate import InvalidResource

MAX_BODY: Final = 3 << 20
"""Bytes of a request: what Kubernetes takes."""

_JSON: Final = "application/json"
_YAML: Final = "application/yaml"


class Writes:
    def __init__(self, store: MemoryStore, cleanup: Cleanup) -> None:
        self._store = store
        self._writing = Writing(store, cleanup)

    async def create(self, request: Request, kind: Name, namespace: str) -> Response:
        document = _meant(await _document(request), kind, namespace, "")
        if document["metadata"].get("resourceVersion"):
            raise HTTPException(400, "resourceVersion should not be set on objects to be created")
        with _not_admitted(kind, document):
            return JSONResponse(self._writing.create(document), status_code=201)

    async def replace(self, request: Request, kind: Name, namespace: str, name: str) -> Response:
        document = _meant(await _document(request), kind, namespace, name)
        old = self._store.get(kind.kind, name, namespace)
        return JSONResponse(self._replace(kind, old, document))

    async def patch(self, request: Request, kind: Name, namespace: str, name: str) -> Response:
        content_type = _content_type(request)
        if content_type not in patches.CONTENT_TYPES:
            raise HTTPException(
                415, f"a patch is one of {', '.join(patches.CONTENT_TYPES)}, not {content_type or 'nothing'}"
            )
        patch = _parse_json(await _body(request))
        old = self._store.get(kind.kind, name, namespace)
        try:
            patched = patches.apply(content_type, old, patch)
        except patches.BadPatch as error:
            raise HTTPException(400, f"the patch cannot be applied: {error}") from None
        return JSONResponse(self._replace(kind, old, _meant(patched, kind, namespace, name)))

    async def delete(self, request: Request, kind: Name, namespace: str, name: str) -> Response:
        options = _parse_json(await _body(request) or b"{}")
        preconditions = options.get("preconditions") if isinstance(options, dict) else None
        if not isinstance(preconditions, dict):
            preconditions = {}
        old = self._store.get(kind.kind, name, namespace)
        if preconditions.get("uid") not in (None, "", old["metadata"]["uid"]):
            raise Conflict.of((kind.kind, namespace, name))
        version = str(preconditions.get("resourceVersion") or "")
        await self._writing.delete((kind.kind, namespace, name), version)
        details = {"name": name, "kind": kind.plural, "uid": old["metadata"]["uid"]}
        if kind.group:
            details["group"] = kind.group
        return JSONResponse(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    def _replace(self, kind: Name, old: Document, document: Document) -> Document:
        with _not_admitted(kind, document):
            return self._writing.replace(old, document)


@contextmanager
def _not_admitted(kind: Name, document: Document) -> Iterator[None]:
    try:
        yield
    except InvalidResource as error:
        raise NotAdmitted(kind, document["metadata"]["name"], error.faults) from None


# -- what a request says ----------------------------------------------------------------------------------------------


async def _body(request: Request) -> bytes:
    if request.query_params.get("dryRun"):
        raise HTTPException(400, "dryRun is not supported")
    return await read_body(request, MAX_BODY)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _document(request: Request) -> Any:
    content_type = _content_type(request) or _JSON
    if content_type not in (_JSON, _YAML):
        raise HTTPException(415, f"a document is {_JSON} or {_YAML}, not {content_type}")
    body = await _body(request)
    return _parse_json(body) if content_type == _JSON else _parse_yaml(body)


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


def _parse_yaml(body: bytes) -> Any:
    try:
        trees = [*yamltree.read(body.decode())]
    except (ValueError, yamltree.SyntaxFault) as error:
        raise HTTPException(400, f"the body is not YAML: {error}") from None
    if len(trees) != 1 or not isinstance(trees[0], yamltree.Map):
        raise HTTPException(400, "the body must be one resource")
    return yamltree.plain(trees[0])


def _meant(document: Any, kind: Name, namespace: str, name: str) -> Document:
    """The document as one of the path's: kind, namespace and name filled in where they do not stand.

    Raises HTTPException when it is of something else.
    """
    if not isinstance(document, dict):
        raise HTTPException(400, "the body must be one resource")
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        raise HTTPException(400, "metadata: an object is required")
    for field, expected in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if document.get(field) not in (None, "", expected):
            raise HTTPException(
                400,
                f"the object provided is unrecognized: {field} must be {expected}, not {document[field]!r}",
            )
    said = metadata.get("namespace") or namespace
    if said != namespace:
        raise HTTPException(
            400, "the namespace of the provided object does not match the namespace sent on the request"
        )
    found = metadata.get("name")
    if not isinstance(found, str) or not found:
        if not name:
            raise HTTPException(400, "metadata.name is required")
        found = name
    if name and found != name:
        raise HTTPException(
            400, f"the name of the object ({found}) does not match the name on the URL ({name})"
        )
    own = {"name": found, "namespace": namespace} if namespace else {"name": found}
    return {
        **document,
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {**metadata, **own},
    }
