"""What is dumped is read again, and looks as people know it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from protocol.v3.loader import parse
from protocol.v3.yamltext import dump

texts = st.one_of(
    st.sampled_from(["yes", "null", "~", "1.10", "5663:12", "0x1", "1e3", "2026-01-01", "", " a", "#", "- a", "a: b", "'"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
)  # fmt: skip


def test_the_layout_is_that_of_kubernetes() -> None:
    peer: dict[str, Any] = {
        "kind": "BGPPeer", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "border"},
        "spec": {"peerIP": "192.168.100.254", "asNumber": 65000, "filters": ["a", "b"], "nodeSelector": "!all()"},
    }  # fmt: skip
    assert dump(peer) == (
        "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata:\n  name: border\n"
        "spec:\n  asNumber: 65000\n  filters:\n  - a\n  - b\n  nodeSelector: '!all()'\n  peerIP: 192.168.100.254\n"
    )


@given(texts)
def test_a_text_stays_a_text(text: str) -> None:
    document = {
        "apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": "n", "annotations": {"a": text}}
    }  # fmt: skip
    (node,) = parse(dump(document)).resources
    assert node.metadata.annotations == {"a": text}
