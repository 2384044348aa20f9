"""``segwright doctor``."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    command = commands.add_parser("doctor", help="what is whole or damaged in a run, bank or report, and mend it")
    command.add_argument("folder", metavar="FOLDER", help="a run, a bank, a report, refined masks, or a folder of them")
    about = "set aside what is damaged and make again what needs no networks; what is whole is not touched"
    command.add_argument("--repair", action="store_true", help=about)
    command.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from segwright.mending.doctor import doctor
    from segwright.mending.findings import mended, text

    found = doctor(options.folder, options.repair)
    for one in found:
        print(text(one))
    bad = len(found) - len(mended(found))
    if bad:
        print(f"{bad} of {len(found)} damaged" + ("" if options.repair else "; --repair mends what can be mended"))
    return 1 if bad else 0
