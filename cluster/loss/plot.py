"""A loss report as a picture: who lost what when, as SVG, PNG or PDF by the file's name.

    pairs lost  over time, by reason
    worst pairs each one's intervals, in the colours of the reasons; grey is when an end had no power

Owns ``plot`` and the one place where matplotlib is imported, and only when somebody wants a picture. Equal reports give
equal SVG files.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.loss.failure import Reason
from cluster.loss.render import seconds
from cluster.loss.report import LossReport, PairLoss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORST = 20
HAIR = 0.6
"""Points of outline: what is too short for a pixel is seen all the same."""

COLOURS: Mapping[str, str] = {
    Reason.NO_ROUTE.value: "#4477aa",
    Reason.BLACKHOLE.value: "#222222",
    Reason.UNREACHABLE.value: "#997700",
    Reason.LOOP.value: "#aa3377",
    Reason.DEAD_HOP.value: "#ee6677",
    Reason.CUT_LINK.value: "#228833",
    Reason.STRANGER.value: "#66ccee",
    Reason.WRONG_NODE.value: "#ccbb44",
}


class CannotPlot(Exception):
    """In words for people: what is missing, or wrong with the file's name."""


def check(path: str | Path) -> None:
    """Whether ``plot`` can draw there, asked before the work is done. Raises CannotPlot."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CannotPlot(
            "pictures are drawn by matplotlib, which is not installed: ./run … --plot installs it, or pip install matplotlib"
        )
    if Path(path).suffix.lower() not in (".svg", ".png", ".pdf"):
        raise CannotPlot(f"{path}: a picture is .svg, .png or .pdf")


def plot(loss: LossReport, path: str | Path, *, title: str = "") -> None:
    """Raises CannotPlot, and OSError when the file cannot be written."""
    check(path)
    import matplotlib as mpl  # noqa: PLC0415  # an extra, and 0.5 s
    from matplotlib.figure import Figure  # noqa: PLC0415  # the same
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415  # the same

    kind = Path(path).suffix.lower().removeprefix(".")
    rows = loss.pairs[:WORST]
    with mpl.rc_context(
        {"svg.hashsalt": "tortie", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(10, 3.2 + 0.22 * len(rows)), layout="constrained")
        if rows:
            ratios = [2.4, max(0.6, 0.22 * len(rows))]
            above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": ratios})
            _bars(below, loss, rows)
        else:
            above = below = figure.subplots()
        _curve(above, loss)
        above.yaxis.set_major_locator(MaxNLocator(integer=True))
        below.set_xlabel(_notes(loss, rows))
        figure.suptitle(": ".join(filter(None, (title, _title(loss)))), x=0.01, ha="left", fontsize=10)
        metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
        figure.savefig(path, format=kind, dpi=150, metadata=metadata)


def _title(loss: LossReport) -> str:
    if not loss.pairs:
        return f"nothing lost between {loss.counted:,} pairs of nodes"
    return f"{loss.lost_pairs:,} of {loss.counted:,} pairs lost {seconds(loss.total)} together, the worst {seconds(loss.worst)}"


def _curve(axes: Axes, loss: LossReport) -> None:
    reasons = [*loss.reasons]
    times, counts = _steps(loss, reasons)
    if reasons:
        axes.stackplot(
            times,
            *counts,
            labels=reasons,
            colors=[COLOURS[each] for each in reasons],
            step="post",
            linewidth=0,
        )
        all_pairs = [each.lost for each in loss.timeline]
        axes.step(
            [*(each.at for each in loss.timeline), loss.end],
            [*all_pairs, all_pairs[-1]],
            where="post",
            color="#444444",
            linewidth=HAIR,
            label=f"all {loss.lost_pairs:,} pairs",
        )
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, ncols=len(reasons) + 1)
    axes.set_ylabel("pairs lost")
    axes.set_xlim(loss.start, max(loss.end, loss.start + 1e-9))
    axes.set_ylim(bottom=0)


def _steps(loss: LossReport, reasons: Sequence[str]) -> tuple[list[float], list[list[int]]]:
    """How many pairs were lost for each reason, from each of the times on."""
    changes: dict[float, dict[str, int]] = {loss.start: {}, loss.end: {}}
    for pair in loss.pairs:
        for each in pair.intervals:
            for at, step in ((each.start, 1), (each.end, -1)):
                there = changes.setdefault(at, {})
                there[each.reason] = there.get(each.reason, 0) + step
    times = sorted(changes)
    counts: list[list[int]] = []
    for reason in reasons:
        level = 0
        row = []
        for at in times:
            level += changes[at].get(reason, 0)
            row.append(level)
        counts.append(row)
    return times, counts


def _bars(axes: Axes, loss: LossReport, rows: Sequence[PairLoss]) -> None:
    for place, pair in enumerate(rows):
        for name in (pair.source, pair.destination):
            off = [(begin, end - begin) for begin, end in loss.powerless.get(name, ())]
            axes.broken_barh(off, (place - 0.4, 0.8), facecolors="#dddddd")
        for each in pair.intervals:
            axes.broken_barh(
                [(each.start, each.seconds)],
                (place - 0.4, 0.8),
                facecolors=COLOURS[each.reason],
                edgecolors=COLOURS[each.reason],
                linewidth=HAIR,
            )
    labels = [f"{pair.source} to {pair.destination}  {seconds(pair.seconds)}" for pair in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)


def _notes(loss: LossReport, rows: Sequence[PairLoss]) -> str:
    more = loss.lost_pairs - len(rows)
    notes = ["seconds"]
    if rows and loss.powerless:
        notes.append("grey: an end has no power")
    if more > 0:
        notes.append(f"{more:,} more pairs are not shown")
    return "; ".join(notes)
