"""The lattice against itself written as a dense matrix, the true Gaussian, and NumPy's own keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segwright.refine import lattice as module
from segwright.refine.lattice import Filter, build


def keys_by_loop(point: NDArray[np.float64]) -> dict[tuple[int, ...], float]:
    """A point's simplex by the definition: d + 1 lattice points, in the plane's integers, and their weights."""
    dims = len(point)
    scaled = [x * np.sqrt(2 / 3) * (dims + 1) / np.sqrt((j + 1) * (j + 2)) for j, x in enumerate(point)]
    high = np.array([sum(scaled[j:]) - (j * scaled[j - 1] if j else 0) for j in range(dims + 1)])
    zero = np.round(high / (dims + 1)) * (dims + 1)
    excess = round(zero.sum() / (dims + 1))
    furthest = np.argsort(high - zero, kind="stable")
    if excess > 0:
        zero[furthest[:excess]] -= dims + 1
    elif excess < 0:
        zero[furthest[excess:]] += dims + 1
    falling = np.argsort(zero - high, kind="stable")
    rest = (high - zero)[falling] / (dims + 1)
    found = {}
    for r in range(dims + 1):
        key = zero + r
        key[falling[dims + 1 - r :]] -= dims + 1
        share = 1 - rest[0] + rest[dims] if r == 0 else rest[dims - r] - rest[dims + 1 - r]
        found[tuple(key.astype(int))] = share
    return found


@pytest.mark.parametrize("dims", [1, 2, 3, 5])
def test_simplex_is_the_one_of_the_definition(dims: int) -> None:
    points = np.random.default_rng(dims).normal(0, 4, (dims, 60))
    lattice = build(torch.from_numpy(points).float())
    numbers: dict[tuple[int, ...], int] = {}
    for index in range(60):
        wanted = keys_by_loop(points[:, index])
        # Simplices list their corners in the same order, so a corner's number belongs to one key throughout.
        for key, number in zip(wanted, lattice.corners[index].tolist(), strict=True):
            assert numbers.setdefault(key, number) == number
        assert np.allclose(lattice.weights[index], list(wanted.values()), atol=1e-5)
    assert len(numbers) == len(set(numbers.values())) == lattice.size


@pytest.mark.parametrize("dims", [2, 5])
def test_blur_reaches_the_neighbours_of_the_definition(dims: int) -> None:
    points = np.random.default_rng(dims).normal(0, 1, (dims, 80))
    lattice = build(torch.from_numpy(points).float())
    keys: dict[int, tuple[int, ...]] = {}
    for index in range(80):
        keys.update(zip(lattice.corners[index].tolist(), keys_by_loop(points[:, index]), strict=True))
    numbers = {key: number for number, key in keys.items()}
    for axis, table in enumerate(lattice.blurs):
        wanted = np.eye(lattice.size)
        for number, key in keys.items():
            for sign in (1, -1):
                step = [sign * (1 - (dims + 1) * (j == axis)) for j in range(dims + 1)]
                near = numbers.get(tuple(k + s for k, s in zip(key, step, strict=True)))
                if near is not None:
                    wanted[number, near] += 0.5
        assert np.array_equal(table(torch.eye(lattice.size)).numpy(), wanted)


@pytest.mark.parametrize("dims", [2, 5])
def test_filter_is_near_the_true_gaussian(dims: int) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(dims, 400, generator=generator)
    values = torch.rand(400, 3, generator=generator)
    kernel = torch.exp(-0.5 * torch.cdist(features.t(), features.t()) ** 2)
    scale = kernel.sum(1, keepdim=True).rsqrt()
    wanted = scale * (kernel @ (scale * values))
    got = Filter([(build(features), 1.0)])(values)
    assert float((got - wanted).abs().mean() / wanted.mean()) < 0.1
    assert np.corrcoef(got.flatten(), wanted.flatten())[0, 1] > 0.9


def test_filters_add_up() -> None:
    generator = torch.Generator().manual_seed(1)
    one, two = (build(3 * torch.randn(dims, 50, generator=generator)) for dims in (2, 5))
    both = Filter([(one, 2.0), (two, 5.0)])(torch.eye(50))
    apart = Filter([(one, 2.0)])(torch.eye(50)) + Filter([(two, 5.0)])(torch.eye(50))
    assert torch.allclose(both, apart, atol=1e-5)


def test_parts_of_points_read_alike() -> None:
    features = torch.randn(5, 90, generator=torch.Generator().manual_seed(2))
    kernel, values = Filter([(build(features), 1.0)]), torch.rand(90, 8)
    spread = kernel.spread(values)
    halves = torch.cat([kernel.read(spread, slice(0, 31)), kernel.read(spread, slice(31, 90))])
    assert torch.equal(halves, kernel(values))


@pytest.mark.parametrize("scale", [1.0, 100.0, 3e4])
def test_every_width_of_code_finds_the_same_lattice(scale: float) -> None:
    """32-bit and 64-bit packing and hashing, against row-wise uniqueness of the coordinates."""
    base = torch.randn(5, 40, generator=torch.Generator().manual_seed(3))
    features = scale * torch.cat([base, base + 0.2 / scale], 1)
    strides, dtype = module._strides(features * module._scales(5, features.device)[:, None])
    assert (scale == 1.0) == (dtype == torch.int32)
    assert (scale == 3e4) == (strides[1] == module.HASH[0])
    coordinates = []
    for axis in range(5):
        unit = [0] * 5
        unit[axis] = 1
        found, _ = module._locate(features * module._scales(5, features.device)[:, None], [-1, *unit])
        coordinates.append(found.t().reshape(-1))
    _, wanted = torch.unique(torch.stack(coordinates, 1), dim=0, return_inverse=True)
    got = build(features).corners.reshape(-1).long()
    pairs = torch.unique(torch.stack([got, wanted], 1), dim=0)
    assert len(pairs) == int(wanted.max()) + 1 == int(got.max()) + 1


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(5, 100, generator=torch.Generator().manual_seed(4))
    whole = build(features)
    monkeypatch.setattr(module, "CHUNK", 7)
    parts = build(features)
    assert torch.equal(whole.corners, parts.corners)
    assert torch.equal(whole.weights, parts.weights)
