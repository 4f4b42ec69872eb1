"""calicoctl's words for how a command about resources went, and its exit codes: 0, or 1.

Owns ``Outcome``, what became of each resource, and one function a way of telling it. create and apply tell of the
resources that failed; replace counts a failure as handled and tells of the last only, as calicoctl does; delete tells
of the successes and of every failure.

What comes from a file is told with its place; calicoctl does not have one.
"""

from __future__ import annotations

from typing import Any

import click

from cluster.api import names
from cluster.api.names import Name
from cluster.cli.client import Denied


class Failed(click.ClickException):
    """Exit 1. calicoctl writes the error and nothing before it."""

    def show(self, file: Any = None) -> None:
        click.echo(self.message, err=True)


class Outcome:
    """Of one command: a resource after the other."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.handled = 0
        self._kinds: set[str] = set()

    @property
    def count(self) -> int:
        return self.handled + len(self.errors)

    @property
    def kind(self) -> str:
        """The kind of all of them; "" when there are several."""
        return next(iter(self._kinds)) if len(self._kinds) == 1 else ""

    def of(self, kind: str) -> None:
        """The next one is of this kind."""
        self._kinds.add(kind)

    def success(self) -> None:
        self.handled += 1

    def failure(self, error: Denied, place: str = "", subject: str = "") -> None:
        self.errors.append(reason(error, place, subject))

    def counted(self, count: object, ending: str) -> str:
        kind = f"'{self.kind}' " if self.kind else ""
        return f"{count} {kind}{ending}"


def reason(error: Denied, place: str = "", subject: str = "") -> str:
    """Why: field by field when it was the document, of which ``subject`` says what it is; other reasons say it."""
    texts = [": ".join(filter(None, (subject, *cause))) for cause in error.causes] or [str(error)]
    return "; ".join(f"{place}: {text}" if place else text for text in texts)


def kind_of(word: str, failing: str = "") -> Name:
    """Raises Failed for what is no kind."""
    name = names.find(word)
    if name is None:
        raise Failed(f"{failing}resource type '{word}' is not supported")
    return name


def tell(outcome: Outcome, infinitive: str, past: str) -> None:
    """For create and apply. Raises Failed."""
    errors = f"[{', '.join(outcome.errors)}]"
    if not outcome.count:
        click.echo("No resources specified")
    elif not outcome.handled:
        if outcome.count == 1:
            raise Failed(f"failed to {infinitive} '{outcome.kind}' resource: {errors}")
        raise Failed(f"failed to {outcome.counted(f'{infinitive} any', 'resources')}: {errors}")
    elif not outcome.errors:
        click.echo(f"Successfully {past} {outcome.counted(outcome.handled, 'resource(s)')}")
    else:
        if outcome.handled > len(outcome.errors):
            total = outcome.counted(outcome.count, "resources")
            click.echo(f"Partial success: {past} the first {outcome.handled} out of {total}:")
        raise Failed(f"hit error: {errors}")


def tell_replaced(outcome: Outcome) -> None:
    """Raises Failed."""
    if not outcome.count:
        click.echo("No resources specified")
    elif not outcome.errors:
        click.echo(f"Successfully replaced {outcome.counted(outcome.handled, 'resource(s)')}")
    else:
        total = outcome.counted(outcome.count, "resources")
        click.echo(f"Partial success: replaced the first {outcome.count} out of {total}:")
        raise Failed(f"hit error: {outcome.errors[-1]}")


def tell_deleted(outcome: Outcome) -> None:
    """Raises Failed."""
    if not outcome.count:
        click.echo("No resources specified")
    elif outcome.handled:
        click.echo(f"Successfully deleted {outcome.counted(outcome.handled, 'resource(s)')}")
    if outcome.errors:
        kind = f"'{outcome.kind}' " if outcome.kind else ""
        raise Failed("\n".join(f"Failed to delete {kind}resource: {error}" for error in outcome.errors))


def unwritten(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What to raise instead of a group: of one that is about writing alone (a full disk, a closed pipe) the first
    error, which can be said in a line; any other as it is.
    """
    errors, others = group.split(OSError)
    if errors is None or others is not None:
        return group
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
