"""The drawn world: reproducible, exact, captioned, and not solvable by colour alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright.errors import InputError, SegwrightError
from segwright.mini import scenes
from segwright.mini.captions import caption, listing, with_article
from segwright.mini.scenes import LONGEST, THINGS, WORLD, draw, glyphs_of
from segwright.mini.voc import write_scenes


def font_or_skip() -> None:
    try:
        scenes.find_font()
    except SegwrightError as error:
        pytest.skip(str(error))


def test_same_seed_same_scene_whatever_was_drawn_before() -> None:
    font_or_skip()
    first = draw("train", 3, 7)
    draw("val", 0, 1)
    again = draw("train", 3, 7)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)
    assert first.captions == again.captions
    assert not np.array_equal(first.image, draw("train", 4, 7).image)
    assert not np.array_equal(first.image, draw("val", 3, 7).image)


def test_scene_holds_what_it_says() -> None:
    font_or_skip()
    counts = []
    for i in range(60):
        scene = draw("val", 0, i)
        counts.append(len(scene.things))
        assert set(np.unique(scene.labels)) - {0} == {THINGS.index(t.word) + 1 for t in scene.things}
        for text in scene.captions:
            assert all(t.word in text for t in scene.things)
        for thing in scene.things:
            ys, xs = np.nonzero(scene.labels == THINGS.index(thing.word) + 1)
            assert thing.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert max(thing.box[2] - thing.box[0], thing.box[3] - thing.box[1]) <= LONGEST[0][1] + 1
    assert {1, 2, 3} == set(counts)


def test_held_split_uses_held_out_glyphs_only_where_there_are_any() -> None:
    for word, entry in WORLD["things"].items():
        held = glyphs_of(word, "held")
        assert held == (entry["held_out"] or entry["glyphs"])
        assert glyphs_of(word, "train") == glyphs_of(word, "val") == entry["glyphs"]
        if entry["held_out"]:
            assert not set(held) & set(glyphs_of(word, "train"))


def test_captions_are_plain_english() -> None:
    assert with_article("apple") == "an apple"
    assert with_article("umbrella") == "an umbrella"
    assert listing(["dog", "car", "tv"]) == "a dog, a car and a tv"
    rng = np.random.default_rng(0)
    texts = {caption(rng, [("car", "red"), ("dog", None)], "grass") for _ in range(200)}
    assert len(texts) > 40
    assert all("car" in t and "dog" in t for t in texts)


def test_writes_voc_layout(tmp_path: Path) -> None:
    font_or_skip()
    write_scenes(tmp_path, 3, 0, "val")
    write_scenes(tmp_path, 2, 0, "held")
    notes = json.loads((tmp_path / "captions.json").read_text("utf8"))
    assert sorted(notes) == ["held_00000", "held_00001", "val_00000", "val_00001", "val_00002"]
    assert (tmp_path / "classes.txt").read_text("utf8").split("\n")[:-1] == list(THINGS)
    assert (tmp_path / "ImageSets/Segmentation/val.txt").read_text("utf8").split() == [f"val_0000{i}" for i in range(3)]
    with Image.open(tmp_path / "SegmentationClass/val_00001.png") as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), draw("val", 0, 1).labels)
    with Image.open(tmp_path / "JPEGImages/val_00001.jpg") as photo:
        difference = np.abs(np.asarray(photo, int) - draw("val", 0, 1).image).mean()
    assert difference < 4
    assert not list(tmp_path.rglob("*.part"))


def test_bad_settings_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split must be one of train, val, held, got 'test'"):
        draw("test", 0, 0)
    with pytest.raises(InputError, match="count must be at least 1"):
        write_scenes(tmp_path, 0)
    with pytest.raises(InputError, match="Noto Color Emoji"):
        scenes.find_font(tmp_path / "no.ttf")
