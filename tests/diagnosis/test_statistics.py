"""Against scikit-learn, SciPy, NumPy and hand-made examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score, silhouette_score

from segwright.diagnosis.statistics import above, auc, correlation, entropy, found, mask_iou, paired, silhouette


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("clusters", [2, 3, 7])
def test_silhouette_is_scikit_learns(clusters: int) -> None:
    features = some(5, 8, 9)
    labels = (some(8, 9, seed=1) * clusters).long()
    labels[0, 0] = clusters  # a cell alone in its cluster
    expected = silhouette_score(features.flatten(1).T.numpy(), labels.flatten().numpy())
    assert silhouette(features, labels) == pytest.approx(expected, abs=1e-5)
    assert silhouette(features, labels * 2) == pytest.approx(expected, abs=1e-5)  # numbers without a cell
    assert silhouette(features, torch.zeros_like(labels)) == 0


def test_auc_is_scikit_learns_with_ties() -> None:
    values = (some(6, 7) * 8).round()
    mask = some(6, 7, seed=1) > 0.6
    assert auc(values, mask) == pytest.approx(roc_auc_score(mask.flatten(), values.flatten()))
    assert math.isnan(auc(values, torch.zeros_like(mask)))


def test_correlation_is_numpys() -> None:
    a, b = some(6, 7), some(6, 7, seed=1)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a.flatten(), b.flatten())[0, 1])
    assert correlation(a, 3 * a + 1) == pytest.approx(1)
    assert correlation(a, torch.ones(6, 7)) == 0


def test_entropy_is_scipys_and_rises_with_blur() -> None:
    a = some(6, 7)
    assert entropy(a) == pytest.approx(stats.entropy(a.flatten().numpy()) / math.log(42), abs=1e-6)
    assert entropy(torch.ones(4, 4)) == pytest.approx(1)
    assert entropy(torch.eye(4)[:1]) == pytest.approx(0)


def test_masks_above_a_threshold_by_hand() -> None:
    a, b = torch.tensor([[0.0, 2.0, 4.0]]), torch.tensor([[1.0, 1.6, 1.2]])
    assert above(a, 0.5).tolist() == [[False, False, True]]
    assert above(b, 0.3).tolist() == [[False, True, True]]
    assert mask_iou(above(a, 0.5), above(b, 0.3)) == 0.5
    assert mask_iou(above(a, 1.0), above(b, 1.0)) == 1


def test_a_map_that_is_the_mask_finds_it() -> None:
    mask = np.zeros((128, 128), bool)
    mask[32:64, 64:96] = True
    small = torch.from_numpy(mask[::2, ::2].copy()).float()
    assert found(small, mask, 0.5) == (1.0, 1.0)
    assert found(1 - small, mask, 0.5) == (0.0, 0.0)


def test_paired_is_wilcoxon_on_the_differences() -> None:
    draw = np.random.default_rng(0)
    a = draw.normal(size=60)
    b = a - 0.3 + 0.4 * draw.normal(size=60)
    result = paired([*a, math.nan], [*b, 1.0])
    assert result.count == 60
    assert result.p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert result.difference == pytest.approx(np.mean(b) - np.mean(a))
    assert result.low < result.difference < result.high < 0
    half = 1.96 * np.std(b - a) / math.sqrt(60)
    assert result.high - result.low == pytest.approx(2 * half, rel=0.15)
    assert result.lower == np.mean(b < a)
    assert paired(a, a).p == 1
    assert paired([math.nan], [1.0]).count == 0
