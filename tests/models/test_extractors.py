"""Keys, MAE tokens and SAM proposals of small random networks, against the layers' own arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import ViTModel

from segwright.errors import InputError, WeightsError
from segwright.methods.ovdiff.extractors import extract
from segwright.models.sam import distinct
from segwright.weights import load

PHOTO = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.preset(tmp_path_factory.mktemp("preset"))


def test_clip_keys_are_the_projection_of_the_layers_input(folder: Path) -> None:
    clip = load(folder, "cpu").clip
    found = clip.keys([PHOTO], -2)
    tower = clip.model.vision_model
    with torch.no_grad():
        states = tower(clip.pixels([PHOTO]), output_hidden_states=True).hidden_states
        layer = tower.encoder.layers[-2]
        expected = layer.self_attn.k_proj(layer.layer_norm1(states[-3]))[:, 1:]
    assert found.shape == (1, 16, 4, 4)
    assert torch.allclose(found.flatten(2).transpose(1, 2), expected, atol=1e-6)
    assert clip.keys([PHOTO], -1, side=48).shape == (1, 16, 6, 6)
    with pytest.raises(InputError, match="layer must be -1"):
        clip.keys([PHOTO], -3)


def test_dino_keys_are_the_projection_of_the_last_layers_input(folder: Path) -> None:
    dino = load(folder, "cpu").dino
    assert isinstance(dino.model, ViTModel)
    found = dino.keys([PHOTO], side=32)
    with torch.no_grad():
        states = dino.model(dino.pixels([PHOTO]), output_hidden_states=True).hidden_states
        layer = dino.model.layers[-1]
        expected = layer.attention.k_proj(layer.layernorm_before(states[-2]))[:, 1:]
    assert torch.allclose(found.flatten(2).transpose(1, 2), expected, atol=1e-6)


def test_mae_sees_every_patch_in_its_own_place(folder: Path) -> None:
    mae = load(folder, "cpu").mae
    found = mae.features([PHOTO, PHOTO[::-1].copy()])
    assert found.shape == (2, 16, 4, 4)
    model = mae.model
    with torch.no_grad():
        patches = model.embeddings.patch_embeddings(mae.pixels([PHOTO])) + model.embeddings.position_embeddings[:, 1:]
        first = model.embeddings.cls_token + model.embeddings.position_embeddings[:, :1]
        states = torch.cat([first, patches], 1)
        for layer in model.layers:
            out = layer(states)
            states = out[0] if isinstance(out, tuple) else out
        expected = model.layernorm(states)[:, 1:]
    assert torch.allclose(found[:1].flatten(2).transpose(1, 2), expected, atol=1e-5)


def test_every_extractor_gives_a_map(folder: Path) -> None:
    networks = load(folder, "cpu")
    for name in ("sd", "clip", "dino", "mae"):
        alone = extract(name, networks, [PHOTO])
        assert alone.ndim == 4
        assert torch.allclose(extract(name, networks, [PHOTO[:, ::-1].copy(), PHOTO])[1:], alone, atol=1e-5)
    assert networks.preset.extractors == ("sd", "clip", "dino")
    with pytest.raises(InputError, match="extractors must be of"):
        extract("sift", networks, [PHOTO])
    with pytest.raises(WeightsError, match="missing"):
        extract("mae", load("mini", "cpu"), [PHOTO])


def test_sam_proposes_masks_and_drops_doubles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from segwright.models import sam

    monkeypatch.setattr(sam, "SURE", -9.0)  # random weights are sure of nothing
    monkeypatch.setattr(sam, "STABLE", 0.0)
    masks = load(folder, "cpu").sam.proposals(PHOTO, points=3)
    assert masks.dtype == torch.bool
    assert masks.ndim == 3
    for i in range(len(masks)):
        for j in range(i):
            union = (masks[i] | masks[j]).sum()
            assert (masks[i] & masks[j]).sum() / union <= sam.ALIKE


def test_the_surer_of_two_alike_stays() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[0, :2] = True
    masks[1, :2] = True
    masks[1, 0, 0] = False
    masks[2, 3] = True
    assert torch.equal(distinct(masks, torch.tensor([0.9, 0.95, 0.5])), masks[[1, 2]])
