"""Whatever moves in a cluster in virtual time, told to whoever wants to know.

Owns ``Witness``, between what happens and those who listen:

    tables, by their watcher ─┐            ┌─ Quiet: whether it has come to rest
    journals, the datastore   ├─► Witness ─┼─ EventLog: what happened, if it is wanted
    what is done to nodes    ─┘            └─ Account: what is lost, once somebody counts

Left out: what these make of it (``quiet``, ``eventlog``, ``cluster.loss``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from agents.dataplane.fib import Fib
from cluster.datastore.memory import MemoryStore
from cluster.loss import feed
from cluster.loss.account import Account
from cluster.rehearsal.eventlog import EventLog
from cluster.rehearsal.quiet import Quiet
from protocol.prefix import Prefix


class Witness:
    """``now`` is the stage's time."""

    def __init__(self, quiet: Quiet, log: EventLog | None, now: Callable[[], float]) -> None:
        self.account: Account | None = None
        self._quiet = quiet
        self._log = log
        self._now = now

    def note(self, subject: str, what: str) -> None:
        """For the log alone."""
        if self._log is not None:
            self._log.add(self._now(), subject, what)

    def done(self, subject: str, what: str) -> None:
        self._quiet.moved()
        self.note(subject, what)

    def power(self, name: str, on: bool) -> None:
        if self.account is not None:
            self.account.set_power(self._now(), name, on)

    def link(self, one: str, other: str, *, works: bool) -> None:
        if self.account is not None:
            self.account.set_cut(self._now(), one, other, not works)

    def boots(self, name: str, fib: Fib) -> None:
        """The kernel of a machine, from now on."""
        fib.watcher = partial(self._programmed, name, fib)
        if self._log is not None:
            self._log.boots(name)
        if self.account is not None:
            self.account.set_table(self._now(), name, fib.routes)

    def _programmed(self, name: str, fib: Fib, prefixes: Iterable[Prefix]) -> None:
        self._quiet.programmed(prefixes)
        if self.account is not None:
            self.account.set_routes(self._now(), name, prefixes, fib.routes)
        if self._log is not None:
            self._log.routes(self._now(), name, prefixes, fib.routes)

    def count(
        self,
        store: MemoryStore,
        fibs: Mapping[str, Fib],
        off: Iterable[str],
        cuts: Iterable[tuple[str, str]],
    ) -> Account:
        """What is lost from now on; the account that there is when somebody counts already."""
        if self.account is not None:
            return self.account
        now = self._now()
        account = self.account = Account(now)
        feed.follow(account, store, self._now)
        for name in off:
            account.set_power(now, name, False)
        for pair in cuts:
            account.set_cut(now, *pair, True)
        for name, fib in fibs.items():
            account.set_table(now, name, fib.routes)
        account.begin()
        return account
