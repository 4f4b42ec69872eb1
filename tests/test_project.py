"""What the whole tree keeps to, so that nobody has to remember it: heads, sizes, no state in modules, clean pins."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOUSE = ("protocol", "agents", "cluster", "bench")
LONGEST = 500  # lines; around 450 a file is asked whether it is still one idea


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources(*HOUSE)
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_bytes()))
    ]
    assert not silent


def test_no_file_is_longer_than_one_idea() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in sources(*HOUSE)}
    assert not {path: length for path, length in lengths.items() if length > LONGEST}


def test_modules_hold_no_state() -> None:
    """An empty container at module level is there to be filled, and ``global`` to be written to."""
    found = []
    for path in sources(*HOUSE):
        tree = ast.parse(path.read_bytes())
        found += [f"{path}:{node.lineno}: global" for node in ast.walk(tree) if isinstance(node, ast.Global)]
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                value = ast.unparse(node.value)
                if value in ("{}", "[]", "dict()", "list()", "set()") or value.startswith(
                    ("defaultdict(", "Counter(")
                ):
                    found.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert not found, "\n".join(found)


def test_pins_have_hashes_and_no_address() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        text = (ROOT / name).read_text()
        assert not re.search(r"://|^-|^\.|@|/", text, re.MULTILINE), f"{name} names a place"
        for requirement in text.replace("\\\n", "").splitlines():
            assert re.match(r"[a-z0-9.-]+==[^ ]+ .*--hash=sha256:", requirement), requirement


def test_both_pin_files_agree() -> None:
    """``./run test`` installs the second over the first."""
    pins = [set(re.findall(r"^[a-z0-9.-]+==[^ ]+", (ROOT / name).read_text(), re.MULTILINE))
            for name in ("requirements.txt", "requirements-test.txt")]  # fmt: skip
    assert pins[0] < pins[1]
