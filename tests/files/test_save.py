"""Saving: all files or none, whatever goes wrong, and never one over another."""

from __future__ import annotations

import builtins
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from segwright.errors import InputError, OutputError
from segwright.files.disk import TEMPORARY, atomic_write, write_all
from segwright.files.masks import read_label_map
from segwright.files.names import ENDINGS, plan_names
from segwright.files.save import save
from segwright.images import find_photos
from segwright.types import Segmentation

LABELS = np.array([[0, 1], [2, 2]])
RESULT = Segmentation(("cat", "dog"), LABELS, notes={"caption": "a cat and a dog"})
PHOTO = np.full((2, 2, 3), 100, np.uint8)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def failing(monkeypatch: pytest.MonkeyPatch, number: int, after: int) -> None:
    """From now on the ``after``-th file opened for writing fails with this errno as soon as it is written to."""
    real, count = builtins.open, [0]

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.file.write(data[: len(data) // 2])
            raise OSError(number, os.strerror(number))

    def opener(path: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        file = real(path, mode, *rest, **options)
        count[0] += "x" in mode
        return Full(file) if "x" in mode and count[0] > after else file

    monkeypatch.setattr(builtins, "open", opener)


# --- save


def test_save_writes_all_three(tmp_path: Path) -> None:
    written = save(RESULT, tmp_path / "new" / "street.png", PHOTO, photo="street.jpg", preset="mini", seed=1)
    assert [path.name for path in written] == ["street.png", "street.overlay.png", "street.json"]
    assert names(tmp_path) == ["new/street.json", "new/street.overlay.png", "new/street.png"]
    assert np.array_equal(read_label_map(written[0]), LABELS)
    assert Pillow.open(written[1]).size[0] >= 384
    content = json.loads(written[2].read_text("utf8"))
    assert (content["photo"], content["preset"], content["seed"]) == ("street.jpg", "mini", 1)
    assert content["caption"] == "a cat and a dog"
    assert [item["word"] for item in content["segments"]] == ["cat", "dog"]


def test_without_a_photo_there_is_no_overlay(tmp_path: Path) -> None:
    save(RESULT, str(tmp_path / "a.b.PNG"))
    assert names(tmp_path) == ["a.b.PNG", "a.b.json"]


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not end in \.png"):
        save(RESULT, tmp_path / "street.jpg")
    with pytest.raises(InputError, match="photo is"):
        save(RESULT, tmp_path / "street.png", np.zeros((5, 5, 3), np.uint8))
    assert names(tmp_path) == []


@pytest.mark.parametrize("after", [0, 1, 2])
def test_full_disk_leaves_older_results_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    older = {f"street{ending}": f"older {ending}".encode() for ending in ENDINGS}
    for name, data in older.items():
        (tmp_path / name).write_bytes(data)
    failing(monkeypatch, errno.ENOSPC, after)
    with pytest.raises(OutputError, match=r"^the disk is full: .*street.* free some space") as caught:
        save(RESULT, tmp_path / "street.png", PHOTO)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == older


def test_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_all({tmp_path / "a": b"1", tmp_path / "b": interrupted})
    assert names(tmp_path) == []


def test_a_rename_that_fails_leaves_no_half_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.replace, []

    def replace(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match="may not be written"):
        save(RESULT, tmp_path / "street.png", PHOTO)
    assert names(tmp_path) == []


# --- one file


def test_atomic_write(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    assert atomic_write(path, b"one") == path
    atomic_write(str(path), lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["a/b.txt"]
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode, "permissions as of any new file"


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "may not be written"),
        (errno.EROFS, "may not be written"),
        (errno.EIO, "was not written"),
    ],
)
def test_system_errors_become_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, sentence: str) -> None:
    failing(monkeypatch, number, 0)
    with pytest.raises(OutputError, match=sentence):
        atomic_write(tmp_path / "a.txt", b"data")
    monkeypatch.undo()
    assert names(tmp_path) == []


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="part of its path is a file"):
        save(RESULT, tmp_path / "file" / "street.png")
    with pytest.raises(OutputError, match="part of its path is a file"):
        save(RESULT, tmp_path / "file" / "deeper" / "street.png")
    with pytest.raises(OutputError, match="is a folder"):
        save(RESULT, tmp_path / "folder.png")
    with pytest.raises(OutputError, match="name is too long"):
        save(RESULT, tmp_path / ("a" * 300 + ".png"))
    assert names(tmp_path) == ["file"]


# --- names of several photos


def planned(photos: list[str], out: str = "out") -> list[str]:
    plan = plan_names([Path(photo) for photo in photos], out)
    assert list(plan) == list(dict.fromkeys(Path(photo) for photo in photos))
    files = [os.path.abspath(f"{stem}{ending}").lower() for stem in plan.values() for ending in ENDINGS]
    assert len(set(files)) == len(files), "no result over another"
    assert not set(files) & {os.path.abspath(photo).lower() for photo in photos}, "nor over a photo"
    inside = os.path.abspath(out).lower() + os.sep
    assert all(file.startswith(inside) for file in files)
    return [stem.relative_to(out).as_posix() for stem in plan.values()]


def test_plain_names() -> None:
    assert planned(["a/street.jpg", "b/cat.png"]) == ["street", "cat"]
    assert planned(["cat.jpg", "cat.jpg"]) == ["cat"]
    assert planned([]) == []


def test_same_name_in_different_folders() -> None:
    assert planned(["a/street.jpg", "b/street.jpg", "b/cat.jpg"]) == ["a/street", "b/street", "cat"]
    assert planned(["x/a/street.jpg", "x/street.png", "/tmp/../etc/cat.jpg"]) == ["a/street", "street", "cat"]
    assert planned(["../a/s.jpg", "../../s.jpg", "s.jpg"])[1] == "s"


def test_same_folder_other_suffix_or_case() -> None:
    assert planned(["cat.jpg", "cat.png", "Cat.gif"]) == ["cat", "cat-2", "Cat-3"]
    assert planned(["cat.jpg", "cat.png", "cat-2.jpg"]) == ["cat", "cat-2", "cat-2-2"]
    assert planned(["x.jpg", "x.overlay.jpg"]) == ["x", "x.overlay-2"]
    assert planned(["a.png.jpg", "a.jpg"]) == ["a.png", "a"]


def test_photos_are_never_overwritten() -> None:
    assert planned(["out/street.png"]) == ["street-2"]
    assert planned(["out/street.jpg"]) == ["street"]


def test_very_long_names_are_cut() -> None:
    stems = planned(["é" * 120 + "1.jpg", "é" * 120 + "2.jpg", ".jpg"])
    assert [len(stem.encode()) for stem in stems] == [200, 202, 4]


def test_planned_names_can_be_saved(tmp_path: Path) -> None:
    for name in ("a/cat.jpg", "b/cat.jpg", "b/cat.png", "cat.overlay.png.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Pillow.fromarray(PHOTO).save(tmp_path / name)
    plan = plan_names(find_photos(tmp_path), tmp_path)
    for stem in plan.values():
        save(RESULT, f"{stem}.png", PHOTO)
    assert len(names(tmp_path)) == 4 * 4
    assert find_photos(tmp_path) == list(plan), "a second run finds the same photos, not the results"


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("bad", range(3))
def test_a_rename_that_fails_brings_back_what_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int, linked: bool
) -> None:
    """Files that had been replaced already were removed with the new ones."""
    (tmp_path / "a").write_bytes(b"older a")
    (tmp_path / "c").write_bytes(b"older c")
    real, calls = os.replace, []

    def replace(source: Any, target: Any) -> None:
        if not Path(target).name.startswith(TEMPORARY) and len(calls) < 3:
            calls.append(target)
            if len(calls) == bad + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    def refused(*given: Any, **options: Any) -> None:
        if not os.path.exists(given[0]):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "replace", replace)
    if not linked:
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(OutputError, match="was not written"):
        write_all({tmp_path / name: b"new" for name in "abc"})
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"older a", "c": b"older c"}
    write_all({tmp_path / name: b"new" for name in "abc"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == dict.fromkeys("abc", b"new")
