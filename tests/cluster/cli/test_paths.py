"""What a command is to write: where that cannot be, it is a wrong value of the option, and not a traceback in the end."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest

from cluster.cli.paths import Target


def test_what_can_be_written_is_taken_as_it_is(tmp_path: Path) -> None:
    file, directory = str(tmp_path / "report.xml"), str(tmp_path / "there" / "below")
    assert Target().convert(file, None, None) == file
    assert Target(directory=True, path_type=Path).convert(directory, None, None) == Path(directory)
    assert not [*tmp_path.iterdir()], "nothing is made yet"


@pytest.mark.parametrize(
    ("directory", "name", "why"),
    [
        (False, "no/report.xml", "there is no directory {}/no"),
        (False, "there", "is a directory"),
        (True, "file", "is a file"),
        (True, "file/below", "there is no directory {}/file"),
    ],
)
def test_what_cannot(directory: bool, name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(click.BadParameter) as caught:
        Target(directory=directory).convert(str(tmp_path / name), None, None)
    assert why.format(tmp_path) in caught.value.message


def test_what_one_may_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.xml").touch()
    monkeypatch.setattr(
        os, "access", lambda path, _: str(path) == str(tmp_path / "mine.xml")
    )  # root may everything
    assert Target().convert(str(tmp_path / "mine.xml"), None, None)
    with pytest.raises(click.BadParameter, match=f"nothing can be written to {tmp_path}"):
        Target().convert(str(tmp_path / "yours.xml"), None, None)
