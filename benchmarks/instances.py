"""Things of one kind told apart, on drawn scenes of two or three of one kind.

    python benchmarks/instances.py --split val --count 100

For words, parts and instances: the share of scenes with the right number, and the mean IoU of matched things (Hungarian; a thing
without partner counts 0 in the second figure). On true word masks; with --method also on that method's masks, given the word.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

import segwright as sw
from segwright.mini.scenes import THINGS, Scene, draw
from segwright.models.object_features import object_features
from segwright.objects import KINDS, find_objects


def scenes(split: str, count: int, single: bool = False) -> list[Scene]:
    """Scenes of two or three of one kind (single: of one thing) of which that many are to be seen."""
    rng = np.random.default_rng(22)
    found: list[Scene] = []
    index = 0
    while len(found) < count:
        word, many = THINGS[int(rng.integers(len(THINGS)))], 1 if single else 2 + int(rng.random() < 0.4)
        scene = draw(split, 22, index, words=(word,) * many)
        index += 1
        if len(scene.things) >= (1 if single else 2):
            found.append(scene)
    return found


def compared(found: list[Any], scene: Scene) -> tuple[float, float, float]:
    """Right number; mean IoU of matched things; the same with a nought for each thing, found or true, without partner."""
    truths = [scene.instances == i for i in range(1, len(scene.things) + 1)]
    if not found:
        return 0.0, 0.0, 0.0
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in truths] for a in found])
    rows, columns = linear_sum_assignment(-iou)
    return float(len(found) == len(truths)), float(iou[rows, columns].mean()), iou[rows, columns].sum() / max(iou.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--single", action="store_true", help="scenes of one thing: how often it stays one")
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--method", help="also on this method's masks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    networks = sw.load(options.preset)
    method = sw.load_method(options.method, options.preset) if options.method else None
    figures: dict[str, list[tuple[float, float, float]]] = {}
    for number, scene in enumerate(scenes(options.split, options.count, options.single), 1):
        word = scene.things[0].word
        maps = {"true": (scene.labels > 0).astype(int)}
        if method is not None:
            maps["method"] = method(scene.image, [word]).labels
        features = object_features(networks.diffusion, scene.image)
        for masks, labels in maps.items():
            for kind in KINDS:
                found = [one.mask for one in find_objects(labels, [word], kind, features=lambda features=features: features)]
                figures.setdefault(f"{masks} {kind}", []).append(compared(found, scene))
        if number % 10 == 0 or number == options.count:
            print(number, json.dumps({k: np.round(np.mean(v, 0), 3).tolist() for k, v in figures.items()}), flush=True)


if __name__ == "__main__":
    main()
