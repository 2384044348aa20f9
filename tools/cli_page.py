"""Writes the reference page of the command line, from the parser itself: ``python tools/cli_page.py docs/reference/cli.md``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

HEAD = """# Command line

What `--help` prints, for every command.

Exit codes: 0 done, 1 some photos could not be done, 2 nothing could be done, 130 interrupted.
"""


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and all commands below it, each once."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                yield from commands(inner)


def page(parser: argparse.ArgumentParser) -> str:
    """The page in Markdown: a heading and the help text of each command."""
    parts = [f"{'#' * (1 + len(c.prog.split()))} {c.prog}\n\n```text\n{c.format_help().strip()}\n```\n" for c in commands(parser)]
    return "\n".join([HEAD, *parts])


def main() -> int:
    os.environ |= {"COLUMNS": "110", "NO_COLOR": "1"}  # the same page wherever it is made
    from segwright.cli import parser

    Path(sys.argv[1]).write_text(page(parser()), "utf8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
