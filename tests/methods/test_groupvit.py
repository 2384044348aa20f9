"""GroupViT on a small random network: the shares against a loop, and the methods' contract (``mini`` has no GroupViT)."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from contracts import check_method, photo

from segwright.errors import InputError, WeightsError
from segwright.methods.groupvit import GroupViT, GroupViTSettings, shares
from segwright.models.groupvit import Groups
from segwright.weights import Networks, load


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    folder = tmp_path_factory.mktemp("preset")
    tiny.groupvit(folder / "groupvit")
    tiny.captioner(folder / "captioner")
    tiny.clip(folder / "clip")
    return load(folder, "cpu")


@pytest.mark.parametrize("threshold", [0.3, 0.95])
def test_shares_are_the_published_steps(threshold: float) -> None:
    generator = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    groups = Groups(torch.rand(2, 3, 2, 4, generator=generator).softmax(1), unit(2, 3, 8), unit(2, 8))
    texts, scale, most = unit(5, 8), 4.0, 2
    found = shares(groups, texts, scale, most, threshold, size=(4, 8))
    wide = torch.nn.functional.interpolate(groups.assignment, (4, 8), mode="bilinear").numpy()
    for b in range(2):
        logits = scale * (groups.vectors[b] @ texts.T).numpy()
        everything = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        kept = np.argsort(-(groups.images[b] @ texts.T).numpy())[:most]
        among = np.zeros_like(everything)
        among[:, kept] = np.exp(logits[:, kept]) / np.exp(logits[:, kept]).sum(1, keepdims=True)
        scores = among * everything
        least = min(threshold, scores.max())
        for y in range(4):
            for x in range(8):
                row = scores[wide[b, :, y, x].argmax()]
                assert found[b, 1:, y, x].tolist() == pytest.approx(row.tolist(), abs=1e-5)
                assert float(found[b, 0, y, x]) == float(row.max() < least)
    assert 0 < float(found[:, 0].mean()) < 1


def test_keeps_the_contract(networks: Networks) -> None:
    photos = [photo(), photo(31, 90, 1), photo(64, 40, 2)]
    check_method(GroupViT(networks, GroupViTSettings(threshold=0.2)).many, photos, ["dog", "boat", "apple"])


def test_presets_without_it_are_refused() -> None:
    with pytest.raises(WeightsError, match="'mini' has no groupvit"):
        GroupViT.load("mini", "cpu")


@pytest.mark.parametrize("settings", [{"most": 0}, {"stride": 500}, {"refine": "x"}], ids=str)
def test_bad_settings_are_refused(settings: dict) -> None:
    with pytest.raises(InputError):
        GroupViTSettings(**settings)
