"""SIGKILL and power cuts: nothing is lost or doubled, and the end is that of an undisturbed job.

    python tests/campaigns/kills.py [--size 1000] [--seed 0] [--seconds 3600]

A job is killed one to three times: at any of its steps (before or after an fsync, a rename, a link, a piece of a download), or at
any time. After every other kill the power goes too: what was not synced is cut at any byte. Jobs take turns: segment, evaluate,
refine, export, review, fetch; each 13th attack is on one of those that take longer: workers, prototypes, Ray.
tests/kill_runs.py and tests/kill_prototypes.py kill processes of the command line at their full length.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common import Attack, main
from jobs import SLOW, Forked, Jobs

from segwright.models.download import Bar

TURN = 13  # so many attacks to each slow one
STEPS = {"review": 21}  # a job dies at one of so many first steps; others of 60
FIRST = 30.0  # seconds within which a slow job is killed at a time


def mortal(do: Callable[[], object], at: int, log: Path) -> None:
    """``do``, in a process that dies at its ``at``-th step on the disk; what it synced is written to ``log``."""
    held = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            step()
            result = real(*given, **options)
            step()
            return result

        return call

    sync = os.fsync

    def fsync(file: int) -> None:
        sync(file)
        about = os.fstat(file)
        os.write(held, f"{about.st_ino} {about.st_size}\n".encode())

    os.fsync, os.replace, os.link = watched(fsync), watched(os.replace), watched(os.link)
    Bar.update = watched(Bar.update)  # type: ignore[method-assign]
    do()


def power_cut(folder: Path, log: Path, rng: random.Random) -> None:
    """Every file keeps what was synced, and any part of the rest."""
    synced: dict[int, int] = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        inode, size = map(int, line.split())
        synced[inode] = size
    for path in folder.rglob("*"):
        if path.is_file():
            about = path.stat()
            least = min(about.st_size, synced.get(about.st_ino, 0))
            os.truncate(path, rng.randint(least, about.st_size))


def make(folder: Path) -> Attack:
    jobs = Jobs(folder)
    quick = [*jobs.table, *(name for name in jobs.more if name not in SLOW)]
    place, log = folder / "killed", folder / "synced"

    def attack(rng: random.Random, number: int) -> str:
        shutil.rmtree(place, ignore_errors=True)
        log.unlink(missing_ok=True)
        turn, left = divmod(number, TURN)
        name = SLOW[turn % len(SLOW)] if left == TURN - 1 else quick[(turn * (TURN - 1) + left) % len(quick)]
        jobs.undisturbed(name)
        start = partial((jobs.table | jobs.more)[name][0], place)
        killed = 0
        for _ in range(rng.choice((1, 2, 3))):
            timed = rng.random() < 0.2
            at = 10**9 if timed else rng.randrange(1, STEPS.get(name, 60))
            process = Forked(partial(mortal, start, at, log), folder / "said")
            if timed:
                time.sleep(rng.uniform(0, FIRST if name in SLOW else 0.3))
                process.kill()
            code = process.wait()
            assert code in (0, -signal.SIGKILL), (code, (folder / "said").read_text("utf8"))
            killed += code != 0
            if rng.random() < 0.5:
                power_cut(place, log, rng)
        start()
        jobs.check(name, place)
        return f"{name} killed" if killed else f"{name} done before"

    return attack


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", make, 1000))
