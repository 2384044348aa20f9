"""Kill ``segwright segment`` (SIGKILL) at random moments, start it again each time, compare with a run at one go.

    python tests/kill_runs.py [--engine local|ray] [--kills 50] [--photos 300] [--workers 1] [--method maskclip] [--fork]
    python tests/kill_runs.py --engine ray --actors 3       (one run, in which a Ray actor's process is killed three times)

Not part of the tests: it takes minutes to an hour. MaskCLIP without a refiner is the cheapest method that runs real networks;
photos are crops of the shipped scenes, all different. Every other kill takes the whole process tree at once, as a power cut
does; the rest take the started process only, so that what it started must end by itself. Exit code 0 if every photo is in
the manifest once, no temporary file is left, all masks are equal byte for byte to those of one whole run of the engine
local, and no process is left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from segwright import cli
from segwright.methods.base import MethodSpec
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


class Forked:
    """The same command in a forked process that has imported and loaded everything: a start takes no time, nor is it killed."""

    def __init__(self, arguments: list[str]) -> None:
        self._ended: int | None = None
        self.pid = os.fork()
        if not self.pid:
            code = 70
            try:
                nothing = os.open(os.devnull, os.O_RDWR)
                os.dup2(nothing, 1), os.dup2(nothing, 2)
                code = cli.main(arguments)
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def _wait(self, how: int) -> int | None:
        if self._ended is None:
            pid, status = os.waitpid(self.pid, how)
            self._ended = os.waitstatus_to_exitcode(status) if pid else None
        return self._ended


Process = subprocess.Popen[bytes] | Forked


def start(photos: Path, out: Path, options: argparse.Namespace) -> Process:
    command = ["segment", str(photos), "--preset", "mini", "--device", "cpu", "--words", WORDS, "-o", str(out)]
    command += ["--method", options.method, "--refine", "none", "--engine", options.engine, "--workers", str(options.workers)]
    if options.fork:
        return Forked(command)
    whole = [sys.executable, "-m", "segwright", *command]
    return subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def photos_in(out: Path) -> list[str]:
    """The manifest's photos; a last line that was cut is left out."""
    file = out / "manifest.jsonl"
    content = file.read_bytes() if file.exists() else b""
    return [json.loads(line)["photo"] for line in content[: content.rfind(b"\n") + 1].splitlines()]


def results(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "manifest.jsonl"}


def tree(pid: int) -> list[int]:
    """A process and all below it (Linux)."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    found, pairs = [pid], [tuple(map(int, line.split())) for line in listed.splitlines()]
    for parent in found:
        found += [child for child, above in pairs if above == parent]
    return found


def kill(process: Process, whole: bool) -> list[int]:
    """SIGKILL to the process, or to the whole tree; returns what was in the tree."""
    pids = tree(process.pid)
    for pid in pids if whole else pids[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    return pids


def running(pids: list[int]) -> list[int]:
    """Those that are there and no zombies."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found += [pid] if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" else []
    return found


def wait_for(process: Process, out: Path, count: int, delay: float) -> bool:
    """Until ``count`` photos are done and some time has passed; False if the process ended first."""
    while len(photos_in(out)) < count:
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    time.sleep(delay)
    return process.poll() is None


def warm(options: argparse.Namespace) -> None:
    """Load the networks, once for all processes that are forked from now on."""
    method = MethodSpec(options.method, "mini", "cpu", settings={"refine": None}).load()
    method.many([np.zeros((64, 64, 3), np.uint8)], tuple(word.strip() for word in WORDS.split(",")))
    MethodSpec.load = lambda self: method  # type: ignore[method-assign]


def moment(rng: random.Random, first: float, photos: int, part: float) -> tuple[int, float]:
    """How many photos to wait for, and for how many seconds more: while it starts, as files are written, or at any time."""
    kind = rng.randrange(3)
    if kind == 0:
        return 0, rng.uniform(0, first)
    return int(photos * part), rng.uniform(0, 0.01 if kind == 1 else 0.5)


def kill_runs(photos: Path, out: Path, options: argparse.Namespace) -> list[int] | None:
    """Start and kill until that was done ``--kills`` times, and then to the end; returns all processes that were seen."""
    rng, met, first = random.Random(options.seed), set[int](), 0.0
    for number in range(options.kills):
        begun = time.time()
        process = start(photos, out, options)
        when = moment(rng, first, options.photos, (number + 1) / (options.kills + 1)) if number else (1, 0)
        if not wait_for(process, out, *when):
            print(f"all photos were done after {number} kills")
            return None if process.wait() else sorted(met)
        first = first or time.time() - begun
        met |= set(kill(process, number % 2 == 0))
        left = [name for _, _, names in os.walk(out) for name in names if name.startswith(".segwright-")]
        print(f"kill {number + 1}: {len(photos_in(out))} photos, {len(left)} temporary files", flush=True)
    return None if start(photos, out, options).wait() else sorted(met)


def kill_actors(photos: Path, out: Path, options: argparse.Namespace) -> list[int] | None:
    """One run to its end, while the process of an actor is killed at ``--actors`` moments; returns all processes seen."""
    process = start(photos, out, options)
    met: list[int] = []
    for number in range(options.actors):
        if not wait_for(process, out, options.photos * (number + 1) // (options.actors + 1), 0):
            return None
        met += tree(process.pid)
        actors = [p for p in met if p in running([p]) and b"MapWorker" in Path(f"/proc/{p}/cmdline").read_bytes()]
        os.kill(actors[0], signal.SIGKILL)
        print(f"an actor killed: {len(photos_in(out))} photos", flush=True)
    return None if process.wait() else met


def check(broken: Path, whole: Path, met: list[int], count: int) -> bool:
    listed, same = photos_in(broken), results(broken) == results(whole)
    once = len(listed) == len(set(listed)) == count
    found = sum(bool(json.loads(line)["words"]) for line in (broken / "manifest.jsonl").read_text("utf8").splitlines())
    time.sleep(10)
    still = running(met)
    print(f"each photo once: {once}; files equal byte for byte, none more: {same}; masks with words: {found}")
    print(f"of {len(set(met))} processes still running: {len(still)}")
    return once and same and not still


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--actors", type=int, default=0)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--method", default="maskclip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fork", action="store_true", help="processes that have everything loaded; set OMP_NUM_THREADS=1")
    options = parser.parse_args()
    if options.fork:
        warm(options)
    with tempfile.TemporaryDirectory() as folder:
        photos = make_photos(Path(folder) / "photos", options.photos, options.seed)
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        begun = time.time()
        if start(photos, whole, argparse.Namespace(**{**vars(options), "engine": "local", "workers": 1})).wait():
            return 2
        print(f"at one go, engine local: {time.time() - begun:.0f} s", flush=True)
        met = kill_actors(photos, broken, options) if options.actors else kill_runs(photos, broken, options)
        print(f"{time.time() - begun:.0f} s in all")
        return 0 if met is not None and check(broken, whole, met, options.photos) else 1


if __name__ == "__main__":
    sys.exit(main())
