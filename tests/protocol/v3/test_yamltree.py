from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.v3.yamltree import SyntaxFault, Written, duplicate_keys, line_of, plain, read

TEXT = """\
a: 1.10
b:
  - yes
  - {c: 'yes', d: 5663:12}
e: &e
  f: ~
g: *e
h: !!str 7
i: 2026-01-02T03:04:05Z
j: 0777
"""


def only(text: str) -> Any:
    (tree,) = read(text)
    return plain(tree)


def test_scalars_are_kept_as_written() -> None:
    assert only(TEXT) == {
        "a": Written(1.1, "1.10"),
        "b": [Written(True, "yes"), {"c": "yes", "d": "5663:12"}],
        "e": {"f": None},
        "g": {"f": None},
        "h": "7",
        "i": "2026-01-02T03:04:05Z",
        "j": "0777",
    }


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("a",), 1),
        (("b",), 2),
        (("b", 1), 4),
        (("b", 1, "d"), 4),
        (("b", 7), 2),
        (("e", "f"), 6),
        (("e", "missing"), 5),
        (("h", "deeper"), 8),
    ],
)
def test_lines(path: tuple[str | int, ...], line: int) -> None:
    (tree,) = read(TEXT)
    assert line_of(tree, path) == line


def test_duplicate_keys_are_all_found_and_the_first_value_stands() -> None:
    (tree,) = read("a: 1\nb:\n- {c: 1, c: 2, c: 3}\na: 2\n")
    assert list(duplicate_keys(tree)) == [(("a",), 4, 1), (("b", 0, "c"), 3, 3), (("b", 0, "c"), 3, 3)]
    assert plain(tree)["a"] == Written(1, "1")


def test_merge_keys() -> None:
    assert only("d: &d {x: a, y: b}\ne: {y: c, <<: *d}\nf: {<<: [{z: d}, *d]}")["e"] == {"x": "a", "y": "c"}
    assert only("d: &d {x: a, y: b}\nf: {<<: [{x: d}, *d]}")["f"] == {"x": "d", "y": "b"}
    assert only('{"<<": {x: a}}') == {"<<": {"x": "a"}}


def test_documents() -> None:
    assert [plain(tree) for tree in read("---\n---\na: b\n---\n# nothing\n---\n- c\n")] == [{"a": "b"}, ["c"]]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: b\n- c\n", 2, "expected key"),
        ("a:\n  b: c: d\n", 2, "not allowed"),
        ("a: b\n<<: c\n", 2, "takes a mapping"),
        ("<<: [{a: b}, c]\n", 1, "takes a mapping"),
        ("a: *x\n", 1, "no anchor &x"),
        ("a: &a [*a]\n", 1, "no anchor &a"),
        ("a: !secret b\n", 1, "!secret"),
        ("a: !!set {b}\n", 1, "set"),
        ("? [a]\n: b\n", 1, "key must be text"),
        ("a: 1\nb: \x00\n", 2, "control characters"),
        ("a: 1\nb: \ud800\n", 2, "surrogate"),
        ("[" * 100_000, 1, "deeper than 64"),
        ("{a: " * 100_000, 1, "deeper than 64"),
    ],
)
def test_what_cannot_be_read(text: str, line: int, reason: str) -> None:
    with pytest.raises(SyntaxFault, match=reason) as caught:
        list(read(text))
    assert caught.value.line == line


def test_documents_before_the_fault_are_read() -> None:
    documents = read("a: b\n---\nc: d: e\n")
    assert plain(next(documents)) == {"a": "b"}
    with pytest.raises(SyntaxFault):
        next(documents)


def test_aliases_cannot_grow_a_file_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(SyntaxFault, match="aliases add more than 100,000"):
        list(read("\n".join(lines)))


def test_aliases_cannot_nest_without_bound() -> None:
    lines = ["- &a0 [x]"] + [f"- &a{i} [[[[[*a{i - 1}]]]]]" for i in range(1, 400)]
    with pytest.raises(SyntaxFault, match="deeper than 64"):
        list(read("\n".join(lines)))


texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]), st.sampled_from("\t\n\x7f\x85\u2028\ufeff\\\"'/\U0001f600")
    ),
    max_size=5,
)
values = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), st.integers(-(10**20), 10**20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_is_read_as_json_is(value: dict[str, Any], ascii_only: bool, indent: int | str | None) -> None:
    assert unwritten(only(json.dumps(value, ensure_ascii=ascii_only, indent=indent))) == value


def unwritten(value: Any) -> Any:
    match value:
        case Written():
            return value.value
        case dict():
            return {key: unwritten(inner) for key, inner in value.items()}
        case list():
            return [unwritten(inner) for inner in value]
    return value
