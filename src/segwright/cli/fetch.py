"""``segwright fetch``."""

from __future__ import annotations

import argparse
from typing import Any

from segwright.cli.options import split


def add(commands: Any) -> None:
    command = commands.add_parser("fetch", help="fetch a preset's weights beforehand, verified; resumes")
    command.add_argument(
        "preset", nargs="?", metavar="PRESET", help="sd14, sd15, sd21, sdxl (default: $SEGWRIGHT_PRESET, else sd15)"
    )
    command.add_argument("--for", dest="methods", metavar="M,M", help="methods, g4seg, or all (default: freeseg-diff)")
    command.add_argument("--to", metavar="FOLDER", help="make a folder of them that works anywhere offline, as --preset FOLDER")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="half: smaller files")
    command.set_defaults(run=_fetch)


def _fetch(options: argparse.Namespace) -> int:
    from segwright.fetching import fetch

    methods = None if options.methods is None else split(options.methods)
    print(fetch(options.preset, methods, options.to, options.dtype))
    return 0
