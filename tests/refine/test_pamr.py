"""PAMR against a slow twin in plain loops."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segwright.errors import InputError
from segwright.refine import pamr, pamr_batch
from segwright.types import Scores

PUBLISHED = (1, 2, 4, 8, 12, 24)


def random_photo(height: int, width: int, labels: int, seed: int = 0) -> tuple[NDArray[np.uint8], Scores]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[: height // 2, : width // 2] = 77  # a flat part: no deviation there
    values = torch.from_numpy(rng.dirichlet(np.ones(labels), (height, width))).float().permute(2, 0, 1)
    return image, Scores(tuple("abcdefghijk"), tuple(range(labels)), values)


def twin(
    image: NDArray[np.uint8],
    masks: NDArray[np.float32],
    iterations: int,
    dilations: tuple[int, ...],
) -> NDArray[np.float64]:
    height, width = image.shape[:2]
    colours, masks = image.astype(np.float64), masks.astype(np.float64)
    weights, places = {}, {}
    for y in range(height):
        for x in range(width):
            near = [
                (min(max(y + d * dy, 0), height - 1), min(max(x + d * dx, 0), width - 1))
                for d in dilations
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if dy or dx
            ]
            everything = np.array([colours[p] for p in near] + [colours[y, x]] * len(dilations))
            divisor = 0.1 * everything.std(0, ddof=1) + 1e-8
            energy = np.array([-(np.abs(colours[p] - colours[y, x]) / divisor).mean() for p in near])
            share = np.exp(energy - energy.max())
            weights[y, x], places[y, x] = share / share.sum(), tuple(np.array(near).T)
    for _ in range(iterations):
        rows = [[masks[:, *places[y, x]] @ weights[y, x] for x in range(width)] for y in range(height)]
        masks = np.array(rows).transpose(2, 0, 1)
    return masks


@pytest.mark.parametrize(
    ("size", "labels", "iterations", "dilations"),
    [((19, 23), 3, 10, PUBLISHED), ((31, 9), 9, 2, (1, 3)), ((7, 40), 2, 3, (2,)), ((1, 6), 2, 4, PUBLISHED)],
)
def test_equals_the_slow_twin(size: tuple[int, int], labels: int, iterations: int, dilations: tuple[int, ...]) -> None:
    image, scores = random_photo(*size, labels)
    wanted = twin(image, scores.values.numpy(), iterations, dilations)
    got = pamr(image, scores, iterations=iterations, dilations=dilations).values.numpy()
    assert np.abs(got - wanted).max() < 1e-5


def test_bands_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    image, scores = random_photo(30, 22, 4)
    whole = pamr(image, scores).values
    monkeypatch.setattr(sys.modules["segwright.refine.pamr"], "BAND", 100)  # the package's name "pamr" is the function
    assert torch.allclose(pamr(image, scores).values, whole, atol=1e-6)


def test_labels_stop_at_an_edge() -> None:
    """A label that sits on a few pixels of a flat square fills it, and goes no further."""
    image = np.full((24, 24, 3), 20, np.uint8)
    image[6:18, 6:18] = 220
    second = torch.full((24, 24), 0.1)
    second[10:14, 10:14] = 0.9
    before = Scores(("a",), (0, 1), torch.stack([1 - second, second]))
    refined = pamr(image, before, dilations=(1, 2, 4)).values[1]
    assert float(refined[6:18, 6:18].min()) > 0.15
    assert float(refined[:5].max()) < 0.12


def test_output_is_scores_of_the_same_labels_and_input_is_kept() -> None:
    image, scores = random_photo(12, 15, 3)
    scores = Scores(scores.words, (0, 5, 6), scores.values)
    before, photo = scores.values.clone(), image.copy()
    refined = pamr(image, scores)
    assert (refined.words, refined.labels) == (scores.words, (0, 5, 6))
    assert torch.allclose(refined.values.sum(0), torch.ones(12, 15), atol=1e-5)
    assert torch.equal(refined.values, pamr(image, scores).values)
    assert torch.equal(scores.values, before)
    assert np.array_equal(image, photo)


def test_batch_equals_one_by_one() -> None:
    pairs = [random_photo(12, 9, 3, 0), random_photo(5, 14, 2, 1)]
    together = pamr_batch([image for image, _ in pairs], [scores for _, scores in pairs], iterations=2)
    for (image, scores), refined in zip(pairs, together, strict=True):
        assert torch.equal(refined.values, pamr(image, scores, iterations=2).values)


@pytest.mark.parametrize("labels", [1, 2])
def test_one_pixel_stays_what_it_is(labels: int) -> None:
    image, scores = random_photo(1, 1, labels)
    assert torch.allclose(pamr(image, scores).values, scores.values, atol=1e-6)


@pytest.mark.parametrize(
    "setting",
    [{"iterations": 0}, {"iterations": True}, {"dilations": ()}, {"dilations": (1, 0)}, {"dilations": (1, 2.0)}]
    + [{"dilations": "12"}, {"dilations": 3}],
)
def test_settings_that_cannot_be_used(setting: dict[str, object]) -> None:
    image, scores = random_photo(4, 5, 2)
    with pytest.raises(InputError):
        pamr(image, scores, **setting)  # type: ignore[arg-type]


def test_input_that_cannot_be_used() -> None:
    image, scores = random_photo(4, 5, 2)
    with pytest.raises(InputError, match="one size"):
        pamr(image[:3], scores)
    with pytest.raises(InputError, match="uint8"):
        pamr(image[..., 0], scores)
    with pytest.raises(InputError, match="1 photos and 2"):
        pamr_batch([image], [scores, scores])
