"""Reports as JUnit's XML: a suite for each scenario, a case for each step and for each clause.

Seconds are the scenario's own, which a CI shows beside each case. A scenario whose cluster could not be started is a
suite with an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree import ElementTree

from cluster.rehearsal.play import START
from cluster.rehearsal.report import Finding, Report, StepReport, Unplayed

_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(reports: Sequence[Report | Unplayed]) -> str:
    root = ElementTree.Element("testsuites")
    for report in reports:
        if isinstance(report, Unplayed):
            _unplayed(root, report)
            continue
        suite = ElementTree.SubElement(
            root, "testsuite", name=_text(report.scenario), time=f"{report.ended:.3f}"
        )
        if report.file:
            suite.set("file", _text(report.file))
        for step in (report.start, *report.steps):
            _step(suite, report, step)
        _clauses(suite, report, "at the end", report.end, report.ended)
        for count, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
            suite.set(count, str(sum(1 for _ in suite.iter(tag))))
    ElementTree.indent(root)
    text: str = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _unplayed(root: ElementTree.Element, unplayed: Unplayed) -> None:
    suite = ElementTree.SubElement(
        root, "testsuite", name=_text(unplayed.scenario), file=_text(unplayed.file),
        tests="1", errors="1", failures="0", skipped="0",
    )  # fmt: skip
    case = ElementTree.SubElement(suite, "testcase", classname=_text(unplayed.scenario), name=START)
    ElementTree.SubElement(case, "error", message=_text(unplayed.why.partition("\n")[0])).text = _text(
        unplayed.why
    )


def _step(suite: ElementTree.Element, report: Report, step: StepReport) -> None:
    case = _case(suite, report, step.name, step.ended - step.began)
    if step.skipped:
        ElementTree.SubElement(case, "skipped", message="a step before it waited in vain")
    elif step.trouble:
        _failure(case, step.trouble)
    began = 0.0 if step is report.start else step.began  # until second 0 another clock is looked at
    _clauses(suite, report, step.name, step.findings, began)


def _clauses(
    suite: ElementTree.Element, report: Report, name: str, findings: Iterable[Finding], began: float
) -> None:
    for finding in findings:
        case = _case(suite, report, f"{name}: {finding.text}", max(0.0, finding.at - began))
        if not finding.ok:
            _failure(case, [finding.found])


def _case(suite: ElementTree.Element, report: Report, name: str, seconds: float) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=_text(report.scenario), name=_text(name), time=f"{seconds:.3f}"
    )


def _failure(case: ElementTree.Element, lines: Sequence[str]) -> None:
    failure = ElementTree.SubElement(case, "failure", message=_text(lines[0]))
    failure.text = _text("\n".join(lines))


def _text(text: str) -> str:
    """What XML can say of it: names and errors may have anything in them."""
    return _NOT_XML.sub("?", text)
