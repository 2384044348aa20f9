"""Joint bilateral upsampling: beside a slow twin written from the equation, tiles that do not show, and edges that are met."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.refine import upsample as module
from segwright.refine.upsample import ALIKE, NEAR, REACH, upsample
from segwright.types import Scores


def scores(values: np.ndarray, labels: tuple[int, ...] = (0, 2, 3)) -> Scores:
    return Scores(("a", "b", "c"), labels, torch.from_numpy(values / values.sum(0)).float())


def slow(image: np.ndarray, reduced: np.ndarray, given: Scores) -> np.ndarray:
    """Eq. 3, a pixel at a time."""
    (height, width), (h, w) = image.shape[:2], reduced.shape[:2]
    out = np.zeros((height, width), int)
    values = given.values.numpy()
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) * h / height - 0.5, (x + 0.5) * w / width - 0.5
            total = np.zeros(len(values))
            for j in range(round(v) - REACH, round(v) + REACH + 1):
                for i in range(round(u) - REACH, round(u) + REACH + 1):
                    q = min(max(j, 0), h - 1), min(max(i, 0), w - 1)
                    colour = ((image[y, x].astype(float) - reduced[q]) ** 2).sum() / 255**2
                    near = (v - j) ** 2 + (u - i) ** 2
                    total += values[:, q[0], q[1]] * math.exp(-colour / (2 * ALIKE**2) - near / (2 * NEAR**2))
            out[y, x] = given.labels[int(total.argmax())]
    return out


@pytest.mark.parametrize("tile", [5, 512])
def test_as_the_slow_twin(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    rng = np.random.default_rng(0)
    reduced = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    image = np.clip(reduced.repeat(3, 0).repeat(4, 1) + rng.integers(-9, 9, (18, 28, 3)), 0, 255).astype(np.uint8)
    given = scores(rng.random((3, 6, 7)))
    assert (upsample(image, reduced, given) == slow(image, reduced, given)).mean() > 0.995  # ties of float32


def test_an_edge_between_reduced_pixels_is_met() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 17:] = 250
    reduced = np.zeros((4, 4, 3), np.uint8)
    reduced[:, 2:] = 250  # the edge lies at 20 there
    values = np.full((2, 4, 4), 0.1)
    values[0, :, :2], values[1, :, 2:] = 0.9, 0.9
    found = upsample(image, reduced, scores(values, (0, 1)))
    assert (found == (image[..., 0] > 0)).all()


def test_one_label_everywhere() -> None:
    values = np.full((2, 3, 3), 0.2)
    values[1] = 0.8
    found = upsample(np.zeros((9, 9, 3), np.uint8), np.zeros((3, 3, 3), np.uint8), scores(values, (0, 2)))
    assert (found == 2).all()


def test_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="reduced photo's size"):
        upsample(np.zeros((9, 9, 3), np.uint8), np.zeros((3, 3, 3), np.uint8), scores(np.ones((1, 4, 3)), (0,)))
