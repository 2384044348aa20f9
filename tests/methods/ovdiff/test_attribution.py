"""Masks from attribution: thresholds against scikit-image's own, Eq. 1 against hand-made proposals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.filters import threshold_multiotsu

from segwright.errors import InputError
from segwright.methods.ovdiff.attribution import attribution_masks, proposal_masks


def test_thresholds_are_multi_otsu_over_all_maps() -> None:
    rng = np.random.default_rng(0)
    maps = np.concatenate([rng.normal(m, 0.04, (2, 8, 8)) for m in (0.1, 0.45, 0.85)], 2).clip(0, 1).astype(np.float32)
    foreground, background = attribution_masks(torch.from_numpy(maps))
    low, high = threshold_multiotsu(maps, classes=3)
    assert torch.equal(foreground, torch.from_numpy(maps > high))
    assert torch.equal(background, torch.from_numpy(maps < low))
    assert foreground[:, :, 16:].all()
    assert background[:, :, :8].all()
    assert (foreground | background)[:, :, 8:16].float().mean() < 0.05


def test_flat_maps_fall_back_to_fixed_thresholds() -> None:
    foreground, background = attribution_masks(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]))
    assert foreground.tolist() == [[[False, True], [False, True]]]
    assert background.tolist() == [[[True, False], [True, False]]]


def by_hand(attribution: np.ndarray, proposals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 1 pixel by pixel, as the published code orders it."""
    side = len(attribution)
    rest = ~proposals.any(0)
    masks = [m for m in [rest, *proposals] if m.any()]
    means = [attribution[m].mean() for m in masks]
    order = sorted(range(len(masks)), key=lambda i: -means[i])
    owner = np.zeros((side, side), int)
    for y in range(side):
        for x in range(side):
            owner[y, x] = next(rank for rank, i in enumerate(order) if masks[i][y, x])
    low = (owner == owner.max()) & (attribution < 0.2)
    background = np.zeros_like(low)
    for y in range(side):
        for x in range(side):
            near = [(y, x), (y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            background[y, x] = all(low[a, b] for a, b in near if 0 <= a < side and 0 <= b < side)
    return owner == 0, background


@pytest.mark.parametrize("seed", range(8))
def test_proposals_against_a_slow_twin(seed: int) -> None:
    """Overlaps belong to the better mask, background loses one pixel; no pixel of 8 draws differs."""
    draw = np.random.default_rng(seed)
    attribution = draw.random((24, 24)) * np.linspace(0, 1, 24)[None] ** 2
    attribution = (attribution - attribution.min()) / (attribution.max() - attribution.min())
    proposals = np.zeros((3, 24, 24), bool)
    for one in proposals:
        y, x = draw.integers(0, 12, 2)
        one[y : y + 12, x : x + 12] = True
    given = torch.tensor(attribution, dtype=torch.float32)
    foreground, background = proposal_masks(given[None], [torch.tensor(proposals)], side=24)
    expected = by_hand(given.numpy(), proposals)
    assert np.array_equal(foreground[0].numpy(), expected[0])
    assert np.array_equal(background[0].numpy(), expected[1])


def test_masks_are_at_the_pictures_resolution() -> None:
    foreground, background = proposal_masks(torch.rand(1, 64, 64), [torch.ones(1, 32, 32, dtype=torch.bool)])
    assert foreground.shape == background.shape == (1, 512, 512)


def test_no_proposal_means_fixed_thresholds() -> None:
    attribution = torch.tensor([[[1.0, 0.3], [0.0, 0.5]]])
    foreground, background = proposal_masks(attribution, [torch.zeros(0, 2, 2, dtype=torch.bool)], side=2)
    assert foreground.tolist() == [[[True, False], [False, False]]]
    assert background.tolist() == [[[False, False], [True, False]]]


def test_bad_maps_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(N, h, w\)"):
        attribution_masks(torch.zeros(4, 4))
    with pytest.raises(InputError, match="finite"):
        attribution_masks(torch.full((1, 2, 2), torch.nan))
    with pytest.raises(InputError, match="as many"):
        proposal_masks(torch.zeros(2, 2, 2), [])
