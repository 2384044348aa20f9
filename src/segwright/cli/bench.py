"""``segwright bench``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from segwright.cli.listed import PRESET_NAMES, add_listed
from segwright.cli.options import add_set, split


def add(commands: Any) -> None:
    command = commands.add_parser("bench", help="seconds and memory of every step on this machine, beside the floor")
    add_listed(command, PRESET_NAMES, "--preset", help="%(listed)s or a folder (default: $SEGWRIGHT_PRESET, else sd15)")
    command.add_argument("--method", metavar="M,M", help="methods and refiners (default: best)")
    command.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16", "auto"), default="float32")
    command.add_argument("--fast", action="store_true", help="as segwright segment --fast")
    command.add_argument("--random", action="store_true", help="random weights in the size of sd15 or sd21: nothing is fetched")
    command.add_argument("--batch", metavar="B,B", help="photos at once, one after the other (default: 1)")
    command.add_argument("--repeats", type=int, default=3, metavar="N", help="the median counts (default: 3)")
    command.add_argument("--side", type=int, default=512, metavar="PX", help="pixels a side of the photos (default: 512)")
    add_set(command, "any setting of the method, any number of times")
    command.add_argument("-o", "--out", metavar="JSON", help="a file for machine and rows")
    command.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    from segwright.errors import InputError
    from segwright.files.disk import atomic_write
    from segwright.methods import DEFAULT
    from segwright.selfcheck.bench import Bench, as_rows, bench, machine, table

    try:
        batches = tuple(map(int, split(options.batch or "1")))
    except ValueError:
        raise InputError(f"--batch must be whole numbers joined by commas, got {options.batch!r}; write --batch 1,4,8") from None
    how = Bench(batches, options.repeats, options.side, tuple(options.settings), options.random, options.fast)
    facts, rows = machine(options.device, options.dtype), []
    print(f"{facts['device']} ({facts['name']}), {facts['threads']} threads, {facts['dtype']}, load {facts['load']}, ", end="")
    print(f"{facts['rate'] / 1e9:.0f} GFLOP/s in large products{' on a core' if facts['device'] == 'cpu' else ''}", flush=True)
    for row in bench(options.preset, split(options.method or DEFAULT), options.device, options.dtype, how):
        rows.append(row)
    print(table(rows))
    if options.out is not None:
        atomic_write(Path(options.out), json.dumps({"machine": facts, "rows": as_rows(rows)}, indent=1).encode())
    return 0
