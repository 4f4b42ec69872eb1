"""Selectors, labels, resources and texts that pass for manifests."""

from __future__ import annotations

from hypothesis import strategies as st

from protocol.v3 import selector
from protocol.v3.selector import Operator, Selector

# Few labels and few values, so that selectors and label sets meet.
label_names = st.sampled_from(["a", "in", "has", "not", "rack", "example.com/a-b_c"])
label_values = st.sampled_from(["", "a", "b", "ab", "true", 'say "a"'])
labels = st.dictionaries(label_names, label_values, max_size=4)


def _combined(inner: st.SearchStrategy[Selector]) -> st.SearchStrategy[Selector]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        several.map(selector.And),
        several.map(selector.Or),
        inner.map(lambda operand: operand.operand if isinstance(operand, selector.Not) else selector.Not(operand)),
    )


_leaves: st.SearchStrategy[Selector] = st.one_of(
    st.just(selector.All()),
    st.just(selector.Global()),
    st.builds(selector.Has, label_names),
    st.builds(selector.Compare, label_names, st.sampled_from(Operator), label_values),
    st.builds(selector.In, label_names, st.lists(label_values, max_size=3), st.booleans()),
)
selectors: st.SearchStrategy[Selector] = st.recursive(_leaves, _combined, max_leaves=8)

selector_texts = st.one_of(
    selectors.map(str),
    st.lists(
        st.sampled_from(
            ["a", "has(", "has(a)", "all()", "(", ")", "!", "&&", "||", "==", "!=", "in", "not in", "{", "}", ",", "'x'", '"y"', " ", "=", "&"]
        ),
        max_size=12,
    ).map("".join),
    st.text(max_size=20),
)
