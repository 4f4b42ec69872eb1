"""YAML and JSON text to trees that remember their lines and how each scalar was written.

Owns ``read``: text to ``Document`` trees of ``Map``, ``Seq`` and ``Scalar``; ``plain``: a tree to ordinary dicts,
lists and text; ``line_of``: where a path of a tree stands in its file.

Scalars that are no text for YAML become ``Written``: the value and the characters that made it. An AS number
``1.10`` is therefore not the float 1.1, and a label ``yes`` or a community ``5663:12`` (a base-60 integer, for YAML 1.1) is
still there to be read. What is a boolean, a number or null follows the YAML that Calico's tools read: YAML 1.1's
yes/no/on/off, but neither base 60 nor dates.

The tree is built from libyaml's events with a stack of our own: its composer recurses in C, where a file of
brackets ends the process. Nesting and the growth by aliases are bounded for the same reason. JSON is read as YAML,
of which it is almost a part; ``_as_yaml`` bridges the two gaps.

Left out: what the trees mean (``loader``), tags of applications (refused), anchors that contain themselves (refused).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

MAX_DEPTH = 64
"""No resource nests deeper than a dozen; readers of the tree recurse."""
MAX_ALIASED = 100_000
"""Nodes that aliases may add to one file; ten nested aliases of ten are ten thousand million."""

Path = tuple[str | int, ...]


@attrs.frozen
class Written:
    """A boolean or number, and its text in the file."""

    value: bool | int | float
    text: str


@attrs.frozen
class Scalar:
    value: str | Written | None
    line: int


@attrs.define
class Seq:
    line: int
    items: list[Tree] = attrs.field(factory=list)
    size: int = 1  # nodes, itself among them
    height: int = 1  # of the collections in one another


@attrs.define
class Map:
    line: int
    entries: dict[str, Tree] = attrs.field(factory=dict)
    lines: dict[str, int] = attrs.field(factory=dict)  # of the keys
    duplicates: list[tuple[str, int]] = attrs.field(factory=list)  # second and later mentions: key, line
    defaults: list[Map] = attrs.field(factory=list)  # what `<<` names
    size: int = 1
    height: int = 1


Tree = Scalar | Seq | Map


class SyntaxFault(ValueError):
    """The text cannot be read from ``line`` on."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def read(text: str) -> Iterator[Tree]:
    """The documents of a text, empty ones left out. Raises SyntaxFault where reading has to stop."""
    builder = _Builder()
    try:
        for event in yaml.parse(_as_yaml(text), Loader=yaml.CSafeLoader):
            document = builder.feed(event)
            if document is not None and not (isinstance(document, Scalar) and document.value is None):
                yield document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SyntaxFault(f"invalid YAML: {error.problem}", mark.line + 1 if mark else 1) from None
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes and looks ahead; the first such character is the one it means.
        found = _UNREADABLE.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        raise SyntaxFault(f"invalid YAML: {error.reason}", line) from None
    except UnicodeEncodeError as error:
        raise SyntaxFault(
            "invalid text: half of a surrogate pair", text.count("\n", 0, error.start) + 1
        ) from None


def plain(tree: Tree) -> Any:
    """Dicts, lists, text, None and ``Written``."""
    match tree:
        case Map(entries=entries):
            return {key: plain(value) for key, value in entries.items()}
        case Seq(items=items):
            return [plain(item) for item in items]
        case Scalar(value=value):
            return value


def line_of(tree: Tree, path: Path) -> int:
    """The line of what the path leads to, or of the last step that exists."""
    line = tree.line
    for step in path:
        if isinstance(tree, Map) and step in tree.entries:
            line, tree = tree.lines[str(step)], tree.entries[str(step)]
        elif isinstance(tree, Seq) and isinstance(step, int) and step < len(tree.items):
            tree = tree.items[step]
            line = tree.line
        else:
            break
    return line


def duplicate_keys(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, int, int]]:
    """(path, line, line of the first mention) of every key that stands twice in one mapping."""
    match tree:
        case Map():
            for key, line in tree.duplicates:
                yield (*path, key), line, tree.lines[key]
            for key, value in tree.entries.items():
                yield from duplicate_keys(value, (*path, key))
        case Seq(items=items):
            for index, item in enumerate(items):
                yield from duplicate_keys(item, (*path, index))


# -- scalars ----------------------------------------------------------------------------------------------------------

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Mapping[str, bool] = {
    spelling: word in ("true", "yes", "on")
    for word in ("true", "false", "yes", "no", "on", "off")
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,30}\.[0-9]{0,30}|\.[0-9]{1,30}|[0-9]{1,30}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?"
)


def _resolve(text: str) -> str | Written | None:
    """What a plain (unquoted) scalar is."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return Written(_BOOLEANS[text], text)
    if _INTEGER.fullmatch(text):
        return Written(int(text), text)
    if _FLOAT.fullmatch(text):
        return Written(float(text), text)
    return text


_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_VALUE_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
_COLLECTION_TAGS = frozenset({"!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


# -- collections ------------------------------------------------------------------------------------------------------


class _Builder:
    """One document at a time: a stack of open collections, and in every open mapping the key that waits."""

    def __init__(self) -> None:
        self._stack: list[tuple[Seq | Map, str]] = []  # with the anchor
        self._keys: list[
            tuple[str | None, int] | None
        ] = []  # one for each open collection; `<<` is a key of None
        self._anchors: dict[str, Tree] = {}
        self._aliased = 0
        self._root: Tree | None = None

    def feed(self, event: yaml.Event) -> Tree | None:
        """Takes one event; returns the document when it is the last of one."""
        match event:
            case DocumentEndEvent():
                root, self._root = self._root, None
                self._anchors.clear()
                return root
            case CollectionEndEvent():
                self._close()
            case NodeEvent(start_mark=mark):
                self._node(event, mark.line + 1 if mark else 1)
        return None

    def _node(self, event: NodeEvent, line: int) -> None:
        waiting = self._stack and isinstance(self._stack[-1][0], Map) and self._keys[-1] is None
        if waiting:
            self._keys[-1] = self._key(event, line), line
            return
        match event:
            case AliasEvent():
                self._add(self._aliased_tree(event.anchor or "", line))
            case ScalarEvent():
                scalar = Scalar(self._scalar_value(event, line), line)
                if event.anchor:
                    self._anchors[event.anchor] = scalar
                self._add(scalar)
            case MappingStartEvent() | SequenceStartEvent():
                if event.tag and event.tag not in _COLLECTION_TAGS:
                    raise SyntaxFault(f"the tag {event.tag} is not for manifests", line)
                if len(self._stack) == MAX_DEPTH:
                    raise SyntaxFault(f"nested deeper than {MAX_DEPTH}", line)
                collection = Map(line) if isinstance(event, MappingStartEvent) else Seq(line)
                self._stack.append((collection, event.anchor or ""))
                self._keys.append(None)

    def _key(self, event: NodeEvent, line: int) -> str | None:
        if isinstance(event, AliasEvent):
            tree = self._aliased_tree(event.anchor or "", line)
            if isinstance(tree, Scalar):
                return tree.value.text if isinstance(tree.value, Written) else tree.value or ""
        if not isinstance(event, ScalarEvent):
            raise SyntaxFault("a key must be text", line)
        if event.anchor:
            self._anchors[event.anchor] = Scalar(event.value, line)
        return None if event.value == "<<" and event.implicit[0] else event.value

    def _scalar_value(self, event: ScalarEvent, line: int) -> str | Written | None:
        if event.tag is None:
            return _resolve(event.value) if event.implicit[0] else event.value
        if event.tag in _TEXT_TAGS:
            return event.value
        if event.tag in _VALUE_TAGS:
            return _resolve(event.value)
        raise SyntaxFault(f"the tag {event.tag} is not for manifests", line)

    def _aliased_tree(self, anchor: str, line: int) -> Tree:
        tree = self._anchors.get(anchor)
        if tree is None:
            raise SyntaxFault(f"*{anchor} has no anchor &{anchor} that ends before it", line)
        self._aliased += 1 if isinstance(tree, Scalar) else tree.size
        if not isinstance(tree, Scalar) and len(self._stack) + tree.height > MAX_DEPTH:
            raise SyntaxFault(f"nested deeper than {MAX_DEPTH}", line)
        if self._aliased > MAX_ALIASED:
            raise SyntaxFault(f"aliases add more than {MAX_ALIASED:,} values", line)
        return tree

    def _close(self) -> None:
        collection, anchor = self._stack.pop()
        self._keys.pop()
        if isinstance(collection, Map):
            _merge(collection)
        if anchor:
            self._anchors[anchor] = collection
        self._add(collection)

    def _add(self, tree: Tree) -> None:
        if not self._stack:
            self._root = tree
            return
        parent = self._stack[-1][0]
        if isinstance(tree, Scalar):
            parent.size += 1
        else:
            parent.size += tree.size
            parent.height = max(parent.height, tree.height + 1)
        if isinstance(parent, Seq):
            parent.items.append(tree)
            return
        waiting = self._keys[-1]
        assert waiting is not None, "a value without a key"
        key, line = waiting
        self._keys[-1] = None
        if key is None:
            parent.defaults += _mappings(tree, line)
        elif key in parent.entries:
            parent.duplicates.append((key, line))
        else:
            parent.entries[key] = tree
            parent.lines[key] = line


def _mappings(tree: Tree, line: int) -> list[Map]:
    """The one or several mappings after YAML's merge key: ``<<: *defaults``."""
    trees = tree.items if isinstance(tree, Seq) else [tree]
    mappings = [one for one in trees if isinstance(one, Map)]
    if len(mappings) != len(trees):
        raise SyntaxFault("<< takes a mapping, or a list of them", line)
    return mappings


def _merge(target: Map) -> None:
    """Fills in what the mapping does not say itself; the first of its defaults that says it wins."""
    for one in target.defaults:
        for key, value in one.entries.items():
            if key not in target.entries:
                target.entries[key] = value
                target.lines[key] = one.lines[key]


# -- JSON -------------------------------------------------------------------------------------------------------------

_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RAW = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_PAIR = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def _as_yaml(text: str) -> str:
    """JSON made readable for libyaml, every line where it was; anything else as it is.

    In JSON a tab can only stand between tokens, where YAML may refuse it; characters beyond U+FFFF are escaped as
    two surrogates, which YAML does not know; and a string may hold raw what YAML calls controls and line breaks.
    """
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text

    def joined(pair: re.Match[str]) -> str:
        return pair[1] + bytes.fromhex(pair[2] + pair[3]).decode("utf-16-be")

    def escaped(found: re.Match[str]) -> str:
        return f"\\u{ord(found[0]):04x}"

    return _RAW.sub(escaped, _PAIR.sub(joined, text.replace("\t", " ")))
