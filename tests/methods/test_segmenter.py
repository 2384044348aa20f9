"""What the segmenters share: windows, words, scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from segwright.errors import InputError
from segwright.methods.sclip import SCLIP, SCLIPSettings
from segwright.methods.segmenter import (
    BACKGROUND_26,
    all_background,
    background_words,
    fitted,
    prompts,
    sliding,
    strongest,
    to_scores,
)
from segwright.mini.scenes import STUFF, THINGS
from segwright.mini.train.tokens import BACKGROUND_WORDS
from segwright.mini.voc import read_scenes
from segwright.models.clip_dense import pixels
from segwright.weights import Networks, load
from segwright.words.presence import choose


@pytest.fixture(scope="module")
def mini() -> Networks:
    return load("mini", "cpu")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder: Path = tmp_path_factory.mktemp("preset")
    tiny.clip(folder / "clip")
    return load(folder, "cpu")


def test_scores_hold_the_labels_that_win_and_sum_to_one() -> None:
    values = torch.tensor([[[0.2, 0.0], [0.1, 0.0]], [[0.6, 0.0], [0.3, 0.2]], [[0.1, 0.0], [0.1, 0.1]]])
    found = to_scores(("cat", "dog", "sofa"), [1, 3], values, (2, 2))
    assert found.labels == (0, 1)
    assert found.argmax().tolist() == [[1, 0], [1, 1]]  # a cell of zeros is background
    torch.testing.assert_close(found.values[1], torch.tensor([[0.75, 0.0], [0.75, 1.0]]))
    wide = to_scores(("cat", "dog", "sofa"), [1, 3], values, (7, 5))
    assert wide.values.shape == (2, 7, 5)
    assert all_background(("cat",), (3, 4)).argmax().tolist() == [[0] * 4] * 3
    every = to_scores(("cat",), [1], torch.tensor([[[0.0]], [[0.3]]]), (2, 2))
    assert every.labels == (0, 1)
    assert every.argmax().tolist() == [[1, 1], [1, 1]]


def test_the_strongest_background_word_speaks_for_all() -> None:
    values = torch.tensor([0.1, 0.5, 0.2, 0.4]).view(4, 1, 1)
    assert strongest(values, 2).flatten().tolist() == pytest.approx([0.4, 0.1, 0.5])
    assert strongest(values, 4).flatten().tolist() == pytest.approx([0, 0.1, 0.5, 0.2, 0.4])


def test_background_words_are_the_presets_own_and_no_word_twice(mini: Networks, networks: Networks) -> None:
    assert background_words(None, networks, BACKGROUND_26, ["Sky", "dog"]) == BACKGROUND_26[1:]
    assert len(BACKGROUND_26) == len(set(BACKGROUND_26)) == 26
    assert set(background_words(None, mini, BACKGROUND_26, ["sand"])) == {*STUFF, *BACKGROUND_WORDS} - {"sand"}
    assert background_words((), mini, BACKGROUND_26, ["dog"]) == ()
    assert prompts(None, networks, ("a {}",)) == ("a {}",)
    assert prompts(None, mini, ("a {}",)) == ("{}",)
    assert prompts(("the {}",), mini, ("a {}",)) == ("the {}",)
    for bad in ({"background": "sky"}, {"templates": "{}"}):
        with pytest.raises(InputError, match="must be a tuple"):
            SCLIPSettings(**bad)  # type: ignore[arg-type]


def test_photos_are_fitted_to_the_network(networks: Networks) -> None:
    """The network's side is 32, so 224 pixels of a paper are 32 here, and 2048 are 296."""
    clip = networks.clip
    sizes = {(100, 200): (48, 96), (20, 10): (96, 48), (1, 1): (48, 48), (10, 1000): (8, 296), (5000, 10): (296, 8)}
    for given, wanted in sizes.items():
        assert fitted(clip, np.zeros((*given, 3), np.uint8), 336) == wanted


def test_windows_are_averaged_pixel_by_pixel(networks: Networks) -> None:
    """A slow twin: every pixel's mean over the windows that hold it."""
    clip = networks.clip
    photo = np.random.default_rng(0).integers(0, 256, (30, 47, 3), dtype=np.uint8)

    def logits_of(windows: Tensor) -> Tensor:
        assert windows.shape[2:] == (32, 32)
        return torch.stack([windows[:, 0], windows.mean((1, 2, 3))[:, None, None].expand(-1, 32, 32)], 1)

    found = sliding(clip, photo, 336, 224, 112, logits_of=logits_of)
    seen = pixels(clip, photo, (48, 75))[0]
    starts = [(y, x) for y in (0, 16) for x in (0, 16, 32, 43)]
    for y in range(0, 48, 5):
        for x in range(0, 75, 7):
            means = [seen[:, a : a + 32, b : b + 32].mean() for a, b in starts if a <= y < a + 32 and b <= x < b + 32]
            assert float(found[0, y, x]) == pytest.approx(float(seen[0, y, x]), abs=1e-5)
            assert float(found[1, y, x]) == pytest.approx(float(sum(means) / len(means)), abs=1e-5)


def test_the_rules_pick_words(mini: Networks) -> None:
    scene = read_scenes("val", 1)
    images, here = list(scene.images), [set(n["things"]) for n in scene.notes]
    free = choose(mini, images, THINGS, "none")
    assert [c.candidates for c in free] == [tuple(range(24))]
    assert free[0].caption is None
    assert choose(mini, images, THINGS, "none", captions=True)[0].caption
    for rule in ("paper", "reference", "prefilter"):
        for chosen, things in zip(choose(mini, images, THINGS, rule), here, strict=True):
            assert chosen.words == THINGS
            assert set(chosen.present) & things
            assert len(chosen.present) < 12
    nouns = choose(mini, images, None, "reference")
    assert all(set(c.present) == set(c.words) == {k.word for k in c.keywords} - set(BACKGROUND_WORDS) for c in nouns)


def test_photos_without_any_word_are_background(mini: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini.captioner, "caption", lambda images, *_: ["nothing"] * len(images))
    result = SCLIP(mini)(np.full((20, 30, 3), 90, np.uint8))
    assert result.words == ()
    assert not result.labels.any()
    assert result.notes["method"] == "sclip"
