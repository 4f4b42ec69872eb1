"""Scenario files: what they may say, in short or at length, and every error with its place."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.rehearsal.rehearse import rehearse
from cluster.scenario import model
from cluster.scenario.form import ActionForm, ClauseForm
from cluster.scenario.read import find, parse, read
from protocol.v3.fields import JSON
from protocol.v3.loader import ManifestError

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"

HEAD = "apiVersion: lab.tortie/v1\nkind: Scenario\nmetadata: {name: tried}\n"


def spec(text: str, *others: str) -> str:
    """A scenario file: ``text`` is indented below ``spec``."""
    lines = "".join(f"  {line}\n" for line in text.strip("\n").splitlines())
    return "---\n".join([f"{HEAD}spec:\n{lines}", *others])


def step(do: str) -> model.Action:
    """The one action of a step that does ``do``."""
    scenario = parse(spec(f"cluster: {{nodes: 4}}\nsteps:\n- do:\n  - {do}")).scenario
    [action] = scenario.steps[0].do
    return action


def clause(expect: str) -> model.Clause:
    scenario = parse(spec(f"cluster: {{nodes: 4}}\nsteps:\n- expect:\n  - {expect}")).scenario
    [found] = scenario.steps[0].expect
    return found


def problems(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text, "s.yaml")
    return [str(problem) for problem in caught.value.problems]


# -- what may be said -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(map(str, EXAMPLES.glob("*.yaml"))))
def test_the_examples_are_scenarios_without_a_warning(path: str) -> None:
    assert read(path).warnings == ()


def test_what_the_manual_shows_is_played_as_it_says(tmp_path: Path) -> None:
    manual = (EXAMPLES.parents[1] / "docs" / "rehearse.md").read_text()
    text = manual.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "pools.yaml").write_text(POOL)
    report = rehearse(parse(text, str(tmp_path / "s.yaml")).scenario)
    assert report.ok, report.failures()
    for field in attrs.fields(ActionForm) + attrs.fields(ClauseForm):
        assert f"`{field.metadata.get(JSON, field.name)}: " in manual


def test_the_least() -> None:
    assert parse(f"{HEAD}spec: {{}}\n").scenario == model.Scenario(
        name="tried", expect=(model.Converged(600.0),)
    )


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("stop: node-001", model.Stop(("node-001",))),
        ("start: [node-001, node-002]", model.Start(("node-001", "node-002"))),
        ("power-off: all", model.PowerOff(("all",))),
        ("kill: all", model.PowerOff(("all",))),
        ('freeze: "has(rack)"', model.Freeze(("has(rack)",))),
        ("thaw: all", model.Thaw(("all",))),
        ("wait: 1m30s", model.Wait(90.0)),
        ("wait: 0.5", model.Wait(0.5)),
        ("heal: all", model.Heal()),
        ("heal", model.Heal()),
        ("heal: {between: [node-001, all]}", model.Heal(("node-001",), ("all",))),
        ("partition: {between: [node-001, [node-002, node-003]]}",
         model.Partition(("node-001",), ("node-002", "node-003"))),
        ("link: {between: [node-001, node-002], down: 3s, every: 20s, times: 5}",
         model.Flap("node-001", "node-002", 3.0, 20.0, 5)),
        ("restart: {nodes: all, window: 2}", model.Restart(("all",), 2, 5.0)),
        ("add-pods: {nodes: node-001, count: 3}", model.AddPods(("node-001",), 3)),
        ("delete-pods: {nodes: node-001}", model.DeletePods(("node-001",), 1)),
        ("delete: {kind: pool, name: p}", model.Delete((("IPPool", "", "p"),))),
        ("delete: [{kind: svc, name: web}]", model.Delete((("Service", "default", "web"),))),
        ("delete: {kind: BGPPeer, apiVersion: projectcalico.org/v3, metadata: {name: x}}",
         model.Delete((("BGPPeer", "", "x"),))),
        ("patch: {kind: node, name: node-001, patch: {spec: {a: 1}}}",
         model.Patch(("Node", "", "node-001"), {"spec": {"a": 1}})),
        ("label: {name: node-001, labels: {rack: a, old: null}}",
         model.Label(("node-001",), {"rack": "a", "old": None})),
    ],
)  # fmt: skip
def test_actions(text: str, action: model.Action) -> None:
    assert step(text) == action


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("converged", model.Converged()),
        ("converged: {within: 10}", model.Converged(10.0)),
        ("loss: {pair: 0s}", model.Loss(pair=0.0)),
        ("loss: {total: 1m, since: start}", model.Loss(total=60.0, since="start")),
        ("routes: {nodes: node-001, present: [10.0.0.0/8, {prefix: 10.1.0.0/16, via: node-002}]}",
         model.Routes(names=("node-001",),
                      present=(model.Wanted("10.0.0.0/8"), model.Wanted("10.1.0.0/16", ("node-002",))))),
        ("routes: {absent: [10.0.0.0/8], within: 5s}", model.Routes(absent=("10.0.0.0/8",), within=5.0)),
        ("routes: {absent: [blocks of node-001]}", model.Routes(absent=("blocks of node-001",))),
        ("sessions: {peer: node-001, count: 3}", model.Sessions(peer="node-001", count=3)),
        ("sessions: {error: Bad peer AS}", model.Sessions(error="Bad peer AS")),
        ("ipam: sound", model.SoundIpam()),
        ("refused: cannot be modified", model.Refused("cannot be modified")),
        ("unsettled: allowed", model.UnsettledAllowed()),
    ],
)  # fmt: skip
def test_clauses(text: str, expected: model.Clause) -> None:
    assert clause(text) == expected


def test_what_is_lost_is_counted_from_the_step_or_at_the_end_from_the_start() -> None:
    scenario = parse(spec("expect:\n- loss: {pair: 1s}")).scenario
    assert scenario.expect == (model.Loss(pair=1.0, since="start"),)


def test_conditions() -> None:
    text = "cluster: {nodes: 2}\nsteps:\n- when: [converged, session node-001 10.0.0.1 is not Idle]\n  within: 5s"
    [found] = parse(spec(text)).scenario.steps
    assert found == model.Step(
        when=(model.WhenConverged(), model.WhenSession("node-001", "10.0.0.1", "Idle", True)), within=5.0
    )


POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pods}\nspec: {cidr: 10.48.0.0/16}\n"
PEER = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: top}\nspec: {peerIP: 10.0.0.1, asNumber: 65000}\n"


def test_resources_come_from_the_file_and_from_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "peer.yaml").write_text(PEER)
    file = tmp_path / "s.yaml"
    file.write_text(
        spec(
            "cluster: {nodes: 2, manifests: [peer.yaml]}\nsteps:\n- do:\n  - apply: peer.yaml\n  - delete: peer.yaml",
            POOL,
        )
    )
    scenario = read(str(file)).scenario
    assert [resource.key[2] for resource in scenario.cluster.resources] == ["pods", "top"]
    assert scenario.steps[0].do == (
        model.Apply((scenario.cluster.resources[1],)),
        model.Delete((("BGPPeer", "", "top"),)),
    )


def test_what_is_surely_not_meant_is_a_warning_with_its_place() -> None:
    text = spec("cluster: {nodes: 2}", POOL.replace("cidr", "nodeSelector: rack == 'x', cidr"))
    with pytest.raises(ManifestError):  # no pool selects the nodes, which would be without pods
        parse(text, "s.yaml")
    [warning] = parse(text.replace("nodes: 2", "nodes: 2, podsPerNode: 0"), "s.yaml").warnings
    assert warning.startswith("s.yaml:7: IPPool/pods: spec.nodeSelector: ")


def test_of_a_directory_those_files_that_have_a_scenario(tmp_path: Path) -> None:
    tmp_path = tmp_path / "below"
    tmp_path.mkdir()
    (tmp_path / "a.yaml").write_text(spec("seed: 1"))
    (tmp_path / "b.yaml").write_text(POOL)
    (tmp_path / "c.yml").write_text("kind: Scenario\n\t")
    (tmp_path / "d.yaml").mkdir()
    assert find(str(tmp_path)) == [str(tmp_path / "a.yaml"), str(tmp_path / "c.yml")]
    with pytest.raises(ManifestError, match="no file with a Scenario in this directory"):
        find(str(tmp_path.parent))


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once() -> None:
    text = spec(
        """
holdtime: 90s
steps:
- do:
  - power_off: node-001
  - link: {between: [node-001], down: 3 parsecs}
  expect: [converge]
""",
        POOL.replace("/16", "/99"),
    )
    assert problems(text) == [
        "s.yaml:5: Scenario/tried: spec.holdtime: unknown field; did you mean holdTime?",
        "s.yaml:8: Scenario/tried: spec.steps[0].do[0].power_off: unknown field; did you mean power-off?",
        "s.yaml:9: Scenario/tried: spec.steps[0].do[1].link.between: 1 entries where 2 must be",
        "s.yaml:9: Scenario/tried: spec.steps[0].do[1].link.down: '3 parsecs' is not a duration such as 90s or 1m30s",
        "s.yaml:10: Scenario/tried: spec.steps[0].expect[0].converge: unknown field; did you mean converged?",
        "s.yaml:15: IPPool/pods: spec.cidr: '10.48.0.0/99' is not a CIDR",
    ]


def test_one_fault_hides_no_other() -> None:
    """Those of fields, between fields, of resources, files and names; but for names when it is not sure who there is."""
    text = spec(
        """
seed: many
holdTime: 2s
steps:
- when: session node-001 node-002 is Up
  within: 10s
  do:
  - stop: node-001
    wait: forever
  - stop: node-001
    start: node-009
  - stop: node-029
  - delete: {kind: Nod, name: x}
  expect: [ipam: unsound, routes: {}]
- 7
- do: {wait: 1s}
"""
    )
    assert [problem.removeprefix("s.yaml:").replace("Scenario/tried: spec.", "") for problem in problems(text)] == [
        "5: seed: expected an integer, found the text 'many'",
        "6: holdTime: must be 0 (no keepalives) or 3 to 65,535 seconds",
        "8: steps[0].when: 'Up' is no state of a session: Idle, Connect, Active, OpenSent, OpenConfirm, Established",
        "12: steps[0].do[0].wait: 'forever' is not a duration such as 90s or 1m30s",
        "13: steps[0].do[1]: one action is asked for, stop and start are two; known are apply, delete, patch, "
        "label, add-pods, delete-pods, stop, start, power-off, kill, freeze, thaw, restart, partition, heal, link, wait",
        "15: steps[0].do[2].stop: there is no node or router node-029",
        "16: steps[0].do[3].delete.kind: 'Nod' is no kind that can be written; known are BGPConfiguration, BGPFilter, "
        "BGPPeer, EndpointSlice, FelixConfiguration, IPAMConfiguration, IPPool, IPReservation, Namespace, Node, Router, "
        "Secret, Service, WorkloadEndpoint",
        "17: steps[0].expect[0].ipam: expected one of sound; found the text 'unsound'",
        "17: steps[0].expect[1].routes: present or absent is required",
        "18: steps[1]: expected an object, found the number 7",
        "19: steps[2].do: expected a list, found an object",
    ]  # fmt: skip
    text = spec("expect: [ipam: unsound, sessions: {nodes: node-029}]")
    assert problems(text) == [
        "s.yaml:5: Scenario/tried: spec.expect[0].ipam: expected one of sound; found the text 'unsound'",
        "s.yaml:5: Scenario/tried: spec.expect[1]: there is no node or router node-029",
    ]
    for nodes, other in (("many", "wait: 1s"), ("3", "apply: nowhere.yaml")):
        [problem] = problems(spec(f"cluster: {{nodes: {nodes}}}\nsteps:\n- do: [stop: node-050, {other}]"))
        assert "node-050" not in problem
    late = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node-002}, spec: {bgq: {}}}"
    text = spec(f"cluster: {{nodes: 1}}\nsteps:\n- do: [apply: {late}, stop: node-002]")
    assert problems(text) == ["s.yaml:7: Node/node-002: spec.bgq: unknown field; did you mean bgp?"]


def test_what_must_be_between_the_fields() -> None:
    text = spec(
        """
holdTime: 2s
steps:
- at: 10
  after: 20
- at: 5
  within: 3s
- name: idle
- do:
  - stop: node-001
    start: node-001
  - link: {between: [a, a], times: 2, every: 1s}
  - patch: {kind: Node, name: a, type: json, patch: {}}
  - label: {kind: BGPPeer, name: all(), labels: {}}
  expect: [loss: {}, routes: {}, sessions: {state: Idle, error: x}]
expect: [refused: x]
"""
    )
    found = [problem.removeprefix("s.yaml:").replace("Scenario/tried: ", "") for problem in problems(text)]
    assert found == [
        "5: spec.holdTime: must be 0 (no keepalives) or 3 to 65,535 seconds",
        "8: spec.steps[0].after: one of at, after and when; at is there too",
        "9: spec.steps[1].at: a step before this one is at 10s",
        "10: spec.steps[1].within: says how long `when` may take, and there is no `when`",
        "11: spec.steps[2]: nothing is done and nothing is expected",
        "13: spec.steps[3].do[0]: one action is asked for, stop and start are two; known are apply, delete, patch, "
        "label, add-pods, delete-pods, stop, start, power-off, kill, freeze, thaw, restart, partition, heal, link, wait",
        "15: spec.steps[3].do[1].link.every: must be longer than down, 3s",
        "15: spec.steps[3].do[1].link.between: one and the same",
        "16: spec.steps[3].do[2].patch.patch: a patch of type json is a list of operations",
        "17: spec.steps[3].do[3].label.labels: no label",
        "17: spec.steps[3].do[3].label.name: 'all()' is no name; only Nodes can be selected",
        "18: spec.steps[3].expect[0].loss: pair or total is required",
        "18: spec.steps[3].expect[1].routes: present or absent is required",
        "18: spec.steps[3].expect[2].sessions.error: one of state and error; those with an error are down",
        "19: spec.expect[0].refused: belongs to the step that does it",
    ]


def test_names_that_nobody_has_and_never_gets() -> None:
    text = spec(
        """
cluster: {nodes: 2, off: node-009}
steps:
- when: session node-008 node-001 is Established
- when: session node-001 node-003 is not Established
- when: [session node-001 10.77.0.9 is not Idle, session node-001 Mesh_10_77_0_9 is not Idle]
- do:
  - stop: [node-001, node-007, late]
  - apply: {apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: late}}
  expect: [sessions: {nodes: node-006}, sessions: {peer: node-004, count: 0}]
expect: [routes: {nodes: node-005, absent: [10.0.0.0/8]}, routes: {absent: [blocks of node-010]}]
"""
    )
    assert problems(text) == [
        "s.yaml:5: Scenario/tried: spec.cluster.off: there is no node or router node-009",
        "s.yaml:7: Scenario/tried: spec.steps[0].when: there is no node or router node-008",
        "s.yaml:8: Scenario/tried: spec.steps[1].when: there is no node or router node-003",
        "s.yaml:11: Scenario/tried: spec.steps[3].do[0].stop: there is no node or router node-007",
        "s.yaml:13: Scenario/tried: spec.steps[3].expect[0]: there is no node or router node-006",
        "s.yaml:13: Scenario/tried: spec.steps[3].expect[1]: there is no node or router node-004",
        "s.yaml:14: Scenario/tried: spec.expect[0]: there is no node or router node-005",
        "s.yaml:14: Scenario/tried: spec.expect[1]: there is no node or router node-010",
    ]


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("apply: nowhere.yaml", "do[0].apply: there is no file or directory nowhere.yaml"),
        ("apply: [1]", "do[0].apply[0]: a resource, or the path of a file with some, is asked for"),
        ("apply: []", "do[0].apply: no resource"),
        ("delete: {kind: IPAMBlock, name: x}", "do[0].delete.kind: 'IPAMBlock' is no kind that can be written"),
        ("stop: [\"rack == \"]", "do[0].stop: 'rack == ' is neither a name, nor 'all', nor a selector"),
        ("stop: []", "do[0].stop: 0 entries where 1 to 60000 must be"),
        ("stop:", "do[0]: one action is asked for, there is none"),
        ("wait: -3s", "do[0].wait: -3s is not in 0..2592000s"),
        ("wait: 60d", "do[0].wait: '60d' is not a duration"),
    ],
)  # fmt: skip
def test_actions_that_are_none(do: str, message: str) -> None:
    [problem] = problems(spec(f"cluster: {{nodes: 2}}\nsteps:\n- do:\n  - {do}"))
    assert message in problem


def test_only_ipam_writes_its_own() -> None:
    handle = "{apiVersion: projectcalico.org/v3, kind: IPAMHandle, metadata: {name: h}, spec: {handleID: h, block: {}}}"
    [problem] = problems(spec(f"cluster: {{nodes: 2}}\nsteps:\n- do:\n  - apply: {handle}"))
    assert problem == "s.yaml:8: IPAMHandle/h: only IPAM writes it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POOL, "s.yaml: no Scenario (apiVersion lab.tortie/v1) in this file"),
        (spec("seed: 1", spec("seed: 2")), "s.yaml:7: a second Scenario; a file has one"),
        (
            spec("seed: 1").replace("lab.tortie/v1", "v1"),
            "s.yaml:1: Scenario/tried: apiVersion: expected lab.tortie/v1",
        ),
        (HEAD, "s.yaml:1: Scenario/tried: spec: required, but missing"),
        (f"{HEAD}spec: 3\n", "s.yaml:4: Scenario/tried: spec: expected an object, found the number 3"),
        (
            spec("seed: 1\nseed: 2"),
            "s.yaml:6: Scenario/tried: spec.seed: the key stands here a second time, first on line 5",
        ),
        (spec("seed: [1"), "s.yaml:6: invalid YAML: did not find expected ',' or ']'"),
    ],
)
def test_files_that_are_none(text: str, message: str) -> None:
    assert message in problems(text)


def test_what_up_refuses_is_refused_in_the_words_of_the_file() -> None:
    assert problems(spec("cluster:\n  nodes: 2\n  routeReflectors: 3")) == [
        "s.yaml:7: Scenario/tried: spec.cluster.routeReflectors: 3: reflectors are made of generated nodes, "
        "and only 2 are generated (--nodes)"
    ]


_KEYS = ("steps", "do", "expect", "when", "heal", "stop", "apply", "delete", "partition", "between", "loss",
         "routes", "present", "cluster", "nodes", "label", "name", "patch", "link", "converged")  # fmt: skip
_values = st.recursive(
    st.sampled_from(("null", "1", "all", "converged", "node-001", "3s", "x y", "[]", "{}")),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=3).map(
            lambda found: "{" + ", ".join(f"{key}: {value}" for key, value in found.items()) + "}"
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(("cluster", "steps", "expect")), _values, min_size=1))
def test_whatever_a_file_says_it_is_a_scenario_or_refused_with_places(fields: dict[str, str]) -> None:
    text = spec("\n".join(f"{key}: {value}" for key, value in fields.items()))
    try:
        names = [parse(text, "s.yaml").scenario.name]
    except ManifestError as error:
        names = [problem.file for problem in error.problems]
    assert {*names} in ({"tried"}, {"s.yaml"})
