"""``segwright segment`` and ``segwright explain``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segwright.cli.listed import EXPLAINED, add_listed
from segwright.cli.options import EPILOG, add_method, fetch_first, method, method_spec, vocabulary
from segwright.cli.refine import explain_mask
from segwright.errors import InputError

LISTED = 5  # words of a kind that a line names


def add(commands: Any) -> None:
    _add_segment(commands)
    _add_explain(commands)


def _add_segment(commands: Any) -> None:
    command = commands.add_parser("segment", help="cut out what is named in photos; resumes", epilog=EPILOG)
    command.add_argument(
        "photos", nargs="+", metavar="PHOTO", help="photos, folders, lists of paths (.txt), patterns in quotes, s3:// and the like"
    )
    add_method(command)
    command.add_argument(
        "-o", "--out", default="segwright-out", metavar="RUN", help="folder or URL for the results (default: segwright-out)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object a photo instead of text")
    group = command.add_argument_group("whole collections")
    group.add_argument("--batch", type=int, default=4, metavar="B", help="photos through the networks at once (default: 4)")
    group.add_argument("--workers", type=int, default=1, metavar="N", help="processes on the CPU, or Ray actors (default: 1)")
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: through Ray Data, on several machines")
    group.add_argument("--ray-address", metavar="A", help="of a Ray cluster (default: this machine alone)")
    group.add_argument("--restart", action="store_true", help="throw away the run that is in RUN")
    group.add_argument("--retry", action="store_true", help="try again the photos that failed")
    command.set_defaults(run=_segment, resumes=True)


def _add_explain(commands: Any) -> None:
    command = commands.add_parser("explain", help="one HTML page of every step for a photo", epilog=EPILOG)
    command.add_argument("photo", metavar="PHOTO")
    add_method(command)
    mask = command.add_argument_group("a coarse mask's refinement, in place of a method")
    mask.add_argument("--mask", metavar="COARSE", help="the photo's mask, as for segwright refine")
    mask.add_argument("--words-map", metavar="1=dog,2=sofa", help="what the mask's indices are called")
    with_help = "one that has a page: %(listed)s (default: %(default)s)"
    add_listed(mask, EXPLAINED, "--with", dest="refiners", default="g4seg", metavar="R", help=with_help)
    command.add_argument(
        "--backbones",
        action="store_true",
        help="in place of a method: clusters of the features of Stable Diffusion, CLIP and plain ViTs side by side "
        "(FreeSeg-Diff, Fig. 3), with --clusters, --seed and other --set of freeseg-diff",
    )
    command.add_argument("-o", "--out", required=True, metavar="OUT", help="the page (OUT.html), or a folder for it")
    command.set_defaults(run=_explain)


def _segment(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segwright.runs.segment import segment
    from segwright.runs.sources import find

    words, photos = vocabulary(options), find(options.photos)
    spec = method_spec(options)
    fetch_first(options, spec)
    _print_notes(spec, words)
    engine = {"workers": options.workers, "engine": options.engine, "ray_address": options.ray_address}
    again = {"restart": options.restart, "retry": options.retry}
    outcomes = segment(photos, spec, options.out, words, options.batch, **engine, **again)
    bad = earlier = 0
    with tqdm(total=len(photos), unit="photo", disable=True if len(photos) < 2 else None, leave=False) as bar:
        for outcome in outcomes:
            bad += outcome.error is not None
            earlier += outcome.earlier
            if outcome.earlier:
                bar.initial = earlier  # so that speed and time left are of this run's own photos
            elif outcome.error is not None:
                tqdm.write(f"segwright: {outcome.error}", file=sys.stderr)
            else:
                tqdm.write(_line(outcome, options, words), file=sys.stdout)
            bar.set_postfix_str(f"{bad} failed" if bad else "", refresh=False)
            bar.update()
    if earlier:
        print(f"segwright: {earlier} of {len(photos)} photos were in {options.out} already", file=sys.stderr)
    if bad and len(photos) > 1:
        print(f"segwright: {bad} of {len(photos)} photos could not be done", file=sys.stderr)
    return 0 if not bad else 1 if bad < len(photos) else 2


def _print_notes(spec: Any, words: Sequence[str] | None) -> None:
    """What a user should know of the words before the first photo."""
    if words is not None and spec.kind.absent_words:
        print(f"segwright: words that are absent, as {spec.name} has it: {spec.kind.absent_words}", file=sys.stderr)
    if unknown := spec.unknown(words or ()):
        print(f"segwright: the preset's networks were not taught {_listed(unknown)}; they can only guess", file=sys.stderr)
    if sys.stderr.isatty():
        print("segwright: opening networks; the first photo takes longer", file=sys.stderr)


def _listed(texts: Sequence[str]) -> str:
    """The first few, and how many more."""
    return ", ".join(texts[:LISTED]) + (f" and {len(texts) - LISTED} more" if len(texts) > LISTED else "")


def _line(outcome: Any, options: argparse.Namespace, words: Sequence[str] | None) -> str:
    """What is said of a photo: one line, or in a terminal several."""
    found = outcome.facts["segments"]
    if options.json:
        files = [str(file) for file in outcome.files]
        content = {"photo": str(outcome.photo), "segments": found, "not_found": outcome.facts.get("not_found", []), "files": files}
        return json.dumps(content)
    width, height = outcome.facts["size"]
    parts = [f"{s['word']} {s['area'] / (width * height):.0%}{_score(s['score'])}" for s in found]
    caption = outcome.facts["caption"]
    quoted = f'  "{caption}"\n' if caption else ""
    names = {s["word"] for s in found}
    absent = [word for word in words or () if word not in names] if options.vocabulary is None else []  # of a benchmark most are
    unfound = () if words is None else outcome.facts.get("not_found") or absent  # nobody asked for the caption's nouns
    missing = [f"not found: {text}" for text in unfound[:LISTED]]
    if len(unfound) > LISTED:
        missing.append(f"not found either: {len(unfound) - LISTED} more words, listed in the record")
    if not sys.stdout.isatty():
        text = "; ".join([", ".join(parts) or "nothing found", *missing])
        return f"{outcome.photo}: {text} -> {outcome.files[0]}"
    below = "".join(f"  {text}\n" for text in missing)
    return f"{outcome.photo}: {', '.join(parts) or 'nothing found'}\n{quoted}{below}  -> {outcome.files[0]}"


def _score(score: float | None) -> str:
    return "" if score is None else f" (score {score:.2f})"


def _explain(options: argparse.Namespace) -> int:
    if options.mask is not None:
        return explain_mask(options)
    if options.words_map is not None:
        raise InputError("--words-map says what a mask's indices are called; give --mask too, or use --words")
    if options.backbones:
        return _explain_backbones(options)
    from segwright.images import read
    from segwright.runs.explain import explain

    photo, page = Path(options.photo), _page(options)
    image = read(photo)
    print(explain(image, method(options), page, vocabulary(options), photo.name))
    return 0


def _page(options: argparse.Namespace) -> Path:
    """Where the page is written."""
    out = Path(options.out)
    return out if out.suffix.lower() in (".html", ".htm") else out / f"{Path(options.photo).stem}.html"


def _explain_backbones(options: argparse.Namespace) -> int:
    """``segwright explain PHOTO --backbones``."""
    from segwright.images import read
    from segwright.methods import DEFAULT
    from segwright.methods.freeseg_diff import backbones
    from segwright.methods.freeseg_diff.method import FreeSegDiff
    from segwright.runs.explain import explain_backbones

    if options.method not in (DEFAULT, FreeSegDiff.name):
        raise InputError(f"--backbones is a figure of {FreeSegDiff.name}; leave --method out")
    if vocabulary(options) is not None:
        raise InputError("--backbones shows clusters without names; leave the words out")
    options.method = FreeSegDiff.name
    photo, method = Path(options.photo), method_spec(options).load()
    image = read(photo)
    backbones.fetch(method.networks)
    print(explain_backbones(image, method.networks, _page(options), method.settings, title=photo.name))
    return 0
