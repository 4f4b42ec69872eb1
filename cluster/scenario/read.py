"""Scenario files to ``Scenario`` values, and every error at once with its place.

Owns ``read`` (a file), ``parse`` (a text), ``find`` (which files of a directory are scenarios; ``may_be_scenario`` asks
one) and ``Read``.

Flow: text -> documents (``yamltree``) -> the Scenario to a form (``form``), the others and ``spec.cluster.manifests``
to resources (``loader``) -> the world, as ``up`` builds it -> what the steps apply and delete -> names that nobody has.
Every stage goes on after a fault, and nothing is returned when there was one. A file holds one Scenario; paths are
relative to the file.

Left out: what a cluster says to a change (``play`` hears it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from cluster.api import names as kinds
from cluster.remarks import remarks
from cluster.scenario import model
from cluster.scenario.form import (
    ActionForm,
    ClusterForm,
    Kind,
    ScenarioForm,
    StepForm,
    blocks_of,
    form_of,
    is_name,
    one_of,
    seconds,
)
from cluster.scenario.model import ALL, PATIENCE, Scenario
from cluster.scenario.rules import faults_of
from cluster.scenario.spare import without
from cluster.scenario.values import action_of, clause_of, cluster_of, condition_of, key_of
from cluster.scenario.world import world_of
from cluster.spec import HOSTED, SpecError, World
from protocol.prefix import parse_address
from protocol.v3 import yamltree
from protocol.v3.fields import Subdomain
from protocol.v3.lab import LAB
from protocol.v3.loader import (
    SUFFIXES,
    Loaded,
    ManifestError,
    Problem,
    load_parts,
    read_text,
)
from protocol.v3.metadata import Key, Resource
from protocol.v3.rules import Fault, format_path
from protocol.v3.validate import InvalidResource, structured
from protocol.v3.yamltree import Map, Scalar, Seq, SyntaxFault, Tree

KIND: Final = "Scenario"

_SIEVES: Final = 3
"""A form is looked at so often: field by field, for what is between the fields, and whether nothing is left."""
_OPTION: Final = re.compile(r"--([a-z-]+) (.*)", re.DOTALL)


@attrs.frozen(kw_only=True)
class Read:
    """``warnings``: what is right, and surely not meant."""

    path: str
    scenario: Scenario
    warnings: tuple[str, ...] = ()


def find(source: str) -> list[str]:
    """The file itself; of a directory the files that have a Scenario, or cannot be read. Raises ManifestError for none."""
    path = Path(source)
    if not path.is_dir():
        return [source]
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and not file.is_dir())
    found = [str(file) for file in files if may_be_scenario(file)]
    if not found:
        raise ManifestError([_problem(source, 0, f"no file with a {KIND} in this directory")])
    return found


def may_be_scenario(file: Path) -> bool:
    """Whether it has one, or cannot be read, so that it is for ``read`` to say why."""
    text = read_text(file)
    if isinstance(text, Problem):
        return True
    try:
        return any(_is_scenario(tree) for tree in yamltree.read(text))
    except SyntaxFault:
        return KIND in text


def read(path: str) -> Read:
    """Raises ManifestError, also for a file that cannot be read."""
    text = read_text(Path(path))
    if isinstance(text, Problem):
        raise ManifestError([text])
    return parse(text, path)


def parse(text: str, path: str = "<text>") -> Read:
    """The same for a text in hand; ``path`` stands for the file in messages, and is where others are beside. Raises
    ManifestError.
    """
    return _Reading(path).read(text)


def _is_scenario(tree: Tree) -> bool:
    kind = tree.entries.get("kind") if isinstance(tree, Map) else None
    return isinstance(kind, Scalar) and kind.value == KIND


def _problem(file: str, line: int, message: str) -> Problem:
    return Problem(file=file, line=line, subject="", path="", message=message)


@attrs.define
class _Reading:
    """One file, and all that is wrong with it so far."""

    path: str
    tree: Map = attrs.field(factory=lambda: Map(0))
    subject: str = KIND
    problems: list[Problem] = attrs.field(factory=list)
    sure: bool = True
    """Whether all nodes are known that there may be."""
    warnings: list[str] = attrs.field(factory=list)

    def read(self, text: str) -> Read:
        trees: list[Tree] = []
        try:
            trees.extend(yamltree.read(text))
        except SyntaxFault as fault:
            self.problems.append(_problem(self.path, fault.line, fault.message))
        scenario = self._scenario(trees)
        if scenario is None or self.problems:
            raise ManifestError(self._in_order(), ())
        return Read(path=self.path, scenario=scenario, warnings=tuple(self.warnings))

    def _in_order(self) -> list[Problem]:
        """This file's first, each file's by line."""
        files: dict[str, int] = {self.path: 0}
        for problem in self.problems:
            files.setdefault(problem.file, len(files))
        return sorted(self.problems, key=lambda problem: (files[problem.file], problem.line))

    def _scenario(self, trees: Sequence[Tree]) -> Scenario | None:
        scenarios = [tree for tree in trees if _is_scenario(tree) and isinstance(tree, Map)]
        others = [tree for tree in trees if not _is_scenario(tree)]
        if not scenarios and not self.problems:
            self.problems.append(_problem(self.path, 0, f"no {KIND} (apiVersion {LAB}) in this file"))
        for another in scenarios[1:]:
            self.problems.append(_problem(self.path, another.line, f"a second {KIND}; a file has one"))
        form = None
        if scenarios:
            self.tree = scenarios[0]
            form = self._form()
        cluster = form.spec.cluster if form is not None else ClusterForm()
        loaded = self._manifests(others, cluster.manifests)
        if form is None:
            return None
        steps = tuple(self._step(step, index) for index, step in enumerate(form.spec.steps))
        end = form.spec.expect
        scenario = Scenario(
            name=form.metadata.name,
            description=form.spec.description.strip(),
            seed=form.spec.seed,
            hold_time=seconds(form.spec.hold_time),
            cluster=cluster_of(cluster, () if loaded is None else loaded.resources),
            steps=steps,
            expect=Scenario(name="").expect
            if end is None
            else tuple(clause_of(clause, "start") for clause in end),
        )
        world = self._world(scenario) if self.sure and loaded is not None else None
        if self.sure and world is not None and loaded is not None:
            self.warnings += remarks(loaded, world)
            self._check_names(form, scenario, world)
        return scenario

    # -- the document -------------------------------------------------------------------------------------------------

    def _fault(self, fault: Fault, line: int = 0) -> None:
        self.problems.append(
            Problem(
                file=self.path,
                line=line or yamltree.line_of(self.tree, fault.path),
                subject=self.subject,
                path=format_path(fault.path),
                message=fault.message,
            )
        )

    def _form(self) -> ScenarioForm | None:
        document = yamltree.plain(self.tree)
        metadata = document.get("metadata")
        if isinstance(metadata, Mapping) and isinstance(metadata.get("name"), str):
            self.subject = f"{KIND}/{metadata['name']}"
        for path, line, first in yamltree.duplicate_keys(self.tree):
            self._fault(Fault(path, f"the key stands here a second time, first on line {first}"), line)
        if document.get("apiVersion") != LAB:
            self._fault(Fault(("apiVersion",), f"expected {LAB}"))
        for _ in range(_SIEVES):
            form = None
            try:
                form = form_of(document)
                faults = [*faults_of(form)]
            except InvalidResource as error:
                faults = [*error.faults]
            for fault in faults:
                self._fault(fault)
                self.sure = self.sure and fault.path[:2] not in (("spec",), ("spec", "cluster"))
            if not faults:
                return form
            document = without(document, faults)
        return None

    def _manifests(self, others: Sequence[Tree], paths: Sequence[str]) -> Loaded | None:
        parts: list[tuple[str, Sequence[Tree]] | str] = [(self.path, others)] if others else []
        for index, path in enumerate(paths):
            parts += self._file(path, ("spec", "cluster", "manifests", index))
        return self._loaded(parts, created=True)

    def _loaded(self, parts: Iterable[tuple[str, Sequence[Tree]] | str], *, created: bool) -> Loaded | None:
        try:
            return load_parts(parts, created=created)
        except ManifestError as error:
            self.problems += error.problems
            return None

    def _file(self, path: str, where: yamltree.Path) -> Iterator[str]:
        """The path of a file that stands at ``where``, as seen from here."""
        found = Path(self.path).parent / path
        try:
            if path and path != "-" and found.exists():
                yield str(found)
                return
        except (OSError, ValueError):
            pass
        self.sure = False
        self._fault(Fault(where, f"there is no file or directory {found}"))

    def _world(self, scenario: Scenario) -> World | None:
        try:
            return world_of(scenario)
        except SpecError as error:
            for problem in error.problems:
                option = _OPTION.match(problem)
                path: tuple[str, ...] = "spec", "cluster"
                if option is not None:  # of `up`; here it is a field
                    first, *rest = option[1].split("-")
                    path = *path, first + "".join(map(str.capitalize, rest))
                self._fault(Fault(path, problem if option is None else option[2]))
            return None

    # -- steps --------------------------------------------------------------------------------------------------------

    def _step(self, form: StepForm, index: int) -> model.Step:
        path = "spec", "steps", index
        do = tuple(self._action(action, (*path, "do", at)) for at, action in enumerate(form.do))
        return model.Step(
            name=form.name,
            at=None if form.at is None else seconds(form.at),
            after=None if form.after is None else seconds(form.after),
            when=tuple(map(condition_of, form.when)),
            within=PATIENCE if form.within is None else seconds(form.within),
            do=do,
            expect=tuple(clause_of(clause, "step") for clause in form.expect),
        )

    def _action(self, form: ActionForm, path: yamltree.Path) -> model.Action:
        [(verb, value)] = one_of(form)
        match verb:
            case "apply":
                return model.Apply(self._resources((*path, verb)))
            case "delete":
                return model.Delete(self._keys((*path, verb)))
            case _:
                return action_of(verb, value)

    def _items(self, path: yamltree.Path) -> list[tuple[Tree, yamltree.Path]]:
        """One thing, or each of a list."""
        tree: Tree = self.tree
        for step in path:
            if isinstance(tree, Map):
                tree = tree.entries[str(step)]
            elif isinstance(tree, Seq) and isinstance(step, int):
                tree = tree.items[step]
        if isinstance(tree, Seq):
            return [(item, (*path, index)) for index, item in enumerate(tree.items)]
        return [(tree, path)]

    def _resources(self, path: yamltree.Path) -> tuple[Resource, ...]:
        parts: list[tuple[str, Sequence[Tree]] | str] = []
        items = self._items(path)
        for tree, where in items:
            if isinstance(tree, Map):
                parts.append((self.path, [tree]))
            elif isinstance(tree, Scalar) and isinstance(tree.value, str):
                parts += self._file(tree.value, where)
            else:
                self._fault(Fault(where, "a resource, or the path of a file with some, is asked for"))
        if not items:
            self._fault(Fault(path, "no resource"))
        loaded = self._loaded(parts, created=False)
        if loaded is None:
            self.sure = False
            return ()
        self.warnings += map(str, loaded.warnings)
        for resource, place in zip(loaded.resources, loaded.places, strict=True):
            if kinds.BY_KIND[resource.kind].internal:
                subject = f"{resource.kind}/{resource.metadata.name}"
                self.problems.append(
                    Problem(
                        file=place.file,
                        line=place.line,
                        subject=subject,
                        path="",
                        message="only IPAM writes it",
                    )
                )
        return loaded.resources

    def _keys(self, path: yamltree.Path) -> tuple[Key, ...]:
        found: list[Key] = []
        for tree, where in self._items(path):
            if isinstance(tree, Map) and "metadata" not in tree.entries:
                try:
                    ref = structured(_Ref, yamltree.plain(tree))
                except InvalidResource as error:
                    for fault in error.faults:
                        self._fault(Fault((*where, *fault.path), fault.message))
                else:
                    found.append(key_of(ref.kind, ref.namespace, ref.name))
            else:
                found += (resource.key for resource in self._resources(where))
        return tuple(found)

    # -- names --------------------------------------------------------------------------------------------------------

    def _check_names(self, form: ScenarioForm, scenario: Scenario, world: World) -> None:
        """Those that no Node or Router has, now or by a step."""
        known = {each.metadata.name for each in (*world.nodes, *world.routers)}
        for step in scenario.steps:
            for action in step.do:
                if isinstance(action, model.Apply):
                    known |= {each.metadata.name for each in action.resources if each.kind in HOSTED}

        def check(names: Iterable[str], path: yamltree.Path) -> None:
            for name in names:
                if name != ALL and is_name(name) and name not in known:
                    self._fault(Fault(path, f"there is no node or router {name}"))

        check(form.spec.cluster.off, ("spec", "cluster", "off"))
        for index, step in enumerate(scenario.steps):
            path: yamltree.Path = "spec", "steps", index
            for condition in step.when:
                if isinstance(condition, model.WhenSession):
                    check((condition.node, *_peer(condition.peer)), (*path, "when"))
            for at, action in enumerate(step.do):
                [(verb, _)] = one_of(form.spec.steps[index].do[at])
                check(_named(action), (*path, "do", at, verb))
            for at, clause in enumerate(step.expect):
                check(_expected(clause), (*path, "expect", at))
        for at, clause in enumerate(scenario.expect if form.spec.expect is not None else ()):
            check(_expected(clause), ("spec", "expect", at))


@attrs.frozen(kw_only=True)
class _Ref:
    kind: Kind
    name: Subdomain
    namespace: str = ""


def _named(action: model.Action) -> model.Names:
    match action:
        case model.Label(kind=kind, names=names):
            return names if kind == "Node" else ()
        case model.Partition(one=one, other=other) | model.Heal(one=one, other=other):
            return *one, *other
        case model.Flap(one=one, other=other):
            return one, other
        case model.Apply() | model.Delete() | model.Patch() | model.Wait():
            return ()
        case _:
            return action.names


def _expected(clause: model.Clause) -> Iterator[str]:
    match clause:
        case model.Sessions(names=names, peer=peer):
            yield from (*names, *_peer(peer))
        case model.Routes(names=names, present=present, absent=absent):
            yield from names
            yield from filter(None, map(blocks_of, (*(each.prefix for each in present), *absent)))


def _peer(text: str) -> Iterator[str]:
    """The name of a node or a router, and no address; stanzas' names have underscores."""
    try:
        parse_address(text)
    except ValueError:
        yield from [text] if is_name(text) else []
