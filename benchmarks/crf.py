"""Refiners beside plain baselines: dense CRF beside pydensecrf, PAMR beside shifted copies of the mask.

    python benchmarks/crf.py --voc ../shared/testdata/VOCdevkit/VOC2012 --photos 58
    python benchmarks/crf.py --large            # one 12-megapixel photo, 4 labels: time and peak memory

One thread, 21 labels, 10 iterations. Ours and the baseline take turns photo by photo in one process; times are CPU
seconds of that process, so that other programs on the machine count little. pydensecrf2 1.1 must be installed.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate, pad

from segwright.refine import CRF_CONSTANTS, CRFSettings, crf, pamr
from segwright.types import Scores

LABELS = 21
WORDS = tuple(f"class {i}" for i in range(1, LABELS))
DILATIONS = (1, 2, 4, 8, 12, 24)
REFINERS: dict[str, Callable[..., Scores]] = {"crf": crf, "pamr": pamr}
Photo = NDArray[np.uint8]


def voc_photo(voc: Path, stem: str, seed: int) -> tuple[Photo, Scores]:
    """A photo, and soft scores: its true mask 16 times coarser (0.6) plus noise (0.4)."""
    image = np.array(Image.open(voc / f"JPEGImages/{stem}.jpg").convert("RGB"))
    truth = torch.from_numpy(np.array(Image.open(voc / f"SegmentationClass/{stem}.png"))).long()
    masks = (truth == torch.arange(LABELS)[:, None, None]).float()[None]
    coarse = interpolate(interpolate(masks, scale_factor=1 / 16, mode="area"), truth.shape, mode="bilinear")[0]
    noise = torch.rand(LABELS, *truth.shape, generator=torch.Generator().manual_seed(seed))
    values = 0.6 * coarse + 0.4 * noise / noise.sum(0)
    return image, Scores(WORDS, tuple(range(LABELS)), values / values.sum(0))


def pydensecrf(image: Photo, scores: Scores, settings: CRFSettings) -> NDArray[np.float32]:
    """The reference's (M, H, W) probabilities."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_labels, unary_from_softmax

    values, prob = scores.values.numpy(), settings.gt_prob
    model = DenseCRF2D(values.shape[2], values.shape[1], len(values))
    hard = values.argmax(0)
    model.setUnaryEnergy(
        unary_from_softmax(values) if prob is None else unary_from_labels(hard, len(values), prob, zero_unsure=False)
    )
    model.addPairwiseGaussian(sxy=settings.gaussian_sxy, compat=settings.gaussian_compat)
    model.addPairwiseBilateral(
        sxy=settings.bilateral_sxy, srgb=settings.bilateral_srgb, rgbim=image, compat=settings.bilateral_compat
    )
    return np.array(model.inference(settings.iterations)).reshape(values.shape)


def plain_pamr(image: Photo, scores: Scores) -> NDArray[np.float32]:
    """PAMR with all 48 shifted copies stacked, as it is usually written; iterations as the default."""
    height, width = image.shape[:2]
    steps = [(d * y, d * x) for d in DILATIONS for y in (-1, 0, 1) for x in (-1, 0, 1)]

    def copies(maps: torch.Tensor, with_centre: bool) -> torch.Tensor:
        wide = pad(maps[None], (24, 24, 24, 24), mode="replicate")[0]
        kept = [s for s in steps if with_centre or s != (0, 0)]
        return torch.stack([wide[:, 24 + y : 24 + y + height, 24 + x : 24 + x + width] for y, x in kept], 1)

    colours = torch.from_numpy(image).permute(2, 0, 1).float()
    deviation = copies(colours, True).std(1, keepdim=True)
    apart = (copies(colours, False) - colours[:, None]).abs_() / (0.1 * deviation + 1e-8)
    weights = (-apart.mean(0, keepdim=True)).softmax(1)
    values = scores.values
    for _ in range(10):
        # One label at a time: all 21 at once would take 0.8 GB more.
        values = torch.cat([(copies(row[None], False) * weights).sum(1) for row in values])
    return values.numpy()


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and what ``work`` returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def report(name: str, ours: list[float], theirs: list[float], alike: list[float]) -> None:
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(
        f"{name:14s} ours {statistics.median(ours):.3f} s, baseline {statistics.median(theirs):.3f} s, "
        f"ratio median {statistics.median(ratios):.2f} max {max(ratios):.2f}; "
        f"pixels alike mean {100 * statistics.mean(alike):.3f} % min {100 * min(alike):.3f} % of {len(alike)} photos",
        flush=True,
    )


def compare(voc: Path, photos: int, preset: str, with_pamr: bool) -> None:
    stems = sorted(path.stem for path in (voc / "JPEGImages").glob("*.jpg"))[:photos]
    for name in [preset] + ["pamr"] * with_pamr:
        ours, theirs, alike = [], [], []
        for seed, stem in enumerate(stems):
            image, scores = voc_photo(voc, stem, seed)
            if name == "pamr":
                runs = (lambda i=image, s=scores: pamr(i, s)), (lambda i=image, s=scores: plain_pamr(i, s))
            else:
                runs = (
                    (lambda i=image, s=scores: crf(i, s, settings=preset)),
                    (lambda i=image, s=scores: pydensecrf(i, s, CRF_CONSTANTS[preset])),
                )
            timed = [cpu_seconds(run) for run in runs]
            ours.append(timed[0][0])
            theirs.append(timed[1][0])
            alike.append(float((timed[0][1].values.numpy().argmax(0) == timed[1][1].argmax(0)).mean()))
        report(name, ours, theirs, alike)


def large(refiner: Callable[..., Scores]) -> None:
    """A 12-megapixel photo with 4 labels: smooth shapes with noise."""
    height, width = 3000, 4000
    generator = torch.Generator().manual_seed(0)
    smooth = interpolate(torch.rand(1, 3, 12, 16, generator=generator) * 220, (height, width), mode="bilinear")[0]
    image = (smooth + 12 * torch.rand(3, height, width, generator=generator)).byte().permute(1, 2, 0).numpy().copy()
    values = interpolate(torch.rand(1, 4, 30, 40, generator=generator), (height, width), mode="bilinear")[0]
    scores = Scores(WORDS, (0, 1, 2, 3), values / values.sum(0))
    del smooth, values
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds, _ = cpu_seconds(lambda: refiner(image, scores))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"12 MP, 4 labels: {seconds:.1f} s, peak {peak:.2f} GiB ({before:.2f} GiB before)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc", type=Path, default=Path("../shared/testdata/VOCdevkit/VOC2012"))
    parser.add_argument("--photos", type=int, default=58)
    parser.add_argument("--preset", choices=list(CRF_CONSTANTS), default="deeplab")
    parser.add_argument("--pamr", action="store_true", help="PAMR too")
    parser.add_argument("--large", choices=list(REFINERS), help="only the 12-megapixel photo, with this refiner")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.large:
        large(REFINERS[options.large])
    else:
        compare(options.voc, options.photos, options.preset, options.pamr)


if __name__ == "__main__":
    main()
