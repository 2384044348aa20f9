"""Prototypes against Eqs. 2 and 3 written as loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods.ovdiff import averaging
from segwright.methods.ovdiff.averaging import build, build_sides
from segwright.methods.ovdiff.prototypes import INSTANCE, PART, WHOLE


def support() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    masks = torch.rand(4, 12, 12) > 0.6
    masks[2] = False  # a picture where the word is nowhere
    return torch.randn(4, 6, 6, 6), masks


def test_means_of_every_picture_and_of_all() -> None:
    features, masks = support()
    made = build(features, masks, parts=3)
    sums, sizes, instances = [], [], []
    for n in range(4):
        cells = [features[n, :, y, x].numpy() for y in range(6) for x in range(6) if masks[n, 2 * y + 1, 2 * x + 1]]
        if cells:
            sums.append(np.sum(cells, 0))
            sizes.append(len(cells))
            instances.append(np.mean(cells, 0))
    assert made.kinds.tolist() == [WHOLE, *[INSTANCE] * 3, *[PART] * 3]
    assert made.sources.tolist() == [0, 0, 1, 3, 0, 1, 2]
    assert np.allclose(made.vectors[1:4].numpy(), instances, atol=1e-5)
    weighted = np.sum([m * p for m, p in zip(sizes, instances, strict=True)], 0) / sum(sizes)
    assert np.allclose(made.vectors[0].numpy(), weighted, atol=1e-5)
    assert np.allclose(weighted, np.sum(sums, 0) / sum(sizes), atol=1e-5)


def test_parts_are_the_means_of_their_cells_and_each_cell_is_in_the_nearest() -> None:
    features, masks = support()
    made = build(features, masks, parts=3)
    cells, vectors = made.cells, made.vectors[made.kinds == PART]
    inside = torch.nn.functional.interpolate(masks[:, None].float(), (6, 6), mode="nearest-exact")[:, 0] > 0.5
    assert torch.equal(cells >= 0, inside)
    for n, y, x in inside.nonzero().tolist():
        distances = [float((features[n, :, y, x] - v).norm()) for v in vectors]
        assert cells[n, y, x] == int(np.argmin(distances))
    for k in range(3):
        mean = features.permute(0, 2, 3, 1)[cells == k].mean(0)
        assert torch.allclose(vectors[k], mean, atol=1e-4)


def test_an_empty_mask_gives_no_prototypes_and_few_cells_few_parts() -> None:
    features, masks = support()
    assert len(build(features, torch.zeros_like(masks)).vectors) == 0
    one = torch.zeros_like(masks)
    one[0, :4, :2] = True
    assert (build(features, one, parts=32).kinds == PART).sum() == 2
    with pytest.raises(InputError, match="do not belong together"):
        build(features, masks[:3])


class Drawn:
    """Pictures' features, made when they are asked for."""

    def __init__(self, features: torch.Tensor) -> None:
        self.features, self.asked = features, 0

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> torch.Tensor:
        self.asked += 1
        return self.features[index]


def test_two_passes_say_the_part_of_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more cells than k-means sees, every masked cell still gets its nearest part; means are over all cells."""
    monkeypatch.setattr(averaging, "POINTS", 50)
    draw = torch.Generator().manual_seed(0)
    features, masks = Drawn(torch.randn(4, 6, 8, 8, generator=draw)), torch.rand(4, 8, 8, generator=draw) > 0.3
    made = build_sides(features, {"in": masks, "out": ~masks}, parts=5)
    assert features.asked == 8, "one pass for both sides, and one for the parts"
    for name, inside in (("in", masks), ("out", ~masks)):
        found = made[name]
        points = features.features.permute(0, 2, 3, 1)[inside]
        assert torch.allclose(found.vectors[0], points.mean(0), atol=1e-5)
        centroids = found.vectors[found.kinds == PART]
        assert torch.equal(found.cells[inside], torch.cdist(points, centroids).argmin(1))
        assert (found.cells[~inside] == -1).all()
