"""What is written is read again as the same scenario; and what reports call things."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.scenario import model
from cluster.scenario.read import parse
from cluster.scenario.write import duration, span, words, write
from protocol.v3.codec import decode
from tests.strategies.clusters import bgp_configuration, bgp_peer, node, pool

RESOURCES = tuple(
    decode(document)
    for document in (
        pool("pods", "10.48.0.0/16", blockSize=26),
        bgp_configuration(asNumber=64512, nodeToNodeMeshEnabled=False),
        bgp_peer("all", nodeSelector="all()", peerSelector="has(rr)"),
        node("rr-1", "10.77.9.1/16", cluster="244.0.0.1", labels={"rr": "yes"}),
    )
)
KEYS = (("Node", "", "rr-1"), ("Service", "default", "web"), ("BGPPeer", "", "all"))

seconds = st.floats(0, 10_000)
words_of_people = st.text(max_size=20).map(str.strip)
member = st.sampled_from(("node-001", "node-002", "node-003", "rr-1"))
names = st.lists(
    st.one_of(member, st.sampled_from(("all", "has(rr)", "kubernetes.io/hostname == 'node-001'"))),
    min_size=1,
    max_size=3,
).map(tuple)
counts = st.integers(1, 99)
resources = st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=2).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip
objects = st.dictionaries(st.sampled_from(("spec", "metadata", "a b")), json_values, min_size=1)


def _pair(value: tuple[str, str]) -> bool:
    return value[0] != value[1]


actions: st.SearchStrategy[Any] = st.one_of(
    st.builds(model.Apply, resources),
    st.builds(model.Delete, st.lists(st.sampled_from(KEYS), min_size=1, max_size=2).map(tuple)),
    st.builds(model.Patch, st.sampled_from(KEYS), objects, st.sampled_from(("merge", "strategic"))),
    st.builds(model.Patch, st.sampled_from(KEYS), st.lists(objects, max_size=2), st.just("json")),
    st.builds(
        model.Label,
        names,
        st.dictionaries(
            st.sampled_from(("rack", "a/b")), st.sampled_from(("x", "", "true", None)), min_size=1
        ),
    ),
    st.builds(model.AddPods, names, counts),
    st.builds(model.DeletePods, names, counts),
    *(st.builds(kind, names) for kind in (model.Stop, model.Start, model.PowerOff, model.Freeze, model.Thaw)),
    st.builds(model.Restart, names, counts, seconds, seconds),
    st.builds(model.Partition, names, names),
    st.just(model.Heal()),
    st.builds(model.Heal, names, names),
    st.builds(
        lambda pair, down, more, times: model.Flap(pair[0], pair[1], down, down + 1 + more, times),
        st.tuples(member, member).filter(_pair),
        seconds,
        seconds,
        counts,
    ),
    st.builds(model.Wait, seconds),
)
since = st.sampled_from(("step", "start"))
prefixes = st.sampled_from(("10.48.0.64/26", "fd00::/64", "0.0.0.0/0"))
clauses: st.SearchStrategy[Any] = st.one_of(
    st.builds(model.Converged, seconds),
    st.builds(model.Loss, pair=seconds, total=st.none() | seconds, since=since),
    st.builds(
        model.Routes,
        names=names,
        present=st.lists(
            st.builds(model.Wanted, prefixes, st.lists(member, max_size=2).map(tuple)), min_size=1, max_size=2
        ).map(tuple),
        absent=st.lists(prefixes, max_size=2).map(tuple),
        within=seconds,
    ),
    st.builds(
        model.Sessions,
        names=names,
        peer=st.sampled_from(("", "rr-1", "10.0.0.1")),
        state=st.sampled_from(("Established", "Idle")),
        count=st.none() | st.integers(0, 99),
        within=seconds,
    ),
    st.builds(model.Sessions, error=st.text(min_size=1, max_size=5), count=st.none() | st.integers(0, 99)),
    st.just(model.SoundIpam()),
    st.just(model.UnsettledAllowed()),
)
conditions = st.one_of(
    st.just(model.WhenConverged()),
    st.builds(model.WhenSession, member, member, st.sampled_from(("Established", "Idle")), st.booleans()),
)


@st.composite
def steps(draw: st.DrawFn) -> model.Step:
    moment: dict[str, Any] = draw(
        st.one_of(
            st.just({}),
            st.fixed_dictionaries({"after": seconds}),
            st.fixed_dictionaries(
                {"when": st.lists(conditions, min_size=1, max_size=2).map(tuple), "within": seconds}
            ),
        )
    )
    return model.Step(
        name=draw(words_of_people),
        do=tuple(draw(st.lists(actions, min_size=1, max_size=3))),
        expect=tuple(
            draw(st.lists(clauses | st.builds(model.Refused, st.text(min_size=1, max_size=5)), max_size=2))
        ),
        **moment,
    )


scenarios = st.builds(
    model.Scenario,
    name=st.sampled_from(("a", "some-name")),
    description=words_of_people,
    seed=st.integers(0, 1 << 40),
    hold_time=st.sampled_from((0.0, 3.0, 90.0)),
    cluster=st.builds(
        model.Cluster,
        nodes=st.just(4),
        pods_per_node=st.integers(0, 3),
        blocks_per_node=st.integers(1, 2),
        resources=st.just(RESOURCES),
        off=st.just(()) | names,
    ),
    steps=st.lists(steps(), max_size=3).map(tuple),
    expect=st.lists(clauses, max_size=2).map(tuple),
)


@pytest.mark.slow
@settings(max_examples=50)
@given(scenarios)
def test_what_is_written_is_read_again(scenario: model.Scenario) -> None:
    assert parse(write(scenario)).scenario == scenario


def test_a_file_says_only_what_would_not_be_so_anyway() -> None:
    text = write(model.Scenario(name="least", steps=(model.Step(at=60.0, do=(model.Stop(("node-001",)),)),)))
    assert text == (
        "apiVersion: lab.tortie/v1\nkind: Scenario\nmetadata:\n  name: least\nspec:\n  steps:\n"
        "  - at: 60s\n    do:\n    - stop:\n      - node-001\n"
    )


@pytest.mark.parametrize(
    ("number", "text"), [(90.0, "90s"), (0.5, "0.5s"), (1e-7, "0.0000001s"), (0.0, "0s"), (3600.0, "3600s")]
)
def test_durations_are_exact_and_never_in_powers_of_ten(number: float, text: str) -> None:
    assert duration(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0 s"), (0.0005, "0.5 ms"), (0.0999, "99.9 ms"), (1.873, "1.87 s"), (90.0, "90 s"), (4242.4, "4,242 s")],
)  # fmt: skip
def test_times_in_reports_are_as_exact_as_anybody_needs_them(number: float, text: str) -> None:
    assert span(number) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (model.Apply(RESOURCES), "apply IPPool/pods, BGPConfiguration/default, BGPPeer/all, Node/rr-1"),
        (
            model.Patch(("BGPConfiguration", "", "default"), {"spec": {"a": {"b": False}, "c": None}}),
            "patch BGPConfiguration/default: spec.a.b=false, spec.c=null",
        ),
        (
            model.Patch(
                ("Router", "", "tor"), {"spec": {"neighbors": [{"nodeSelector": "all()", "passive": True}]}}
            ),
            "patch Router/tor: spec.neighbors=[{nodeSelector: all(), passive: true}]",
        ),
        (
            model.Label(("rr-1",), {"rack": "b", "old": None}),
            "label Node rr-1: rack=b, old (removed)",
        ),
        (model.AddPods(("all",), 1), "add 1 pod to all"),
        (model.PowerOff(("a", "b", "c", "d", "e")), "power off a, b, c, d, e"),
        (model.PowerOff(("a", "b", "c", "d", "e", "f")), "power off a, b, c, d and 2 more"),
        (model.Restart(("all",), 2, 5.0), "restart all, 2 at a time, down for 5 s"),
        (model.Flap("a", "b", 3.0, 20.0, 5), "cut the link a – b for 3 s, 5 times, every 20 s"),
        (model.Heal(), "heal all"),
        (
            model.Loss(pair=10.0, total=60.0),
            "no pair loses more than 10 s and all pairs together lose at most 60 s in this step",
        ),
        (
            model.Routes(present=(model.Wanted("10.0.0.0/8", ("rr-1",)),), absent=("0.0.0.0/0",)),
            "routes: 10.0.0.0/8 via rr-1 on all, no 0.0.0.0/0 on all",
        ),
        (model.Sessions(peer="rr-1", count=1200), "sessions of all with rr-1: 1,200 Established"),
        (model.Sessions(error="Bad peer AS"), "sessions of all: all down, 'Bad peer AS'"),
        (model.WhenSession("a", "b", negated=True), "session a b is not Established"),
    ],
)
def test_words(value: Any, text: str) -> None:
    assert words(value) == text
