"""``segwright diagnose``."""

from __future__ import annotations

import argparse
from typing import Any

from segwright.cli.listed import DATASET_NAMES, add_listed
from segwright.cli.options import EPILOG, add_networks, add_set, add_words, networks, split, vocabulary


def add(commands: Any) -> None:
    command = commands.add_parser(
        "diagnose",
        help="where CLIP's and diffusion features fail, shown and measured",
        epilog=EPILOG,
    )
    command.add_argument("photo", nargs="?", metavar="PHOTO")
    add_words(command)
    command.add_argument("--prompt", metavar='"a horse on the grass"', help="holds every word (default: the photo's caption)")
    command.add_argument("--truth", metavar="MASK", help="label map of the photo: label i is the i-th word, 0 background, 255 void")
    command.add_argument("--only", metavar="PART,PART", help="of gradcam, attention, features, conditioning (default: all)")
    add_listed(command, DATASET_NAMES, "--data", metavar="NAME", help="instead of a photo: averages over a data set, of %(listed)s")
    command.add_argument("--root", metavar="DIR", help="the folder that holds the data set; mini ships with segwright")
    command.add_argument("--split", help="default: the data set's validation split")
    command.add_argument("--limit", type=int, metavar="N", help="the first N photos")
    command.add_argument("--steps", type=int, metavar="N", help="of generation and inversion (default: 20)")
    command.add_argument("--threshold", type=float, metavar="T", help="of Grad-CAM's masks, 0..1 (default: 0.4)")
    command.add_argument("--seed", type=int, help="default: 0")
    add_set(command, "any other setting, any number of times; a wrong name gets the list of them")
    add_networks(command)
    command.add_argument("-o", "--out", default="segwright-diagnosis", metavar="OUT", help="folder (default: segwright-diagnosis)")
    command.set_defaults(run=_diagnose, resumes=lambda options: options.data is not None)


def _diagnose(options: argparse.Namespace) -> int:
    from segwright.diagnosis.run import diagnose
    from segwright.diagnosis.subject import NETWORKS, DiagnoseSettings
    from segwright.settings import build, read_settings, settings_tree
    from segwright.weights import load

    given = {name: value for name in ("steps", "threshold", "seed") if (value := getattr(options, name)) is not None}
    given |= read_settings(options.settings, settings_tree(DiagnoseSettings), "diagnose")
    settings = build(DiagnoseSettings, given, "diagnose")
    load(options.preset, options.device, options.dtype, **networks(options)).prepare(NETWORKS)
    page = diagnose(
        options.photo,
        vocabulary(options),
        options.out,
        prompt=options.prompt,
        truth=options.truth,
        data=options.data,
        root=options.root,
        split=options.split,
        limit=options.limit,
        only=None if options.only is None else split(options.only),
        preset=options.preset,
        device=options.device,
        dtype=options.dtype,
        settings=settings,
        **networks(options),
    )
    print(page)
    return 0
