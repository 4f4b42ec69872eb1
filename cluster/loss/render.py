"""A loss report as text: how much, why, between whom, and when, as a curve in characters.

Owns ``lines``. Pure; who prints it is ``cluster.cli``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from cluster.loss.report import LossReport, Moment, PairLoss

HEIGHT = 4
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def lines(loss: LossReport, *, worst: int = 10, width: int = 64) -> list[str]:
    """``worst``: of how many pairs and causes; ``width``: of the curve."""
    found = [*_head(loss)]
    if loss.pairs:
        found += ["", "why", *_causes(loss, worst), "", "worst pairs", *_pairs(loss, worst), "", "when"]
        found += _curve(loss, width)
    return found


def _head(loss: LossReport) -> list[str]:
    counted = f"{loss.counted:,} {'pair' if loss.counted == 1 else 'pairs'} of nodes"
    span = f"in {seconds(loss.end - loss.start)}"
    if loss.pairs:
        many = "1 pair" if loss.lost_pairs == 1 else f"{loss.lost_pairs:,} pairs"
        text = f"lost: {seconds(loss.total)} together, {many} (of {counted}) {span}; the worst {seconds(loss.worst)}"
    else:
        text = f"lost: nothing, {counted} {span}"
    found = [text]
    still = loss.lost_at_end
    if still:
        found.append(f"still lost: {still:,} {'pair' if still == 1 else 'pairs'}")
    if loss.off:
        found.append(f"not counted: {seconds(loss.off)} in which an end had no power ({_powerless(loss)})")
    if loss.new:
        found.append(
            f"not counted: {seconds(loss.new)} until the first packet came through to or from what was new"
        )
    return found


def _powerless(loss: LossReport) -> str:
    names = [*loss.powerless]
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _causes(loss: LossReport, limit: int) -> list[str]:
    rows = [
        (seconds(each.seconds), f"{each.pairs:,} {'pair' if each.pairs == 1 else 'pairs'}", each.cause)
        for each in loss.causes[:limit]
    ]
    return [*_table(rows), *_more(len(loss.causes) - limit, "cause", "causes")]


def _pairs(loss: LossReport, limit: int) -> list[str]:
    rows = []
    for each in loss.pairs[:limit]:
        longest = max(each.intervals, key=lambda interval: interval.seconds)
        rows.append(
            (seconds(each.seconds), f"{each.source} to {each.destination}", _spans(each), longest.why)
        )
    return [*_table(rows), *_more(loss.lost_pairs - limit, "pair", "pairs")]


def _spans(pair: PairLoss) -> str:
    """When, leaving out what changed of the reason in between: ``"12.04-15.1, 20-21 s"``."""
    spans: list[tuple[float, float]] = []
    for each in pair.intervals:
        if spans and spans[-1][1] == each.start:
            spans[-1] = spans[-1][0], each.end
        else:
            spans.append((each.start, each.end))
    shown = ", ".join(_span(start, end) for start, end in spans[:2])
    return f"at {shown}{_again(len(spans) - 2)}"


def _again(times: int) -> str:
    if times < 1:
        return ""
    return " and once more" if times == 1 else f" and {times:,} times more"


def _span(start: float, end: float) -> str:
    begins, ends = _clock(start), _clock(end)
    return begins if begins == ends else f"{begins}-{ends}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Seconds to the right, the rest to the left."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    found = []
    for first, *others in rows:
        cells = [
            first.rjust(widths[0]),
            *(cell.ljust(width) for cell, width in zip(others, widths[1:], strict=True)),
        ]
        found.append(("  " + "  ".join(cells)).rstrip())
    return found


def _more(count: int, one: str, many: str) -> list[str]:
    return [f"  and {count:,} {one if count == 1 else many} more"] if count > 0 else []


def _curve(loss: LossReport, width: int) -> list[str]:
    """Pairs lost over time. A column shows the most that there were in its time, so that nothing is too short to be
    seen.
    """
    peaks = _peaks(loss.timeline, loss.start, loss.end, width)
    top = max(peaks)
    margin = max(len(f"{top:,}"), 1) + 2
    found = []
    for row in range(HEIGHT, 0, -1):
        cells = "".join(_EIGHTHS[_level(peak, top, row)] for peak in peaks)
        label = f"{top:,}" if row == HEIGHT else ""
        found.append(f"{label.rjust(margin)} │{cells}".rstrip())
    left, right = f"{_clock(loss.start)} s", f"{_clock(loss.end)} s"
    found.append(f"{'0'.rjust(margin)} └{'─' * width}")
    found.append(" " * (margin + 2) + left + right.rjust(width - len(left)))
    return found


def _peaks(timeline: Sequence[Moment], start: float, end: float, width: int) -> list[int]:
    times = [each.at for each in timeline]
    step = (end - start) / width
    found = []
    for column in range(width):
        first = max(0, bisect_right(times, start + column * step) - 1)
        # What begins with the next column is the next column's.
        until = start + (column + 1) * step if column < width - 1 else end + 1
        found.append(
            max(each.lost for each in timeline[first:] if each.at < until or each is timeline[first])
        )
    return found


def _level(peak: int, top: int, row: int) -> int:
    eighths = max(1, peak * HEIGHT * 8 // top) if peak else 0
    return min(8, max(0, eighths - (row - 1) * 8))


def seconds(value: float) -> str:
    """``"597 s"``, ``"3.04 s"``, ``"12 ms"``."""
    if value >= 100:
        return f"{value:,.0f} s"
    if value >= 1 or value == 0:
        return f"{value:.3g} s"
    if value >= 0.001:
        return f"{value * 1000:.3g} ms"
    return "< 1 ms"


def _clock(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
