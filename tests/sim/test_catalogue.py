"""examples/scenarios and docs/scenarios: what stands on the pages is what comes out, whoever plays it.

Each file has a page, and each page is its own golden transcript: below ``$ ./run rehearse …`` stands all that is printed, but for
the computer's own seconds, to the last digit. ``--rewrite`` writes it anew. A page's line ``**In short:**`` has no number that its output has not,
and is what the list in README.md says of it.

Every file is played twice, here and in a process whose hashes have another seed; the logs of all that happened are the same bytes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli import main

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples" / "scenarios").glob("*.yaml"))
PAGES = ROOT / "docs" / "scenarios"
LIST = PAGES / "README.md"

_BLOCK = re.compile(
    r"(?<=^```\n)\$ \./run rehearse examples/scenarios/(?P<name>\S+)\.yaml\n(?P<output>.*?)(?=^```$)",
    re.MULTILINE | re.DOTALL,
)
_SHORT = re.compile(r"^\*\*In short:\*\* (?P<text>.+?)\n\n", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| \[(?P<name>[\w-]+)\]\((?P=name)\.md\) \| (?P<text>.*) \|$", re.MULTILINE)
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_TOOK = re.compile(r" in [\d.]+ s(?=; event log)")


def page_of(name: str) -> Path:
    return PAGES / f"{name}.md"


def in_short(page: str) -> str:
    found = _SHORT.search(page)
    assert found, "a page says in short what came out"
    return " ".join(found["text"].split())


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_page_says_what_comes_out_in_any_process(
    file: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    source = str(file.relative_to(ROOT))
    logs = [tmp_path / "here.log", tmp_path / "elsewhere.log"]
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "cluster", "rehearse", source, "--events", str(logs[1])],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as elsewhere:
        here = CliRunner().invoke(main, ["rehearse", source, "--events", str(logs[0])])
        there, _ = elsewhere.communicate()
    assert here.exit_code == 0, here.output
    assert elsewhere.returncode == 0
    assert _TOOK.sub("", there) == _TOOK.sub("", here.stdout)
    assert logs[0].read_bytes() == logs[1].read_bytes()
    assert logs[0].stat().st_size > 1000

    text = page_of(file.stem).read_text()
    block = _BLOCK.search(text)
    assert block, f"no block in {page_of(file.stem)}: $ ./run rehearse {source}"
    assert block["name"] == file.stem
    same = _TOOK.sub("", block["output"]) == _TOOK.sub("", here.stdout)
    if request.config.getoption("--rewrite") and not same:
        text = text[: block.start("output")] + here.stdout + text[block.end("output") :]
        page_of(file.stem).write_text(text)
    else:
        assert _TOOK.sub("", block["output"]) == _TOOK.sub("", here.stdout)
    missing = set(_NUMBER.findall(in_short(text))) - set(_NUMBER.findall(here.stdout))
    assert not missing, f"in short, but not in the output: {missing}"


def test_the_list_has_them_all(request: pytest.FixtureRequest) -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == {file.stem for file in FILES}
    said = {file.stem: in_short(page_of(file.stem).read_text()) for file in FILES}
    text = LIST.read_text()
    listed = {row["name"]: row["text"] for row in _ROW.finditer(text)}
    if request.config.getoption("--rewrite"):
        text = _ROW.sub(lambda row: f"| [{row['name']}]({row['name']}.md) | {said[row['name']]} |", text)
        new = [f"| [{name}]({name}.md) | {said[name]} |\n" for name in said if name not in listed]
        LIST.write_text(text.rstrip("\n") + "\n" + "".join(new))
    else:
        assert listed == said
