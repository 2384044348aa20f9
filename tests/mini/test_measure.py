"""The model card's arithmetic, on few scenes."""

from __future__ import annotations

import numpy as np
import pytest

from segwright.errors import InputError
from segwright.mini.measure import attention_maps, interval, measure, untrained_unet
from segwright.mini.voc import data_folder, read_scenes
from segwright.models.tokens import word_places
from segwright.weights import load


def test_shipped_scenes_are_whole() -> None:
    for split in ("val", "held"):
        shown = read_scenes(split)
        assert len(shown.images) == len(shown.truths) == 200
        for image, truth, note in zip(shown.images, shown.truths, shown.notes, strict=True):
            assert image.shape == (128, 128, 3)
            assert len(np.unique(truth)) == len(set(note["things"])) + 1
    assert (data_folder() / "classes.txt").read_text("utf8").count("\n") == 24


def test_figures_are_in_range_and_better_than_chance() -> None:
    figures = measure("mini", "val", 10, ("clip", "patches", "captioner", "vae", "attention", "regions", "size"))
    assert figures["scenes"] == [10.0]
    assert all(row[1] <= row[0] <= row[2] for name, row in figures.items() if name != "scenes")
    assert figures["clip_true_masks"][0] > 0.6
    assert 0 <= figures["clip_value_cells"][0] <= 1
    assert figures["caption_recall"][0] > 0.5
    assert 15 < figures["vae_psnr_db"][0] < 60
    assert 0 < figures["best_match_unet"][0] <= 1
    assert figures["preset_mb"][0] < 40


def test_interval_is_the_bootstrap_of_a_ratio_of_sums() -> None:
    rng = np.random.default_rng(0)
    pairs = [(float(rng.binomial(n, 0.3)), float(n)) for n in rng.integers(1, 6, 400)]
    estimate, low, high = interval(pairs)
    sums, counts = np.array(pairs).sum(0)
    assert estimate == pytest.approx(sums / counts, abs=1e-4)
    spread = 1.96 * np.sqrt(0.3 * 0.7 / counts)  # of independent things, as these are
    assert low == pytest.approx(estimate - spread, abs=0.4 * spread)
    assert high == pytest.approx(estimate + spread, abs=0.4 * spread)
    assert interval(pairs) == interval(pairs)


def test_unknown_rows_and_splits_are_refused() -> None:
    with pytest.raises(InputError, match="rows must be of"):
        measure("mini", rows=("speed",))
    with pytest.raises(InputError, match=r"test\.txt is missing"):
        read_scenes("test")


def test_untrained_network_is_another_one_and_always_the_same() -> None:
    known = load("mini", "cpu")
    one, two = untrained_unet(known).diffusion.unet, untrained_unet(known).diffusion.unet
    name = "mid_block.resnets.0.conv1.weight"
    weights = [dict(u.named_parameters())[name] for u in (one, two, known.diffusion.unet)]
    assert np.array_equal(weights[0].detach(), weights[1].detach())
    assert not np.array_equal(weights[0].detach(), weights[2].detach())


def test_words_are_found_among_tokens() -> None:
    tokenizer = load("mini", "cpu").diffusion.tokenizers[0]
    assert word_places(tokenizer, "a dog and a potted plant", "potted plant") == (5, 6)
    assert word_places(tokenizer, "a dog and a potted plant", "Dog") == (2,)
    assert word_places(tokenizer, "a dog", "cat") == ()


def test_attention_maps_have_the_photos_size() -> None:
    shown = read_scenes("val", 2)
    for maps, note in zip(attention_maps(load("mini", "cpu"), shown, 300), shown.notes, strict=True):
        assert set(maps) == set(note["things"])
        assert all(m.shape == (128, 128) and m.min() >= 0 for m in maps.values())
