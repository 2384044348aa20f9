"""The fit against scikit-learn, errors and bins against figures by hand, and a map that makes drawn scores right."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from segwright.errors import InputError
from segwright.evaluation.calibration import calibration_error, draw_reliability, fit, judge, ranking, reliability
from segwright.objects.calibration import logit

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))
from toy import Toy


def drawn(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Confidences that are far too high: right with the probability of half their logit, less 1."""
    rng = np.random.default_rng(3)
    confidence = rng.beta(4, 0.6, count)
    z = np.array([logit(float(one)) for one in confidence])
    return confidence, rng.random(count) < 1 / (1 + np.exp(1 - z / 2))


def test_the_fit_is_scikit_learns_on_platts_targets() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    confidence, right = drawn(300)
    z = np.array([[logit(float(one))] for one in confidence])
    good, bad = right.sum(), (~right).sum()
    target = np.where(right, (good + 1) / (good + 2), 1 / (bad + 2))
    # A target between 0 and 1 is the object twice, right and wrong, with these weights.
    model = linear.LogisticRegression(C=1e9, tol=1e-10, max_iter=1000)
    model.fit(np.concatenate([z, z]), np.repeat([1, 0], len(z)), sample_weight=np.concatenate([target, 1 - target]))
    made = fit(confidence, right)
    assert made.slope == pytest.approx(model.coef_[0, 0], abs=2e-3)
    assert made.offset == pytest.approx(model.intercept_[0], abs=2e-3)


def test_a_map_makes_other_scores_right() -> None:
    confidence, right = drawn()
    made = fit(confidence[:2000], right[:2000], "drawn", {"clip": "x"})
    assert (made.source, made.networks) == ("drawn", {"clip": "x"})
    assert made.slope == pytest.approx(0.5, abs=0.1)
    assert made.offset == pytest.approx(-1, abs=0.2)
    scores = np.array([made(float(one)) for one in confidence[2000:]])
    before, after = calibration_error(confidence[2000:], right[2000:]), calibration_error(scores, right[2000:])
    assert before > 0.2
    assert after < 0.04
    assert ranking(scores, right[2000:]) == pytest.approx(ranking(confidence[2000:], right[2000:]), abs=1e-9)


def test_an_order_that_is_wrong_is_made_flat_and_never_turned() -> None:
    confidence = np.array([0.9, 0.8, 0.3, 0.2])
    made = fit(confidence, np.array([False, False, True, True]))
    assert made.slope == 0
    assert made(0.9) == pytest.approx(0.5)


def test_separable_confidences_keep_the_map_finite() -> None:
    made = fit(np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, True, False, False]))
    assert math.isfinite(made.slope)
    assert made(0.9) < 1 - 1e-3


def test_bins_and_error_by_hand() -> None:
    scores, right = np.array([0.0, 0.05, 0.1, 0.95, 1.0]), np.array([False, True, False, True, True])
    found = reliability(scores, right)
    assert [(one.count, round(one.score, 4), round(one.right, 4)) for one in found] == [(3, 0.05, 0.3333), (2, 0.975, 1.0)]
    assert calibration_error(scores, right) == pytest.approx((3 * (1 / 3 - 0.05) + 2 * 0.025) / 5)
    assert ranking(scores, right) == pytest.approx(5 / 6)
    assert np.isnan(ranking(scores, np.ones(5, bool)))


@pytest.mark.parametrize("right", [[True, True], [False, False]])
def test_nothing_is_fitted_on_one_kind(right: list[bool]) -> None:
    with pytest.raises(InputError, match="right and wrong regions"):
        fit(np.array([0.2, 0.4]), np.array(right))


def test_a_method_is_judged_by_the_truth() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = 255
    words = ("bright", "dark")
    labels = Toy()(image, words).labels
    swapped = np.where(labels == 1, 2, 1) * (labels > 0)
    found = judge(Toy(), [(image, labels), (image, swapped), (image, np.full((20, 20), 255))], words)
    count = len(np.unique(labels[labels > 0]))
    assert found.right.tolist() == [True] * count + [False] * 2 * count
    assert found.photo.tolist() == [0] * count + [1] * count + [2] * count
    assert np.array_equal(found.mean, found.confidence)  # the toy says nothing of its own
    with pytest.raises(InputError, match="none of the words"):
        judge(Toy(), [], words)


def test_the_diagram_is_the_same_each_time() -> None:
    confidence, right = drawn(200)
    rows = [("one", confidence, right), ("two", confidence, ~right)]
    first, second = (draw_reliability(rows, "title") for _ in range(2))
    assert first == second
    assert first["png"][:4] == b"\x89PNG"
    assert b"two" in first["svg"]
