"""Scores made probabilities: a map a method, fitted on drawn training scenes; errors and reliability diagrams on the shipped val.

    python benchmarks/calibration.py [--methods best,freeseg-diff] [--write] [--diagram docs/mini/reliability]

Every method is asked for all 24 words, at its defaults. Printed for val, a row a method and kind of score: objects, share of them
that is right (IoU of 0.5 or more), mean score, expected calibration error, and how well scores rank (area under the ROC curve),
with 95 % intervals over photos. --write puts the maps into the preset's folder, from which on they are used; networks that change
are left without until this is run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

import segwright as sw
from segwright.evaluation.calibration import Judged, Right, Values, calibration_error, draw_reliability, fit, judge, ranking
from segwright.files.disk import write_all
from segwright.methods import find_method
from segwright.mini.scenes import THINGS, draw
from segwright.mini.voc import read_scenes
from segwright.objects.calibration import FILE, RIGHT
from segwright.presets import preset_folder

SEED = 22_000  # of the training scenes; other ones than the networks saw
DRAWS = 1000  # bootstrap samples of photos


def interval(figure: Callable[[Values, Right], float], scores: Values, found: Judged) -> str:
    """The figure with its 95 % percentile interval over photos."""
    rows = [np.flatnonzero(found.photo == place) for place in np.unique(found.photo)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(DRAWS):
        chosen = np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        drawn.append(figure(scores[chosen], found.right[chosen]))
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return f"{figure(scores, found.right):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="best,freeseg-diff,maskclip")
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--train", type=int, default=300, metavar="N", help="drawn training scenes (default: %(default)s)")
    parser.add_argument("--val", type=int, metavar="N", help="shipped val scenes (default: all)")
    parser.add_argument("--write", action="store_true", help=f"{FILE} in the preset's folder; other methods' maps in it stay")
    parser.add_argument("--diagram", metavar="NAME", help="NAME.svg and NAME.png")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes, networks, maps, shown = read_scenes("val", options.val), sw.load(options.preset, "cpu"), {}, []
    print("| method | score | objects | right | mean score | ECE | ROC area |\n| --- | --- | --- | --- | --- | --- | --- |")
    for name in options.methods.split(","):
        method = find_method(name).on(networks)
        drawn = (draw("train", SEED, i) for i in range(options.train))
        taught = judge(method, ((one.image, one.labels) for one in drawn), THINGS)
        source = f"{len(taught.right)} objects of {options.train} drawn training scenes, all {len(THINGS)} words asked, IoU {RIGHT}"
        maps[name] = fit(taught.confidence, taught.right, source, {k: networks.identity(k) for k in method.uses(True)})
        found = judge(method, zip(scenes.images, scenes.truths, strict=True), THINGS)
        calibrated = np.array([maps[name](float(one)) for one in found.confidence])
        for kind, scores in (("mean after refinement", found.mean), ("confidence", found.confidence), ("calibrated", calibrated)):
            error, area = interval(calibration_error, scores, found), interval(ranking, scores, found)
            count, right = len(scores), found.right.mean()
            print(f"| {name} | {kind} | {count} | {right:.3f} | {scores.mean():.3f} | {error} | {area} |", flush=True)
        shown += [(f"{name}, mean", found.mean, found.right), (f"{name}, calibrated", calibrated, found.right)]
    if options.write:
        path = preset_folder(networks.preset) / FILE
        known = json.loads(path.read_text("utf8")) if path.exists() else {}
        known |= {name: asdict(one) for name, one in maps.items()}
        write_all({path: (json.dumps(known, indent=1) + "\n").encode()})
    if options.diagram:
        title = f"Preset {networks.preset.name}, {len(scenes.images)} val scenes: score and share right"
        write_all({Path(f"{options.diagram}.{kind}"): data for kind, data in draw_reliability(shown, title).items()})


if __name__ == "__main__":
    main()
