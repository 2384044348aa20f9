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


def test_proposals_are_chosen_by_mean_attribution() -> None:
    attribution = torch.zeros(1, 12, 12)
    attribution[0, 3:8, 3:8] = 0.9  # the object
    attribution[0, 9:, 9:] = 0.1
    thing, other = torch.zeros(2, 12, 12, dtype=torch.bool)
    thing[2:8, 2:8] = True
    other[9:, 9:] = True
    foreground, background = proposal_masks(attribution, [torch.stack([other, thing])])
    assert torch.equal(foreground[0], thing)
    rest = ~(thing | other)  # its mean is 0, the lowest
    assert background[0].any()
    assert not (background[0] & ~rest).any()
    outside = ~rest
    for y, x in background[0].nonzero().tolist():  # eroded: no neighbour lies outside
        assert not outside[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].any()


def test_no_proposal_means_fixed_thresholds() -> None:
    attribution = torch.tensor([[[0.9, 0.3], [0.1, 0.5]]])
    foreground, background = proposal_masks(attribution, [torch.zeros(0, 2, 2, dtype=torch.bool)])
    assert foreground.tolist() == [[[True, False], [False, False]]]
    assert background.tolist() == [[[False, False], [True, False]]]


def test_bad_maps_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(N, h, w\)"):
        attribution_masks(torch.zeros(4, 4))
    with pytest.raises(InputError, match="finite"):
        attribution_masks(torch.full((1, 2, 2), torch.nan))
    with pytest.raises(InputError, match="as many"):
        proposal_masks(torch.zeros(2, 2, 2), [])
