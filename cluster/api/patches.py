"""The three ways of Kubernetes to change a part of a document.

    merge      RFC 7386     objects are merged, null removes, everything else is replaced
    strategic  Kubernetes   the same, but lists with a merge key are merged by it, and ``$patch`` says otherwise
    json       RFC 6902     a list of operations, all or none

Pure: a patch makes a new document and leaves the old one alone. Raises ``BadPatch`` for what is no patch, or does not
fit the document.

Calico's kinds declare no merge keys, so that their lists are replaced; ``_MERGE_KEYS`` has those of Kubernetes' own
kinds. Left out: ``$retainKeys``, ``$setElementOrder`` and ``$deleteFromPrimitiveList``, which are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Value = Any  # a JSON value
Document = dict[str, Any]

_MERGE_KEYS: Final[Mapping[tuple[str, str], str]] = {
    ("Service", "spec.ports"): "port",
    ("Service", "status.loadBalancer.ingress"): "ip",
}
_ANY_KIND: Final = {"metadata.ownerReferences": "uid"}
_DIRECTIVE: Final = "$patch"


class BadPatch(ValueError):
    """The text says what cannot be done, and where."""


def apply(content_type: str, document: Document, patch: Value) -> Document:
    """``content_type`` is one of ``CONTENT_TYPES``."""
    if content_type == JSON:
        changed = _json(document, patch)
    elif not isinstance(patch, dict):
        raise BadPatch("the patch must be an object")
    elif content_type == MERGE:
        changed = _merge(document, patch)
    else:
        changed = _strategic(document, patch, document["kind"], "")
    if not isinstance(changed, dict):
        raise BadPatch("the patch leaves no object")
    return changed


JSON: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
CONTENT_TYPES: Final = (JSON, MERGE, STRATEGIC)


def _merge(old: Value, patch: Value) -> Value:
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


# -- strategic --------------------------------------------------------------------------------------------------------


def _strategic(old: Value, patch: Value, kind: str, path: str) -> Value:
    if isinstance(patch, list):
        return _strategic_list(old if isinstance(old, list) else [], patch, kind, path)
    if not isinstance(patch, dict):
        return patch
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            raise BadPatch(f"{path or 'the patch'}: {key} {value!r} is not supported")
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _strategic(merged.get(key), value, kind, f"{path}.{key}" if path else key)
    return merged


def _strategic_list(old: list[Value], patch: list[Value], kind: str, path: str) -> list[Value]:
    key = _MERGE_KEYS.get((kind, path)) or _ANY_KIND.get(path)
    replaces = {_DIRECTIVE: "replace"}
    if key is None or replaces in patch:
        return [item for item in patch if item != replaces]
    merged = list(old)
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise BadPatch(f"{path}: every entry needs its merge key {key}")
        at = next((i for i, one in enumerate(merged) if one.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(_strategic({}, item, kind, path))
        else:
            merged[at] = _strategic(merged[at], item, kind, path)
    return merged


# -- RFC 6902 ---------------------------------------------------------------------------------------------------------


def _json(document: Value, operations: Value) -> Value:
    if not isinstance(operations, list):
        raise BadPatch("a JSON patch is a list of operations")
    for at, operation in enumerate(operations):
        try:
            document = _operate(document, operation)
        except BadPatch as error:
            raise BadPatch(f"operation {at}: {error}") from None
    return document


def _operate(document: Value, operation: Value) -> Value:
    def said(field: str) -> Value:
        if not isinstance(operation, dict) or field not in operation:
            raise BadPatch(f"{field} is required")
        return operation[field]

    op, path = said("op"), _steps(said("path"))
    if op == "add":
        return _put(document, path, said("value"), insert=True)
    if op == "remove":
        return _drop(document, path)
    if op == "replace":
        _at(document, path)
        return _put(document, path, said("value"), insert=False)
    if op == "test":
        if not _same(_at(document, path), said("value")):
            raise BadPatch(f"test of {operation['path']} failed")
        return document
    if op in ("move", "copy"):
        source = _steps(said("from"))
        value = _at(document, source)
        if op == "move":
            if path[: len(source)] == source and path != source:
                raise BadPatch("nothing can be moved into itself")
            document = _drop(document, source)
        return _put(document, path, value, insert=True)
    raise BadPatch(f"unknown op {op!r}")


def _same(one: Value, other: Value) -> bool:
    """Equality of JSON, for which true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _steps(pointer: Value) -> list[str]:
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise BadPatch(f"{pointer!r} is not a JSON pointer")
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(items: list[Value], step: str, *, end: int) -> int:
    if step.isascii() and step.isdecimal() and (step == "0" or step[0] != "0") and len(step) < 10:
        index = int(step)
        if index < end:
            return index
    raise BadPatch(f"there is no index {step!r} in a list of {len(items)}")


def _at(document: Value, steps: list[str]) -> Value:
    for step in steps:
        if isinstance(document, list):
            document = document[_index(document, step, end=len(document))]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise BadPatch(f"there is no {step!r}")
    return document


def _put(document: Value, steps: list[str], value: Value, *, insert: bool) -> Value:
    """The document with ``value`` at the end of the steps; in a list before what is there when it is to ``insert``."""
    if not steps:
        return value
    first, *rest = steps
    if isinstance(document, list):
        items = list(document)
        if rest:
            at = _index(items, first, end=len(items))
            items[at] = _put(items[at], rest, value, insert=insert)
        elif insert:
            items.insert(len(items) if first == "-" else _index(items, first, end=len(items) + 1), value)
        else:
            items[_index(items, first, end=len(items))] = value
        return items
    if not isinstance(document, dict) or (rest and first not in document):
        raise BadPatch(f"there is no {first!r}")
    return {**document, first: _put(document[first], rest, value, insert=insert) if rest else value}


def _drop(document: Value, steps: list[str]) -> Value:
    if not steps:
        raise BadPatch("the document itself cannot be removed")
    first, *rest = steps
    if isinstance(document, list):
        at = _index(document, first, end=len(document))
        inner = [_drop(document[at], rest)] if rest else []
        return [*document[:at], *inner, *document[at + 1 :]]
    if not isinstance(document, dict) or first not in document:
        raise BadPatch(f"there is no {first!r}")
    if rest:
        return {**document, first: _drop(document[first], rest)}
    return {key: value for key, value in document.items() if key != first}
