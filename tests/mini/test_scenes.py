"""The drawn world: reproducible, exact, captioned, from the shipped atlas alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segwright.errors import InputError
from segwright.mini.atlas import HELD_HAND, glyphs, make_atlas, names, picture
from segwright.mini.captions import Named, caption, listing, plural, with_article
from segwright.mini.finish import COLOUR_NAMES, colour_name, rotate_hue, thing
from segwright.mini.scenes import LONGEST, THINGS, draw, pool, portrait
from segwright.mini.voc import CLUTTER, write_scenes
from segwright.words.nouns import keywords


def test_same_seed_same_scene_whatever_was_drawn_before() -> None:
    first = draw("train", 3, 7)
    draw("val", 0, 1)
    again = draw("train", 3, 7)
    for name in ("image", "labels", "instances", "clutter", "things", "stuff", "captions"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, draw("train", 4, 7).image)
    assert not np.array_equal(first.image, draw("val", 3, 7).image)


def test_scene_holds_what_its_notes_say() -> None:
    counts = []
    for i in range(60):
        scene = draw("val", 0, i)
        counts.append(len(scene.things))
        assert set(np.unique(scene.labels)) - {0} == {THINGS.index(t.word) + 1 for t in scene.things}
        assert np.array_equal(scene.instances > 0, scene.labels > 0)
        assert not (scene.clutter & (scene.labels > 0)).any()
        for k, drawn in enumerate(scene.things):
            mask = scene.instances == k + 1
            ys, xs = np.nonzero(mask)
            assert drawn.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert set(scene.labels[mask]) == {THINGS.index(drawn.word) + 1}
            assert max(drawn.box[2] - drawn.box[0], drawn.box[3] - drawn.box[1]) <= LONGEST[0][1] + 10
    assert {1, 2, 3, 4} == set(counts)


def test_words_can_be_asked_for() -> None:
    shown = [draw("train", 0, i, words=("dog", "dog", "tv")) for i in range(8)]
    assert {t.word for s in shown for t in s.things} == {"dog", "tv"}
    assert sum(len(s.things) == 3 for s in shown) >= 6  # a crowded scene may leave one out
    for words in ((), ("unicorn",), ("dog",) * 5):
        with pytest.raises(InputError, match="words must be one to 4 of airplane"):
            draw("train", 0, 0, words=words)


def test_no_training_or_val_scene_shows_a_held_out_glyph_or_the_held_hand() -> None:
    for split in ("train", "val"):
        for word in (*THINGS, None):
            assert all(g.pack != HELD_HAND and not g.held for part in pool(word, split) for g in part)
    for word in THINGS:
        by_hand = [g for part in pool(word, "held", True) for g in part]
        assert all(g.pack == HELD_HAND for g in by_hand) or word == "potted plant"
        left_out = names()["held_out"].get(word)
        if left_out:
            assert all(any(n in g.name for n in left_out) for part in pool(word, "held", False) for g in part)
    assert {g.word for g in glyphs() if g.pack == HELD_HAND} >= set(THINGS) - {"potted plant"}


def test_atlas_holds_enough_shapes_and_every_cell_a_drawing() -> None:
    for word in THINGS:
        assert len([g for part in pool(word, "train") for g in part]) >= 10
    for glyph in glyphs():
        assert min(picture(glyph).size) >= 8


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="npm pack @iconify-json/noto"):
        make_atlas(tmp_path, tmp_path / "out")


def test_colour_says_nothing_of_the_word() -> None:
    """One glyph drawn often takes every colour."""
    glyph = pool("banana", "train")[0][0]
    rng = np.random.default_rng(0)
    found = {colour_name(rgb, alpha > 0.5) for rgb, alpha in (thing(rng, glyph, 60) for _ in range(150))}
    assert len(found & set(COLOUR_NAMES)) >= 6


def test_portraits_show_one_whole_thing_in_its_own_colours() -> None:
    seen: dict[str, set[str]] = {}
    for index in range(80):
        scene = portrait(5, index)
        (thing,) = scene.things
        seen.setdefault(thing.word, set()).add(thing.glyph.name)
        x0, y0, x1, y1 = thing.box
        assert set(np.unique(scene.labels)) == {0, THINGS.index(thing.word) + 1}
        assert 38 <= max(x1 - x0, y1 - y0) <= 64  # whole: within a window of the U-Net's first part
        assert not thing.glyph.held
        assert scene.captions[0].startswith("a good picture of a")
        assert thing.word in scene.captions[0]
    assert len(seen) > 15
    assert max(map(len, seen.values())) <= 3
    assert np.array_equal(portrait(5, 3).image, portrait(5, 3).image)


def test_hue_turns_keep_grey_and_colours_have_names() -> None:
    grey = np.full((4, 4, 3), 0.5, np.float32)
    assert np.allclose(rotate_hue(np.random.default_rng(0), grey, np.ones((4, 4))), 0.5, atol=1e-6)
    solid = np.ones((8, 8), bool)
    for name, rgb in {"red": (0.9, 0.05, 0.05), "blue": (0.1, 0.2, 0.9), "black": (0.05, 0.05, 0.05), "white": (0.97, 0.97, 0.97),
                      "brown": (0.45, 0.25, 0.1), "green": (0.1, 0.7, 0.15), "grey": (0.5, 0.5, 0.5)}.items():  # fmt: skip
        assert colour_name(np.broadcast_to(np.float32(rgb), (8, 8, 3)), solid) == name


def test_captions_are_plain_english() -> None:
    assert with_article("apple") == "an apple"
    assert with_article("umbrella") == "an umbrella"
    assert listing(["dog", "car", "tv"]) == "a dog, a car and a tv"
    assert listing(["dog", "dog", "bus"]) == "two dogs and a bus"
    rng = np.random.default_rng(0)
    things = [Named("car", "red", (0.2, 0.5)), Named("dog", None, (0.8, 0.5))]
    texts = [caption(rng, things, ("grass",)) for _ in range(300)]
    assert len(set(texts)) > 60
    both = [t for t in texts if "car" in t and "dog" in t]
    assert 0.8 < len(both) / len(texts) < 1  # some leave a thing out
    assert any("car left of a dog" in t for t in both)
    assert not any("car right of" in t or "dog left of" in t for t in both)


@pytest.mark.parametrize("word", THINGS)
def test_counted_things_are_found_among_a_captions_nouns(word: str) -> None:
    assert word in {k.word for k in keywords(f"a photo of two {plural(word)} on grass")}


def test_writes_voc_layout(tmp_path: Path) -> None:
    write_scenes(tmp_path, 3, 0, "val")
    write_scenes(tmp_path, 2, 0, "held")
    notes = json.loads((tmp_path / "captions.json").read_text("utf8"))
    assert sorted(notes) == ["held_00000", "held_00001", "val_00000", "val_00001", "val_00002"]
    assert (tmp_path / "classes.txt").read_text("utf8").split("\n")[:-1] == list(THINGS)
    assert (tmp_path / "ImageSets/Segmentation/val.txt").read_text("utf8").split() == [f"val_0000{i}" for i in range(3)]
    scene = draw("val", 0, 1)
    with Image.open(tmp_path / "SegmentationClass/val_00001.png") as mask:
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), scene.labels)
    with Image.open(tmp_path / "SegmentationObject/val_00001.png") as mask:
        assert np.array_equal(np.asarray(mask), np.where(scene.clutter, CLUTTER, scene.instances))
    with Image.open(tmp_path / "JPEGImages/val_00001.jpg") as photo:
        difference = np.abs(np.asarray(photo, int) - scene.image).mean()
    assert difference < 4
    assert not list(tmp_path.rglob("*.part"))


def test_bad_settings_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="split must be one of train, val, held, got 'test'"):
        draw("test", 0, 0)
    with pytest.raises(InputError, match="count must be at least 1"):
        write_scenes(tmp_path, 0)
