"""``segwright export`` and ``segwright overview``: what becomes of a run."""

from __future__ import annotations

import argparse
from typing import Any

from segwright.cli.listed import FORMAT_NAMES


def add(commands: Any) -> None:
    command = commands.add_parser("export", help="a run's masks in other tools' formats")
    command.add_argument("folder", metavar="RUN", help="folder or URL that segwright segment wrote")
    command.add_argument("--format", required=True, choices=FORMAT_NAMES, metavar="FORMAT", help="%(choices)s")
    command.add_argument("-o", "--out", required=True, metavar="OUT", help="folder or URL for the files")
    command.add_argument("--min-area", type=int, default=0, metavar="N", help="leave out parts of fewer pixels (default: 0)")
    command.add_argument("--simplify", type=float, metavar="PX", help="how far polygons may lie from the mask's edge; 0: exact")
    command.add_argument("--masks", choices=("rle", "polygon"), help="where a format has both (default: the exact one, rle)")
    command.add_argument("--copy-photos", action="store_true", help="copy the photos to where the format expects them")
    command.set_defaults(run=_export)
    command = commands.add_parser("overview", help="one HTML page of a run's photos, to sort by word, score and area")
    command.add_argument("folder", metavar="RUN")
    command.add_argument("-o", "--out", metavar="PAGE", help="default: RUN/overview.html")
    command.add_argument("--embed", action="store_true", help="put the pictures into the page, so that it can be moved")
    command.add_argument("--table", action="store_true", help="also print each word's photos, mean area and mean score")
    command.set_defaults(run=_overview)


def _export(options: argparse.Namespace) -> int:
    from segwright.runs.exports import export

    given = {"min_area": options.min_area, "masks": options.masks, "copy_photos": options.copy_photos}
    simplify = {} if options.simplify is None else {"simplify": options.simplify}
    written = export(options.folder, options.format, options.out, **given, **simplify)
    print(f"{len(written)} {'file' if len(written) == 1 else 'files'} -> {options.out}")
    return 0


def _overview(options: argparse.Namespace) -> int:
    from segwright.runs.overview import overview, word_table

    if options.table:
        print(word_table(options.folder))
    print(overview(options.folder, options.out, options.embed))
    return 0
