"""Manifests to resources: files, directories and standard input, and every error at once with its place.

Owns ``load`` (paths), ``load_for_cluster`` (paths, for one that runs), ``parse`` (texts), ``Loaded`` and ``ManifestError``.

Flow: texts -> documents (``yamltree``) -> single resources, lists taken apart -> ``validate.resource_of`` for each ->
``rules.conflicts`` for all. Every step goes on after a fault, and nothing is returned when there was one: the
error has all of them, in the order of the files, as ``file:line: Kind/name: path: what is wrong``.

A document is a resource, a list of them (YAML or JSON), a ``v1`` ``List`` or a ``<Kind>List``. What a server writes into
metadata (resourceVersion, uid, creationTimestamp, generation, managedFields) is accepted, because people save what they got,
and dropped, because loading creates. A namespaced resource without a namespace goes to ``default``.

Left out: standard input itself, which the caller reads; sub-directories.

Follows calicoctl's file commands, but for reading on after an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from protocol.v3 import rules, yamltree
from protocol.v3.codec import KINDS, Resource
from protocol.v3.metadata import Key
from protocol.v3.rules import Fault, format_path
from protocol.v3.validate import InvalidResource, resource_of
from protocol.v3.yamltree import Map, Seq, SyntaxFault, Tree

__all__ = ["Loaded", "ManifestError", "Place", "Problem", "load", "load_for_cluster", "parse"]

STDIN = "-"
DEFAULT_NAMESPACE = "default"
SUFFIXES = (".yaml", ".yml", ".json")
MAX_FILE = 64 * 1024 * 1024
"""A manifest of 100,000 nodes has 30 MB."""


@attrs.frozen
class Place:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@attrs.frozen(kw_only=True)
class Problem:
    """One line of the report. ``line`` 0 is the file as a whole; ``subject`` and ``path`` may be empty."""

    file: str
    line: int
    subject: str  # "Kind/name"
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.subject, self.path, self.message) if part)


class ManifestError(ValueError):
    """Something is wrong with the manifests; ``problems`` is all of it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@attrs.frozen
class Loaded:
    """Valid resources in the order of the files, and where each one stands."""

    resources: tuple[Resource, ...] = ()
    places: tuple[Place, ...] = ()


def load(sources: Sequence[str], stdin: bytes = b"") -> Loaded:
    """Reads files, directories (their ``*.yaml``, ``*.yml`` and ``*.json``, sorted) and ``-``, whose bytes are ``stdin``.

    Raises ManifestError, also for files that cannot be read.
    """
    return _load(_texts(sources, stdin), created=True)


def load_for_cluster(
    sources: Sequence[str], stdin: bytes = b"", *, namespace: str = DEFAULT_NAMESPACE
) -> Loaded:
    """The same for a cluster that has resources already: what a document needs or collides with may be there, so each
    must only be right by itself, and a ``resourceVersion`` says which state of it is meant. ``namespace`` is where
    resources are that do not say it.
    """
    return _load(_texts(sources, stdin), created=False, namespace=namespace)


def _texts(sources: Sequence[str], stdin: bytes) -> Iterator[tuple[str, str | Problem]]:
    for source in sources:
        if source == STDIN:
            yield "<stdin>", _decode("<stdin>", stdin)
        else:
            yield from ((str(path), _read(path)) for path in _files(Path(source)))


def parse(text: str, name: str = "<text>") -> Loaded:
    """The same for a text in hand; ``name`` stands for the file in messages."""
    return _load([(name, text)], created=True)


def _files(path: Path) -> list[Path]:
    """The file itself, or the manifests of a directory; the directory when it has none, to be complained of."""
    try:
        if path.is_dir():
            return sorted(file for file in path.iterdir() if file.suffix in SUFFIXES) or [path]
    except (OSError, ValueError):
        pass  # reading it will fail too, and say why
    return [path]


def _read(path: Path) -> str | Problem:
    try:
        if path.is_dir():
            return _problem(path, f"no {', '.join('*' + suffix for suffix in SUFFIXES)} in this directory")
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        return _problem(path, error.strerror or str(error))
    except ValueError as error:  # a NUL in the name
        return _problem(path, str(error))
    return _decode(path, data)


def _decode(path: Path | str, data: bytes) -> str | Problem:
    if len(data) > MAX_FILE:
        return _problem(path, f"larger than {MAX_FILE >> 20} MB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return _problem(path, f"not UTF-8: {error.reason}", data.count(b"\n", 0, error.start) + 1)


def _problem(path: Path | str, message: str, line: int = 0) -> Problem:
    return Problem(file=str(path), line=line, subject="", path="", message=message)


@attrs.define
class _Candidate:
    """One resource to be: its tree, and its document."""

    file: str
    tree: Map
    doc: Mapping[str, Any]

    def _named(self, field: str) -> str:
        metadata = self.doc.get("metadata")
        value = metadata.get(field) if isinstance(metadata, Mapping) else None
        return value if isinstance(value, str) else ""

    @property
    def subject(self) -> str:
        kind = self.doc.get("kind")
        return "/".join(part for part in (kind, self._named("name")) if isinstance(part, str) and part)

    @property
    def key(self) -> Key | None:
        """As far as an invalid document has one."""
        kind, name = self.doc.get("kind"), self._named("name")
        if not isinstance(kind, str) or not name:
            return None
        namespaced = kind in KINDS and KINDS[kind].namespaced
        return kind, (self._named("namespace") or DEFAULT_NAMESPACE) if namespaced else "", name

    def problem(self, fault: Fault) -> Problem:
        line = yamltree.line_of(self.tree, fault.path)
        return Problem(
            file=self.file,
            line=line,
            subject=self.subject,
            path=format_path(fault.path),
            message=fault.message,
        )


def _load(
    texts: Iterable[tuple[str, str | Problem]], *, created: bool, namespace: str = DEFAULT_NAMESPACE
) -> Loaded:
    files: dict[str, int] = {}  # for the order of the report
    problems: list[Problem] = []
    resources: list[Resource] = []
    candidates: list[_Candidate] = []
    entries: list[Resource | Key] = []  # one for each candidate
    for file, text in texts:
        files.setdefault(file, len(files))
        if isinstance(text, Problem):
            problems.append(text)
            continue
        for found in _candidates(file, text):
            if isinstance(found, Problem):
                problems.append(found)
                continue
            problems += _duplicate_keys(found)
            try:
                resource = _as_sent(resource_of(found.doc), namespace, created=created)
            except InvalidResource as error:
                problems += map(found.problem, error.faults)
                if found.key is None:
                    continue  # nothing can be said of it beside the others
                entries.append(found.key)
            else:
                resources.append(resource)
                entries.append(resource)
            candidates.append(found)

    places = tuple(Place(candidate.file, candidate.tree.line) for candidate in candidates)
    for conflict in rules.conflicts(entries, lambda index: str(places[index])) if created else ():
        problems.append(candidates[conflict.index].problem(Fault(conflict.path, conflict.message)))
    if problems:
        raise ManifestError(sorted(problems, key=lambda problem: (files[problem.file], problem.line)))
    return Loaded(tuple(resources), places)


def _candidates(file: str, text: str) -> Iterator[_Candidate | Problem]:
    empty = True
    try:
        for tree in yamltree.read(text):
            empty = False
            yield from _unfold(file, tree, "")
    except SyntaxFault as fault:
        empty = False
        yield Problem(file=file, line=fault.line, subject="", path="", message=fault.message)
    if empty:
        yield Problem(file=file, line=0, subject="", path="", message="no resources in this file")


def _unfold(file: str, tree: Tree, implied_kind: str) -> Iterator[_Candidate | Problem]:
    """The resources of a document. In a ``<Kind>List`` the items need not repeat their kind."""
    if isinstance(tree, Seq):
        for item in tree.items:
            yield from _unfold(file, item, implied_kind)
        return
    if not isinstance(tree, Map):
        yield Problem(
            file=file,
            line=tree.line,
            subject="",
            path="",
            message="expected a resource, found a single value",
        )
        return
    doc = yamltree.plain(tree)
    kind = doc.get("kind")
    if isinstance(kind, str) and (kind == "List" or (kind.endswith("List") and kind[:-4] in KINDS)):
        yield from _unfold_list(file, tree, doc, kind)
        return
    if implied_kind:
        doc = {"apiVersion": KINDS[implied_kind].api_version, "kind": implied_kind, **doc}
    yield _Candidate(file, tree, doc)


def _unfold_list(file: str, tree: Map, doc: Mapping[str, Any], kind: str) -> Iterator[_Candidate | Problem]:
    def problem(path: yamltree.Path, message: str) -> Problem:
        line = yamltree.line_of(tree, path)
        return Problem(file=file, line=line, subject=kind, path=format_path(path), message=message)

    version = "v1" if kind == "List" else KINDS[kind[:-4]].api_version
    if doc.get("apiVersion") != version:
        yield problem(("apiVersion",), f"expected {version}")
    for field in doc:
        if field not in ("apiVersion", "kind", "metadata", "items"):
            yield problem((field,), "unknown field; known are apiVersion, kind, metadata, items")
    for path, line, first in yamltree.duplicate_keys(tree):
        if len(path) == 1:  # the items report their own
            message = f"the key stands here a second time, first on line {first}"
            yield Problem(file=file, line=line, subject=kind, path=format_path(path), message=message)
    items = tree.entries.get("items")
    if isinstance(items, Seq):
        yield from _unfold(file, items, "" if kind == "List" else kind[:-4])
    elif doc.get("items") is not None or "items" not in doc:
        yield problem(("items",), "a list of resources is required")


def _duplicate_keys(candidate: _Candidate) -> Iterator[Problem]:
    for path, line, first in yamltree.duplicate_keys(candidate.tree):
        yield Problem(
            file=candidate.file,
            line=line,
            subject=candidate.subject,
            path=format_path(path),
            message=f"the key stands here a second time, first on line {first}",
        )


def _as_sent(resource: Resource, namespace: str, *, created: bool) -> Resource:
    """Without what only a server writes, and in a namespace when its kind needs one."""
    metadata = attrs.evolve(
        resource.metadata,
        namespace=resource.metadata.namespace or (namespace if resource.namespaced else ""),
        resource_version="" if created else resource.metadata.resource_version,
        uid="",
        creation_timestamp="",
        generation=None,
        managed_fields=(),
    )
    return attrs.evolve(resource, metadata=metadata)
