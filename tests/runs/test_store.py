"""Attacks on a run's folder: several processes in it, names that lead outside, edited and damaged records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy import WORDS, make_photos, spec

from segwright.errors import InputError
from segwright.files.places import Local
from segwright.runs.segment import identity, segment
from segwright.runs.store import Line, Store


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"), 3)


def store(folder: Path, **options: Any) -> Store:
    return Store(Local(folder), identity(spec(), WORDS), **options)


# --- several processes


def test_two_starts_in_one_empty_folder(tmp_path: Path) -> None:
    """Neither has finished a photo yet when the other one comes."""
    pytest.importorskip("fcntl")
    with store(tmp_path / "a/run") as first:
        with pytest.raises(InputError, match="another run is at work"), store(tmp_path / "a/run"):
            pass
        first.add(Line("p.png", "done", "p"), {".png": b"1", ".json": b"2", ".overlay.png": b"3"})
    with store(tmp_path / "a/run") as second:
        assert set(second.lines) == {"p.png"}


def test_a_run_that_began_before_the_lock_is_seen(tmp_path: Path) -> None:
    """A start that waited for the lock reads what the one before it wrote, settings included."""
    waiting = store(tmp_path / "run")
    with Store(Local(tmp_path / "run"), {"format": 2, "method": "other"}) as first:
        first.add(Line("p.png", "done", "p"), {".png": b"1", ".json": b"2", ".overlay.png": b"3"})
    with pytest.raises(InputError, match="holds a run with"), waiting:
        pass
    assert (tmp_path / "run/p.png").read_bytes() == b"1"


def test_an_empty_folder_taken_away_by_the_other_is_locked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segwright.files import places

    locked, real, folder = [], places.lock, tmp_path / "run"

    def late(*given: Any) -> None:
        if not locked:
            folder.rmdir()  # the other one ends between our opening of the folder and our lock
        locked.append(given)
        real(*given)

    monkeypatch.setattr(places, "lock", late)
    place = Local(folder)
    place.open()
    assert len(locked) == 2
    assert folder.is_dir()
    place.close()
    assert not folder.exists()


def test_what_is_left_in_a_folder_that_cannot_be_written_stops_nobody(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(segment(photos, spec(), tmp_path / "run", WORDS))
    (tmp_path / "run/.segwright-1.tmp").write_bytes(b"half")

    def refused(*given: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refused)
    assert all(outcome.earlier for outcome in segment(photos, spec(), tmp_path / "run", WORDS))
