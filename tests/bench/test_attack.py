"""Ten seconds of the attack on the wire, as a user starts it; and a target that is broken on purpose."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

from bench.attack import fuzz, replay
from bench.rows import BenchError

ROOT = Path(__file__).parent.parent.parent

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python or computer"
)


@needs_atheris
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_nothing_is_found_in_ten_seconds(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "run", "bench", "attack", "--seconds", "3", "--to", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["frames", "session", "speaker"]
    assert all(line.endswith("nothing found") for line in lines)
    assert not list(tmp_path.iterdir())


@needs_atheris
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_finding_is_an_input_and_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.py").write_text(
        "def one(data):\n    if data[:1] == b'Q':\n        raise KeyError('planted')\n\n\nTARGETS = {'frames': one}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = fuzz("frames", 20, 1, "broken")
    assert found.finding is not None
    assert found.finding[:1] == b"Q"
    assert "KeyError: 'planted'" in found.why
    assert found.name.startswith("frames-finding-")


def test_a_file_is_tried_again_by_its_name(tmp_path: Path) -> None:
    kept = tmp_path / "session-finding-0a1b"
    kept.write_bytes(b"\0\0\xf8\2")
    replay(kept)
    other = tmp_path / "notes.txt"
    other.touch()
    with pytest.raises(BenchError, match="not a finding"):
        replay(other)
