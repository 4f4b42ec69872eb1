"""What people read of a loss report, and the pictures that they look at."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from agents.dataplane.fib import BLACKHOLE
from cluster.loss.account import Account
from cluster.loss.plot import CannotPlot, plot
from cluster.loss.render import lines, seconds
from cluster.loss.report import LossReport
from protocol.prefix import host_prefix
from tests.conftest import Golden
from tests.strategies.loss import PODS, ROUTER, WIDER, a_cluster, tell


def a_bad_day() -> LossReport:
    """cat loses its routes, rtr its power; dog is cut off for a blink, ant's machine boots."""
    account = Account()
    for fact in a_cluster():
        tell(account, 0.0, fact)
    cat = {WIDER[1]: None}
    tell(account, 10.0, ("set_routes", "cat", cat))
    tell(account, 12.25, ("set_power", ROUTER, False))
    tell(account, 20.0, ("set_cut", "dog", "cat", True))
    tell(account, 20.0005, ("set_cut", "dog", "cat", False))
    tell(account, 25.0, ("set_pods", "dog", [PODS[1]]))
    tell(account, 25.0, ("set_routes", "dog", {host_prefix(PODS[1]): BLACKHOLE}))
    tell(account, 25.0, ("set_power", "ant", False))
    tell(account, 40.0, ("set_power", "ant", True))
    return account.report(50.0)


def test_a_report_in_words(golden: Golden) -> None:
    golden("loss", "\n".join(lines(a_bad_day())) + "\n")


def test_a_report_of_nothing_is_a_line() -> None:
    account = Account()
    for fact in a_cluster():
        tell(account, 0.0, fact)
    assert lines(account.report(60.0)) == ["lost: nothing, 6 pairs of nodes in 60 s"]


def test_what_is_short_is_seen() -> None:
    account = Account()
    for fact in a_cluster():
        tell(account, 0.0, fact)
    tell(account, 1000.0, ("set_cut", "ant", "cat", True))
    tell(account, 1000.001, ("set_cut", "ant", "cat", False))
    top = next(line for line in lines(account.report(3600.0)) if "│" in line)
    assert top.strip() == "2 │" + " " * 17 + "█"


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_pairs_than_are_asked_for(limit: int) -> None:
    report = a_bad_day()
    text = lines(report, worst=limit)
    assert f"  and {len(report.pairs) - limit} pairs more" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.0004, "< 1 ms"),
        (0.0123, "12.3 ms"),
        (3.042, "3.04 s"),
        (99.96, "100 s"),
        (1234.5, "1,234 s"),
    ],
)
def test_seconds_as_people_say_them(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.slow
def test_a_picture_has_the_worst_pairs_and_is_the_same_twice(tmp_path: Path) -> None:
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    report = a_bad_day()
    plot(report, one)
    plot(report, two)
    assert one.read_bytes() == two.read_bytes()
    text = one.read_text()
    assert ET.fromstring(text).tag.endswith("svg")
    for each in report.pairs:
        # Letters are shapes; what they spell stands beside them as a comment.
        assert f"<!-- {each.source} to {each.destination}" in text
    for reason in report.reasons:
        assert f"<!-- {reason} -->" in text
    plot(report, tmp_path / "three.png")
    assert (tmp_path / "three.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_picture_of_nothing_is_one_too(tmp_path: Path) -> None:
    plot(Account().report(10.0), tmp_path / "nothing.svg")
    assert "nothing lost" in (tmp_path / "nothing.svg").read_text()


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CannotPlot, match=r"not installed: \./run … --plot installs it"):
        plot(a_bad_day(), tmp_path / "loss.svg")


def test_a_picture_has_a_name_that_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(CannotPlot, match=r"loss\.gif: a picture is \.svg, \.png or \.pdf"):
        plot(a_bad_day(), tmp_path / "loss.gif")
