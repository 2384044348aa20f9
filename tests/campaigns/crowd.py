"""Two to four processes in one folder: one works, the others say so, and nothing is lost.

python tests/campaigns/crowd.py [--size 100] [--seed 0] [--seconds 3600]
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
from functools import partial
from pathlib import Path

from common import Attack, main
from jobs import Forked, Jobs


def make(folder: Path) -> Attack:
    jobs = Jobs(folder)
    names = list(jobs.table)
    place = folder / "crowded"

    def attack(rng: random.Random, number: int) -> str:
        shutil.rmtree(place, ignore_errors=True)
        name = names[number % len(names)]
        gate, opened = os.pipe()

        def enter(delay: float) -> None:
            os.close(opened)
            os.read(gate, 1)  # all at once
            time.sleep(delay)
            jobs.table[name][0](place)

        files = [folder / f"said{i}" for i in range(rng.choice((2, 3, 4)))]
        crowd = [Forked(partial(enter, rng.choice((0, 0, rng.uniform(0, 0.1)))), file) for file in files]
        os.close(gate)
        os.close(opened)
        codes = [process.wait() for process in crowd]
        said = [file.read_text("utf8") for file in files]
        assert set(codes) <= {0, 2}, (codes, said)
        assert 0 in codes, said
        assert all(("at work" in text) == (code == 2) for code, text in zip(codes, said, strict=True)), said
        jobs.check(name, place)
        return f"{name}, others refused" if 2 in codes else f"{name}, one after the other"

    return attack


if __name__ == "__main__":
    sys.exit(main(__doc__ or "", make, 100))
