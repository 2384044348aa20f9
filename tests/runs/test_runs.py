"""Whole collections: what a run remembers, that it goes on, and that a mask depends on nothing but its photo and the settings."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from toy import WORDS, Toy, ToySpec, make_photos, spec

from segwright.cli import main
from segwright.errors import InputError, OutputError
from segwright.files import disk
from segwright.methods.base import MethodSpec
from segwright.mini.voc import data_folder
from segwright.runs.segment import Outcome, segment
from segwright.runs.sources import find
from segwright.types import Image, Segmentation

COUNT = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"), COUNT)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert all(o.error is None for o in segment(photos, spec(), out, WORDS))
    return out


PASSING = ("seconds", "after", "check")  # of a line: other each time


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "manifest.jsonl").read_text("utf8").splitlines()]


def results(run: Path) -> dict[str, bytes]:
    """All files of a run but the manifest, whose seconds and order differ."""
    return {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "manifest.jsonl"}


def check_same(run: Path, whole: Path) -> None:
    """The runs' files are equal byte for byte, nothing else is left, and every photo is in the manifest once."""
    assert results(run) == results(whole)
    listed = [line["photo"] for line in lines(run)]
    assert len(listed) == len(set(listed))
    plain = [{k: v for k, v in line.items() if k not in PASSING} for line in lines(run)]
    assert sorted(map(str, plain)) == sorted(str({k: v for k, v in line.items() if k not in PASSING}) for line in lines(whole))


def never(images: Sequence[Image], words: Sequence[str] | None) -> list[Segmentation]:
    raise AssertionError("nothing was left to do")


# --- what a run remembers


def test_a_run_holds_settings_and_a_line_a_photo(whole: Path, photos: Path) -> None:
    run = json.loads((whole / "run.json").read_text("utf8"))
    assert run["words"] == list(WORDS)
    assert (run["method"], run["preset"], run["device"]) == ("maskclip", "mini", "cpu")
    assert run["versions"]["segwright"]
    assert {"batch", "workers", "engine"}.isdisjoint(run)
    assert [line["photo"] for line in lines(whole)] == [str(photos / f"p{i}.png") for i in range(COUNT)]
    for line in lines(whole):
        record = json.loads((whole / f"{line['name']}.json").read_text("utf8"))
        assert line["status"] == "done"
        assert line["words"] == [s["word"] for s in record["segments"]]
        assert line["size"] == record["size"]
        assert line["seconds"] > 0


def test_started_again_it_goes_on_and_keeps_what_is_there(photos: Path, whole: Path, tmp_path: Path) -> None:
    some = [photos / f"p{i}.png" for i in (7, 2)]
    assert len(list(segment(some, spec(), tmp_path / "r", WORDS))) == 2
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").glob("p*")}
    outcomes = list(segment(photos, spec(), tmp_path / "r", WORDS, batch=3))
    assert [o.earlier for o in outcomes] == [True, True] + [False] * (COUNT - 2)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    check_same(tmp_path / "r", whole)


def test_a_whole_run_loads_no_network(photos: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToySpec, "load", lambda self: pytest.fail("loaded"))
    assert all(o.earlier for o in segment(photos, spec(), whole, WORDS))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: (s, ("cat",)), r'words = \["cat", "dog & co", "sofa"\], this one has \["cat"\]'),
        (lambda s: (ToySpec("maskclip", "mini", "cpu", "bfloat16"), WORDS), 'dtype = "float32", this one has "bfloat16"'),
        (lambda s: (ToySpec("sclip", "mini", "cpu"), WORDS), 'method = "maskclip", this one has "sclip"'),
        (lambda s: (ToySpec("maskclip", "mini", "cpu", settings={"refine": "crf"}), WORDS), r"settings\.refine = "),
    ],
)
def test_other_settings_are_refused_by_name(change: Callable, named: str, photos: Path, whole: Path) -> None:
    method, words = change(spec())
    before = results(whole)
    with pytest.raises(InputError, match=named) as refused:
        list(segment(photos, method, whole, words))
    assert "--restart" in str(refused.value)
    assert results(whole) == before


def test_restart_takes_the_older_results_out(photos: Path, tmp_path: Path) -> None:
    list(segment(photos, spec(), tmp_path, ("tree",)))
    (tmp_path / "notes.txt").write_text("mine")
    list(segment([photos / "p1.png"], spec(), tmp_path, WORDS, restart=True))
    assert sorted(results(tmp_path)) == ["notes.txt", "p1.json", "p1.overlay.png", "p1.png", "run.json"]


def test_a_cut_line_is_done_again_and_a_damaged_one_refused(photos: Path, whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "r"))
    manifest = run / "manifest.jsonl"
    content = manifest.read_bytes()
    for cut in (1, 9, 200, len(content) - 3, len(content)):
        manifest.write_bytes(content[:-cut])
        list(segment(photos, spec(), run, WORDS))
        check_same(run, whole)
    (run / "p4.png").unlink()
    assert [o.photo.name for o in segment(photos, spec(), run, WORDS) if not o.earlier] == ["p4.png"]
    check_same(run, whole)
    manifest.write_bytes(b"{}\n" + content)
    with pytest.raises(InputError, match=r"line 1 of .* is damaged"):
        list(segment(photos, spec(), run, WORDS))
    (run / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json' is damaged"):
        list(segment(photos, spec(), run, WORDS))


def test_somebody_else_at_work_is_noticed(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    first = segment(photos, spec(), tmp_path / "r", WORDS, batch=1)
    next(first)
    with pytest.raises(InputError, match="another run is at work"):
        next(segment(photos, spec(), tmp_path / "r", WORDS))
    first.close()
    assert len(list(segment(photos, spec(), tmp_path / "r", WORDS))) == COUNT


# --- bad photos


def test_a_tenth_of_bad_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(MethodSpec, "load", lambda self: Toy())
    folder = make_photos(tmp_path / "in", 20)
    good = (folder / "p3.png").read_bytes()
    (folder / "p3.png").write_bytes(good[:300])
    (folder / "p11.png").write_text("no picture")
    command = ["segment", str(folder), "--preset", "mini", "--words", "cat, dog", "-o", str(tmp_path / "r")]
    assert main(command) == 1
    failed = {Path(line["photo"]).name: line["reason"] for line in lines(tmp_path / "r") if line["status"] == "failed"}
    assert set(failed) == {"p3.png", "p11.png"}
    assert "cut short" in failed["p3.png"]
    assert len(list((tmp_path / "r").glob("*.overlay.png"))) == 18
    assert "2 of 20 photos could not be done" in capsys.readouterr().err
    capsys.readouterr()
    assert main(command) == 1, "what failed is not tried again unasked"
    assert "20 of 20 photos were in" in capsys.readouterr().err
    assert main([*command, "--retry"]) == 1
    assert "18 of 20 photos were in" in capsys.readouterr().err
    (folder / "p3.png").write_bytes(good)
    assert main(command) == 1, "another photo lies there now"
    assert (tmp_path / "r/p3.png").exists()
    assert len(lines(tmp_path / "r")) == 20
    (folder / "p11.png").write_bytes(good)
    assert main([*command, "--retry"]) == 0


def test_nothing_done_nothing_written(tmp_path: Path) -> None:
    make_photos(tmp_path / "in", 0)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "in" / name).write_text("no picture")
    assert [o.error is not None for o in segment(tmp_path / "in", spec(), tmp_path / "r", WORDS)] == [True, True]
    assert not (tmp_path / "r").exists()


def test_failures_before_the_first_success_are_kept(photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    list(segment([bad, photos / "p0.png"], spec(), tmp_path / "r", WORDS, batch=1))
    assert [line["status"] for line in lines(tmp_path / "r")] == ["failed", "done"]


# --- the rule of sameness


@pytest.mark.parametrize("how", [{"batch": 1}, {"batch": 5}, {"batch": 64}, {"workers": 2, "batch": 2}], ids=str)
def test_batch_and_workers_change_nothing(how: dict[str, int], photos: Path, whole: Path, tmp_path: Path) -> None:
    list(segment(photos, spec(), tmp_path / "r", WORDS, **how))
    check_same(tmp_path / "r", whole)


def test_order_and_company_change_nothing_through_networks(tmp_path: Path) -> None:
    """Masks of photos of different sizes through real networks: alone, in company, in another order."""
    scenes = sorted((data_folder() / "JPEGImages").glob("val_*.jpg"))[:3]
    for i, scene in enumerate(scenes):
        with Pillow.open(scene) as picture:
            picture.crop((0, 0, 128 - 17 * i, 128 - 9 * (i % 3))).save(tmp_path / f"{i}.png")
    made = [tmp_path / f"{i}.png" for i in range(len(scenes))]
    method = MethodSpec("maskclip", "mini", "cpu").load()
    words = ("dog", "car", "apple", "boat")
    list(segment(made, method, tmp_path / "alone", words, batch=1))
    list(segment(made[::-1], method, tmp_path / "company", words, batch=4))
    for i in range(len(made)):
        assert (tmp_path / f"alone/{i}.png").read_bytes() == (tmp_path / f"company/{i}.png").read_bytes()


# --- kills


def killed(work: Callable[[], object], after: float) -> bool:
    """Do the work in a forked process and kill that after some seconds; whether it was still at work."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_it_ends_as_if_never_stopped(photos: Path, whole: Path, tmp_path: Path) -> None:
    rng, kills, out = random.Random(0), 0, tmp_path / "r"
    begun = time.perf_counter()
    list(segment(photos, spec(), tmp_path / "measure", WORDS, batch=2))
    seconds = time.perf_counter() - begun
    for _ in range(40):
        if killed(lambda: list(segment(photos, spec(), out, WORDS, batch=2)), rng.uniform(0.1, 0.6) * seconds):
            kills += 1
        else:
            shutil.rmtree(out)  # finished before it could be killed
        if kills >= 3 and out.exists():
            break
    assert kills >= 3
    list(segment(photos, spec(), out, WORDS, batch=2))
    check_same(out, whole)


def test_a_kill_between_renames_leaves_nothing_that_passes_for_a_photo(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run and photos in one folder; stopped before the last rename, nothing there looks like one more photo."""
    folder = Path(shutil.copytree(photos, tmp_path / "p"))
    replace, moved = os.replace, []

    def stop(source: Any, target: Any) -> None:
        moved.append(Path(target).name)
        if len(moved) == 4:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(disk.os, "replace", stop)
    monkeypatch.setattr(disk, "_remove", lambda paths: None)  # a kill cleans nothing up
    with pytest.raises(KeyboardInterrupt):
        list(segment(folder, spec(), folder, WORDS))
    assert moved[:3] == ["run.json", "p0-2.json", "p0-2.overlay.png"]
    monkeypatch.undo()
    assert len(find(folder)) == COUNT
    outcomes = list(segment(folder, spec(), folder, WORDS))
    assert len(outcomes) == COUNT
    assert not list(folder.glob(".segwright-*"))


def test_a_full_disk_says_so_and_the_run_goes_on_later(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, []

    def full(source: Any, target: Any) -> None:
        calls.append(target)
        if len(calls) == 12:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(disk.os, "replace", full)
    with pytest.raises(OutputError, match="the disk is full"):
        list(segment(photos, spec(), tmp_path / "r", WORDS))
    monkeypatch.undo()
    list(segment(photos, spec(), tmp_path / "r", WORDS))
    check_same(tmp_path / "r", whole)


# --- reading ahead


def test_the_next_photos_are_read_while_the_networks_work(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segwright.runs import work

    read, opened, waited = work.open_photo, threading.Semaphore(0), []

    def reading(photo: Any) -> Image:
        image = read(photo)
        opened.release()
        return image

    class Waiting(Toy):
        def many(self, images: Sequence[Image], words: Sequence[str] | None = None) -> list[Segmentation]:
            if not waited:  # the first batch: its own two photos, and then two of the next one
                waited.append([opened.acquire(timeout=20) for _ in range(4)])
            return super().many(images, words)

    monkeypatch.setattr(work, "open_photo", reading)
    list(segment([photos / f"p{i}.png" for i in range(4)], Waiting(), tmp_path, WORDS, batch=2))
    assert waited == [[True] * 4]


# --- places


def test_lists_patterns_and_folders_mean_photos(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{photos}/p3.png\n\n  {photos}/p10.png\nmemory://x/y.png\n", "utf8")
    assert find(tmp_path / "list.txt") == [photos / "p3.png", photos / "p10.png", "memory:///x/y.png"]
    assert find(f"{photos}/p1*.png") == [photos / "p1.png", photos / "p10.png", photos / "p11.png"]
    assert find([photos / "p2.png", photos])[:3] == [photos / "p2.png", photos / "p0.png", photos / "p1.png"]
    os.symlink(photos / "p0.png", tmp_path / "a[1].png")
    assert find(tmp_path / "a[1].png") == [tmp_path / "a[1].png"]
    with pytest.raises(InputError, match="no file matches"):
        find(str(photos / "*.gif"))
    (tmp_path / "empty.lst").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        find(tmp_path / "empty.lst")


def test_a_photo_called_run_does_not_replace_the_settings(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "p0.png", tmp_path / "run.png")
    list(segment(tmp_path / "run.png", spec(), tmp_path / "r", WORDS))
    assert sorted(results(tmp_path / "r")) == ["run-2.json", "run-2.overlay.png", "run-2.png", "run.json"]


def test_photos_added_later_get_names_of_their_own(photos: Path, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        shutil.copy(photos / f"p{'xy'.index(name)}.png", tmp_path / name / "photo.png")
    first: list[Outcome] = list(segment(tmp_path / "x", spec(), tmp_path / "r", WORDS))
    both = list(segment([tmp_path / "x", tmp_path / "y"], spec(), tmp_path / "r", WORDS))
    assert first[0].files == both[0].files
    assert both[1].files[0] == tmp_path / "r/y/photo.png"
    assert [o.earlier for o in both] == [True, False]


def test_any_fsspec_place_is_source_and_target(photos: Path, whole: Path, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for i in range(COUNT):
        memory.pipe_file(f"/src/p{i}.png", (photos / f"p{i}.png").read_bytes())
    memory.pipe_file("/src/bad.png", b"no picture")
    half = [f"memory://src/p{i}.png" for i in (0, 5)]
    list(segment(half, spec(), "memory://out/run", WORDS))
    outcomes = list(segment("memory://src", spec(), "memory://out/run", WORDS))
    assert sum(o.earlier for o in outcomes) == 2
    (reason,) = [str(o.error) for o in outcomes if o.error]
    assert "memory:///src/bad.png" in reason
    for i in range(COUNT):
        assert memory.cat_file(f"/out/run/p{i}.png") == (whole / f"p{i}.png").read_bytes()
    listed = [json.loads(line)["photo"] for line in memory.cat_file("/out/run/manifest.jsonl").splitlines()]
    assert sorted(listed) == sorted(f"memory:///src/{name}.png" for name in ["bad", *(f"p{i}" for i in range(COUNT))])
    assert find("memory://src/p1*.png") == [f"memory:///src/{name}.png" for name in ("p1", "p10", "p11")]
    memory.makedirs("/out/nothing")
    with pytest.raises(InputError, match="no photos in 'memory://out/nothing'"):
        find("memory://out/nothing")
    with pytest.raises(InputError, match="cannot be opened"):
        find("nosuch://a/b.png")


@pytest.mark.parametrize("bad", [{"batch": 0}, {"workers": 0}, {"engine": "spark"}, {"engine": "ray", "workers": 0}], ids=str)
def test_bad_numbers_are_refused(bad: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        list(segment(photos, spec(), tmp_path / "r", WORDS, **bad))
    with pytest.raises(InputError, match="MethodSpec"):
        list(segment(photos, Toy(), tmp_path / "r", WORDS, engine="ray"))
    assert not (tmp_path / "r").exists()
