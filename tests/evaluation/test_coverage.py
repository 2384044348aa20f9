"""How often the report's interval holds the true dataset-level mIoU: samples of made-up photos whose population is known.

The other intervals of the literature are computed beside it from the same draws: basic, and BCa (Efron 1987) with the
jackknife's acceleration.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from segwright.evaluation.figures import Counted, Counts, _figures, interval, resampled

CLASSES, POPULATION, SAMPLES, DRAWS = 13, 20_000, 400, 400


def people(rng: np.random.Generator) -> tuple[Counts, Counts, Counts]:
    """(hit, true, predicted), (POPULATION, CLASSES) each: up to three words a photo, some of them rare, some found badly."""
    quality, often = rng.beta(2, 2, CLASSES), 1 / np.arange(1, CLASSES)
    hit, true, predicted = (np.zeros((POPULATION, CLASSES)) for _ in range(3))
    rows = np.arange(POPULATION)
    ground = np.ones(POPULATION)
    order = np.argsort(rng.exponential(1, (POPULATION, CLASSES - 1)) / often, 1) + 1  # drawn without replacement
    shown = rng.integers(1, 4, POPULATION)
    for place in range(3):
        there, word = shown > place, order[:, place]
        area = np.where(there, rng.uniform(0.05, 0.3, POPULATION), 0)
        right = area * rng.beta(3 * quality[word], 3 * (1 - quality[word]))
        true[rows, word] += area
        hit[rows, word] += right
        predicted[rows, word] += right
        np.add.at(predicted, (rows, rng.integers(0, CLASSES, POPULATION)), area - right)
        ground -= area
        spilt = np.where(there, ground * rng.beta(1, 12, POPULATION), 0)
        predicted[rows, word] += spilt
        predicted[rows, 0] -= spilt
    true[:, 0] = ground
    predicted[:, 0] += ground
    hit[:, 0] = np.clip(np.minimum(ground, predicted[:, 0]), 0, None)
    return hit, true, np.clip(predicted, 0, None)


def counted(hit: Counts, true: Counts, predicted: Counts) -> Counted:
    return Counted(hit, true, predicted, np.full(len(hit), np.nan), True)


def value(part: Counted, weights: Counts) -> Counts:
    return _figures(part, weights)["miou"]


def others(draws: Counts, estimate: float, part: Counted) -> dict[str, tuple[float, float]]:
    """The basic interval and BCa."""
    n = len(part.hit)
    low, high = np.quantile(draws, [0.025, 0.975])
    left = value(part, np.ones((n, n)) - np.eye(n))
    gaps = left.mean() - left
    lean = (gaps**3).sum() / (6 * (gaps**2).sum() ** 1.5)
    shift = norm.ppf(np.clip((draws < estimate).mean(), 1 / DRAWS, 1 - 1 / DRAWS))
    at = shift + norm.ppf([0.025, 0.975])
    first, last = np.quantile(draws, norm.cdf(shift + at / (1 - lean * at)))
    return {"basic": (2 * estimate - high, 2 * estimate - low), "bca": (first, last)}


@pytest.mark.parametrize(("photos", "least"), [(10, 0.85), (30, 0.87), (100, 0.92)])
def test_the_interval_covers_the_truth_and_holds_the_estimate(photos: int, least: float) -> None:
    rng = np.random.default_rng(0)
    everyone = people(rng)
    truth = float(value(counted(*everyone), np.ones((1, POPULATION)))[0])
    hits: dict[str, list[bool]] = {"ours": [], "basic": [], "bca": []}
    for sample in range(SAMPLES):
        drawn = rng.choice(POPULATION, photos, replace=False)
        part = counted(*(values[drawn] for values in everyone))
        estimate = float(value(part, np.ones((1, photos)))[0])
        draws = resampled(part, DRAWS, sample)["miou"]
        found = {"ours": interval(draws, photos, estimate), **others(draws, estimate, part)}
        assert found["ours"][0] <= estimate <= found["ours"][1]
        for name, (low, high) in found.items():
            hits[name].append(low <= truth <= high)
    shares = {name: float(np.mean(held)) for name, held in hits.items()}
    assert shares["ours"] >= least, shares
    assert shares["ours"] >= max(shares["basic"], shares["bca"]) - 0.005, shares
