"""The command line: parse, call, print. Errors become exit codes here and nowhere else.

Exit codes: 0 done, 1 some photos could not be done, 2 nothing could be done, 130 interrupted, 143 terminated.
One file a family of commands; each has ``add(commands)``, and imports the heavy parts only when it runs.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from segwright.cli import check, collections, diagnose, evaluate, fetch, mini, presets, prototypes, refine, segment, serve
from segwright.cli.options import EPILOG
from segwright.errors import SegwrightError

ABOUT = "Cut out of a photograph whatever can be named, with frozen diffusion models and no training."
COMMANDS = (segment, collections, refine, prototypes, presets, fetch, check, mini, evaluate, diagnose, serve)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except SegwrightError as error:
        print(f"segwright: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("segwright: interrupted", file=sys.stderr)
        return 130
    except Terminated:
        print("segwright: terminated; start again to resume", file=sys.stderr)
        return 143


class Terminated(BaseException):  # not an Exception: no library may take it for an error of its own and go on
    """SIGTERM came: what is open is closed on the way out."""


def _terminate(_number: int, _frame: Any) -> None:
    raise Terminated


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from segwright import __version__

    top = argparse.ArgumentParser(prog="segwright", description=ABOUT, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"segwright {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for family in COMMANDS:
        family.add(commands)
    return top
