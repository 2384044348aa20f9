"""CRF and PAMR on real photos: VOC's true masks made coarse (16 times smaller and back), refined, and measured.

    python benchmarks/real_masks.py --voc ../shared/testdata/VOCdevkit/VOC2012

Dataset-level mIoU over the classes that occur, void pixels left out, with the 95 % interval of the difference over photos.
Two ways in: the coarse probabilities as they are, and their hard mask as ``segwright refine`` reads it from a PNG.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from segwright.files.masks import read_label_map
from segwright.images import read
from segwright.metrics import confusion
from segwright.mini.measure_g4seg import change
from segwright.refine import crf, pamr
from segwright.refinement import hard_scores
from segwright.types import Scores
from segwright.words.vocabulary import load

CLASSES, VOID, FACTOR = 21, 255, 16
REFINERS = {"crf": crf, "crf (clip-es)": partial(crf, settings="clip-es"), "pamr": pamr}


def coarse(truth: np.ndarray) -> Scores:
    """The true mask's area shares in cells of 16 pixels, interpolated back; void counts as background."""
    labels = torch.from_numpy(np.where(truth == VOID, 0, truth))
    present = sorted({0, *labels.unique().tolist()})
    masks = torch.stack([(labels == v).float() for v in present])[None]
    size = tuple(max(1, round(s / FACTOR)) for s in labels.shape)
    values = interpolate(interpolate(masks, size, mode="area"), labels.shape, mode="bilinear", align_corners=False)[0]
    return Scores(load("voc").words, tuple(present), values / values.sum(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", type=Path, default=Path("../shared/testdata/VOCdevkit/VOC2012"))
    parser.add_argument("--photos", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted((options.voc / "SegmentationClass").glob("*.png"))[: options.photos]
    matrices: dict[tuple[str, str], list[np.ndarray]] = {}
    words = dict(enumerate(load("voc").words, 1))
    for file in files:
        truth, image = read_label_map(file), read(options.voc / f"JPEGImages/{file.stem}.jpg")
        soft = coarse(truth)
        ways = {"soft": soft, "hard": hard_scores(soft.argmax().numpy(), words)}
        for way, scores in ways.items():
            results = {"coarse": scores} | {n: r(image, scores) if len(scores.labels) > 1 else scores for n, r in REFINERS.items()}
            for name, result in results.items():
                matrices.setdefault((way, name), []).append(confusion(truth, result.argmax().numpy(), CLASSES))
    print(f"{len(files)} photos")
    for (way, name), found in matrices.items():
        if name != "coarse":
            print(f"{way:5s} {name:14s} {change(np.stack(matrices[way, 'coarse']), np.stack(found))}", flush=True)


if __name__ == "__main__":
    main()
