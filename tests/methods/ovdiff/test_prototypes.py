"""Matching and the stuff filter against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods.ovdiff.prototypes import WHOLE, Prototypes, match, without_stuff


def made(vectors: torch.Tensor) -> Prototypes:
    count = len(vectors)
    kinds = torch.tensor([0, *[1] * (count - 1)])[:count]
    return Prototypes(vectors, kinds, torch.arange(count), torch.full((2, 3, 3), -1))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_match_is_the_largest_cosine_of_each_set() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 5, 3, 4)
    sets = [torch.randn(n, 5) for n in (1, 4, 2)]
    found = match(features, sets)
    assert found.shape == (2, 3, 3, 4)
    for b in range(2):
        for y in range(3):
            for x in range(4):
                cell = features[b, :, y, x].double().numpy()
                expected = [max(cosine(cell, p.double().numpy()) for p in s) for s in sets]
                assert found[b, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


def test_match_does_not_depend_on_the_batch() -> None:
    features, sets = torch.randn(3, 8, 4, 4), [torch.randn(3, 8), torch.randn(2, 8)]
    assert torch.equal(match(features, sets)[1:2], match(features[1:2], sets))


def test_the_stuff_filter_drops_what_resembles_stuff() -> None:
    background = made(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]))
    kept = without_stuff(background, [torch.tensor([[2.0, 0.0]])], 0.85)
    assert kept.vectors.tolist() == [[pytest.approx(0.8), pytest.approx(0.6)], [0.0, 1.0]]
    assert kept.sources.tolist() == [1, 2]
    assert len(without_stuff(background, [torch.tensor([[2.0, 0.0]])], 0.75).vectors) == 1
    assert without_stuff(background, [], 0.5) is background


def test_some_kinds_only() -> None:
    prototypes = made(torch.eye(3))
    assert prototypes.only([WHOLE]).vectors.tolist() == [[1.0, 0.0, 0.0]]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="same network"):
        match(torch.randn(1, 4, 2, 2), [torch.randn(2, 5)])
    with pytest.raises(InputError, match="at least one prototype"):
        match(torch.randn(1, 4, 2, 2), [torch.randn(0, 4)])
    with pytest.raises(InputError, match="finite"):
        made(torch.full((2, 2), torch.nan))
    with pytest.raises(InputError, match="float32"):
        made(torch.zeros(2, 2, dtype=torch.float16))
