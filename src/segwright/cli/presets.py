"""``segwright presets``."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    command = commands.add_parser("presets", help="what can be loaded, its licences and sizes, and where it lies")
    command.add_argument("--path", metavar="NAME", help="print the folder of one preset, alone")
    command.set_defaults(run=_presets)


def _presets(options: argparse.Namespace) -> int:
    from segwright.fetching import describe
    from segwright.presets import find_preset, preset_folder

    if options.path is not None:
        print(preset_folder(find_preset(options.path)))
        return 0
    print(describe())
    return 0
