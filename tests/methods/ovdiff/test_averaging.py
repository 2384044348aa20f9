"""Prototypes against Eqs. 2 and 3 written as loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segwright.errors import InputError
from segwright.methods.ovdiff.averaging import build
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
