"""GroupViT's groups against transformers' own segmentation of a small random model."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from segwright import weights
from segwright.errors import InputError, WeightsError
from segwright.models.groupvit import GroupVit


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> GroupVit:
    folder = tmp_path_factory.mktemp("preset")
    tiny.groupvit(folder / "groupvit")
    return weights.load(folder, "cpu").groupvit


def test_groups_give_transformers_own_logits(network: GroupVit) -> None:
    """Its own segmentation is the resized assignment times scaled cosines times the scale once more."""
    photos = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8) for i in range(2)]
    seen = network.pixels(photos)
    tokens = network._texts.tokenizer(["dog", "boat"], padding=True, return_tensors="pt")
    own = network.model(pixel_values=seen, output_segmentation=True, **tokens)
    found = network.groups(seen)
    assert found.assignment.shape == (2, 4, 4, 4)
    torch.testing.assert_close(found.assignment.sum(1), torch.ones(2, 4, 4), rtol=1e-4, atol=1e-4)
    scale = float(network.model.logit_scale.exp())
    wide = torch.nn.functional.interpolate(found.assignment, (32, 32), mode="bilinear")
    logits = scale * found.vectors @ network.embed_texts(["dog", "boat"]).T
    expected = scale * torch.einsum("bgt,bgyx->btyx", logits, wide)
    torch.testing.assert_close(expected, own.segmentation_logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.images, own.image_embeds, rtol=1e-4, atol=1e-5)
    assert float(found.vectors.std(1).mean()) > 0.01


def test_any_height_and_width(network: GroupVit) -> None:
    found = network.groups(torch.randn(1, 3, 40, 60))
    assert found.assignment.shape == (1, 4, 5, 7)
    assert found.vectors.shape == (1, 4, 16)
    assert network.logit_scale == pytest.approx(min(100.0, float(network.model.logit_scale.exp())))
    with pytest.raises(InputError, match="pixels must be"):
        network.groups(torch.randn(1, 3, 40, 7))


def test_presets_without_it_say_so() -> None:
    with pytest.raises(WeightsError, match="has no groupvit"):
        weights.load("mini", "cpu").require("groupvit")
    weights.load("sd15", "cpu").require("groupvit")
