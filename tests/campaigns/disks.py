"""Disks that are full, over quota, read-only or taken away in the middle: one sentence, and a resume that is right.

    python tests/campaigns/disks.py [--size 100] [--seed 0] [--seconds 3600]

As root on Linux half of the attacks fill a real tmpfs of some kilobytes to a megabyte; the others make a step on the disk, and all
after it, fail with the system's own error.
"""

from __future__ import annotations

import builtins
import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common import Attack, main
from jobs import Forked, Jobs

REASONS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)


def failing(do: Callable[[], object], at: int, reason: int, below: Path) -> None:
    """``do``, whose ``at``-th step that writes below a folder fails, and every one after it."""
    steps = 0

    def watched(real: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            nonlocal steps
            if writes(*given, **options):
                steps += 1
                if steps >= at:
                    raise OSError(reason, os.strerror(reason))
            return real(*given, **options)

        return call

    def inside(path: Any, *_: Any, **__: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).is_relative_to(below)

    def opened(path: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
        return inside(path) and any(letter in mode for letter in "wax+")

    builtins.open = watched(builtins.open, opened)
    os.replace, os.link, os.mkdir = (watched(real, inside) for real in (os.replace, os.link, os.mkdir))
    os.fsync = watched(os.fsync, lambda *_: True)
    do()


def mounted(place: Path, kilobytes: int) -> bool:
    """A small tmpfs there, where that is allowed."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(place)]
    return sys.platform == "linux" and os.geteuid() == 0 and not subprocess.run(command, capture_output=True).returncode


def make(folder: Path) -> Attack:
    jobs = Jobs(folder)
    names = list(jobs.table)
    small, said = folder / "small", folder / "said"

    def full(rng: random.Random, name: str) -> str:
        if not mounted(small, rng.choice((4, 8, 16, 32, 64, 128, 256, 1024))):
            return faulty(rng, name)
        out = small / "out"
        try:
            code = Forked(partial(jobs.table[name][0], out), said).wait()
            assert code in (0, 2), said.read_text("utf8")
            assert code == 0 or "full" in said.read_text("utf8") or "No space left" in said.read_text("utf8"), said.read_text(
                "utf8"
            )
            subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
            jobs.table[name][0](out)
            jobs.check(name, out)
        finally:
            subprocess.run(["umount", str(small)], check=True)
        return f"{name} on a full disk" if code else f"{name} fitted"

    def faulty(rng: random.Random, name: str) -> str:
        out = folder / "faulty" / "out"
        shutil.rmtree(folder / "faulty", ignore_errors=True)
        (folder / "faulty").mkdir()
        job = partial(jobs.table[name][0], out)
        code = Forked(partial(failing, job, rng.randrange(1, 60), rng.choice(REASONS), folder / "faulty"), said).wait()
        assert code in (0, 2), said.read_text("utf8")
        job()
        jobs.check(name, out)
        return f"{name} refused" if code else f"{name} done before"

    def attack(rng: random.Random, number: int) -> str:
        return (full if number % 2 else faulty)(rng, names[number // 2 % len(names)])

    return attack


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", make, 100))
