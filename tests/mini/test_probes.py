"""Probes against scikit-learn and figures worked out by hand."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from segwright.mini import probes
from segwright.mini.scenes import THINGS, draw


def test_linear_probe_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    points = rng.normal(size=(300, 5)) + np.eye(3, 5)[labels] * 2
    seen = ((points - points.mean(0)) / points.std(0, ddof=1)).astype(np.float32)
    ours = probes.linear_probe(torch.from_numpy(points).float(), torch.from_numpy(labels), 3)(torch.from_numpy(points).float())
    # decay * sum(w^2) beside the mean loss is C = 1 / (2 * decay * n).
    theirs = LogisticRegression(C=1 / (2 * 1e-4 * 300), max_iter=500).fit(seen, labels).predict(seen)
    assert (ours.numpy() == theirs).mean() > 0.99


def test_colours_and_outlines_are_what_they_are_called() -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[..., 0] = 255
    mask = np.zeros((128, 128), bool)
    mask[10:30, 50:60] = True
    shares = probes.colours(image, mask)
    assert shares.sum() == 1
    assert shares[5 * 36] == 1  # all in the reddest bin
    shape = probes.outline(image, mask).reshape(20, 20)
    assert shape[:, :4].sum() == shape[:, -4:].sum() == 0  # 20 x 10 pixels: half of the square's width
    assert (shape[:, 7:13] > 0.99).all()
    assert np.array_equal(probes.outline(image, np.roll(mask, (30, -20), (0, 1))), shape.ravel())


def test_cells_are_counted_where_they_are_mostly_one_thing() -> None:
    truth = np.zeros((128, 128), np.uint8)
    truth[:8, :8] = 5
    truth[:8, 8:12] = 5
    found = probes.cell_classes(truth)
    assert found[0] == 4
    assert (found[1:] == -1).all()


def test_raw_patches_hold_each_cells_pixels() -> None:
    image = draw("train", 1, 0).image
    patches = probes.raw_patches([image])
    assert patches.shape == (1, 3 * 64, 16, 16)
    cell = torch.from_numpy(image[8:16, 24:32].copy()).permute(2, 0, 1).flatten().float() / 255
    assert torch.equal(patches[0, :, 1, 3], cell)


def test_the_judge_learns_what_it_is_shown() -> None:
    scenes = [draw("train", 5, i, words=(THINGS[i % len(THINGS)],)) for i in range(48)]
    judge = probes.train_judge(scenes, steps=60, batch=24)
    shown = probes.true_masks([s.image for s in scenes], [s.labels for s in scenes])
    found = probes.judged(judge, [probes.cut(i, m) for i, m, _ in shown])
    assert (found == np.array([c for _, _, c in shown])).mean() > 0.3  # chance is 0.04
