"""IoU against a hand-computed table and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from segwright.errors import InputError
from segwright.metrics import best_match_iou, confusion, iou, miou, miou_per_image, pixel_accuracy


def test_hand_computed_example() -> None:
    truth = np.array([[0, 0, 1], [1, 2, 2], [255, 0, 1]])
    predicted = np.array([[0, 1, 1], [1, 2, 0], [2, 0, 2]])
    matrix = confusion(truth, predicted, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 1]]
    assert np.allclose(iou(matrix), [2 / 4, 2 / 4, 1 / 3])
    assert miou(matrix) == pytest.approx((0.5 + 0.5 + 1 / 3) / 3)
    assert pixel_accuracy(matrix) == pytest.approx(5 / 8)


def test_equals_scikit_learn_with_ignored_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, predicted = rng.integers(0, 6, (2, 17, 23))
        truth[rng.random(truth.shape) < 0.1] = 255
        kept = truth != 255
        matrix = confusion(truth, predicted, 6)
        assert np.array_equal(matrix, confusion_matrix(truth[kept], predicted[kept], labels=range(6)))
        assert np.allclose(iou(matrix), jaccard_score(truth[kept], predicted[kept], average=None, labels=range(6)))


def test_classes_that_never_occur_do_not_count() -> None:
    matrix = confusion(np.array([0, 0, 3]), np.array([0, 3, 3]), 5)
    assert np.isnan(iou(matrix)[[1, 2, 4]]).all()
    assert miou(matrix) == pytest.approx(0.5)
    assert miou_per_image([matrix, matrix]) == pytest.approx(0.5)


def test_best_match_is_one_to_one() -> None:
    truth = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    assert best_match_iou(truth, truth * 5 + 2) == [1.0, 1.0]
    assert best_match_iou(truth, np.zeros_like(truth)) == [0.5, 0.0]
    halves = np.array([[0, 0, 1, 1], [2, 2, 2, 2]])
    assert best_match_iou(truth, halves) == [0.5, 1.0]


def test_bad_labels_are_refused() -> None:
    with pytest.raises(InputError, match="one size"):
        confusion(np.zeros((2, 2), int), np.zeros((2, 3), int), 3)
    with pytest.raises(InputError, match=r"prediction must lie in 0\.\.2"):
        confusion(np.zeros(2, int), np.array([0, 3]), 3)
