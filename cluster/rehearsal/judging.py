"""Whether what a scenario expects is so.

Owns ``Judge``: one clause at a time, on any ``Stage``, to a ``Finding``, which says what was found in words. A clause
with a time is looked at until it holds or the time is over. Conditions of steps are waited for in the same way
(``comes_true``).

Left out: when clauses are looked at (``play``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs

from agents.dataplane.fib import FibRoute, RouteKind
from cluster.judge import route_text
from cluster.rehearsal.doing import members_of, until
from cluster.rehearsal.report import Finding
from cluster.rehearsal.stage import SessionView, Stage
from cluster.scenario import model
from cluster.scenario.form import blocks_of
from cluster.scenario.names import UnknownName
from cluster.scenario.write import span, words
from cluster.soundness import unsound
from cluster.spec import HOSTED, addresses_of
from protocol.prefix import Address, format_address, parse_address, parse_prefix
from protocol.v3.codec import decode

SHOWN = 3
"""Of many things that are not as expected."""


@attrs.frozen
class _Verdict:
    ok: bool
    found: str


@attrs.define
class Judge:
    """``start``: the stage's time when the cluster first converged. ``tolerant``: see ``model.UnsettledAllowed``."""

    stage: Stage
    start: float
    tolerant: bool = False
    step: float = 0.0
    """When the present step began."""
    done: float = 0.0
    """When its last action was done."""
    problems: tuple[str, ...] = ()
    """What of its actions did not work."""

    async def look(self, clause: model.Clause) -> Finding:
        try:
            verdict = await self._look(clause)
        except UnknownName as error:
            verdict = _Verdict(False, str(error))
        return Finding(
            text=words(clause), ok=verdict.ok, found=verdict.found, at=self.stage.now() - self.start
        )

    async def _look(self, clause: model.Clause) -> _Verdict:
        match clause:
            case model.Converged(within=within):
                return await self.converged(within)
            case model.Loss():
                return self._loss(clause)
            case model.Routes():
                return await self._until_right(clause.within, lambda: self._routes(clause))
            case model.Sessions():
                return await self._until_right(clause.within, lambda: self._sessions(clause))
            case model.SoundIpam():
                wrong = unsound(self.stage.store.list)
                return _Verdict(not wrong, _some(wrong))
            case model.Refused(text=text):
                found = [problem for problem in self.problems if text in problem]
                return _Verdict(bool(found), _some(found or self.problems) or "nothing was refused")
            case model.UnsettledAllowed():
                return _Verdict(True, "")

    async def comes_true(self, condition: model.Condition, within: float) -> str:
        """Why it did not; "" when it did."""
        if isinstance(condition, model.WhenConverged):
            verdict = await self.converged(within)
            return "" if verdict.ok else verdict.found
        found = ""
        peer = self._peer(condition.peer)

        async def holds() -> bool:
            nonlocal found
            views = [
                each
                for each in await self.stage.sessions([condition.node])
                if peer in (each.neighbour, each.peer)
            ]
            found = _some([_end(each) for each in views]) or "there is no such session"
            so = bool(views) and all(each.state == condition.state for each in views)
            return so is not condition.negated

        return "" if await until(self.stage, within, holds) else found

    async def converged(self, within: float) -> _Verdict:
        settled = await self.stage.settle(within)
        if settled.differences:
            return _Verdict(False, f"not after {span(within)}: {_some(settled.differences)}")
        if settled.unsettled and not self.tolerant:
            return _Verdict(False, f"no one stable state: {_some(settled.unsettled)}")
        taken = settled.at - self.done
        return _Verdict(True, f"after {span(taken)}" if taken > 0 else "at once")

    def _loss(self, clause: model.Loss) -> _Verdict:
        account = self.stage.account
        assert account is not None  # `play` has begun to count
        now = self.stage.now()
        loss = account.report(now, self.step if clause.since == "step" else self.start)
        ok = (clause.pair is None or loss.worst <= clause.pair) and (
            clause.total is None or loss.total <= clause.total
        )
        if not loss.pairs:
            return _Verdict(ok, "nothing was lost")
        worst = loss.pairs[0]
        return _Verdict(
            ok,
            f"{len(loss.pairs):,} {'pair' if len(loss.pairs) == 1 else 'pairs'} lost {span(loss.total)} together, "
            f"{worst.source} to {worst.destination} {span(worst.seconds)}",
        )

    # --- routes -----------------------------------------------------------------------------------------------------

    async def _until_right(self, within: float, look: Callable[[], Awaitable[_Verdict]]) -> _Verdict:
        verdict = await look()

        async def holds() -> bool:
            nonlocal verdict
            verdict = await look()
            return verdict.ok

        if not verdict.ok and within:
            await until(self.stage, within, holds)
        return verdict

    async def _routes(self, clause: model.Routes) -> _Verdict:
        names = members_of(clause.names, self.stage)
        addresses = self._addresses()
        present = [(prefix, each.via) for each in clause.present for prefix in self._prefixes(each.prefix)]
        absent = [prefix for each in clause.absent for prefix in self._prefixes(each)]
        wrong: list[str] = []
        for name in names:
            table = await self.stage.routes(name)
            for prefix, via in present:
                route = table.get(parse_prefix(prefix))
                if route is None:
                    wrong.append(f"{name} has no {prefix}")
                elif via and not _goes(route, via, addresses):
                    wrong.append(f"{name} has {prefix} {route_text(route)}")
            for prefix in absent:
                route = table.get(parse_prefix(prefix))
                if route is not None:
                    wrong.append(f"{name} has {prefix} {route_text(route)}")
        return _Verdict(not wrong, _some(wrong))

    def _prefixes(self, text: str) -> list[str]:
        """Raises UnknownName for a node without blocks."""
        node = blocks_of(text)
        if not node:
            return [text]
        claims = [each["spec"] for each in self.stage.store.list("BlockAffinity")]
        found = [
            spec["cidr"] for spec in claims if spec.get("node") == node and spec.get("state") == "confirmed"
        ]
        if not found:
            raise UnknownName(f"{node} has no blocks")
        return found

    def _addresses(self) -> dict[str, tuple[Address, ...]]:
        return {
            document["metadata"]["name"]: tuple(addresses_of(decode(document)).values())
            for kind in HOSTED
            for document in self.stage.store.list(kind)
        }

    # --- sessions ---------------------------------------------------------------------------------------------------

    async def _sessions(self, clause: model.Sessions) -> _Verdict:
        peer = self._peer(clause.peer)
        ends = [
            each
            for each in await self.stage.sessions(members_of(clause.names, self.stage))
            if not peer or peer in (each.neighbour, each.peer)
        ]
        states = Counter(each.state for each in ends)
        found = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items())) or "there are none"
        others = [each for each in ends if not _meant(each, clause)]
        if clause.count is not None:
            ok = len(ends) - len(others) == clause.count
            return _Verdict(ok, "" if ok else found)
        if others:
            found += f": {_some([_end(each) for each in others])}"
        ok = bool(ends) and not others
        return _Verdict(ok, "" if ok else found)

    def _peer(self, peer: str) -> str:
        """Who has it, when it is an address of somebody here."""
        try:
            address = parse_address(peer)
        except ValueError:
            return peer
        return next((name for name, own in self._addresses().items() if address in own), peer)


def _goes(route: FibRoute, via: model.Names, addresses: Mapping[str, tuple[Address, ...]]) -> bool:
    """Whether it goes to all of these and to nobody else."""
    rest = [each for each in via if each not in (route.device, route.kind.value)]
    met: set[Address] = set()
    for each in rest:
        own = {
            gateway
            for gateway in route.gateways
            if gateway in addresses.get(each, ()) or format_address(gateway) == each
        }
        if not own:
            return False
        met |= own
    return met == {*route.gateways} if rest or route.kind is not RouteKind.VIA else bool(via)


def _meant(view: SessionView, clause: model.Sessions) -> bool:
    if clause.error:
        return view.state != "Established" and clause.error in view.error
    return view.state == clause.state


def _end(view: SessionView) -> str:
    why = f" ({view.error})" if view.error else ""
    return f"{view.node} with {view.neighbour}: {view.state}{why}"


def _some(lines: Sequence[str]) -> str:
    rest = f"; and {len(lines) - SHOWN:,} more" if len(lines) > SHOWN else ""
    return "; ".join(lines[:SHOWN]) + rest
