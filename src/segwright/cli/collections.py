"""``segwright export``, ``segwright overview`` and ``segwright review``: what becomes of a run."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from segwright.cli.listed import FORMAT_NAMES
from segwright.errors import InputError


def add(commands: Any) -> None:
    _add_export(commands)
    command = commands.add_parser("overview", help="one HTML page of a run's photos, to sort by word, score and area")
    command.add_argument("folder", metavar="RUN")
    command.add_argument("-o", "--out", metavar="PAGE", help="default: RUN/overview.html")
    command.add_argument("--embed", action="store_true", help="put the pictures into the page, so that it can be moved")
    command.add_argument("--table", action="store_true", help="also print each word's photos, mean area and mean score")
    command.set_defaults(run=_overview)
    command = commands.add_parser("review", help="accept, reject and mend a run's masks in a browser, by keyboard")
    command.add_argument("folder", metavar="RUN", help="folder that segwright segment or segwright refine wrote")
    command.add_argument("--host", default="127.0.0.1", help="another one lets others in, with a token (default: 127.0.0.1)")
    command.add_argument("--port", type=int, help="default: the first free one from 7960 on")
    command.add_argument(
        "--token", help="what everybody must know, in the address once (default: none on this machine, else a random one)"
    )
    command.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a name under which the page is reached")
    command.set_defaults(run=_review)


def _add_export(commands: Any) -> None:
    command = commands.add_parser("export", help="a run's masks in other tools' formats")
    command.add_argument("folder", metavar="RUN", help="folder or URL that segwright segment or segwright refine wrote")
    command.add_argument("--format", required=True, choices=FORMAT_NAMES, metavar="FORMAT", help="%(choices)s")
    command.add_argument("-o", "--out", required=True, metavar="OUT", help="folder or URL for the files")
    command.add_argument("--copy-photos", action="store_true", help="copy the photos to where the format expects them")
    what = command.add_argument_group("what is written")
    what.add_argument(
        "--objects",
        choices=("words", "parts", "instances"),
        default="words",
        help="one annotation a word a photo, a connected part, or a thing told apart from others of its kind (default: words)",
    )
    what.add_argument(
        "--min-area",
        type=float,
        default=0.001,
        metavar="A",
        help="smaller pieces take the label around them: below 1 a share of the photo, else pixels (default: 0.001)",
    )
    what.add_argument("--classes", metavar='"dog, sofa"', help="only these words, in this order")
    what.add_argument(
        "--map", dest="renamed", metavar="sofa=couch,cat=animal", help="names in place of words; several may share one"
    )
    what.add_argument("--split", metavar="train=0.8,val=0.2", help="shares of the photos, each in a folder of its own")
    what.add_argument("--accepted", action="store_true", help="only photos accepted in segwright review, as mended there")
    how = command.add_argument_group("how masks are written")
    how.add_argument("--masks", choices=("rle", "polygon", "box"), help="where a format has it (default: the exact one)")
    how.add_argument("--boxes-only", action="store_true", help="boxes and no masks; the same as --masks box")
    how.add_argument("--simplify", type=float, metavar="PX", help="how far polygons may lie from the mask's edge; 0: exact")
    how.add_argument(
        "--photo-root", metavar="ROOT", help="label-studio: URL of the photos' folder, or LOCAL_FILES_DOCUMENT_ROOT (default: /)"
    )
    nets = command.add_argument_group("networks for --objects instances")
    nets.add_argument("--preset", help="whose diffusion model tells things apart (default: the run's own)")
    nets.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from segwright.runs.exports import export
    from segwright.words.vocabulary import parse_words

    names = ("objects", "min_area", "masks", "boxes_only", "accepted", "copy_photos", "photo_root")
    given = {name: getattr(options, name) for name in names}
    if options.simplify is not None:
        given["simplify"] = options.simplify
    if options.classes is not None:
        given["classes"] = tuple(map(str, parse_words(options.classes)))
    if options.renamed is not None:
        given["renamed"] = _pairs(options.renamed, "--map")
    if options.split is not None:
        given["split"] = {name: _number(share) for name, share in _pairs(options.split, "--split").items()}
    written = export(options.folder, options.format, options.out, options.preset, options.device, **given)
    _warn_cut(options.folder)
    print(f"{len(written)} {'file' if len(written) == 1 else 'files'} -> {options.out}")
    return 0


def _pairs(text: str, option: str) -> dict[str, str]:
    """ "a=b, c=d" -> {"a": "b", "c": "d"}."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (one.strip() for one in part.partition("="))
        if not (name and equals and value) or name in found:
            raise InputError(f"{option} takes NAME=VALUE,NAME=VALUE with each name once, got {text!r}")
        found[name] = value
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"a split's share must be a number, got {text!r}; write train=0.8,val=0.2") from None


def _review(options: argparse.Namespace) -> int:
    from segwright.server.review import review

    review(options.folder, options.host, options.port, token=options.token, allow_hosts=options.allow_host)
    return 0


def _overview(options: argparse.Namespace) -> int:
    from segwright.runs.overview import overview, word_table

    if options.table:
        print(word_table(options.folder))
    print(overview(options.folder, options.out, options.embed))
    _warn_cut(options.folder)
    return 0


def _warn_cut(folder: str) -> None:
    from segwright.runs.refined import open_results

    if open_results(folder).cut:
        text = "the last line of its manifest was cut, so a photo more may have been done; start segwright segment again"
        print(f"segwright: {folder}: {text}", file=sys.stderr)
