"""The architecture as a test: imports go down only, and what decides neither asks the clock nor throws dice.

    protocol  <-  agents  <-  cluster          tests and bench stand beside the house; nothing in it imports them

Every module is parsed, not imported: an import inside a function or under TYPE_CHECKING counts like any other.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent
STOREYS = ("protocol", "agents", "cluster")

WIRE = "msgpack"  # only modules called wire.py import it: it ships no types, and frames have one home
MAY_IMPORT = {
    "protocol": {"protocol", "attrs", "cattrs", "yaml", WIRE},
    "agents": {"protocol", "agents", "attrs", "trio"},
    "cluster": {
        "protocol",
        "agents",
        "cluster",
        "attrs",
        "cattrs",
        "trio",
        "click",
        "rich",
        "starlette",
        "anycorn",
        WIRE,
    },
}
EXTRAS = {"hypothesis": "cluster/fuzz/", "matplotlib": "cluster/loss/plot.py"}
"""Not everybody has them, so one place imports each: ``[test]`` and ``[plot]`` of pyproject.toml."""
CONCURRENCY = {"asyncio", "threading", "multiprocessing", "concurrent", "queue", "sched"}
NOT_OF_THE_STANDARD_LIBRARY = {
    # One conversation: no I/O, no tasks, no processes, no logger.
    "protocol": CONCURRENCY | {
        "fcntl", "http", "logging", "resource", "secrets", "select", "selectors", "signal", "socket", "socketserver",
        "ssl", "subprocess", "tempfile", "urllib", "uuid",
    },
    "agents": CONCURRENCY | {"http", "secrets", "subprocess", "urllib", "uuid"},
    "cluster": {"asyncio"},
}  # fmt: skip
# Of these modules the pure parts only, below cluster: ``now`` and a seeded ``random.Random`` are arguments.
PURE_PARTS = {
    "time": {"gmtime", "strftime", "struct_time"},
    "random": {"Random"},
}
# ``self.now`` and ``view.now`` are the argument that was handed in; these are the clock and the system's dice.
ASKS_THE_SYSTEM = re.compile(r"(datetime|date)\.(now|utcnow|today)|os\.(urandom|getrandom)")
EXCEPTIONS = {
    ("protocol/prefix.py", "socket"): {
        "inet_ntop",
        "AF_INET6",
    },  # the spelling of RFC 5952, no socket is made
}


@attrs.frozen
class Import:
    module: str  # relative to the repository
    line: int
    name: str  # what is imported: "trio", "protocol.v3.node"
    members: tuple[str, ...]  # of "from name import members"

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.name}"


def modules(storey: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / storey).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_bytes())


def imports(module: str, tree: ast.Module) -> Iterator[Import]:
    package = module.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name, ())
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *filter(None, [node.module])])
            yield Import(module, node.lineno, name, tuple(alias.name for alias in node.names))


def uses(tree: ast.Module, module_name: str) -> Iterator[ast.Attribute]:
    """``module_name.something``, wherever it stands."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == module_name
        ):
            yield node


def upward(storey: str, module: str, tree: ast.Module) -> Iterator[str]:
    """What this module imports and may not."""
    for each in imports(module, tree):
        if (module, each.top) in EXCEPTIONS:
            continue
        if each.top == WIRE and not module.endswith("/wire.py"):
            yield f"{each}: only wire.py imports it"
        elif each.top in sys.stdlib_module_names:
            if each.top in NOT_OF_THE_STANDARD_LIBRARY[storey]:
                yield f"{each}: not in {storey}"
        elif each.top in EXTRAS and module.startswith(EXTRAS[each.top]):
            continue
        elif each.top not in MAY_IMPORT[storey]:
            yield f"{each}: not in {storey}, which may import {', '.join(sorted(MAY_IMPORT[storey]))}"


def impure(module: str, tree: ast.Module) -> Iterator[str]:
    """Where this module asks the clock or the system's dice."""
    limits = PURE_PARTS | {name: allowed for (where, name), allowed in EXCEPTIONS.items() if where == module}
    for each in imports(module, tree):
        for member in each.members:
            if each.name in limits and member not in limits[each.name]:
                yield f"{each}.{member}"
    for name, allowed in limits.items():
        for use in uses(tree, name):
            if use.attr not in allowed:
                yield f"{module}:{use.lineno}: {name}.{use.attr}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ASKS_THE_SYSTEM.search(ast.unparse(node)):
            yield f"{module}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and not node.args and not node.keywords:
            function = ast.unparse(node.func)
            if function in ("random.Random", "Random", "time.gmtime", "gmtime"):
                yield f"{module}:{node.lineno}: {function}() without an argument asks the system"


@pytest.mark.parametrize("storey", STOREYS)
def test_imports_go_down_only(storey: str) -> None:
    found = [problem for module, tree in modules(storey) for problem in upward(storey, module, tree)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("storey", ["protocol", "agents"])
def test_time_and_chance_are_arguments(storey: str) -> None:
    found = [problem for module, tree in modules(storey) for problem in impure(module, tree)]
    assert not found, "\n".join(found)


def test_bench_does_not_lean_on_the_tests() -> None:
    found = [
        str(each)
        for module, tree in modules("bench")
        for each in imports(module, tree)
        if each.top == "tests"
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("storey", "module", "text"),
    [
        ("protocol", "protocol/bgp/session.py", "def f():\n import agents.node"),
        ("protocol", "protocol/bgp/session.py", "from cluster import spec"),
        ("protocol", "protocol/bgp/session.py", "import trio"),
        ("protocol", "protocol/bgp/session.py", "import socket"),
        ("protocol", "protocol/bgp/session.py", "import logging"),
        ("protocol", "protocol/bgp/session.py", "import msgpack"),
        ("agents", "agents/node.py", "from cluster.spec import Spec"),
        ("agents", "agents/node.py", "from ..cluster.spec import Spec"),
        ("agents", "agents/node.py", "import tests.strategies.v3"),
        ("agents", "agents/node.py", "if TYPE_CHECKING:\n    import bench.rows"),
        ("cluster", "cluster/spec.py", "import bench.rows"),
        ("cluster", "cluster/spec.py", "import httpx"),
        ("cluster", "cluster/spec.py", "import hypothesis"),
    ],
)
def test_an_arrow_upward_is_seen(storey: str, module: str, text: str) -> None:
    assert list(upward(storey, module, ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.monotonic()",
        "from time import time",
        "import random\nrandom.choice([1])",
        "import random\nrandom.Random()",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.now()",
        "import os\nos.urandom(4)",
        "import time\ntime.gmtime()",
    ],
)
def test_a_hidden_clock_is_seen(text: str) -> None:
    assert list(impure("protocol/bgp/session.py", ast.parse(text)))


def test_what_is_pure_may_be_used() -> None:
    text = "import random, time\ndef f(rng: random.Random, now: float): return time.gmtime(now), self.now, random.Random(7)"
    assert not list(impure("agents/node.py", ast.parse(text)))
    text = "import socket\nsocket.inet_ntop(socket.AF_INET6, b'')"
    assert not list(upward("protocol", "protocol/prefix.py", ast.parse(text)))
    assert not list(impure("protocol/prefix.py", ast.parse(text)))
    assert list(impure("protocol/prefix.py", ast.parse("import socket\nsocket.socket()")))
