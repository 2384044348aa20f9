"""Whole collections: photos a second one by one, batched, and batched with two workers; and memory at 200 and 5,000 photos.

    python benchmarks/whole_collections.py [--photos 48] [--method freeseg-diff] [--refine crf] [--threads 2]
    python benchmarks/whole_collections.py --size sd15 [--photos 4]     (random networks of Stable Diffusion 1.5's size)
    python benchmarks/whole_collections.py --memory [--counts 200 5000] (MaskCLIP without refiner, photos of 64 x 64)

Every variant is a process of its own; they take turns for ``--repeats`` rounds, and ratios are of the medians. Speed is
that of the steady state: from the first finished batch to the last, without starting and loading (sd15: all photos).
Seconds of the processor say the same where other programs run, but not for several workers. (This file is not called
collections.py because that would hide Python's own module from the other benchmarks.)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

WORDS = ("dog", "car", "apple", "boat", "cat", "tree")
VARIANTS = {"one by one": (1, 1), "batches of 4": (4, 1), "batches of 4, 2 workers": (4, 2)}
SHORT = 128  # to what MaskCLIP resizes photos when memory is measured; its own 512 only takes longer
SIZES = {"batch 1": (1, 1), "batch 2": (2, 1), "batch 4": (4, 1)}


def make_photos(folder: Path, count: int, side: int) -> Path:
    """Crops of the shipped scenes, turned and mirrored."""
    from segwright.mini.voc import read_scenes

    folder.mkdir()
    scenes, rng = read_scenes("val", 50).images, np.random.default_rng(0)
    for i in range(count):
        image = np.rot90(scenes[i % len(scenes)], i // len(scenes) % 4)
        y, x = rng.integers(0, 129 - side, 2) if side < 128 else (0, 0)
        picture = Pillow.fromarray(np.ascontiguousarray(image[y : y + side, x : x + side]))
        (picture.resize((side, side)) if side > 128 else picture).save(folder / f"{i:05d}.png")
    return folder


def one(job: dict[str, Any]) -> dict[str, float]:
    """One variant in this process: photos a second, processor seconds a photo (0: workers) and the largest resident MB."""
    import resource

    import torch

    from segwright.methods.base import MethodSpec
    from segwright.runs.segment import segment

    torch.set_num_threads(job["threads"])
    method: Any = MethodSpec(job["method"], "mini", "cpu", settings={"refine": job["refine"], **job["settings"]})
    if job["size"] == "sd15":
        from segwright.methods.freeseg_diff.method import FreeSegDiff, FreeSegDiffSettings
        from segwright.selfcheck.random_networks import networks

        method = FreeSegDiff(networks(torch.float32, True), FreeSegDiffSettings(refine=job["refine"], candidates="none"))
    with tempfile.TemporaryDirectory() as out:
        now = [(time.perf_counter(), time.process_time())]
        for _ in segment(job["photos"], method, out, WORDS, job["batch"], workers=job["workers"]):
            now.append((time.perf_counter(), time.process_time()))
    first = 0 if job["size"] == "sd15" else job["batch"] * job["workers"]  # sd15: loaded already
    wall, cpu = (now[-1][i] - now[first][i] for i in (0, 1))
    count = len(now) - 1 - first
    speed, own = (count / wall, cpu / count) if count > 0 else (0.0, 0.0)
    return {
        "speed": speed,
        "cpu": 0.0 if job["workers"] > 1 else own,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run(**job: Any) -> dict[str, float]:
    job = {"method": "freeseg-diff", "refine": None, "size": "mini", "threads": 1, "workers": 1, "settings": {}, **job}
    environment = {**os.environ, "OMP_NUM_THREADS": str(job["threads"])}
    command = [sys.executable, __file__, "--one", json.dumps(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def speed(options: argparse.Namespace, folder: Path) -> None:
    side = 512 if options.size == "sd15" else 128
    photos = make_photos(folder / "in", options.photos, side)
    variants = SIZES if options.size == "sd15" else VARIANTS
    found: dict[str, list[float]] = {name: [] for name in variants}
    cpu: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.repeats):
        for name, (batch, workers) in variants.items():
            job = {"method": options.method, "refine": None if options.refine == "none" else options.refine, "size": options.size}
            got = run(photos=str(photos), batch=batch, workers=workers, threads=options.threads, **job)
            found[name].append(got["speed"])
            cpu[name].append(got["cpu"])
    base = statistics.median(next(iter(found.values())))
    for name, values in found.items():
        middle = statistics.median(values)
        print(
            f"{name:26} {middle:7.3f} photos/s  x {middle / base:.2f}   ({min(values):.3f} .. {max(values):.3f})   "
            f"{statistics.median(cpu[name]):.3f} s of the processor a photo"
        )


def memory(options: argparse.Namespace, folder: Path) -> None:
    photos = make_photos(folder / "in", max(options.counts), 64)
    names = sorted(photos.iterdir())
    found = {}
    for count in options.counts:
        (folder / f"{count}.txt").write_text("\n".join(map(str, names[:count])))
        found[count] = run(photos=str(folder / f"{count}.txt"), batch=4, method="maskclip", settings={"short": SHORT})["memory"]
        print(f"{count:6} photos: {found[count]:.0f} MB", flush=True)
    low, high = found[min(found)], found[max(found)]
    print(f"difference: {100 * (high / low - 1):.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("mini", "sd15"), default="mini")
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--method", default="freeseg-diff")
    parser.add_argument("--refine", default="crf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--counts", type=int, nargs=2, default=(200, 5000))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one))))
        return
    with tempfile.TemporaryDirectory() as folder:
        (memory if options.memory else speed)(options, Path(folder))


if __name__ == "__main__":
    main()
