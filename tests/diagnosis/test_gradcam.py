"""The softmax Grad-CAM of the Critical Look, as CLIP-ES's code has it, against transformers' own pass and the formula in loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from segwright.diagnosis.gradcam import word_cams
from segwright.methods.clip_es import BACKGROUND_25
from segwright.weights import Networks, load

PHOTO = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
WORDS, PROMPT = ("dog", "boat", "sky"), "a photo of {}"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder: Path = tmp_path_factory.mktemp("preset")
    tiny.diffusion(folder)
    tiny.clip(folder / "clip")
    return load(folder, "cpu")


def slow_cams(networks: Networks, rivals: list[str]) -> np.ndarray:
    """Selvaraju et al., Eqs. 1 and 2, with y the softmax over words and rivals: in float64, one cell and channel at a time."""
    clip = networks.clip
    model = clip.model.double()
    tower, held = model.vision_model, []
    handle = tower.encoder.layers[-1].layer_norm1.register_forward_hook(
        lambda _m, _i, out: held.append(out.detach().requires_grad_()) or held[-1]
    )
    photo = torch.from_numpy(PHOTO).permute(2, 0, 1)[None]
    side = 12 * 8, 16 * 8  # 16 cells along the long side, of 8 pixels
    small = torch.nn.functional.interpolate(photo, side, mode="bicubic", antialias=True, align_corners=False).double() / 255
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in (clip.pixels.mean, clip.pixels.std))
    texts = []
    for word in (*WORDS, *rivals):
        tokens = clip.tokenizer([PROMPT.replace("{}", word)], return_tensors="pt")
        vector = model.get_text_features(**tokens).pooler_output[0].detach()
        texts.append(vector / vector.norm())
    cams = np.zeros((len(WORDS), 12, 16))
    with torch.enable_grad():
        out = tower(pixel_values=(small - mean) / std, interpolate_pos_encoding=True).last_hidden_state
        pooled = model.visual_projection(tower.post_layernorm(out)[0, 1:].mean(0))
        scores = model.logit_scale.exp() * torch.stack([pooled @ t / pooled.norm() for t in texts])
        shares = scores.exp() / scores.exp().sum()
        for k in range(len(WORDS)):
            (slope,) = torch.autograd.grad(shares[k], held[0], retain_graph=True)
            for c in range(slope.shape[2]):
                alpha = sum(float(slope[0, 1 + i, c]) for i in range(12 * 16)) / (12 * 16)
                for i in range(12 * 16):
                    cams[k, i // 16, i % 16] += alpha * float(held[0][0, 1 + i, c].detach())
    handle.remove()
    model.float()
    cams = np.maximum(cams, 0)
    low, high = cams.min((1, 2), keepdims=True), cams.max((1, 2), keepdims=True)
    return (cams - low) / np.maximum(high - low, 1e-12)


def test_softmax_over_words_and_background_words(networks: Networks) -> None:
    """A word that is a background word competes as itself alone. The largest difference of the maps, 0..1, was 1e-6."""
    found = word_cams(networks, PHOTO, WORDS, PROMPT, "softmax").double().numpy()
    rivals = [word for word in BACKGROUND_25 if word not in WORDS]
    assert len(rivals) == 24, "sky is asked for"
    expected = slow_cams(networks, rivals)
    assert found.shape == expected.shape == (3, 12, 16)
    assert np.abs(found - expected).max() < 1e-4
    alone = word_cams(networks, PHOTO, WORDS, PROMPT, "logit").double().numpy()
    assert np.abs(found - alone).max() > 1e-2, "what competes changes where a score comes from"
