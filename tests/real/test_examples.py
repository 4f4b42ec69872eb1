"""Every file of ``examples``: nothing is wrong with it but what it shows, and its cluster converges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster.cli import main
from tests.real.clusters import PATIENCE, ROOT, Start

pytestmark = pytest.mark.slow

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SESSIONS = {
    "border-router": 4,
    "dual-stack": 4,
    "mesh": 3,
    "racks": 12,
    "reflectors": 1,
    "seed": 6,
    "services": 3,
}
WARNINGS = {"seed": ["has no neighbor for calico-cluster-control-plane", "ends with Bad peer AS"]}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_nothing_is_wrong_with_it(example: Path) -> None:
    result = CliRunner().invoke(main, ["validate", "-f", str(example), "-o", "json"])
    assert result.exit_code == 0, result.output
    warnings = [each["message"] for each in json.loads(result.stdout)["warnings"]]
    expected = WARNINGS.get(example.stem, [])
    assert len(warnings) == len(expected)
    assert all(words in said for words, said in zip(expected, warnings, strict=True)), warnings


def test_each_converges(start: Start) -> None:
    """All of them at the same time: what takes a second is mostly waiting."""
    assert [example.stem for example in EXAMPLES] == list(SESSIONS)
    ups = {
        example.stem: start("-f", str(example), "--once", "-o", "json", "--name", example.stem)
        for example in EXAMPLES
    }
    for name, up in ups.items():
        out, err = up.process.communicate(timeout=PATIENCE)
        assert up.end() == 0, (name, err)
        result = json.loads(out)
        assert result["sessions"] == {"expected": SESSIONS[name], "established": SESSIONS[name]}, name
        assert result["routes"]["expected"] == result["routes"]["programmed"], name
