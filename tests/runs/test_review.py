"""Decisions on a run: kept line by line, by several people at once, and what is exported of them."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import WORDS, Toy, make_photos

from segwright.cli import main
from segwright.errors import InputError
from segwright.runs.exports import export
from segwright.runs.reading import open_run
from segwright.runs.review import Decision, OvertakenError, Review, accepted
from segwright.runs.segment import segment

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_photos(tmp_path / "in", 6)
    assert all(one.error is None for one in segment(tmp_path / "in", Toy(), tmp_path / "run", WORDS))
    return tmp_path / "run"


def test_the_last_decision_counts_and_is_there_for_others(run: Path) -> None:
    review = Review(open_run(run))
    first = review.decide(Decision("p0", "accepted", by="ann"))
    assert (first.number, first.mask != "") == (1, True)
    assert Review(open_run(run)).decisions() == {"p0": first}
    second = review.decide(Decision("p0", "rejected", by="bob", seen=first.number))
    assert review.decisions()["p0"] == second
    assert len((run / "review.jsonl").read_bytes().splitlines()) == 2, "nothing is forgotten"


def test_nobody_replaces_what_they_have_not_seen(run: Path) -> None:
    ann, bob = Review(open_run(run)), Review(open_run(run))
    kept = ann.decide(Decision("p1", "accepted", by="ann"))
    with pytest.raises(OvertakenError, match="ann has decided on 'p1' meanwhile") as caught:
        bob.decide(Decision("p1", "rejected", by="bob"))
    assert caught.value.now == kept
    assert bob.decisions()["p1"] == kept


def test_several_at_once_lose_nothing(run: Path) -> None:
    def work(name: str, photos: list[str]) -> None:
        review, after = Review(open_run(run)), dict.fromkeys(photos, 0)
        for turn in range(20):
            for photo in photos:
                after[photo] = review.decide(Decision(photo, ("accepted", "rejected")[turn % 2], by=name, seen=after[photo])).number

    people = [threading.Thread(target=work, args=(f"who{i}", [f"p{2 * i}", f"p{2 * i + 1}"])) for i in range(3)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    lines = [json.loads(line) for line in (run / "review.jsonl").read_bytes().splitlines()]
    assert [line["number"] for line in lines] == list(range(1, 121))
    assert {one.verdict for one in Review(open_run(run)).decisions().values()} == {"rejected"}


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_is_taken_off_and_nothing_else(cut: int, run: Path) -> None:
    review = Review(open_run(run))
    for i in range(3):
        review.decide(Decision(f"p{i}", "accepted"))
    content = (run / "review.jsonl").read_bytes()
    (run / "review.jsonl").write_bytes(content[:-cut])
    again = Review(open_run(run))
    assert set(again.decisions()) == {"p0", "p1"}
    again.decide(Decision("p2", "rejected"))
    assert {name: one.verdict for name, one in again.decisions().items()} == {"p0": "accepted", "p1": "accepted", "p2": "rejected"}


def test_an_edited_line_is_refused_by_its_number(run: Path) -> None:
    Review(open_run(run)).decide(Decision("p0", "accepted"))
    file = run / "review.jsonl"
    file.write_bytes(file.read_bytes().replace(b"accepted", b"rejected"))
    with pytest.raises(InputError, match="line 1 of"):
        Review(open_run(run))


def test_a_mask_that_was_made_anew_is_undecided(run: Path) -> None:
    review = Review(open_run(run))
    review.decide(Decision("p0", "accepted"))
    content = (run / "p1.png").read_bytes()
    (run / "p0.png").write_bytes(content)
    assert review.decisions() == {}
    assert review.decide(Decision("p0", "rejected")).number == 2, "the old decision need not have been seen"


def test_bad_decisions_are_refused(run: Path) -> None:
    review = Review(open_run(run))
    with pytest.raises(InputError, match="no photo"):
        review.decide(Decision("../p0", "accepted"))
    for bad in ({"verdict": "maybe"}, {"renamed": {"cat": ""}}, {"renamed": {"cat": "a\nb"}}, {"by": "x" * 101}):
        with pytest.raises(ValueError, match=r"verdict|word|name"):
            Decision(**{"name": "p0", "verdict": "accepted", **bad})  # type: ignore[arg-type]
    assert not (run / "review.jsonl").exists() or (run / "review.jsonl").read_bytes() == b""


def test_accepted_photos_are_mended(run: Path) -> None:
    whole = {photo.name: photo for photo in open_run(run)}
    review = Review(open_run(run))
    review.decide(Decision("p0", "accepted", removed=("sofa",), renamed={"cat": "lynx"}))
    review.decide(Decision("p1", "accepted", renamed={"cat": "sofa"}))
    review.decide(Decision("p2", "rejected"))
    kept = accepted(open_run(run))
    assert kept.words == (*WORDS, "lynx")
    first, second = list(kept)
    assert {one["word"] for one in first.segments} == {"lynx", "dog & co"}
    before = whole["p0"].labels
    assert np.array_equal(first.labels == first.words.index("lynx") + 1, before == 1)
    assert not (first.labels == 3).any()
    assert np.array_equal(second.labels == 3, np.isin(whole["p1"].labels, (1, 3)))
    assert {one["word"]: one["area"] for one in second.segments}["sofa"] == (second.labels == 3).sum()


def test_the_command_exports_accepted_photos_only(run: Path, tmp_path: Path) -> None:
    review = Review(open_run(run))
    for name in ("p1", "p4"):
        review.decide(Decision(name, "accepted", renamed={"cat": "lynx"}))
    review.decide(Decision("p2", "rejected"))
    assert main(["export", str(run), "--format", "coco", "-o", str(tmp_path / "coco"), "--accepted", "--min-area", "0"]) == 0
    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert [Path(one["file_name"]).stem for one in content["images"]] == ["p1", "p4"]
    names = {one["id"]: one["name"] for one in content["categories"]}
    found = {names[one["category_id"]] for one in content["annotations"]}
    assert "lynx" in found
    assert "cat" not in found
    areas = {names[a["category_id"]]: a["area"] for a in content["annotations"] if a["image_id"] == 1}
    one = next(photo for photo in replace(open_run(run)) if photo.name == "p1")
    assert areas["lynx"] == (one.labels == 1).sum()
    export(run, "coco", tmp_path / "split", accepted=True, split={"train": 0.5, "val": 0.5})
    assert all(len(json.loads(p.read_text())["images"]) == 1 for p in (tmp_path / "split").rglob("annotations.json"))
    export(run, "yolo", tmp_path / "yolo", accepted=True)
    assert sorted(p.stem for p in (tmp_path / "yolo/labels").glob("*.txt")) == ["p1", "p4"]
