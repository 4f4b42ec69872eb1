"""What is fuzzed is sound under anything that hypothesis says too, and does find what is broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.speaker.rib import Rib
from bench.targets import TARGETS, Script, seeds
from protocol.bgp import attribute_list
from protocol.bgp.session import Session


@pytest.mark.parametrize("target", TARGETS)
def test_an_ordinary_life_is_lived(target: str) -> None:
    for script in seeds(target):
        TARGETS[target](script)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=60)
@given(st.data())
def test_any_other_is_too(target: str, data: st.DataObject) -> None:
    parts = st.lists(st.sampled_from(seeds(target)) | st.binary(max_size=40), max_size=5)
    TARGETS[target](b"".join(data.draw(parts)))


def test_a_script_ends_in_zeros() -> None:
    script = Script(b"\2ab\3c")
    assert (script.octets(), bool(script), script.octets(), bool(script), script.octet()) == (
        b"ab",
        True,
        b"c",
        False,
        0,
    )


def routes_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rib, "forget", lambda self, peer: None)


def any_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: Session, message: object) -> None:
        raise KeyError(message)

    monkeypatch.setattr(Session, "_check_update", check)


def timers_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "handle_timer", lambda self, now: None)


def attributes_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribute_list, "decode", lambda value, family: dict(value))


@pytest.mark.parametrize(
    ("target", "plant", "error"),
    [
        ("speaker", routes_kept, AssertionError),
        ("speaker", any_exception, KeyError),
        ("session", any_exception, KeyError),
        ("session", timers_ignored, AssertionError),
        ("frames", attributes_unchecked, TypeError),
    ],
)
def test_what_is_broken_is_found(
    target: str,
    plant: Callable[[pytest.MonkeyPatch], None],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)

    def live() -> None:
        for script in seeds(target):
            TARGETS[target](script)

    with pytest.raises(error):
        live()
