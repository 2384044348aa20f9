"""``segwright refine``: masks from anywhere, made sharper; and their page for ``segwright explain``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from segwright.cli.listed import CRF_NAMES, REFINER_NAMES, add_listed
from segwright.cli.options import EPILOG, add_networks, add_set, networks
from segwright.errors import InputError


def add(commands: Any) -> None:
    command = commands.add_parser("refine", help="make coarse masks sharper, whatever made them", epilog=EPILOG)
    command.add_argument("photo", metavar="PHOTO", help="a photo, or a folder of photos")
    command.add_argument(
        "--mask",
        required=True,
        metavar="COARSE",
        help="its mask, or a folder with a mask of each photo's name: PNG with an index a pixel (0 = background), or .npy or "
        ".safetensors with scores, (classes, height, width)",
    )
    add_mask_words(command)
    add_networks(command)
    with_help = "of %(listed)s, in this order (default: %(default)s)"
    add_listed(command, REFINER_NAMES, "--with", dest="refiners", default="g4seg,crf", metavar="R,R", help=with_help)
    crf_help = "constants of crf: %(choices)s (default: %(default)s, best on hard masks)"
    command.add_argument("--crf", choices=CRF_NAMES, default="cutler", metavar="NAME", help=crf_help)
    add_set(command, "any setting of a refiner, any number of times: g4seg.timestep=100, crf.iterations=5")
    add_g4seg(command)
    command.add_argument("-o", "--out", required=True, metavar="OUT", help="folder for the results")
    command.set_defaults(run=_refine, resumes=True)


def add_mask_words(command: argparse.ArgumentParser) -> None:
    """What a mask's indices are called."""
    words = command.add_mutually_exclusive_group()
    words.add_argument("--words-map", metavar="1=dog,2=sofa", help="what the mask's indices are called")
    words.add_argument("--words-file", metavar="F", help="a file with one word a line; line 1 is index 1")
    words.add_argument("--vocabulary", metavar="NAME", help="a benchmark's classes: voc, coco, ade20k, cityscapes, mini ...")


def add_g4seg(command: argparse.ArgumentParser) -> None:
    """Settings of g4seg; None means its default."""
    group = command.add_argument_group("settings of g4seg")
    group.add_argument("--timestep", type=int, metavar="T", help="how far the photo is noised, 1..999 (default: 400)")
    group.add_argument("--beta", type=float, metavar="B", help="how much of a score stays (default: 0.8; 0.9 for good masks)")
    group.add_argument("--passes", type=int, metavar="N", help="default: 1")
    group.add_argument("--seed", type=int, help="of the noise (default: 0)")
    group.add_argument("--null-text", action="store_true", help="null-text inversion in place of one step (slow)")
    group.add_argument("--controlnet", metavar="FOLDER", help="a ControlNet's folder: it injects the masks in place of attention")


def mask_words(options: argparse.Namespace) -> dict[int, str] | None:
    """Index -> word, given in one of the three ways, or None."""
    from segwright.files.coarse_masks import parse_words_map
    from segwright.words import vocabulary

    if options.words_map is not None:
        return parse_words_map(options.words_map)
    if getattr(options, "words", None) is not None:  # segwright explain has --words too
        return dict(enumerate(vocabulary.parse_words(options.words), 1))
    if options.words_file is not None:
        return dict(enumerate(vocabulary.read_words_file(options.words_file), 1))
    if options.vocabulary is not None:
        return dict(enumerate(vocabulary.load(options.vocabulary).words, 1))
    return None


def g4seg(options: argparse.Namespace) -> Any:
    """G4Seg for masks from files, with what was given."""
    from segwright.refine import InversionSettings
    from segwright.runs.refine_masks import REFINERS
    from segwright.weights import load_controlnet

    names = ("timestep", "beta", "passes", "seed")
    given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
    if getattr(options, "null_text", False):
        given["inversion"] = InversionSettings()
    if (folder := getattr(options, "controlnet", None)) is not None:
        given["controlnet"] = load_controlnet(folder, options.device, options.dtype)
    return replace(REFINERS["g4seg"], **given)  # type: ignore[type-var]


def _row(options: argparse.Namespace) -> tuple[Any, ...]:
    """The refiners asked for, with what was given by their flags and by ``--set``."""
    from segwright.refine import CRF
    from segwright.refine.pipeline import changed_row, refiner_settings
    from segwright.settings import read_settings

    given = {"crf": CRF.of(getattr(options, "crf", "cutler")), "g4seg": g4seg(options)}
    return changed_row(options.refiners, read_settings(options.settings, refiner_settings(), "refine"), given)


def _refine(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from segwright.images import find_photos
    from segwright.runs.refine_masks import RefinementSettings, refine_masks
    from segwright.weights import load

    settings = RefinementSettings(_row(options))
    nets = load(options.preset, options.device, options.dtype, **networks(options))
    nets.prepare(sorted({kind for refiner in settings.row for kind in refiner.kinds}))
    count = len(find_photos(options.photo))
    outcomes = refine_masks(options.photo, options.mask, options.out, mask_words(options), nets, settings=settings)
    bad = 0
    for outcome in tqdm(outcomes, total=count, unit="photo", disable=True if count < 2 else None, leave=False):
        if outcome.error is not None:
            bad += 1
            tqdm.write(f"segwright: {outcome.error}", file=sys.stderr)
        else:
            change = "was there already" if outcome.changed is None else _changed(outcome.changed)
            tqdm.write(f"{outcome.photo} -> {outcome.file} ({change})", file=sys.stdout)
    if bad and count > 1:
        print(f"segwright: {bad} of {count} photos could not be done", file=sys.stderr)
    return 0 if not bad else 1 if bad < count else 2


def _changed(share: float) -> str:
    """How much a refined mask differs from the coarse one."""
    if share == 0:
        return "no pixel changed"
    return f"{f'{100 * share:.0f}' if share >= 0.01 else 'less than 1'} % of pixels changed"


def explain_mask(options: argparse.Namespace) -> int:
    """``segwright explain PHOTO --mask COARSE.png --with g4seg``."""
    from segwright.files.coarse_masks import read_coarse
    from segwright.images import read
    from segwright.runs import explain
    from segwright.weights import load

    row = _row(options)
    if len(row) != 1:
        raise InputError(f"a mask's page is made for one refiner, got --with {options.refiners}")
    words = mask_words(options)
    if words is None and row[0].needs_words:
        raise InputError(
            f"{row[0].name} must know what the indices are called; give --words-map 1=dog,2=sofa, --words-file or --vocabulary"
        )
    photo, out = Path(options.photo), Path(options.out)
    page = out if out.suffix.lower() in (".html", ".htm") else out / f"{photo.stem}.html"
    image = read(photo)
    scores = read_coarse(Path(options.mask), (image.shape[0], image.shape[1]), words)
    nets = load(options.preset, options.device, options.dtype, **networks(options))
    nets.prepare(row[0].kinds)
    print(explain.explain_mask(image, scores, row[0], nets, page, title=photo.name))
    return 0
