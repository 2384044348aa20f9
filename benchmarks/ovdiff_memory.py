"""Peak memory of making support pictures with attribution, at Stable Diffusion 1.5's size with random weights.

    python benchmarks/ovdiff_memory.py [--steps 2 6] [--batch 2] [--threads 2]

Each number of steps runs in a process of its own, and once more with every attention map kept until the end, which is what
the running sums save. Peaks are the process's largest resident size (Linux: VmHWM) from the first step on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import torch
from pipeline import forget_peak, memory

from segwright.models import sampling
from segwright.models.sampling import Attribution, SamplingSettings, sample
from segwright.selfcheck.random_networks import networks


class Hoarder(Attribution):
    """The plain way: keep all maps, add them up at the end."""

    kept: list[torch.Tensor]

    def add(self, weights: torch.Tensor) -> None:
        self.__dict__.setdefault("kept", []).append(weights)

    @property
    def maps(self) -> torch.Tensor:
        for weights in self.kept:
            super().add(weights)
        return super().maps


def run(steps: int, batch: int, threads: int, hoard: bool) -> None:
    torch.set_num_threads(threads)
    diffusion = networks(torch.float32, channels_last=True).diffusion
    forget_peak()
    before = memory("VmRSS")
    if hoard:
        sampling.Attribution = Hoarder  # type: ignore[misc]
    begun = time.perf_counter()
    sample(diffusion, "A good picture of a dog", list(range(batch)), SamplingSettings(steps), "dog")
    how = "every map kept" if hoard else "running sums"
    print(
        f"  {steps} steps, {how}: peak {memory('VmHWM'):.2f} GiB ({before:.2f} before), {time.perf_counter() - begun:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 6])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=("sums", "hoard"), help="internal: one run in this process")
    options = parser.parse_args()
    if options.one:
        run(options.steps[0], options.batch, options.threads, options.one == "hoard")
        return
    print(f"SD 1.5's size, batch {options.batch}, float32, guidance 8, {options.threads} threads")
    for steps in options.steps:
        for how in ("sums", "hoard"):
            command = [sys.executable, __file__, "--one", how, "--steps", str(steps)]
            subprocess.run([*command, "--batch", str(options.batch), "--threads", str(options.threads)], check=True)


if __name__ == "__main__":
    main()
