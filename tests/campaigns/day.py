"""A day in an hour: thousands of photos of mixed sizes, one in twenty bad, two workers of which one is killed now and then.

    python tests/campaigns/day.py [--size 5000] [--seed 0] [--seconds 3600]

``--size`` is the number of photos. Each start goes on until a worker is killed (after 4 to 16 % of the photos) or all is done.
In the end every photo is in the manifest once, the bad ones with their reasons, the files are those of their checksums, and no
process needed more than 5 % more memory late than early.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from common import damaged, quick
from jobs import Forked
from PIL import Image as Pillow
from runs.toy import WORDS, spec
from scipy import ndimage

from segwright.mending.doctor import doctor
from segwright.runs.segment import segment

SIZES = ((64, 48), (96, 96), (200, 150), (48, 300), (640, 480))


def make_photos(folder: Path, count: int, rng: random.Random) -> set[str]:
    """Smooth photos, and among them bad ones, whose names are returned."""
    folder.mkdir()
    noise = np.random.default_rng(rng.randrange(2**32))
    models = []
    for size in SIZES:
        grey = ndimage.gaussian_filter(noise.random(size[::-1]), 4)
        grey = np.interp(grey, (grey.min(), grey.max()), (0, 255)).astype(np.uint8)
        Pillow.fromarray(grey).convert("RGB").save(folder / "model.png")
        models.append((folder / "model.png").read_bytes())
    (folder / "model.png").unlink()
    bad = set()
    for number in range(count):
        content, name = rng.choice(models), f"{number:05}.png"
        if number % 20 == 7:
            content = damaged(content, rng)[: rng.randrange(60)] or b"no picture"
            bad.add(name)
        (folder / name).write_bytes(content)
    return bad


def work(photos: Path, out: Path) -> None:
    for _ in segment(photos, spec(), out, WORDS, workers=2):
        pass


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def resident(pid: int) -> int:
    """Kilobytes."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    return 0


def photos_in(out: Path) -> int:
    with suppress(OSError):
        return (out / "manifest.jsonl").read_bytes().count(b"\n")
    return 0


def day(place: Path, count: int, seed: int, seconds: float = 3600, most: int = 1000) -> str:
    """The whole of it, with so many kills at most; returns what to print."""
    rng, end = random.Random(seed), time.monotonic() + seconds
    photos, out = place / "photos", place / "run"
    bad = make_photos(photos, count, rng)
    kills, code, memory = 0, 2, {"early": 0, "late": 0}
    while code and time.monotonic() < end:
        process = Forked(partial(work, photos, out), place / "said")
        stop = photos_in(out) + rng.randrange(count // 25, count // 6)
        watched = False
        while not watched:
            time.sleep(0.2)
            half = "early" if photos_in(out) < count / 2 else "late"
            memory[half] = max(memory[half], *(resident(p) for p in (process.pid, *children(process.pid))))
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            if kills < most and photos_in(out) >= stop and (workers := children(process.pid)):
                os.kill(rng.choice(workers), signal.SIGKILL)
                kills, watched = kills + 1, True
        code = process.wait()
        said = (place / "said").read_text("utf8")
        assert code in (0, 2), said
        assert code == 0 or "a worker ended with exit code -9; start again to resume" in said, said
    assert code == 0, f"not done in {seconds:.0f} s: {photos_in(out)} of {count} photos"
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf8").splitlines()]
    assert len(lines) == len({line["photo"] for line in lines}) == count, "a photo lost or doubled"
    assert {Path(line["photo"]).name for line in lines if line["status"] == "failed"} == bad
    assert not doctor(out)[0].findings
    assert memory["late"] < 1.05 * memory["early"] or not memory["early"], memory
    at_most = " and ".join(f"{most // 1024} MB {when}" for when, most in memory.items())
    return f"{count} photos, {len(bad)} of them bad, {kills} workers killed; at most {at_most}"


def main() -> int:
    import argparse
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as place, quick():
        print(day(Path(place), options.size, options.seed, options.seconds))
    print(f"{time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
