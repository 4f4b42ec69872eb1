"""Manifests to resources: files, directories and standard input, and every error at once with its place.

Owns ``load`` (paths), ``load_for_cluster`` (paths, for one that runs), ``load_parts`` (documents that were read already, and
paths), ``parse`` (texts), ``Loaded`` and ``ManifestError``.

Flow: texts -> documents (``yamltree``) -> single documents, lists taken apart -> ``foreign.read`` for each, which is
``validate.resource_of`` for nearly all -> ``foreign.settle`` and ``rules.conflicts`` for all. Every step goes on after a fault, and
nothing is returned when there was one: the error has all of them, in the order of the files, as
``file:line: Kind/name: path: what is wrong``.

A document is a resource, a list of them (YAML or JSON), a ``v1`` ``List`` or a ``<Kind>List``. What a server writes into
metadata (resourceVersion, uid, creationTimestamp, generation, managedFields) is accepted, because people save what they got,
and dropped, because loading creates. A namespaced resource without a namespace goes to ``default``.

Left out: standard input itself, which the caller reads.

Follows calicoctl's file commands, but for reading on after an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from protocol.v3 import foreign, rules, yamltree
from protocol.v3.codec import KINDS, Resource
from protocol.v3.lint import lint
from protocol.v3.metadata import Key
from protocol.v3.reading import Made
from protocol.v3.rules import Fault, format_path
from protocol.v3.validate import InvalidResource
from protocol.v3.yamltree import Map, Seq, SyntaxFault, Tree

__all__ = ["Loaded", "ManifestError", "Place", "Problem", "load", "load_for_cluster", "load_parts", "parse"]

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
    """Something is wrong with the manifests; ``problems`` is all of it. ``warnings`` are of what is right."""

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(problems)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(map(str, self.problems)))


@attrs.frozen
class Loaded:
    """Valid resources in the order of the files, where each one stands, and what its author should know of it."""

    resources: tuple[Resource, ...] = ()
    places: tuple[Place, ...] = ()
    warnings: tuple[Problem, ...] = ()


def load(
    sources: Sequence[str], stdin: bytes = b"", *, recursive: bool = False, linted: bool = False
) -> Loaded:
    """Reads files, directories (their ``*.yaml``, ``*.yml`` and ``*.json``, sorted; those of all directories below when
    ``recursive``) and ``-``, whose bytes are ``stdin``.

    ``linted`` warns of what is surely wrong if this is a whole cluster, and only warns of what is valid but would be refused
    by one (pools that overlap). Raises ManifestError, also for files that
    cannot be read.
    """
    return _load(_texts(sources, stdin, recursive=recursive), created=True, linted=linted)


def load_for_cluster(
    sources: Sequence[str],
    stdin: bytes = b"",
    *,
    namespace: str = DEFAULT_NAMESPACE,
    recursive: bool = False,
) -> Loaded:
    """The same for a cluster that has resources already: what a document needs or collides with may be there, so each
    must only be right by itself, and a ``resourceVersion`` says which state of it is meant. ``namespace`` is where
    resources are that do not say it.
    """
    return _load(_texts(sources, stdin, recursive=recursive), created=False, namespace=namespace)


def load_parts(parts: Iterable[tuple[str, Sequence[Tree]] | str], *, created: bool) -> Loaded:
    """The same for documents of a file that has others too, each part with that file's name, and for paths between them.

    ``created``: as for ``load``; else as for ``load_for_cluster``.
    """
    texts: list[tuple[str, str | Sequence[Tree] | Problem]] = []
    for part in parts:
        texts += _texts([part], b"", recursive=False) if isinstance(part, str) else [part]
    return _load(texts, created=created)


def _texts(sources: Sequence[str], stdin: bytes, *, recursive: bool) -> Iterator[tuple[str, str | Problem]]:
    for source in sources:
        if source == STDIN:
            yield "<stdin>", _decode("<stdin>", stdin)
        else:
            yield from ((str(path), read_text(path)) for path in _files(Path(source), recursive))


def parse(text: str, name: str = "<text>", *, linted: bool = False) -> Loaded:
    """The same for a text in hand; ``name`` stands for the file in messages."""
    return _load([(name, text)], created=True, linted=linted)


def _files(path: Path, recursive: bool) -> list[Path]:
    """The file itself, or the manifests of a directory; the directory when it has none, to be complained of."""
    try:
        if path.is_dir():
            inside = path.rglob("*") if recursive else path.iterdir()
            return sorted(file for file in inside if file.suffix in SUFFIXES) or [path]
    except (OSError, ValueError):
        pass  # reading it will fail too, and say why
    return [path]


def read_text(path: Path) -> str | Problem:
    """A manifest's text, or why there is none."""
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
        """As far as an invalid document has one. One that is no resource of ours may be one of several for a thing."""
        kind, name = self.doc.get("kind"), self._named("name")
        if not isinstance(kind, str) or not name or self.doc.get("apiVersion") in foreign.versions_of(kind):
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


@attrs.define
class _Entry:
    """One resource of a candidate, or the key of an invalid one."""

    candidate: _Candidate
    found: Made | Key

    @property
    def path(self) -> yamltree.Path:
        return self.found.path if isinstance(self.found, Made) else ()

    @property
    def place(self) -> Place:
        return Place(self.candidate.file, yamltree.line_of(self.candidate.tree, self.path))

    def problem(self, path: yamltree.Path, message: str) -> Problem:
        """``path`` is in the resource, which the document may not have in these words."""
        return self.candidate.problem(Fault(self.path or path, message))


def _load(
    texts: Iterable[tuple[str, str | Sequence[Tree] | Problem]],
    *,
    created: bool,
    linted: bool = False,
    namespace: str = DEFAULT_NAMESPACE,
) -> Loaded:
    files: dict[str, int] = {}  # for the order of the report
    problems: list[Problem] = []
    warnings: list[Problem] = []
    entries: list[_Entry] = []
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
                reading = foreign.read(found.doc)
            except InvalidResource as error:
                problems += map(found.problem, error.faults)
                if found.key is not None:  # else nothing can be said of it beside the others
                    entries.append(_Entry(found, found.key))
                continue
            warnings += map(found.problem, reading.warnings)
            for made in reading.made:
                resource = _as_sent(made.resource, namespace, created=created)
                entries.append(_Entry(found, attrs.evolve(made, resource=resource)))

    for index, message in foreign.outside([entry.found for entry in entries]):
        warnings.append(entries[index].problem((), message))
    settled = foreign.settle([entry.found for entry in entries])
    entries = [_Entry(e.candidate, it) for e, it in zip(entries, settled, strict=True) if it is not None]
    resources = [e.found.resource if isinstance(e.found, Made) else e.found for e in entries]
    for conflict in rules.conflicts(resources, lambda index: f"at {entries[index].place}") if created else ():
        if conflict.valid and linted:
            message = f"{conflict.message}: Calico refuses to create the second"
            warnings.append(entries[conflict.index].problem(conflict.path, message))
        else:
            problems.append(entries[conflict.index].problem(conflict.path, conflict.message))

    def in_order(report: list[Problem]) -> list[Problem]:
        return sorted(report, key=lambda problem: (files[problem.file], problem.line))

    if problems:
        raise ManifestError(in_order(problems), in_order(warnings))
    valid = tuple(resource for resource in resources if isinstance(resource, Resource))
    for remark in lint(valid) if linted else ():
        warnings.append(entries[remark.index].problem(remark.path, remark.message))
    return Loaded(valid, tuple(entry.place for entry in entries), tuple(in_order(warnings)))


def _candidates(file: str, text: str | Sequence[Tree]) -> Iterator[_Candidate | Problem]:
    empty = True
    try:
        for tree in yamltree.read(text) if isinstance(text, str) else text:
            empty = False
            yield from _unfold(file, tree, {})
    except SyntaxFault as fault:
        empty = False
        yield Problem(file=file, line=fault.line, subject="", path="", message=fault.message)
    if empty:
        yield Problem(file=file, line=0, subject="", path="", message="no resources in this file")


def _unfold(file: str, tree: Tree, implied: Mapping[str, Any]) -> Iterator[_Candidate | Problem]:
    """The resources of a document. In a ``<Kind>List`` the items need not repeat their kind and version."""
    if isinstance(tree, Seq):
        for item in tree.items:
            yield from _unfold(file, item, implied)
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
    doc = {**implied, **doc}
    yield _Candidate(file, tree, doc)


def _unfold_list(file: str, tree: Map, doc: Mapping[str, Any], kind: str) -> Iterator[_Candidate | Problem]:
    def problem(path: yamltree.Path, message: str) -> Problem:
        line = yamltree.line_of(tree, path)
        return Problem(file=file, line=line, subject=kind, path=format_path(path), message=message)

    item = kind.removesuffix("List")
    versions = [KINDS[item].api_version, *foreign.versions_of(item)] if item else ["v1"]
    if doc.get("apiVersion") not in versions:
        yield problem(("apiVersion",), f"expected {' or '.join(versions)}")
    for field in doc:
        if field not in ("apiVersion", "kind", "metadata", "items"):
            yield problem((field,), "unknown field; known are apiVersion, kind, metadata, items")
    for path, line, first in yamltree.duplicate_keys(tree):
        if len(path) == 1:  # the items report their own
            message = f"the key stands here a second time, first on line {first}"
            yield Problem(file=file, line=line, subject=kind, path=format_path(path), message=message)
    items = tree.entries.get("items")
    if isinstance(items, Seq):
        implied = {"apiVersion": doc.get("apiVersion"), "kind": item} if item else {}
        yield from _unfold(file, items, implied)
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
