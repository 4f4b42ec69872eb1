"""``fuzz``: look for a scenario in which something goes wrong, and make it small.

Exit codes: 0 nothing was found; 1 something was; 2 a file that is none, or an option that cannot be; 128 plus the
signal's number when one came first.
"""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cluster.cli.paths import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.fuzz.search import Found
    from cluster.fuzz.trial import Outcome
    from cluster.scenario.model import Scenario

SHRINKING = 60.0
"""Seconds that a finding is made smaller for."""
SHOWN = 5
"""Of the cycles that are a configuration's fault."""


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
              metavar="M", help="How long to look.")  # fmt: skip
@click.option(
    "--examples", type=click.IntRange(min=1), metavar="N", help="Look at so many scenarios at most."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="One seed is one search.  [default: another each time]",
)
@click.option(
    "-f",
    "--base",
    metavar="BASE",
    help="Begin with the cluster of this scenario, and its steps; or of these manifests.",
)
@click.option("--to", "directory", default="found", show_default=True, metavar="DIR",
              type=Target(directory=True, path_type=Path), help="Where what is found is written.")  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Output format.")  # fmt: skip
def fuzz(**options: Any) -> None:
    """Look for trouble: draw clusters, changes and faults, rehearse them, and check what must be so of any cluster.

    What is found is made as small as it can be and written as a scenario file, which `rehearse` plays again. Each kind
    of finding is told once. Routes that a configuration makes chase each other for ever are told, and are no finding.

    \b
    Examples:
      ./run fuzz --minutes 10
      ./run fuzz --seed 7 --examples 500
      ./run fuzz -f examples/scenarios/partition.yaml --to found
    """
    try:
        code = _fuzz(options)
    except KeyboardInterrupt as interrupt:
        click.echo("tortie: interrupted", err=True)
        code = 128 + getattr(
            interrupt.__cause__, "number", signal.SIGINT
        )  # of a rehearsal, or of the time between two
    sys.exit(code)


def _fuzz(options: dict[str, Any]) -> int:
    try:
        from cluster.fuzz.draw import scenarios
        from cluster.fuzz.search import Search
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        click.echo("tortie: fuzz needs hypothesis, which ./run sets up: pip install hypothesis", err=True)
        return 2
    base = None
    if options["base"] is not None:
        base = _base(options["base"])
        if base is None:
            return 2
    seed = random.SystemRandom().randrange(1 << 32) if options["seed"] is None else options["seed"]
    hunt = _Hunt(seed=seed, directory=options["directory"], quiet=options["output"] == "json")
    search: Search[Scenario] = Search(
        examples=scenarios(base=base), kinds=hunt.kinds, seed=seed, clock=time.monotonic, shrinking=SHRINKING
    )
    until = hunt.began + 60 * options["minutes"]
    most = options["examples"] or float("inf")
    try:
        while (found := search.next(until=until, most=most - search.tried)) is not None:
            hunt.tell(found)
            search.known.add(found.kind)
    finally:  # whoever has enough of it wants to know, too, what came of it
        hunt.sum_up(search.tried)
    return 1 if hunt.findings else 0


def _base(source: str) -> Scenario | None:
    """None when something is wrong with it, which is said."""
    from cluster.scenario.model import Cluster, Scenario
    from cluster.scenario.read import may_be_scenario, read
    from cluster.scenario.world import world_of
    from cluster.spec import SpecError
    from protocol.v3.loader import ManifestError, load

    try:
        path = Path(source)
        if path.is_file() and may_be_scenario(path):
            return read(source).scenario
        scenario = Scenario(name="base", cluster=Cluster(resources=load([source]).resources))
        world_of(scenario)
    except ManifestError as error:
        for problem in error.problems:
            click.echo(f"tortie: {problem}", err=True)
        return None
    except SpecError as error:
        for line in error.problems:
            click.echo(f"tortie: {source}: {line}", err=True)
        return None
    return scenario


@attrs.define(kw_only=True)
class _Hunt:
    """One search, as it is shown."""

    seed: int
    directory: Path
    quiet: bool
    began: float = attrs.field(factory=time.monotonic)
    findings: list[dict[str, Any]] = attrs.field(factory=list)
    cycles: dict[str, None] = attrs.field(factory=dict)
    _played: int = 0
    _shown: float = 0.0

    def kinds(self, scenario: Scenario) -> Sequence[str]:
        from cluster.fuzz.trial import attempt

        self._progress()
        outcome = attempt(scenario)
        self._played += 1
        self.cycles.update(dict.fromkeys(map(str, outcome.cycles)))
        return [finding.kind for finding in outcome.findings]

    def tell(self, found: Found[Scenario]) -> None:
        from cluster.fuzz.trial import attempt
        from cluster.scenario.write import write

        outcome: Outcome = attempt(found.example)
        texts = [finding.text for finding in outcome.findings if finding.kind == found.kind]
        name = f"{found.kind}-{self.seed}"
        scenario = attrs.evolve(found.example, name=name, description="\n".join([f"{found.kind}:", *texts]))
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{name}.yaml"
        path.write_text(write(scenario))
        self.findings.append({"kind": found.kind, "texts": texts, "file": str(path)})
        self.clear()
        if not self.quiet:
            click.echo(f"found, and made smaller in {found.shrunk:,} more: {found.kind}")
            for text in texts[:SHOWN]:
                click.echo(f"  {text}")
            click.echo(f"  play it again: ./run rehearse {path}")

    def sum_up(self, tried: int) -> None:
        self.clear()
        took = time.monotonic() - self.began
        if self.quiet:
            document = {
                "seed": self.seed,
                "scenarios": tried,
                "seconds": took,
                "findings": self.findings,
                "cycles": [*self.cycles],
            }
            click.echo(json.dumps(document))
            return
        for cycle in [*self.cycles][:SHOWN]:
            click.echo(f"the configuration's fault, not ours: {cycle}")
        found = f"{len(self.findings)} found" if self.findings else "nothing found"
        click.echo(f"{tried:,} scenarios in {took:.0f} s, seed {self.seed}: {found}")

    def _progress(self) -> None:
        """One line on a terminal; elsewhere one in ten seconds."""
        terminal = sys.stderr.isatty()
        now = time.monotonic()
        if now >= self._shown + (0.5 if terminal else 10.0) and now > self.began + 1.0:
            self._shown = now
            line = f"{self._played:,} scenarios, {now - self.began:.0f} s, {len(self.findings)} found"
            click.echo(f"\r{line}" if terminal else line, nl=not terminal, err=True)

    def clear(self) -> None:
        if sys.stderr.isatty() and self._shown:
            click.echo("\r" + " " * 60 + "\r", nl=False, err=True)
