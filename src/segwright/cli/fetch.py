"""``segwright fetch``."""

from __future__ import annotations

import argparse
from typing import Any

from segwright.cli.listed import GENERATOR_NAMES, PRESET_NAMES, add_listed
from segwright.cli.options import add_single, networks, split


def add(commands: Any) -> None:
    command = commands.add_parser("fetch", help="fetch a preset's weights beforehand, verified; resumes")
    add_listed(
        command, PRESET_NAMES, "preset", nargs="?", metavar="PRESET", help="%(listed)s (default: $SEGWRIGHT_PRESET, else sd15)"
    )
    command.add_argument("--for", dest="methods", metavar="M,M", help="methods, g4seg, emi, or all (default: best)")
    command.add_argument("--to", metavar="FOLDER", help="make a folder of them that works anywhere offline, as --preset FOLDER")
    command.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="half: smaller files")
    add_single(command, ("clip", "captioner", "vit"))
    add_listed(command, GENERATOR_NAMES, "--generator", metavar="G", help="few-step weights for ovdiff's pictures too: %(listed)s")
    command.set_defaults(run=_fetch, resumes=True)


def _fetch(options: argparse.Namespace) -> int:
    from segwright.fetching import fetch

    methods = None if options.methods is None else split(options.methods)
    print(fetch(options.preset, methods, options.to, options.dtype, generator=options.generator, **networks(options)))
    return 0
