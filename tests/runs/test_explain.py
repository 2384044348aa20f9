"""The explain page's own arithmetic."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.decomposition import PCA

from segwright.files.html import colour_regions, principal_components


def test_principal_components_span_what_scikit_learn_finds() -> None:
    features = torch.randn(20, 6, 7, generator=torch.Generator().manual_seed(0)) * torch.linspace(5, 0.1, 20).view(20, 1, 1)
    picture = principal_components(features).reshape(-1, 3).astype(float)
    expected = PCA(3).fit_transform(features.flatten(1).T.numpy())
    for k in range(3):
        middle = (picture[:, k] > 0) & (picture[:, k] < 255)
        assert abs(np.corrcoef(picture[middle, k], expected[middle, k])[0, 1]) > 0.999


def test_few_channels_are_enough() -> None:
    assert principal_components(torch.rand(1, 4, 5)).shape == (4, 5, 3)
    assert principal_components(torch.zeros(8, 1, 1)).shape == (1, 1, 3)


def test_regions_get_different_colours() -> None:
    picture = colour_regions(np.arange(6).reshape(2, 3))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 6
