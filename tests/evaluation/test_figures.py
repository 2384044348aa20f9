"""Figures against torchmetrics, numbers worked out by hand, and plain slow twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.evaluation.figures import CHUNK, Cells, count, headline, interval, photo_score, resampled, summary, total
from segwright.metrics import confusion, iou


def maps(amount: int, classes: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(amount):
        shape = tuple(rng.integers(5, 40, 2))
        truth, said = (rng.integers(0, classes, shape) for _ in range(2))
        truth[rng.random(shape) < 0.15] = 255
        pairs.append((truth, np.where(rng.random(shape) < 0.4, np.where(truth == 255, 0, truth), said)))
    return pairs


def test_confusion_equals_torchmetrics_on_50_maps() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    theirs = torchmetrics.classification.MulticlassConfusionMatrix(num_classes=7, ignore_index=255)
    pairs = maps(50, 7)
    for truth, said in pairs:
        one = torchmetrics.functional.classification.multiclass_confusion_matrix(
            torch.from_numpy(said), torch.from_numpy(truth), num_classes=7, ignore_index=255
        )
        assert np.array_equal(confusion(truth, said, 7), one.numpy())
        theirs.update(torch.from_numpy(said), torch.from_numpy(truth))
    assert np.array_equal(total([Cells.of(confusion(t, s, 7)) for t, s in pairs], 7), theirs.compute().numpy())


def test_three_by_three_by_hand() -> None:
    """Truth 0 0 1 / 1 2 2 / 255 0 1 against 0 1 1 / 1 2 0 / 2 0 2."""
    truth = np.array([[0, 0, 1], [1, 2, 2], [255, 0, 1]])
    said = np.array([[0, 1, 1], [1, 2, 0], [2, 0, 2]])
    matrix = confusion(truth, said, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 1], [1, 0, 1]]
    cells = [Cells.of(matrix)]
    assert np.allclose(iou(matrix), [2 / 4, 2 / 4, 1 / 3])
    found = summary(cells, count(cells, 3, True), 3)
    assert found["miou"] == pytest.approx((0.5 + 0.5 + 1 / 3) / 3)
    assert found["miou_without_background"] == pytest.approx((0.5 + 1 / 3) / 2)
    assert found["pixel_accuracy"] == pytest.approx(5 / 8)


def test_without_background_unlabelled_pixels_are_wrong_and_background_has_no_iou() -> None:
    truth, said = np.array([[1, 1, 2, 255]]), np.array([[1, 0, 2, 1]])
    cells = [Cells.of(confusion(truth, said, 3))]
    found = summary(cells, count(cells, 3, False), 3)
    assert found["miou"] == found["miou_without_background"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["pixel_accuracy"] == pytest.approx(2 / 3)


def test_cells_hold_the_whole_matrix() -> None:
    for truth, said in maps(5, 9):
        matrix = confusion(truth, said, 9)
        assert np.array_equal(Cells.of(matrix).matrix(9), matrix)


@pytest.mark.parametrize("background", [True, False])
def test_bootstrap_equals_a_slow_twin(background: bool) -> None:
    """Each draw summed photo by photo into a dense matrix."""
    cells = [Cells.of(confusion(t, s, 4)) for t, s in maps(9, 4)]
    counted = count(cells, 4, background)
    fast = resampled(counted, CHUNK + 7, seed=3)
    rng = np.random.default_rng(3)
    sizes = [CHUNK, 7]
    weights = np.concatenate([rng.multinomial(9, np.full(9, 1 / 9), n) for n in sizes])
    for place, weight in enumerate(weights):
        matrix = sum(int(w) * c.matrix(4) for w, c in zip(weight, cells, strict=True))
        assert fast["miou"][place] == pytest.approx(headline(matrix, background))
        assert fast["pixel_accuracy"][place] == pytest.approx(np.trace(matrix) / matrix.sum())
        drawn = np.repeat([photo_score(c, 4) for c in cells], weight)
        assert fast["miou_per_image"][place] == pytest.approx(drawn.mean())


def test_interval_covers_and_needs_no_photo_with_truth() -> None:
    many = interval(np.arange(1001) / 1000, 10**6, 0.5)
    assert many == pytest.approx((0.025, 0.975), abs=1e-4)
    # ten photos: Student's 2.262 for 9 degrees of freedom, times sqrt(10 / 9), is 2.3846 normal deviates, beyond which 0.8549 % lie
    assert interval(np.arange(1001) / 1000, 10, 0.5) == pytest.approx((0.008549, 0.991451), abs=1e-5)
    assert interval(np.arange(1001) / 1000, 10, -0.2)[0] == -0.2, "the estimate is inside, wherever the draws lie"
    assert interval(np.arange(1001) / 1000, 10, 1.3)[1] == 1.3
    nothing = count([Cells.of(np.zeros((3, 3), np.int64))], 3, True)
    assert np.isnan(interval(resampled(nothing, 10)["miou"], 1, float("nan"))).all()
