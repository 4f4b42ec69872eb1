"""Reports as JUnit's XML."""

from __future__ import annotations

from xml.etree import ElementTree

from cluster.rehearsal.junit import junit
from cluster.rehearsal.report import Done, Finding, Report, StepReport

REPORT = Report(
    scenario="tried",
    description="",
    seed=0,
    how="virtual",
    nodes=1,
    routers=0,
    converged=2.0,
    ended=90.0,
    start=StepReport(
        name="the start",
        began=-2.0,
        ended=0.0,
        findings=(Finding(text="converged", ok=True, found="", at=2.0),),
    ),
    steps=(
        StepReport(
            name="one <&>",
            began=10.0,
            ended=70.5,
            done=(Done(text="stop node-001", at=10.0, problems=("no\x00",)),),
            findings=(
                Finding(text="converged within 60 s", ok=True, found="after 3 s", at=13.0),
                Finding(text="IPAM is sound", ok=False, found="10.0.0.1 is leaked", at=70.5),
            ),
            trouble=("no\x00",),
        ),
        StepReport(name="two", began=70.5, ended=70.5, skipped=True),
    ),
    end=(Finding(text="no pair loses more than 1 s", ok=True, found="nothing was lost", at=90.0),),
    loss=None,
    file="tried.yaml",
)


def test_a_suite_for_each_scenario_and_a_case_for_each_step_and_clause() -> None:
    [suite, _] = ElementTree.fromstring(junit([REPORT, REPORT]))
    assert suite.attrib == {
        "name": "tried", "time": "90.000", "file": "tried.yaml", "tests": "7", "failures": "2", "skipped": "1",
    }  # fmt: skip
    assert [(case.get("name"), case.get("time"), [child.tag for child in case]) for case in suite] == [
        ("the start", "2.000", []),
        ("the start: converged", "2.000", []),
        ("one <&>", "60.500", ["failure"]),
        ("one <&>: converged within 60 s", "3.000", []),
        ("one <&>: IPAM is sound", "60.500", ["failure"]),
        ("two", "0.000", ["skipped"]),
        ("at the end: no pair loses more than 1 s", "0.000", []),
    ]
    assert [failure.get("message") for failure in suite.iter("failure")] == ["no?", "10.0.0.1 is leaked"]
