"""docs/walkthrough.md, command by command: what stands on the page is what a real cluster answers.

The page is its own golden transcript. Each line ``$ ./run …`` in a fence is a command, what follows is its output, and all
of them are one conversation with one cluster: the page's first command starts it, its last one ends it. ``--rewrite``
writes the outputs anew where something has changed that is not a time, a pid or a size.

A command that changes something runs once. One that looks runs until the cluster has come to what the page says, which is
what a reader does, too.
"""

from __future__ import annotations

import difflib
import os
import re
import select
import shlex
import time
from collections.abc import Iterator

import attrs
import pytest
from click.testing import CliRunner

from cluster.cli import main
from tests.real.clusters import PATIENCE, ROOT, Start, Up

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "walkthrough.md"

_FENCE = re.compile(r"(?<=^```\n)\$ \./run .*?(?=^```$)", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ \./run (?P<line>.*?)(?: <<EOF\n(?P<stdin>.*?^)EOF)?\n", re.MULTILINE | re.DOTALL)

# What differs from run to run, and what stands for it in the comparison.
_UNSTABLE = (
    (
        re.compile(r"^ +[\d.]+ s  nodes .*\n", re.MULTILINE),
        "",
    ),  # progress, when it is not a terminal that watches
    (re.compile(r"converged in [\d.]+ s \(CPU [\d.]+ s, \d+ MB\)"), "converged in a moment"),
    (re.compile(r"limit [\d,]+ descriptors"), "limit of descriptors"),
    (re.compile(r"pid \d+, up \d+ s"), "pid, up"),
    (re.compile(r"^(\d+ +)\d+( +up +\d+ +[\d,]+ +)\d+ MB$", re.MULTILINE), r"\1PID\2MB"),
    (re.compile(r"PID +STATE"), "PID STATE"),
    (re.compile(r"\d\d:\d\d:\d\d"), "hh:mm:ss"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "yyyy-mm-dd"),
    (re.compile(r"^\d+ (s|min) ago +", re.MULTILINE), "ago "),
    (re.compile(r"(Hold|Keepalive) timer: +\d+/"), r"\1 timer: "),
    (re.compile(r"resourceVersion: '\d+'"), "resourceVersion"),
    (re.compile(r"uid: [0-9a-f-]+"), "uid"),
    (re.compile(r"is down \([\d.]+ s\)"), "is down"),
)


def stable(output: str) -> str:
    for pattern, stand_in in _UNSTABLE:
        output = pattern.sub(stand_in, output)
    if output.startswith("LAST SEEN"):  # events of one moment come in any order
        output = "\n".join(sorted(output.splitlines()))
    return output


@attrs.frozen
class Step:
    line: str
    stdin: str
    output: str  # what the page says
    begin: int  # of the output, on the page
    end: int

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.line)

    @property
    def looks(self) -> bool:
        words = self.arguments
        return words[0] in ("status", "events", "node", "ip", "get") or (
            words[0] == "birdc" and "show" in words
        )


def steps(page: str) -> Iterator[Step]:
    for fence in _FENCE.finditer(page):
        found = list(_COMMAND.finditer(page, fence.start(), fence.end()))
        ends = [each.start() for each in found[1:]] + [fence.end()]
        for each, end in zip(found, ends, strict=True):
            output = page[each.end() : end]
            yield Step(each["line"], each["stdin"] or "", output, each.end(), end)


@attrs.frozen
class Reader:
    """Somebody at a second terminal. Commands run in this process: forty of them would take ten seconds to start."""

    environment: dict[str, str]

    def run(self, step: Step) -> str:
        result = CliRunner().invoke(main, step.arguments, step.stdin, {**self.environment, "COLUMNS": "100"})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.output

    def until(self, step: Step) -> str:
        """What it prints once it is what the page says, or at last."""
        deadline = time.monotonic() + PATIENCE
        while stable(output := self.run(step)) != stable(step.output) and time.monotonic() < deadline:
            time.sleep(0.05)
        return output

    def settle(self) -> None:
        """Until all is as it should be; or longer than BIRD waits after an error, as not everything is meant to be."""
        time.sleep(0.5)
        deadline = time.monotonic() + 7
        while time.monotonic() < deadline:
            status = CliRunner().invoke(main, ["status"], None, self.environment).output
            if (
                "converged: all" in status
                and len(set(re.findall(r"(\S+)/(\S+) Established", status)[0])) == 1
            ):
                break
            time.sleep(0.1)
        time.sleep(0.5)


def started(up: Up) -> str:
    """What ``up`` has written to a terminal when it is ready."""
    up.read_until("next: ")
    assert up.process.stderr is not None
    descriptor = up.process.stderr.fileno()
    warnings = os.read(descriptor, 1 << 16).decode() if select.select([descriptor], [], [], 0)[0] else ""
    return warnings + "".join(f"{line}\n" for line in up.lines)


@pytest.mark.timeout(180)  # --rewrite does not know what to wait for, and waits longer
def test_the_page_says_what_a_cluster_answers(
    start: Start, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    rewrite = request.config.getoption("--rewrite")
    page = PAGE.read_text()
    first, *rest = steps(page)
    command, *options = first.arguments
    assert command == "up"
    up = start(*options, stdin=first.stdin)
    reader = Reader(up.environment)
    outputs = [started(up)]
    for step in rest:
        if step.looks and not rewrite:
            outputs.append(reader.until(step))
        else:
            outputs.append(reader.run(step))
            if not step.looks and rewrite and step is not rest[-1]:
                reader.settle()
        if not rewrite and stable(outputs[-1]) != stable(step.output):
            pytest.fail(f"$ ./run {step.line}\n" + difference(step.output, outputs[-1]))
    assert up.end() == 0
    unchanged = [
        stable(output) == stable(step.output) for step, output in zip([first, *rest], outputs, strict=True)
    ]
    if rewrite and not all(unchanged):  # all or nothing, so that the page is one run
        for step, output in reversed(list(zip([first, *rest], outputs, strict=True))):
            page = page[: step.begin] + output + page[step.end :]
        PAGE.write_text(page)
    elif not rewrite:
        assert stable(outputs[0]) == stable(first.output)


def difference(page: str, answer: str) -> str:
    lines = difflib.unified_diff(
        stable(page).splitlines(), stable(answer).splitlines(), "the page", "the cluster", lineterm=""
    )
    return "\n".join(lines)
