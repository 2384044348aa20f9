"""Which number type a device computes fastest in; measured once a machine on the CPU, known by its kind elsewhere."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

PAYS = 1.5  # times faster that bfloat16 must be: ours; without units it is 8 times slower on a Zen 3, with them 2 to 4 times faster
ROWS, WIDTH = 1024, 1280  # a linear layer of Stable Diffusion's U-Net at 32 x 32 cells
TRIES = 5


def fastest(device: torch.device) -> str:
    """ "float32", "bfloat16" or "float16".

    CUDA: bfloat16 where it is native (compute capability 8 and later), else float16. MPS: float16. CPU: what was measured.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return "float16" if device.type == "mps" else remembered(measure)


def measure() -> str:
    """bfloat16 if this CPU multiplies matrices ``PAYS`` times faster in it than in float32; it takes less than a second."""
    whole, half = (_seconds(dtype) for dtype in (torch.float32, torch.bfloat16))
    return "bfloat16" if whole >= PAYS * half else "float32"


def remembered(measured: Callable[[], str]) -> str:
    """The answer for this processor, threads and torch from the user's cache, else measured and kept there if it can be."""
    path, key = cache_file(), json.dumps([platform.processor(), _model(), torch.get_num_threads(), torch.__version__])
    try:
        known = json.loads(path.read_text("utf8"))
        if isinstance(known, dict) and known.get(key) in ("float32", "bfloat16"):
            return str(known[key])
    except (OSError, ValueError):
        known = {}
    found = measured()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(json.dumps((known if isinstance(known, dict) else {}) | {key: found}, indent=1), "utf8")
        os.replace(temporary, path)
    except OSError:
        pass  # a cache that cannot be written: measured again next time
    return found


def cache_file() -> Path:
    """Below $XDG_CACHE_HOME, else ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "segwright", "units.json")


def _model() -> str:
    """The processor's name, where Linux says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _seconds(dtype: torch.dtype) -> float:
    """Of one product, the fastest of ``TRIES``; the first does not count. A processor without units is asked once only."""
    rows, weights = torch.ones(ROWS, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
    torch.nn.functional.linear(rows[:8], weights)
    best = float("inf")
    for _ in range(TRIES):
        begun = time.perf_counter()
        torch.nn.functional.linear(rows, weights)
        best = min(best, time.perf_counter() - begun)
        if best > 0.25:
            break
    return best
