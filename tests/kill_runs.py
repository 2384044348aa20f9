"""Kill ``segwright segment`` (SIGKILL) at random moments, start it again each time, compare with a run at one go.

    python tests/kill_runs.py [--engine local|ray] [--kills 50] [--photos 300] [--method maskclip] [--seed 0]

Not part of the tests: it takes minutes to an hour. MaskCLIP without a refiner is the cheapest method that runs real networks;
photos are crops of the shipped scenes, all different. Exit code 0 if every photo is in the manifest once, no temporary file
is left, and all masks are equal byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image as Pillow

from segwright.mini.voc import data_folder

WORDS = "dog, car, apple, boat, cat, tree"


def make_photos(folder: Path, count: int, seed: int) -> Path:
    """Crops of scenes, 64 to 96 pixels a side."""
    rng = random.Random(seed)
    scenes = sorted((data_folder() / "JPEGImages").glob("*.jpg"))
    folder.mkdir()
    for i in range(count):
        with Pillow.open(scenes[i % len(scenes)]) as scene:
            x, y, w, h = rng.randrange(32), rng.randrange(32), rng.randrange(64, 97), rng.randrange(64, 97)
            scene.crop((x, y, x + w, y + h)).save(folder / f"{i:04d}.png")
    return folder


def start(photos: Path, out: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "segwright.cli",
        "segment",
        str(photos),
        "--preset",
        "mini",
        "--device",
        "cpu",
        "--words",
        WORDS,
    ]
    command += ["--method", options.method, "--refine", "none", "--engine", options.engine, "--workers", str(options.workers)]
    return subprocess.Popen([*command, "-o", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def photos_in(out: Path) -> list[str]:
    """The manifest's photos; a last line that was cut is left out."""
    file = out / "manifest.jsonl"
    content = file.read_bytes() if file.exists() else b""
    return [json.loads(line)["photo"] for line in content[: content.rfind(b"\n") + 1].splitlines()]


def results(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "manifest.jsonl"}


def wait_for(process: subprocess.Popen[bytes], out: Path, count: int, delay: float) -> bool:
    """Until ``count`` photos are done and some time has passed; False if the process ended first."""
    while len(photos_in(out)) < count:
        if process.poll() is not None:
            return False
        time.sleep(0.01)
    time.sleep(delay)
    return process.poll() is None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--method", default="maskclip")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder) / "photos", options.photos, options.seed)
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        begun = time.time()
        if start(photos, whole, options).wait():
            return 2
        print(f"at one go: {time.time() - begun:.0f} s", flush=True)
        for kill in range(1, options.kills + 1):
            process = start(photos, broken, options)
            # A third of the kills while the program starts, the others after some photos, at any moment between two lines.
            early, goal = rng.random() < 1 / 3, options.photos * kill // (options.kills + 1)
            alive = wait_for(process, broken, 0 if early else goal, rng.uniform(0, 3) if early else rng.uniform(0, 0.2))
            if alive:
                process.send_signal(signal.SIGKILL)
            process.wait()
            left = [name for _, _, names in os.walk(broken) for name in names if name.startswith(".segwright-")]
            print(
                f"kill {kill}: {'' if alive else 'not alive; '}{len(photos_in(broken))} photos, {len(left)} temporary files",
                flush=True,
            )
        if start(photos, broken, options).wait():
            return 2
        listed, same = photos_in(broken), results(broken) == results(whole)
        once = len(listed) == len(set(listed)) == options.photos
        print(f"each photo once: {once}; files equal byte for byte, none more: {same}")
        return 0 if once and same else 1


if __name__ == "__main__":
    sys.exit(main())
