"""Connected parts, against hand-made pictures."""

from __future__ import annotations

import numpy as np
import torch

from segwright.methods.freeseg_diff.sharpen import connected_parts, sharpen
from segwright.regions.kmeans import kmeans


def test_parts_are_split_numbered_by_size_and_small_ones_dissolve() -> None:
    clusters = np.zeros((20, 20), np.int64)
    clusters[2:8, 2:8] = 1
    clusters[12:18, 10:18] = 1
    clusters[0, 19] = 2
    parts = connected_parts(clusters, smallest=0.02)
    assert np.unique(parts).tolist() == [0, 1, 2]
    assert parts[0, 19] == parts[10, 2] == 0
    assert (parts[12:18, 10:18] == 1).all()
    assert (parts[2:8, 2:8] == 2).all()


def test_at_least_one_part_remains_and_the_ceiling_holds() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4, (30, 30))
    assert connected_parts(noise, smallest=0.9).max() == 0
    assert connected_parts(noise, smallest=0.0, most=5).max() == 4


def test_outlines_move_to_the_edges_of_the_photo() -> None:
    image = np.full((64, 64, 3), 30, np.uint8)
    image[17:45, 23:50] = [230, 60, 40]
    cells = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, 8)
    parts = sharpen(image, kmeans(cells, 2)[0]).numpy()
    inside = parts == parts[30, 36]
    true = np.zeros((64, 64), bool)
    true[17:45, 23:50] = True
    assert (inside & true).sum() / (inside | true).sum() > 0.95
