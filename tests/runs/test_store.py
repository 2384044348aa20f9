"""Attacks on a run's folder: several processes in it, names that lead outside, edited and damaged records."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from toy import WORDS, make_photos, spec

from segwright.errors import InputError, OutputError
from segwright.files.journal import encode_lines
from segwright.files.names import ENDINGS
from segwright.files.places import Local, Remote
from segwright.runs import sources, work
from segwright.runs.exports import export
from segwright.runs.overview import overview
from segwright.runs.segment import identity, segment
from segwright.runs.sources import signature
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


# --- records that were edited or damaged


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Path:
    list(segment(photos, spec(), tmp_path / "run", WORDS))
    return tmp_path / "run"


def edited(run: Path, **changes: Any) -> None:
    """The first line of the manifest with other values, and right checksums."""
    lines = [json.loads(line) for line in (run / "manifest.jsonl").read_bytes().splitlines()]
    lines[0] |= changes
    bare = [{k: v for k, v in line.items() if k not in ("after", "check")} for line in lines]
    (run / "manifest.jsonl").write_bytes(encode_lines(bare))


@pytest.mark.parametrize("name", ["../precious/thing", "a/../../precious/thing", "/{}/precious/thing", "", "a\0b"])
def test_a_manifest_cannot_lead_outside(name: str, run: Path, photos: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    for ending in (".png", ".json", ".overlay.png"):
        (precious / f"thing{ending}").write_bytes(b"mine")
    edited(run, name=name.format(tmp_path))
    for attack in (
        lambda: list(segment(photos, spec(), run, WORDS, restart=True)),
        lambda: list(segment(photos, spec(), run, WORDS)),
        lambda: export(run, "labelme", tmp_path / "out"),
        lambda: overview(run),
    ):
        with pytest.raises(InputError, match=r"line 1 of .* is damaged"):
            attack()
    assert {p.name: p.read_bytes() for p in precious.iterdir()} == {f"thing{e}": b"mine" for e in ENDINGS}
    assert not (tmp_path / "out").exists()


def test_a_link_in_a_run_leads_nowhere(run: Path, photos: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thing.png").write_bytes(b"mine")
    (run / "link").symlink_to(precious)
    edited(run, name="link/thing")
    with pytest.raises(OutputError, match="a link leads there"):
        list(segment(photos, spec(), run, WORDS, restart=True))
    assert (precious / "thing.png").read_bytes() == b"mine"


def test_places_hold_names_inside_only(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    for place in (Local(tmp_path), Remote(f"memory://{tmp_path.name}")):
        for name in ("../x", "a/../../x", "/x", "a\0"):
            for touch in (place.exists, place.read, place.remove, lambda n, p=place: p.write({n: b""})):
                with pytest.raises(InputError, match="no name inside a folder"):
                    touch(name)


def test_damaged_records_are_refused_or_change_nothing(run: Path, photos: Path, tmp_path: Path) -> None:
    """Edits of any byte of the state: one sentence, or the same export as before."""
    rng = random.Random(0)
    export(run, "coco", tmp_path / "before")
    before = json.loads((tmp_path / "before/annotations.json").read_text("utf8"))["annotations"]
    names = ("run.json", "manifest.jsonl", "p0.json", "p1.png")
    whole = {name: (run / name).read_bytes() for name in names}
    refused = 0
    for number in range(120):
        name = names[number % len(names)]
        (run / name).write_bytes(damaged(whole[name], rng))
        try:
            list(segment(photos, spec(), tmp_path / "run", WORDS))
            export(run, "coco", tmp_path / "after")
            after = json.loads((tmp_path / "after/annotations.json").read_text("utf8"))["annotations"]
            assert after == before
        except InputError:
            refused += 1
        for file, content in whole.items():
            (run / file).write_bytes(content)
    assert refused > 40


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A byte changed, a piece cut out or put in, a value of another type, or deep nesting."""
    place = rng.randrange(len(content))
    pieces = (b"", b"\xff", b"null", b'"', b"[" * 5000, b"-1", b"1e999", b"NaN", b"\\ud800", b"0")
    return content[:place] + rng.choice(pieces) + content[place + rng.choice((0, 1, 5)) :]


def test_another_photo_under_the_same_name_is_done_anew(photos: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(photos, tmp_path / "in"))
    list(segment(mine, spec(), tmp_path / "run", WORDS))
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").glob("p*.png")}
    os.utime(mine / "p0.png", (1, 1))  # touched only
    shutil.copy(mine / "p2.png", mine / "p1.png")
    assert {o.photo.name: o.earlier for o in segment(mine, spec(), tmp_path / "run", WORDS)} == {
        "p0.png": True,
        "p1.png": False,
        "p2.png": True,
    }
    assert (tmp_path / "run/p1.png").read_bytes() == before["p2.png"]
    (mine / "p0.png").unlink()
    assert [o.photo.name for o in segment([mine], spec(), tmp_path / "run", WORDS) if not o.earlier] == []


def test_a_change_in_the_middle_of_a_photo_is_seen(tmp_path: Path) -> None:
    """Same name, size and time; the first and the last quarter megabyte as before."""
    mine = tmp_path / "in"
    mine.mkdir()
    pixels = np.zeros((600, 700, 3), np.uint8)
    for number, value in enumerate((0, 255)):
        pixels[300] = value
        Pillow.fromarray(pixels).save(tmp_path / f"{number}.bmp")
    shutil.copy(tmp_path / "0.bmp", mine / "p.bmp")
    before = signature(mine / "p.bmp")
    list(segment(mine, spec(), tmp_path / "run", WORDS))
    times = os.stat(mine / "p.bmp")
    shutil.copy(tmp_path / "1.bmp", mine / "p.bmp")
    os.utime(mine / "p.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert signature(mine / "p.bmp") != before
    assert [o.earlier for o in segment(mine, spec(), tmp_path / "run", WORDS)] == [False]
    shutil.copy(tmp_path / "0.bmp", mine / "p.bmp")
    with pytest.raises(InputError, match="another photo than was segmented lies at"):
        export(tmp_path / "run", "coco", tmp_path / "coco", copy_photos=True)


def test_large_photos_are_signed_by_pieces_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WHOLE", 1000)
    monkeypatch.setattr(sources, "SAMPLE", 100)
    file = tmp_path / "large"
    file.write_bytes(bytes(5000))
    os.utime(file, ns=(1, 1))
    before = signature(file)
    for place in (0, 2300, 4999):  # in the first, a middle and the last piece
        content = bytearray(5000)
        content[place] = 1
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))
        assert signature(file) != before
    file.write_bytes(bytes(5000))
    assert signature(file) != before, "the time"
    os.utime(file, ns=(1, 1))
    assert signature(file) == before


def test_a_photo_replaced_while_it_is_read(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded is what was decoded, however the two come together."""
    mine, real, read = tmp_path / "p.png", work.open_photo, []
    shutil.copy(photos / "p0.png", mine)

    def replaced(photo: Any) -> Any:
        read.append(photo)
        image = real(photo)
        if len(read) == 1:
            shutil.copy(photos / "p1.png", tmp_path / "new.png")
            os.replace(tmp_path / "new.png", mine)
        return image

    monkeypatch.setattr(work, "open_photo", replaced)
    list(segment(photos / "p1.png", spec(), tmp_path / "whole", WORDS))
    read.clear()
    list(segment(mine, spec(), tmp_path / "run", WORDS))
    assert len(read) == 2
    assert (tmp_path / "run/p.png").read_bytes() == (tmp_path / "whole/p1.png").read_bytes()

    def changing(photo: Any) -> Any:
        os.utime(photo)
        return real(photo)

    monkeypatch.setattr(work, "open_photo", changing)
    (outcome,) = segment(mine, spec(), tmp_path / "other", WORDS)
    assert "changes while it is read" in str(outcome.error)


def test_a_photo_that_failed_and_was_replaced_is_done(photos: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(photos, tmp_path / "in"))
    (mine / "p1.png").write_bytes(b"no picture")
    assert [o.error is None for o in segment(mine, spec(), tmp_path / "run", WORDS)] == [True, False, True]
    shutil.copy(photos / "p1.png", mine / "p1.png")
    assert [(o.error is None, o.earlier) for o in segment(mine, spec(), tmp_path / "run", WORDS)] == [
        (True, True),
        (True, True),
        (True, False),
    ]


def test_a_line_that_the_disk_has_no_room_for(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, and no half of it: closing the file wrote its buffer once more, and that failed outside of every sentence."""
    place = Local(tmp_path / "run")
    place.open()
    place.append("lines", b"first\n")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"lines' cannot be written \(No space left on device\)"):
        place.append("lines", b"second\n")
    monkeypatch.undo()
    place.close()
    assert (tmp_path / "run/lines").read_bytes() == b"first\n"


def test_a_run_of_words_with_several_names_is_exported(photos: Path, tmp_path: Path) -> None:
    """run.json has them as they were written, the results by their first name."""
    list(segment(photos, spec(), tmp_path / "run", ["sofa; couch", "dog"]))
    export(tmp_path / "run", "coco", tmp_path / "coco")
    content = json.loads((tmp_path / "coco/annotations.json").read_text("utf8"))
    assert [c["name"] for c in content["categories"]] == ["sofa", "dog"]
    assert content["annotations"]
