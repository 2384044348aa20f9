"""G4Seg at the size of Stable Diffusion 2.1 with random weights: time and peak memory for 1, 4 and 16 classes of one photo.

    python benchmarks/g4seg.py                       # all, on the CPU in float32, each count in a process of its own
    python benchmarks/g4seg.py --device cuda --dtype float16
    python benchmarks/g4seg.py --classes 4 --batch 1 # blocks of one class
    python benchmarks/g4seg.py --attention           # one 64x64 self-attention under injection: ours beside a dense mask

Peak memory is the process's on a CPU (before the first photo in brackets: weights), the allocator's on a GPU.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch

from segwright.refine.g4seg.injection import Injected, Injection
from segwright.refine.g4seg.method import passes
from segwright.refine.g4seg.settings import G4SegSettings
from segwright.selfcheck.random_networks import sd21
from segwright.types import Scores

COUNTS = (1, 4, 16)
SMALL = {"block_out_channels": (32, 64, 64, 64), "attention_head_dim": (1, 2, 2, 2)}  # --quick: the script, not the size


def scene(classes: int, side: int = 512) -> tuple[np.ndarray, Scores]:
    """Noise, and as many soft stripes as there are classes, so that each has uncertain pixels."""
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    place = torch.linspace(0, classes + 1, side)[None, :, None].expand(side, -1, classes + 1)
    logits = -6 * (place - torch.arange(classes + 1) - 0.5).abs()
    words = tuple(f"class {i}" for i in range(1, classes + 1))
    return image, Scores(words, tuple(range(classes + 1)), logits.softmax(2).permute(2, 0, 1).contiguous())


def peak(device: str) -> float:
    """GiB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(classes: int, options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    networks = sd21(getattr(torch, options.dtype), options.device, SMALL if options.quick else None)
    image, scores = scene(classes)
    settings = G4SegSettings(batch=options.batch or classes, side=128 if options.quick else None)
    before = peak(options.device)
    start, cpu = time.perf_counter(), time.process_time()
    done = list(passes(image, scores, networks, settings))
    if options.device.startswith("cuda"):
        torch.cuda.synchronize()
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    print(
        f"{classes:2d} classes ({len(done[0].labels)} refined, blocks of {settings.batch}), {options.dtype} on {options.device}: "
        f"{seconds:.1f} s ({used:.1f} s of CPU), peak {peak(options.device):.1f} GiB ({before:.1f} GiB before)",
        flush=True,
    )


def attention(device: str, repeats: int = 3, heads: int = 5, width: int = 64, cells: int = 4096) -> None:
    """Self-attention of 64x64 cells: the rank-one channel beside a dense additive mask, seconds each (medians)."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, cells, heads * width, device=device) for _ in range(3))
    inside = torch.zeros(1, 512, 512, device=device)
    inside[:, 100:400, 100:400] = 1
    injected = Injected(Injection(inside, torch.zeros(1, 77, device=device), 1.0, 5.0, 0.5))
    layer = SimpleNamespace(heads=heads, norm_q=None, norm_k=None, is_cross_attention=False, scale=width**-0.5)

    def dense() -> torch.Tensor:
        s = injected.injection.cells(cells)
        mask = 5.0 * layer.scale * s[:, :, None] * s[:, None]
        parts = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask[:, None]).transpose(1, 2).flatten(2)

    def ours() -> torch.Tensor:
        return injected._attend(layer, q, k, v, None)[0]

    times: dict[str, list[float]] = {"ours": [], "dense mask": []}
    for _ in range(repeats):
        for name, work in (("ours", ours), ("dense mask", dense)):
            start = time.process_time() if device == "cpu" else time.perf_counter()
            found = work()
            if device != "cpu":
                torch.cuda.synchronize()
            times[name].append((time.process_time() if device == "cpu" else time.perf_counter()) - start)
            del found
    apart = float((ours() - dense()).abs().max())
    print({n: round(sorted(t)[len(t) // 2], 3) for n, t in times.items()}, f"largest difference {apart:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, help="only this many, in this process")
    parser.add_argument("--batch", type=int, help="classes in one block (default: all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--attention", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a small U-Net: tries the script, measures nothing")
    options = parser.parse_args()
    if options.attention:
        attention(options.device)
    elif options.classes is not None:
        measure(options.classes, options)
    else:
        for count in COUNTS:  # a process each, so that peaks do not mix
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--classes", str(count)], check=True)


if __name__ == "__main__":
    main()
