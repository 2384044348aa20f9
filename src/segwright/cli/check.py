"""``segwright check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from segwright.cli.options import add_networks, networks, split


def add(commands: Any) -> None:
    command = commands.add_parser("check", help="examine this machine and these weights on known pictures")
    add_networks(command)
    command.add_argument("--for", dest="methods", metavar="M,M", help="methods (default: those that need no more than best)")
    command.add_argument("--pictures", type=int, default=8, metavar="N", help="1..8 (default: 8)")
    command.add_argument("-o", "--out", metavar="REPORT", help="an HTML page, to be sent with a report of a fault")
    command.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from segwright.selfcheck.report import line, verdict, write
    from segwright.selfcheck.run import examine

    methods = None if options.methods is None else split(options.methods)
    found = []
    for finding in examine(options.preset, options.device, options.dtype, methods, options.pictures, **networks(options)):
        print(line(finding), flush=True)
        found.append(finding)
    print(verdict(found))
    if options.out is not None:
        write(found, Path(options.out))
    return 0 if all(f.good is not False for f in found) else 1
