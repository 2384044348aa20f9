"""COCO-27 as FreeSeg-Diff's published code measured it: 80 names brought to their groups, and unlabelled pixels scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segwright.datasets.dataset import Item, of_vocabulary
from segwright.evaluation.run import evaluate
from segwright.methods.base import MethodSpec
from segwright.methods.freeseg_diff.method import FreeSegDiff
from segwright.types import Segmentation
from segwright.words.published import unasked
from segwright.words.vocabulary import load

GROUPS, THINGS = load("coco27"), load("coco-object")


def test_fine_names_then_groups_and_both_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions named dog, cat and car count as animal and vehicle; what is unlabelled is scored as a class, in both measures."""
    truth = np.full((8, 12), 255, np.int64)
    truth[:, :4], truth[:, 4:8] = GROUPS.words.index("animal") + 1, GROUPS.words.index("sky") + 1
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(tmp_path / "photo.png")
    dataset = of_vocabulary("coco27", "val", GROUPS, [Item("photo", tmp_path / "photo.png", lambda: truth)], False)
    asked: list[str] = []

    def finish(self: Any, words: tuple[str, ...]) -> Segmentation:
        asked[:] = words
        labels = np.zeros((8, 12), np.int64)
        for rows, name in ((slice(0, 4), "dog"), (slice(4, 6), "cat"), (slice(6, 8), "car")):
            labels[rows, :4] = words.index(name) + 1
        return Segmentation(tuple(words), labels)

    monkeypatch.setattr(FreeSegDiff, "steps", lambda self, images, words: [words for _ in images])
    monkeypatch.setattr(FreeSegDiff, "finish", finish)
    spec = MethodSpec("freeseg-diff", "mini", "cpu", profile="published")
    report = evaluate(spec, dataset, tmp_path / "published", "paper").content
    assert sorted(asked) == sorted(THINGS.words), "the 80 things, and none of the 15 groups of stuff"
    # background: 32 of 64 predicted; animal 24 of 32; sky 0 of 32; vehicle, not in the truth, 0 of 8
    assert report["miou_per_image"] == pytest.approx((32 / 64 + 24 / 32 + 0) / 3)
    assert report["miou"] == pytest.approx((32 / 64 + 24 / 32 + 0 + 0) / 4)
    ours = evaluate(spec, dataset, tmp_path / "ours").content
    assert ours["miou"] == pytest.approx((24 / 32 + 0 + 0) / 3), "else what is unlabelled in the truth is left out"


def test_every_thing_has_its_group() -> None:
    from segwright.words.published import published_names

    names = published_names("freeseg-diff")["coco27"]
    groups = {name: group for group, its in names.items() for name in its}
    assert [groups[word] for word in THINGS.words] == list(THINGS.groups)
    assert list(names) == list(GROUPS.words)
    assert unasked("freeseg-diff", "coco27") == GROUPS.stuff
    assert unasked(None, "coco27") == unasked("sclip", "voc") == ()
