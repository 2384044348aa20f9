"""The command line: parse, call, print. Errors become exit codes here and nowhere else.

Exit codes: 0 done, 1 some photos could not be done, 2 nothing could be done, 130 interrupted, 143 terminated.
One file a family of commands; each has ``add(commands)``, and imports the heavy parts only when it runs. A command that
continues what was ended has ``resumes`` among its defaults: True, or a function of the options.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
import textwrap
import threading
from collections.abc import Sequence
from typing import Any

from segwright.cli import (
    bench,
    check,
    collections,
    diagnose,
    doctor,
    evaluate,
    fetch,
    methods,
    mini,
    presets,
    prototypes,
    refine,
    segment,
    serve,
)
from segwright.cli.options import EPILOG, settle_dtype
from segwright.errors import SegwrightError

ABOUT = "Cut out of a photograph whatever can be named, with frozen diffusion models and no training."
COMMANDS = (
    segment, collections, refine, prototypes, presets, fetch, check, bench, methods, mini, evaluate, diagnose, doctor, serve,
)  # fmt: skip
WIDTH = 100  # columns of the help
# What people do, and the commands for it; a test holds them complete.
GROUPS = {
    "segment": ("segment", "serve", "prototypes", "bank"),
    "understand": ("explain", "diagnose"),
    "refine": ("refine",),
    "collections": ("overview", "review", "export", "doctor"),
    "measure": ("evaluate", "compare", "table", "datasets"),
    "weights and methods": ("presets", "fetch", "check", "bench", "methods"),
    "miniature world": ("mini",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    options = parser().parse_args(arguments)
    try:
        settle_dtype(options)
        return int(options.run(options))
    except SegwrightError as error:
        print(f"segwright: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("segwright: interrupted", file=sys.stderr)
        return 130
    except Terminated:
        print(f"segwright: terminated{_resuming(options)}", file=sys.stderr)
        return 143


def _resuming(options: argparse.Namespace) -> str:
    """What starting the command again would do, where it does not begin anew."""
    resumes = getattr(options, "resumes", False)
    if not (resumes(options) if callable(resumes) else resumes):
        return ""
    return f"; start again{' without --restart' if getattr(options, 'restart', False) else ''} to resume"


class Terminated(BaseException):  # not an Exception: no library may take it for an error of its own and go on
    """SIGTERM came: what is open is closed on the way out."""


def _terminate(_number: int, _frame: Any) -> None:
    raise Terminated


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from segwright import __version__

    top = _Parser(prog="segwright", description=ABOUT, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"segwright {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=argparse.ArgumentParser)
    for family in COMMANDS:
        family.add(commands)
    return top


class _Parser(argparse.ArgumentParser):
    """Its help names the commands by what people do."""

    def format_help(self) -> str:
        (inner,) = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        helps = {action.dest: action.help or "" for action in inner._get_subactions()}
        out = ["usage: segwright COMMAND ...; segwright COMMAND --help lists its options", "", ABOUT, ""]
        for title, names in GROUPS.items():
            out += [f"{title if name == names[0] else '':20} {name:11} {helps[name]}".rstrip() for name in names]
        return "\n".join([*out, "", *textwrap.wrap(EPILOG, WIDTH)]) + "\n"
