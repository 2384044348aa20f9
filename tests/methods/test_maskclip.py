"""MaskCLIP against slow twins of its steps."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from segwright.errors import InputError
from segwright.methods.maskclip import MaskCLIP, MaskCLIPSettings, denoise, smooth
from segwright.mini.scenes import THINGS
from segwright.mini.voc import read_scenes
from segwright.models.clip_dense import dense_features, pixels
from segwright.weights import load
from segwright.words.presence import Chosen


def test_key_smoothing_is_the_sum_over_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(3, 2, 4, generator=generator).softmax(0)
    keys = torch.randn(5, 2, 4, generator=generator)
    for least in (1.0, 0.4):
        found = smooth(probabilities, keys, least)
        for i in range(8):
            a = np.array([float(keys[c, i // 4, i % 4]) for c in range(5)])
            for t in range(3):
                expected = float(probabilities[t, i // 4, i % 4])
                if float(probabilities[:, i // 4, i % 4].max()) < least:
                    expected = 0.0
                    for j in range(8):
                        b = np.array([float(keys[c, j // 4, j % 4]) for c in range(5)])
                        cosine = a @ b / np.sqrt((a @ a) * (b @ b))
                        expected += cosine * float(probabilities[t, j // 4, j % 4])
                assert float(found[t, i // 4, i % 4]) == pytest.approx(max(0.0, expected), abs=1e-5)


def test_prompts_that_are_nowhere_sure_are_out() -> None:
    logits = torch.tensor([[[3.0, 0.0]], [[0.0, 0.1]], [[0.0, 3.0]]])
    found = denoise(logits, 0.5)
    assert float(found.softmax(0)[1].max()) == 0.0
    assert torch.equal(found[[0, 2]], logits[[0, 2]])
    assert torch.equal(denoise(logits, 0.0), logits)
    assert torch.equal(denoise(logits, 1.0), logits)  # nothing would be left


@pytest.mark.parametrize("extras", [{}, {"key_smoothing": 1.0, "prompt_denoising": 0.3}], ids=str)
def test_scores_are_the_published_steps(tmp_path_factory: pytest.TempPathFactory, extras: dict) -> None:
    folder = tmp_path_factory.mktemp("preset")
    tiny.clip(folder / "clip")
    networks = load(folder, "cpu")
    clip = networks.clip
    generator = torch.Generator().manual_seed(5)
    for p in clip.model.parameters():
        p.add_(0.25 * torch.randn(p.shape, generator=generator))
    photo = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    settings = MaskCLIPSettings(short=224, templates=("a {}", "the {}"), background=("sky",), **extras)
    found = MaskCLIP(networks, settings).scores(photo, Chosen(None, (), ("dog", "cat"), (0, 1)))
    dense = dense_features(clip, pixels(clip, photo, (32, 48)), "value")
    texts = torch.cat([clip.embed_texts([w], ("a {}", "the {}")) for w in ("dog", "cat", "sky")])
    logits = torch.zeros(3, 4, 6)
    for t in range(3):
        for y in range(4):
            for x in range(6):
                logits[t, y, x] = clip.logit_scale * (texts[t] * dense.features[0, :, y, x]).sum()
    if extras:
        for t, best in enumerate(logits.softmax(0).flatten(1).amax(1)):
            logits[t] = -torch.inf if best < 0.3 else logits[t]
    here = list(found.labels)
    if not extras:  # logits are resized, the softmax is taken afterwards; largest difference 4e-7
        wide = torch.nn.functional.interpolate(logits[None], (32, 48), mode="bilinear")[0].softmax(0)[[2, 0, 1]]
        assert here == sorted({0, *wide.argmax(0).unique().tolist()})
        torch.testing.assert_close(found.values, wide[here] / wide[here].sum(0), rtol=1e-5, atol=2e-6)
        return
    projection = clip.model.vision_model.encoder.layers[-1].self_attn.out_proj  # keys pass it, cell by cell
    keys = torch.zeros_like(dense.keys[0])
    for y in range(4):
        for x in range(6):
            keys[:, y, x] = projection.weight @ dense.keys[0, :, y, x] + projection.bias
    probabilities = smooth(logits.softmax(0), keys, 1.0)
    probabilities[2][probabilities.sum(0) == 0] = 1  # cells that smoothing left nothing are background
    kept = probabilities[[2, 0, 1]][here]  # labels that win nowhere are dropped before the resize
    wide = torch.nn.functional.interpolate((kept / kept.sum(0))[None], (32, 48), mode="bilinear")[0]
    torch.testing.assert_close(found.values, wide / wide.sum(0), rtol=1e-3, atol=1e-4)
    assert set(probabilities[[2, 0, 1]].argmax(0).unique().tolist()) <= set(here)


def test_on_a_scene() -> None:
    scene = read_scenes("val", 1)
    for settings in (MaskCLIPSettings(), MaskCLIPSettings(key_smoothing=1.0), MaskCLIPSettings(background=(), residual=True)):
        result = MaskCLIP(load("mini", "cpu"), settings)(scene.images[0], THINGS)
        assert result.labels.shape == scene.images[0].shape[:2]
        assert settings.background is None or result.labels.all()  # no background words: every pixel has a word


@pytest.mark.parametrize("settings", [{"key_smoothing": 1.5}, {"prompt_denoising": -1}, {"short": 0}], ids=str)
def test_bad_settings_are_refused(settings: dict) -> None:
    with pytest.raises(InputError):
        MaskCLIPSettings(**settings)
