"""CRF and PAMR on real photos: VOC's true masks made coarse (16 times smaller and back), refined, and measured.

    python benchmarks/real_masks.py --voc ../shared/testdata/VOCdevkit/VOC2012

Dataset-level mIoU over the classes that occur, void pixels left out, with the 95 % interval of the difference over photos: of all
photos, and of every second one, on which no setting was chosen. Two ways in: a hard mask (each cell has the label of its
middle) as ``segwright refine`` reads it from a PNG, and the cells' area shares as probabilities.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from segwright.files.coarse_masks import hard_scores
from segwright.files.masks import read_label_map
from segwright.images import read
from segwright.metrics import confusion, miou
from segwright.refine import crf, pamr
from segwright.types import Scores
from segwright.words.vocabulary import load

CLASSES, VOID, FACTOR = 21, 255, 16
REFINERS = {f"crf {name}": partial(crf, settings=name) for name in ("cutler", "clip-es", "deeplab")} | {"pamr": pamr}


def coarse(truth: np.ndarray) -> dict[str, Scores]:
    """The true mask in cells of 16 pixels, hard and as area shares; void counts as background."""
    labels = torch.from_numpy(np.where(truth == VOID, 0, truth))
    present = sorted({0, *labels.unique().tolist()})
    masks = torch.stack([(labels == v).float() for v in present])[None]
    size = tuple(max(1, round(s / FACTOR)) for s in labels.shape)
    middles, shares = (
        interpolate(interpolate(masks, size, mode=mode), labels.shape, mode="nearest-exact")[0]
        for mode in ("nearest-exact", "area")
    )
    hard = np.array(present)[middles.argmax(0).numpy()]
    words = load("voc").words
    return {"hard": hard_scores(hard, dict(enumerate(words, 1))), "shares": Scores(words, tuple(present), shares)}


def change(before: np.ndarray, after: np.ndarray, resamples: int = 1000, seed: int = 0) -> str:
    """mIoU of (photos, classes, classes) in percent, and the 95 % bootstrap interval of the difference, the same photos in both."""
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(resamples):
        picked = rng.integers(0, len(before), len(before))
        gains.append(100 * (miou(after[picked].sum(0)) - miou(before[picked].sum(0))))
    low, high = np.percentile(gains, [2.5, 97.5])
    was, now = (100 * miou(m.sum(0)) for m in (before, after))
    return f"{was:.2f} -> {now:.2f} ({now - was:+.2f} [{low:+.2f}, {high:+.2f}])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", type=Path, default=Path("../shared/testdata/VOCdevkit/VOC2012"))
    parser.add_argument("--photos", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = sorted((options.voc / "SegmentationClass").glob("*.png"))[: options.photos]
    matrices: dict[tuple[str, str], list[np.ndarray]] = {}
    for file in files:
        truth, image = read_label_map(file), read(options.voc / f"JPEGImages/{file.stem}.jpg")
        for way, scores in coarse(truth).items():
            results = {"coarse": scores} | {n: r(image, scores) if len(scores.labels) > 1 else scores for n, r in REFINERS.items()}
            for name, result in results.items():
                matrices.setdefault((way, name), []).append(confusion(truth, result.argmax().numpy(), CLASSES))
    print(f"{len(files)} photos")
    for (way, name), found in matrices.items():
        if name != "coarse":
            before, after = np.stack(matrices[way, "coarse"]), np.stack(found)
            print(f"{way:6s} {name:12s} all {change(before, after)}  second half {change(before[1::2], after[1::2])}", flush=True)


if __name__ == "__main__":
    main()
