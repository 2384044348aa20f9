"""MaskCut on features with known objects."""

from __future__ import annotations

import pytest
import torch

from segwright.errors import InputError
from segwright.regions.maskcut import maskcut


def scene() -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Two objects with features of their own on a ground with another, a little noise."""
    torch.manual_seed(0)
    first, second = torch.zeros(2, 14, 14, dtype=torch.bool)
    first[2:6, 2:7] = True
    second[8:12, 7:13] = True
    axes = torch.eye(8)[:3]
    kinds = torch.zeros(14, 14, dtype=torch.long)
    kinds[first], kinds[second] = 1, 2
    return (axes[kinds] + 0.02 * torch.randn(14, 14, 8)).permute(2, 0, 1), [first, second]


def test_objects_are_cut_out_one_after_the_other() -> None:
    features, truth = scene()
    masks = maskcut(features, objects=2)
    assert masks.dtype == torch.bool
    assert not (masks[0] & masks[1]).any()
    for mask in truth:
        assert max(float((mask & m).sum() / (mask | m).sum()) for m in masks) > 0.95


def test_one_colour_has_no_object_and_bad_input_is_refused() -> None:
    assert len(maskcut(torch.ones(4, 1, 1))) == 0
    with pytest.raises(InputError, match="MaskCut needs"):
        maskcut(torch.ones(4, 3))
