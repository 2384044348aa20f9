"""What refine wrote, exported like a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from toy import make_photos

from segwright.cli import main
from segwright.errors import InputError
from segwright.files.masks import read_label_map, write_label_map
from segwright.refine import CRF
from segwright.runs.exports import export
from segwright.runs.refine_masks import RefinementSettings, refine_masks
from segwright.runs.refined import open_results
from segwright.runs.review import Decision, Review


@pytest.fixture
def refined(tmp_path: Path) -> Path:
    make_photos(tmp_path / "in", 3)
    (tmp_path / "coarse").mkdir()
    for photo in (tmp_path / "in").glob("*.png"):
        with Pillow.open(photo) as picture:
            labels = np.zeros(picture.size[::-1], np.int64)
        labels[10:40, 10:30], labels[20:50, 35:60] = 1, 3
        write_label_map(tmp_path / "coarse" / photo.name, labels)
    settings = RefinementSettings((CRF(iterations=1),))
    words = {1: "cat", 3: "sofa"}
    found = list(refine_masks(tmp_path / "in", tmp_path / "coarse", tmp_path / "out", words, settings=settings))
    assert all(one.error is None for one in found)
    return tmp_path / "out"


def test_refined_masks_are_exported(refined: Path, tmp_path: Path) -> None:
    export(refined, "coco", tmp_path / "coco", min_area=0, copy_photos=True)
    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert [one["file_name"] for one in content["images"]] == ["p0.png", "p1.png", "p2.png"]
    assert [one["name"] for one in content["categories"]] == ["cat", "2", "sofa"]
    areas = {(one["image_id"], one["category_id"]): one["area"] for one in content["annotations"]}
    for number in range(3):
        labels = read_label_map(refined / f"p{number}.png")
        for index in (1, 3):
            assert areas[number + 1, index] == (labels == index).sum()
    assert len(list((tmp_path / "coco/images").iterdir())) == 3
    assert main(["export", str(refined), "--format", "yolo", "-o", str(tmp_path / "yolo"), "--objects", "parts"]) == 0


def test_and_reviewed(refined: Path, tmp_path: Path) -> None:
    Review(open_results(refined)).decide(Decision("p1", "accepted", renamed={"cat": "lynx"}))
    export(refined, "coco", tmp_path / "coco", accepted=True)
    content = json.loads((tmp_path / "coco/annotations.json").read_text())
    assert [Path(one["file_name"]).stem for one in content["images"]] == ["p1"]


def test_journals_of_before_are_refused(refined: Path) -> None:
    from segwright.files.journal import encode_line

    lines = refined / "segwright-refine.jsonl"
    lines.write_bytes(encode_line({"file": "p0.png", "made_from": []}))
    with pytest.raises(InputError, match="is damaged"):
        open_results(refined)
