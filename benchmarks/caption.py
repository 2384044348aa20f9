"""A caption at BLIP base's size: ours beside transformers' own ``generate``, in turns in one process, and the same tokens.

    python benchmarks/caption.py [--threads 1] [--photos 1] [--beams 3] [--repeats 5]

Random weights: the sentence never ends by itself, so each is 20 tokens. CPU seconds of the calling thread with one thread (what
counts on a busy machine), wall seconds else.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from segwright.models.blip import PhotoCache, quicken
from segwright.selfcheck.random_networks import makers, ready, tokenizers

TOKENS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--photos", type=int, default=1)
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    now = time.thread_time if options.threads == 1 else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        make = makers(*tokenizers(Path(folder)))[4]
    plain, ours = ready(make, torch.float32), ready(make, torch.float32)
    quicken(ours)
    pixels = torch.randn(options.photos, 3, 384, 384, generator=torch.Generator().manual_seed(0))
    how = {"num_beams": options.beams, "do_sample": False, "max_length": TOKENS, "max_new_tokens": None}
    ways = {
        "transformers": lambda: plain.generate(pixel_values=pixels, **how),
        "ours": lambda: ours.generate(pixel_values=pixels, past_key_values=PhotoCache(options.photos), **how),
        "picture, transformers": lambda: plain.vision_model(pixels)[0],
        "picture, ours": lambda: ours.vision_model(pixels)[0],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.no_grad():
        same = torch.equal(ways["transformers"](), ways["ours"]())
        for _ in range(options.repeats):
            for name, way in ways.items():
                begun = now()
                way()
                seconds[name].append(now() - begun)
    for name, row in seconds.items():
        print(f"{name:24s} median {statistics.median(row):6.2f} s, smallest {min(row):6.2f}")
    ratios = [a / b for a, b in zip(seconds["transformers"], seconds["ours"], strict=True)]
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), same tokens: {same}")


if __name__ == "__main__":
    main()
