"""The launcher: what the set-up costs is no part of a cluster's start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.clusters import PATIENCE, ROOT, free_port

pytestmark = pytest.mark.slow

STUB_UV = f"""#!/bin/sh
# Makes an environment whose python says when the set-up ended, instead of being the program.
[ "$1" = venv ] || exit 0
for venv; do :; done
mkdir -p "$venv/bin"
cat >"$venv/bin/python" <<'END'
#!/bin/sh
[ "$1" = -c ] && exec {sys.executable} "$@"
echo "${{TORTIE_SET_UP_UNTIL-nothing was set up}}"
END
chmod +x "$venv/bin/python"
"""


@pytest.fixture
def launched(tmp_path: Path) -> Callable[..., str]:
    """What a launcher of its own prints, which has nothing set up yet."""
    for name in ("run", "requirements.txt", "requirements-test.txt"):
        shutil.copy(ROOT / name, tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uv").write_text(STUB_UV)
    (tools / "uv").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    def run(*arguments: str) -> str:
        command = [str(tmp_path / "run"), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    return run


def test_the_program_hears_when_the_set_up_ended(launched: Callable[..., str]) -> None:
    before = time.monotonic()
    assert before < float(launched("up")) < time.monotonic()
    assert launched("up") == "nothing was set up\n"


@pytest.mark.parametrize("extra", ["fuzz", "bench attack --seconds 1", "rehearse x.yaml --plot x.svg"])
def test_what_needs_more_has_more_set_up(launched: Callable[..., str], extra: str) -> None:
    launched("rehearse", "x.yaml")
    assert float(launched(*extra.split()))
    for arguments in (extra.split(), ["up"]):
        assert launched(*arguments) == "nothing was set up\n"


def test_a_cluster_does_not_count_the_set_up(tmp_path: Path) -> None:
    """As ./run does it: a shell whose children take a second becomes the program."""
    busy = "import time\nwhile time.process_time() < 1: pass\nprint(time.monotonic())"
    command = (
        f'TORTIE_SET_UP_UNTIL=$("$0" -c "{busy}") && export TORTIE_SET_UP_UNTIL && echo "$TORTIE_SET_UP_UNTIL" && '
        f'exec "$0" -m cluster up --nodes 1 --once -o json --bgp-port {free_port()}'
    )
    result = subprocess.run(
        ["sh", "-c", command, sys.executable], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, check=True,
    )  # fmt: skip
    until, outcome = map(json.loads, result.stdout.splitlines())
    assert outcome["seconds"]["converged"] < time.monotonic() - until
    assert outcome["cpu_seconds"] < 1.0
