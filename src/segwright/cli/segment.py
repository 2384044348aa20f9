"""``segwright segment`` and ``segwright explain``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from segwright.cli.options import EPILOG, add_method, method, vocabulary
from segwright.cli.refine import explain_mask
from segwright.errors import InputError


def add(commands: Any) -> None:
    _add_segment(commands)
    _add_explain(commands)


def _add_segment(commands: Any) -> None:
    command = commands.add_parser("segment", help="cut out what is named in photos", epilog=EPILOG)
    command.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, and folders of photos")
    add_method(command)
    command.add_argument(
        "-o", "--out", default="segwright-out", metavar="OUT", help="folder for the results (default: segwright-out)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object a photo instead of text")
    command.set_defaults(run=_segment)


def _add_explain(commands: Any) -> None:
    command = commands.add_parser("explain", help="one HTML page of every step for a photo", epilog=EPILOG)
    command.add_argument("photo", metavar="PHOTO")
    add_method(command)
    mask = command.add_argument_group("a coarse mask's refinement, in place of a method")
    mask.add_argument("--mask", metavar="COARSE", help="the photo's mask, as for segwright refine")
    mask.add_argument("--words-map", metavar="1=dog,2=sofa", help="what the mask's indices are called")
    mask.add_argument("--with", dest="refiners", choices=("g4seg",), default="g4seg", help="default: g4seg")
    command.add_argument("-o", "--out", required=True, metavar="OUT", help="the page (OUT.html), or a folder for it")
    command.set_defaults(run=_explain)


def _segment(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segwright.images import find_photos
    from segwright.photos import segment

    words, photos = vocabulary(options), find_photos(options.photos)
    outcomes = segment(photos, method(options).many, options.out, words)
    bad = 0
    for outcome in tqdm(outcomes, total=len(photos), unit="photo", disable=True if len(photos) < 2 else None, leave=False):
        if outcome.error is not None or outcome.segmentation is None:
            bad += 1
            tqdm.write(f"segwright: {outcome.error}", file=sys.stderr)
        else:
            tqdm.write(_told(outcome, options.json), file=sys.stdout)
    if bad and len(photos) > 1:
        print(f"segwright: {bad} of {len(photos)} photos could not be done", file=sys.stderr)
    return 0 if not bad else 1 if bad < len(photos) else 2


def _told(outcome: Any, as_json: bool) -> str:
    from segwright.files.record import segments

    found = segments(outcome.segmentation)
    if as_json:
        return json.dumps({"photo": str(outcome.photo), "segments": found, "files": [str(f) for f in outcome.files]})
    whole = outcome.segmentation.labels.size
    parts = [f"{s['word']} {s['area'] / whole:.0%}" for s in found]
    caption = outcome.segmentation.notes.get("caption")
    said = f'  "{caption}"\n' if caption else ""
    return f"{outcome.photo}: {', '.join(parts) or 'nothing found'}\n{said}  -> {outcome.files[0]}"


def _explain(options: argparse.Namespace) -> int:
    if options.mask is not None:
        return explain_mask(options)
    if options.words_map is not None:
        raise InputError("--words-map says what a mask's indices are called; give --mask too, or use --words")
    from segwright.explanation import explain
    from segwright.images import read

    photo, out = Path(options.photo), Path(options.out)
    page = out if out.suffix.lower() in (".html", ".htm") else out / f"{photo.stem}.html"
    image = read(photo)
    print(explain(image, method(options), page, vocabulary(options), photo.name))
    return 0
