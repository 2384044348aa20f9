"""Specks against a slow twin, pixel by pixel; and what stays untouched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.refine.pipeline import parse_refiners
from segwright.refine.specks import Specks
from segwright.regions.specks import without_specks
from segwright.types import Scores


def slow(labels: np.ndarray, smallest: int) -> list[list[set[int]]]:
    """The labels that a pixel may have: its own in a large part, else those of the nearest pixels of large parts."""
    height, width = labels.shape
    part = -np.ones(labels.shape, int)
    sizes: list[int] = []
    for y in range(height):
        for x in range(width):
            if part[y, x] < 0:
                todo, part[y, x], size = [(y, x)], len(sizes), 0
                while todo:
                    a, b = todo.pop()
                    size += 1
                    for c in range(max(0, a - 1), min(height, a + 2)):
                        for d in range(max(0, b - 1), min(width, b + 2)):
                            if part[c, d] < 0 and labels[c, d] == labels[a, b]:
                                part[c, d] = len(sizes)
                                todo.append((c, d))
                sizes.append(size)
    large = [(y, x) for y in range(height) for x in range(width) if sizes[part[y, x]] >= smallest]
    out = []
    for y in range(height):
        row = []
        for x in range(width):
            if not large or sizes[part[y, x]] >= smallest:
                row.append({int(labels[y, x])})
                continue
            nearest = min((y - a) ** 2 + (x - b) ** 2 for a, b in large)
            row.append({int(labels[a, b]) for a, b in large if (y - a) ** 2 + (x - b) ** 2 == nearest})
        out.append(row)
    return out


def random_labels(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 3, (4, 5)), np.ones((5, 5), np.int64))
    return np.where(rng.random(labels.shape) < 0.08, rng.integers(0, 3, labels.shape), labels)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("smallest", [1, 2, 6, 1000])
def test_against_the_slow_twin(seed: int, smallest: int) -> None:
    labels = random_labels(seed)
    allowed = slow(labels, smallest)
    made = without_specks(labels, smallest)
    assert all(int(made[y, x]) in allowed[y][x] for y in range(labels.shape[0]) for x in range(labels.shape[1]))
    if smallest == 6:
        assert (made != labels).any(), "there was something to do"
    if smallest in (1, 1000):
        assert np.array_equal(made, labels)


def test_scores_follow_and_others_stay() -> None:
    labels = random_labels(0)
    values = torch.full((3, *labels.shape), 0.2)
    values.scatter_(0, torch.from_numpy(labels)[None], 0.6)
    values[:, 3, 3] = 1 / 3  # equal: background, the lower label
    scores = Scores(("a", "b"), (0, 1, 2), values)
    image = np.zeros((*labels.shape, 3), np.uint8)
    kept = scores.values.clone()
    made = Specks(6)(image, scores)
    expected = without_specks(scores.argmax().numpy(), 6)
    assert np.array_equal(made.argmax().numpy(), expected)
    still = scores.argmax().numpy() == expected
    assert torch.equal(made.values[:, still], kept[:, still])
    assert torch.equal(scores.values, kept), "the input is not modified"
    assert torch.equal(Specks(1)(image, scores).values, kept)


def test_it_is_a_refiner_by_name_and_refuses_nonsense() -> None:
    assert parse_refiners("crf,specks")[1] == Specks()
    for bad in (0, -1, 2.5, True):
        with pytest.raises(InputError, match="whole number of pixels"):
            Specks(bad)  # type: ignore[arg-type]
